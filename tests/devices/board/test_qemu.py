"""Emulated boards: the firmware itself, on Cortex-M4, M7 and M55."""

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgesnn import generate_text, open_bundle, profile_bundle, resources, verify_bundle
from edgesnn.errors import RunnerError, UsageError
from edgesnn.firmware import BOARDS, EMULATED, FLAGS, find_firmware
from edgesnn.program.golden import Golden
from edgesnn.program.snn_format import to_bytes
from edgesnn.runners.base import RunnerOptions
from edgesnn.runners.board.address import KERNELS
from edgesnn.runners.board.board import Board
from edgesnn.runners.board.emulator import EmulatorLine
from edgesnn.runners.board.frames import InferFlag
from edgesnn.runners.board.qemu import QemuRunner
from edgesnn.runners.board.session import BoardSession
from edgesnn.runners.golden import GoldenRunner
from edgesnn.runners.native import build as native_build
from edgesnn.runners.native.engine import Engine
from edgesnn.toolchain import BARE_METAL, cross_compiler
from tests.support.bundles import shared_bundle
from tests.support.patience import patience, wait_for
from tests.support.random_program import RandomShape, random_program
from tests.support.sources import ROOT

pytestmark = pytest.mark.skipif(QemuRunner.missing() is not None, reason=str(QemuRunner.missing()))
M7 = "mps2-an500"
IDS = np.random.default_rng(0).integers(0, 280, (1, 60))


@pytest.fixture(scope="module")
def bundle():
    return open_bundle(shared_bundle())


@pytest.fixture
def runner(bundle):
    with QemuRunner() as opened:
        opened.open(bundle, RunnerOptions(address=M7))
        yield opened


@pytest.mark.parametrize("machine", sorted(EMULATED))
@pytest.mark.parametrize("kernels", KERNELS)
def test_every_board_and_kernel_set_equals_golden_bit_for_bit(bundle, machine, kernels):
    wanted = Golden(bundle.program()).sequence(IDS)
    with QemuRunner() as runner:
        info = runner.open(bundle, RunnerOptions(address=f"{machine}?kernels={kernels}"))
        assert info.simulated and info.instruction_ns == 32 and machine in info.device
        assert info.details["kernels"] == kernels and info.details["model_bytes_sent"] == 0
        np.testing.assert_array_equal(runner.sequence(IDS).logits, wanted)
        got = [runner.step(IDS[:, i]).logits[0] for i in range(10)]
        np.testing.assert_array_equal(got, wanted[0, :10])


@pytest.mark.parametrize("machine", sorted(BOARDS))
def test_the_boards_own_sources_are_strict_c99(machine, tmp_path):
    boards, compiler = (
        resources.folder("dut") / "boards",
        cross_compiler(BARE_METAL[BOARDS[machine].processor]),
    )
    sources = [str(boards / name) for name in BOARDS[machine].sources]
    strict = [*FLAGS, "-Werror", f'-DBOARD_HEADER="{machine}.h"', f"-I{boards}", "-c", *sources]
    compiler.run(strict, label="the compiler", error=RunnerError, folder=tmp_path)
    made = {path.stem for path in tmp_path.glob("*.o")}
    assert made == {Path(name).stem for name in BOARDS[machine].sources}


def test_verify_runs_all_forms_past_the_wrap(bundle):
    [result] = verify_bundle(bundle, [f"qemu:{M7}"], tokens=60)
    assert result.mismatches == 0 and set(result.forms) == {"sequence", "step", "prefill"}


def test_the_same_text_comes_out_as_anywhere_else(bundle):
    texts = {str(generate_text(bundle, "a", target=t, max_tokens=12)) for t in (f"qemu:{M7}", "golden")}
    assert len(texts) == 1


def test_logits_that_are_not_those_of_the_codes_are_the_boards_own(runner, bundle):
    """The way back to full logits, which a right board never takes."""
    wanted = Golden(bundle.program()).sequence(IDS[:, :6])
    runner._table = runner._table * 0  # as if the host made other logits of the codes
    np.testing.assert_array_equal(runner.step(IDS[:, 0]).logits, wanted[:, 0])
    np.testing.assert_array_equal(runner.sequence(IDS[:, :6]).logits, wanted)


def test_a_context_moves_between_a_board_and_this_computer(runner, bundle):
    runner.prefill(IDS[:, :30])
    saved = runner.save()
    wanted = runner.step(IDS[:, 30]).logits
    with GoldenRunner() as golden:
        golden.open(bundle, RunnerOptions())
        golden.prefill(IDS[:, :30])
        back = golden.save()
        golden.restore(saved)
        np.testing.assert_array_equal(golden.step(IDS[:, 30]).logits, wanted)
    runner.reset()
    runner.restore(back)
    np.testing.assert_array_equal(runner.step(IDS[:, 30]).logits, wanted)
    runner.sequence(IDS[:, :5])  # leaves the context alone
    runner.restore(saved)
    runner.sequence(IDS[:, :5])
    np.testing.assert_array_equal(runner.step(IDS[:, 30]).logits, wanted)


def test_instructions_repeat_within_one_tick(runner):
    first, second = (runner.window(IDS[0], 1, 2) for _ in range(2))
    tick_ns = 1000
    assert np.abs(first.latencies_ns - second.latencies_ns).max() <= tick_ns
    assert first.output_sha256 == second.output_sha256 and first.latencies_ns.min() > 10 * tick_ns


def test_a_profile_counts_instructions_and_judges_no_latency(bundle, tmp_path):
    profile = tmp_path / "p.toml"
    text = (ROOT / "profiles/quick.toml").read_text("utf-8")
    limits = "[budgets]\nlatency_ms_p95 = { limit = 1e6, required = true }\n"
    profile.write_text(
        text.replace("[budgets]\n", limits).replace("accuracy_tokens = 4000", "accuracy_tokens = 0")
    )
    run = profile_bundle(bundle, target=f"qemu:{M7}", profile=profile).record
    counted = run.quantities["instructions.per_token"]
    assert counted.kind == "SIMULATED" and counted.value > 1000 and "emulated" in counted.how
    assert run.latency is None
    timed = [name for name in run.quantities if name.startswith(("latency.", "forward.", "throughput."))]
    assert timed and all(run.quantities[name].kind == "ABSENT" for name in timed)
    [judged] = [budget for budget in run.budgets if budget.name == "latency_ms_p95"]
    assert judged.verdict == "UNMEASURED" and "counts instructions" in judged.reason
    with pytest.raises(UsageError, match="emulated and draws no power"):
        profile_bundle(bundle, target=f"qemu:{M7}", profile="quick", meter="sim:ppk2?voltage=3.3")


def test_a_fault_of_the_processor_comes_over_the_wire_and_the_board_starts_again(bundle):
    line = EmulatorLine(BOARDS[M7], find_firmware(BOARDS[M7]))
    with BoardSession(line) as session:
        board = Board(session)
        board.pin(high=True)
        counts = board.statistics()
        assert counts["pin_rises"] == 1 and 0 < counts["stack_bytes"] < 4096
        board.reboot(by_fault=True)
        with pytest.raises(RunnerError, match="met a usage fault"):
            board.reset()
        again = session._greet(7, opens=False, seconds=patience(10))
        assert again.cause == "after a fault" and again.session == 0


def emulators():
    """Processes of QEMU whose model lies in a scratch folder of ours, by that folder."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"qemu-system-arm"):
            images = [word for word in words if word.startswith(b"loader,file=")]
            found |= {image: int(entry.parts[2]) for image in images}
    return found


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_emulator_ends_with_its_host_however_that_ends(tmp_path, how):
    script = (
        "import sys\n"
        "from edgesnn import open_bundle\n"
        "from edgesnn.runners.base import RunnerOptions\n"
        "from edgesnn.runners.board.qemu import QemuRunner\n"
        "runner = QemuRunner()\n"
        "runner.open(open_bundle(sys.argv[1]), RunnerOptions(address='mps2-an500'))\n"
        "print(runner._board.session._line._folder.path, flush=True)\n"
        "sys.stdin.read()\n"
    )
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    with subprocess.Popen(
        [sys.executable, "-c", script, shared_bundle()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    ) as host:
        folder = host.stdout.readline().strip().encode()
        ours = [image for image in emulators() if folder in image]
        assert folder and len(ours) == 1
        host.send_signal(how)
        host.wait(patience())
    wait_for(lambda: not [image for image in emulators() if folder in image])


def test_an_emulator_that_dies_is_one_clear_error(runner):
    folder = str(runner._board.session._line._folder.path).encode()
    [pid] = [pid for image, pid in emulators().items() if folder in image]
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(RunnerError, match="qemu-system-arm ended") as error:
        runner.step(IDS[:, 0])
    assert error.value.exit_code == 4
    runner.close()
    with pytest.raises(RunnerError, match="holds no bundle"):
        runner.step(IDS[:, 0])


def test_a_machine_that_is_not_known_is_a_usage_error(bundle):
    for address in (None, "mps2-an501", "mps2-an500?baud=9600"):
        with pytest.raises(UsageError):
            QemuRunner().open(bundle, RunnerOptions(address=address))


@pytest.mark.slow
def test_windows_as_wide_as_the_references_have_the_native_engines_bits_five_hundred_tokens_past_the_wrap():
    if native_build.missing() is not None:
        pytest.skip(native_build.missing())
    program = random_program(RandomShape(1024, 128, 2, (8, 32, 64, 128), 256, 32, 2, shifted=64), seed=2)
    data = to_bytes(program)
    ids = np.random.default_rng(1).integers(0, program.vocab_size, program.context_window + 520)
    wanted = hashlib.sha256()
    engine = Engine(data)
    for token in ids:
        wanted.update(engine.steps(np.array([token], np.uint32)).tobytes())
    engine.close()
    with BoardSession(EmulatorLine(BOARDS[M7], find_firmware(BOARDS[M7]), data)) as session:
        board = Board(session)
        board.load(data)
        run = board.run(ids, InferFlag.ALL, seconds=patience())
    assert run.steps == len(ids) and run.sha256 == wanted.digest()
