"""The firmware export: a project that builds, boots with its model in place, and says truly what it takes."""

import json
import shutil
import struct
import subprocess

import numpy as np
import pytest

from edgesnn import export_student, open_bundle, verify_bundle
from edgesnn.errors import ExportError, UsageError
from edgesnn.exporters.firmware.report import board_fits, engine_ram, report_document, report_text
from edgesnn.firmware import BOARDS, EMULATED, find_firmware, firmware_size, flash_image
from edgesnn.program.golden import Golden
from edgesnn.program.snn_format import to_bytes
from edgesnn.runners.base import RunnerOptions
from edgesnn.runners.board.address import parse_board
from edgesnn.runners.board.board import Board
from edgesnn.runners.board.emulator import EmulatorLine
from edgesnn.runners.board.qemu import QemuRunner
from edgesnn.runners.board.session import BoardSession
from tests.support.bundles import shared_artifact, shared_bundle
from tests.support.devices.loopback import small_model
from tests.support.patience import patience
from tests.support.random_program import RandomShape, random_program
from tests.support.shared import shared

pytestmark = [
    pytest.mark.skipif(QemuRunner.missing() is not None, reason=str(QemuRunner.missing())),
    pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed"),
]
M7, M55 = "mps2-an500", "mps3-an547"


@pytest.fixture(scope="module")
def bundle():
    return open_bundle(
        shared("firmware-bundle", lambda folder: export_student(shared_artifact(), folder, ["firmware"]))
    )


def build(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=patience())
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def made(bundle):
    """The firmware of the M7, made from a copy of the exported folder and nothing else."""

    def make(folder):
        shutil.copytree(bundle.path / "firmware", folder)
        build("make", "-C", folder, f"BOARD={M7}")

    return shared("firmware-made", make) / "build" / f"{M7}.elf"


def test_a_firmware_made_of_the_export_boots_with_its_model_in_place_and_is_exact(bundle, made):
    [result] = verify_bundle(bundle, [f"qemu:{M7}?firmware={made}"], tokens=60)
    assert result.mismatches == 0 and set(result.forms) == {"sequence", "step", "prefill"}
    with QemuRunner() as runner:
        info = runner.open(bundle, RunnerOptions(address=f"{M7}?firmware={made}"))
        assert info.details["model_bytes_sent"] == 0


def test_another_model_still_comes_over_the_line(bundle, made):
    assert len(bundle.file("program.snn").read_bytes()) != len(small_model())
    with BoardSession(EmulatorLine(EMULATED[M7], made)) as session:
        board, data = Board(session), small_model()
        assert board.load(data).sent == len(data)
        board.run([1, 2], seconds=patience())
        there = bundle.file("program.snn").read_bytes()
        assert board.load(there).sent == 0


@pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")
def test_cmake_builds_the_same_project_for_a_board_whose_model_lies_beside_its_flash(bundle, tmp_path):
    build("cmake", "-S", bundle.path / "firmware", "-B", tmp_path, f"-DBOARD={M55}")
    build("cmake", "--build", tmp_path)
    ids = np.random.default_rng(0).integers(0, 280, (1, 20))
    with QemuRunner() as runner:
        info = runner.open(bundle, RunnerOptions(address=f"{M55}?firmware={tmp_path / 'firmware.elf'}"))
        assert info.details["model_bytes_sent"] == 0
        np.testing.assert_array_equal(runner.sequence(ids).logits, Golden(bundle.program()).sequence(ids))


def test_a_board_that_is_not_known_is_told_by_make(bundle):
    done = subprocess.run(
        ["make", "-C", bundle.path / "firmware", "BOARD=mps"], capture_output=True, text=True
    )
    assert done.returncode != 0 and "unknown board 'mps'" in done.stderr and "pico2" in done.stderr


@pytest.mark.parametrize("machine", [M7, M55])
@pytest.mark.parametrize("heads", [(1, 3, 5), (8, 64, 100)])
def test_the_report_says_what_the_board_says_of_itself(machine, heads):
    """Windows with and without running sums, channels that fill no word."""
    shape = RandomShape(vocab=70, dim=66, depth=2, windows=heads, mlp=70, rank=12, shifted=9)
    data = to_bytes(random_program(shape, seed=3))
    kind = EMULATED[machine]
    with BoardSession(EmulatorLine(kind, find_firmware(kind), data)) as session:
        model, hello = Board(session).load(data), session.hello
    ram, size = engine_ram(data), firmware_size(kind, find_firmware(kind))
    assert (ram.index_bytes, ram.context_bytes) == (model.index_bytes, model.context_bytes)
    assert (size.flash_bytes, size.static_bytes) == (hello.flash_bytes, hello.static_bytes)


def test_the_export_carries_the_report_as_text_and_as_data(bundle):
    document = json.loads((bundle.path / "firmware/sizes.json").read_text("utf-8"))
    program = bundle.file("program.snn").read_bytes()
    assert document == bundle.manifest.exports["firmware"].signatures["fit"]
    assert document == report_document(board_fits(program))
    assert (bundle.path / "firmware/sizes.txt").read_text("utf-8") == report_text(document)
    by_board = {fit["board"]: fit for fit in document["boards"]}
    assert set(by_board) == set(BOARDS) and all(fit["fits"] for fit in by_board.values())
    assert {name for name, fit in by_board.items() if not fit["run_by_us"]} == {"pico2", "nucleo-h743zi"}


def test_what_does_not_fit_is_told_with_both_sizes():
    shape = RandomShape(vocab=40_000, dim=64, depth=1, windows=(8, 8), mlp=64, rank=64, shifted=8)
    fits = {fit.board: fit for fit in board_fits(to_bytes(random_program(shape, seed=1)))}
    assert fits["nucleo-h743zi"].fits is False
    assert fits["nucleo-h743zi"].why.startswith("flash: 2,") and "of 2,097,152" in fits["nucleo-h743zi"].why
    assert fits["pico2"].fits is True
    shape = RandomShape(vocab=70, dim=440, depth=2, windows=(255, 255), mlp=70, rank=12, shifted=9)
    fits = {fit.board: fit for fit in board_fits(to_bytes(random_program(shape, seed=1)))}
    assert fits["nucleo-h743zi"].fits is False and fits["nucleo-h743zi"].why.startswith("RAM: ")
    with pytest.raises(ExportError, match=r"too large for pico2.*limit: 4,194,304"):
        find_firmware(BOARDS["pico2"], bytes(5 << 20), error=ExportError)


def test_the_image_of_a_pico_has_the_block_that_its_boot_rom_looks_for():
    flash = flash_image(BOARDS["pico2"], find_firmware(BOARDS["pico2"], small_model()))
    block = struct.pack("<5I", 0xFFFFDED3, 0x10210142, 0x1FF, 0, 0xAB123579)  # datasheet, 5.9.5
    at = flash.index(block)
    assert at % 4 == 0 and at + len(block) <= 4096
    stack, start = struct.unpack_from("<2I", flash)
    assert 0x20000000 < stack <= 0x20030000 and start & 1 and 0x10000000 < start < 0x10000000 + len(flash)
    assert flash.index(small_model()) % 64 == 0


def test_the_vectors_of_a_nucleo_stand_where_it_starts():
    flash = flash_image(BOARDS["nucleo-h743zi"], find_firmware(BOARDS["nucleo-h743zi"]))
    stack, start = struct.unpack_from("<2I", flash)
    assert 0x20000000 < stack <= 0x20020000 and start & 1 and 0x08000000 < start < 0x08000000 + len(flash)
    usart, spurious = (struct.unpack_from("<I", flash, 4 * (16 + irq))[0] for irq in (39, 38))
    assert usart & 1 and spurious == 0


def test_a_firmware_that_is_none_is_a_usage_error(tmp_path):
    (tmp_path / "text+more.elf").write_text("no")
    for path, why in ((tmp_path / "text+more.elf", "not an ELF file"), (tmp_path / "x", "no such file")):
        with pytest.raises(UsageError, match=why):
            parse_board(f"{M7}?firmware={path}", form="", options=("firmware",))
    with pytest.raises(UsageError, match="no option of a board"):
        parse_board("/dev/ttyACM0?firmware=x", form="")


def test_shared_bundles_have_no_firmware():
    """It is written only when it is named: it needs compilers."""
    assert "firmware" not in open_bundle(shared_bundle()).manifest.exports
