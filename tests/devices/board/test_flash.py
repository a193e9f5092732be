"""``edgesnn flash``: the firmware with its model, and a tool of the board that stands in for the real one."""

import shlex
import shutil

import pytest

from edgesnn import open_bundle
from edgesnn.bundle.bundle import PROGRAM_NAME
from edgesnn.errors import MissingExtraError, RunnerError, UsageError
from edgesnn.firmware import missing_compiler
from edgesnn.runners.board import flashing
from edgesnn.runners.board.flashing import flash_bundle
from tests.support.bundles import shared_bundle
from tests.support.devices.loopback import TerminalBoard, why_no_compiler

pytestmark = pytest.mark.skipif(missing_compiler() is not None, reason=str(missing_compiler()))


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """Makes tools on a path that has no other; each keeps its arguments and what the named file held."""

    folder = tmp_path / "tools"
    folder.mkdir()
    monkeypatch.setattr(flashing, "which", lambda name: shutil.which(name, path=str(folder)))
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def make(name, code="0"):
        script = folder / name
        script.write_text(
            f'#!/bin/sh\nfor word; do echo "$word" >> {folder}/{name}.words; '
            f'[ -f "$word" ] && cp "$word" {folder}/{name}.file; done\necho it said why >&2\nexit {code}\n'
        )
        script.chmod(0o755)
        return folder / f"{name}.words", folder / f"{name}.file"

    return make


@pytest.fixture(scope="module")
def bundle():
    return open_bundle(shared_bundle())


def test_the_first_tool_that_is_there_gets_the_firmware_with_the_model(tools, bundle):
    tools("openocd")
    words, file = tools("picotool")
    done = flash_bundle(bundle, "pico2")
    assert words.read_text().split() == ["load", "-v", "-x", str(done.firmware), "-t", "elf"]
    program = bundle.file(PROGRAM_NAME).read_bytes()
    assert file.read_bytes() == done.firmware.read_bytes() and program in file.read_bytes()
    assert len(program) < done.flash_bytes < len(program) + 100_000


def test_a_tool_of_plain_bytes_gets_plain_bytes_and_where_they_begin(tools, bundle):
    words, file = tools("st-flash")
    flash_bundle(bundle, "nucleo-h743zi")
    assert words.read_text().split()[-1] == "0x08000000"
    image = file.read_bytes()
    assert image[:4] != b"\x7fELF" and bundle.file(PROGRAM_NAME).read_bytes() in image


def test_without_a_tool_the_command_to_run_is_told(tools, bundle):
    with pytest.raises(MissingExtraError, match=r"looked for picotool, openocd") as error:
        flash_bundle(bundle, "pico2")
    assert error.value.exit_code == 1
    command = shlex.split(error.value.remedy.partition("then: ")[2])
    assert command[0] == "picotool"
    with open(command[4], "rb") as firmware:
        assert bundle.file(PROGRAM_NAME).read_bytes() in firmware.read()


def test_a_tool_that_fails_is_told_in_its_words(tools, bundle):
    tools("picotool", code="1")
    with pytest.raises(RunnerError, match=r"picotool failed: it said why.*BOOTSEL") as error:
        flash_bundle(bundle, "pico2")
    assert error.value.exit_code == 4


def test_only_real_boards_are_flashed(bundle):
    with pytest.raises(UsageError, match="emulated: it has no flash"):
        flash_bundle(bundle, "mps2-an500")
    with pytest.raises(UsageError, match="pico2"):
        flash_bundle(bundle, "pico3")


@pytest.mark.skipif(why_no_compiler() is not None, reason=str(why_no_compiler()))
def test_the_board_at_the_port_says_who_it_is(tools, bundle, monkeypatch):
    tools("picotool")
    monkeypatch.setenv("LOOPBACK_NAME", "pico2 (Cortex-M33)")
    with TerminalBoard() as board:
        answers = flash_bundle(bundle, "pico2", board.port).answers
    assert answers.startswith("pico2 (Cortex-M33), firmware 1.1, engine ")


@pytest.mark.skipif(why_no_compiler() is not None, reason=str(why_no_compiler()))
def test_another_board_at_the_port_is_an_error(tools, bundle):
    tools("picotool")
    with TerminalBoard() as board, pytest.raises(RunnerError, match=r"another than.*loopback.*pico2"):
        flash_bundle(bundle, "pico2", board.port)


def test_the_command_line_says_what_it_wrote(edgesnn_here, tools, tmp_path):
    tools("picotool")
    done = edgesnn_here("flash", shared_bundle(), "--board", "pico2", "--json")
    assert done.exit_code == 0, done.stderr
    assert done.document["board"] == "pico2" and done.document["answers"] is None
    assert done.document["command"][0] == "picotool"
