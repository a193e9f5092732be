"""What goes wrong with boards at a port: each is one clear error, or is recovered from."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from edgesnn.errors import RunnerError, UsageError
from edgesnn.firmware import EMULATED
from edgesnn.program.golden import Golden
from edgesnn.runners.board.address import BoardAddress, parse_board
from edgesnn.runners.board.board import Board
from edgesnn.runners.board.lines import SerialLine, SocketLine
from edgesnn.runners.board.session import BoardSession, BoardTiming
from tests.support.bundles import shared_bundle
from tests.support.devices.loopback import (
    QUICK,
    SHAPE,
    Loopback,
    TerminalBoard,
    build_host,
    small_model,
    small_program,
    why_no_compiler,
)
from tests.support.patience import patience, wait_for
from tests.support.sources import ROOT

pytestmark = pytest.mark.skipif(why_no_compiler() is not None, reason=str(why_no_compiler()))
IDS = np.random.default_rng(3).integers(0, SHAPE.vocab, 20)
WANTED = Golden(small_program()).sequence(IDS[None])[0]


def at_port(port):
    return BoardSession(SerialLine(port, 115_200), QUICK)


@pytest.fixture
def terminal():
    with TerminalBoard() as board:
        yield board


def test_a_board_at_a_port_gives_goldens_logits(terminal):
    with at_port(terminal.port) as session:
        board = Board(session)
        board.load(small_model())
        for i in range(len(IDS)):
            board.run(IDS[i : i + 1], seconds=patience())
            np.testing.assert_array_equal(board.logits(), WANTED[i])


def test_an_unplugged_port_is_told_as_such(terminal):
    with at_port(terminal.port) as session:
        board = Board(session)
        board.load(small_model())
        terminal.unplug()
        os.close(terminal._held)
        terminal._held = os.open(os.devnull, os.O_RDONLY)
        with pytest.raises(RunnerError, match="is gone.*cable") as error:
            board.run(IDS[:1], seconds=patience())
        assert error.value.exit_code == 4


def test_a_board_that_falls_silent_is_told_within_its_silence():
    with Loopback() as loopback, loopback.session() as session:
        loopback.process.send_signal(signal.SIGSTOP)
        begun = time.monotonic()
        with pytest.raises(RunnerError, match=r"does not answer.*silent for"):
            session.call(12, seconds=patience())
        assert time.monotonic() - begun < 3 * QUICK.silence + patience(1)


def test_a_port_with_nobody_behind_it_does_not_answer():
    ours, theirs = socket.socketpair()
    with theirs, pytest.raises(RunnerError, match="the board does not answer"):
        BoardSession(SocketLine(ours, "the board"), QUICK)


def test_another_program_on_the_board_is_told_from_ours():
    ours, theirs = socket.socketpair()
    theirs.send(b"MicroPython v1.24 on 2026-01-01\r\n>>> " * 3)
    with theirs, pytest.raises(RunnerError, match="is not this firmware.*MicroPython|>>>"):
        BoardSession(SocketLine(ours, "the board"), QUICK)


@pytest.mark.parametrize("place", range(8))
def test_a_board_that_starts_again_in_the_middle_is_told(place):
    with Loopback() as loopback, loopback.session() as session:
        board = Board(session)
        calls = [lambda: board.load(small_model())]
        calls += [lambda i=i: board.run(IDS[i : i + 1], seconds=patience()) for i in range(4)]
        calls += [board.logits, board.save, board.reset]
        for call in calls[:place]:
            call()
        loopback.kill()
        loopback.start()
        with pytest.raises(RunnerError, match="started again in the middle") as error:
            calls[place]()
        assert error.value.exit_code == 4
        with loopback.session() as fresh:  # and can be used again at once
            again = Board(fresh)
            again.load(small_model())
            again.run(IDS[:1], seconds=patience())
            np.testing.assert_array_equal(again.logits(), WANTED[0])


def test_a_fault_of_the_processor_comes_over_the_wire(terminal):
    with at_port(terminal.port) as session:
        board = Board(session)
        board.reboot(by_fault=True)
        with pytest.raises(RunnerError, match="met a hard fault.*at 0x00001000"):
            board.reset()
    with at_port(terminal.port) as session:
        assert session.hello.cause == "after a fault"


def test_a_model_that_is_too_large_is_refused_with_both_sizes():
    with Loopback(model_bytes=1000) as loopback, loopback.session() as session:
        size = len(small_model())
        with pytest.raises(
            RunnerError, match=rf"too little memory for this model.*{size:,} bytes.*1,000 bytes"
        ):
            Board(session).load(small_model())
    said = r"too little memory for the engine's memory.*4,096 bytes"
    with (
        Loopback(arena_bytes=4096) as loopback,
        loopback.session() as session,
        pytest.raises(RunnerError, match=said),
    ):
        Board(session).load(small_model())


def test_a_run_whose_results_have_no_room_is_refused_and_the_session_goes_on():
    with Loopback() as loopback, loopback.session() as session:
        opened = Board(session).load(small_model())
        used = opened.index_bytes + opened.context_bytes
    with Loopback(arena_bytes=used + 192) as loopback, loopback.session() as session:
        board = Board(session)
        model = board.load(small_model())
        left = model.work_bytes
        assert left <= 192 and model.most_inputs(every=True) == left // (8 + SHAPE.rank)
        with pytest.raises(RunnerError, match="the results of so many inputs"):
            board.run(IDS, repeat=100, seconds=patience())
        with pytest.raises(RunnerError, match="too little memory for a saved context"):
            board.save()
        board.run(IDS[:1], seconds=patience())


def test_two_hosts_on_one_port_are_refused(terminal):
    with at_port(terminal.port), pytest.raises(RunnerError, match="in use by another program"):
        SerialLine(terminal.port, 115_200)
    at_port(terminal.port).close()


def test_a_killed_host_does_not_hold_the_board(terminal):
    """It dies within a run of minutes; the next host takes the board over and gets the right answer."""
    script = (
        "import sys, numpy as np\n"
        "from tests.support.devices.loopback import QUICK, small_model\n"
        "from edgesnn.runners.board.session import BoardSession\n"
        "from edgesnn.runners.board.lines import SerialLine\n"
        "from edgesnn.runners.board.board import Board\n"
        "board = Board(BoardSession(SerialLine(sys.argv[1], 115200), QUICK))\n"
        "board.load(small_model())\n"
        "print('running', flush=True)\n"
        "board.run(np.arange(20), repeat=15000, seconds=3600)\n"
    )
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    host = subprocess.Popen(
        [sys.executable, "-c", script, terminal.port],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert host.stdout.readline() == "running\n"
    time.sleep(0.2)  # into the run; an earlier end of the host is as good a test
    host.kill()
    host.wait(patience())
    host.stdout.close()
    with wait_for(lambda: at_port(terminal.port)) as session:
        board = Board(session)
        assert board.load(small_model()).sent == 0
        board.run(IDS[:1], seconds=patience())
        np.testing.assert_array_equal(board.logits(), WANTED[0])


def test_garbage_before_hello_is_passed_over(terminal):
    with SerialLine(terminal.port, 115_200) as line:
        line.write(bytes(range(256)) * 20, 5)
    with at_port(terminal.port) as session:
        assert Board(session).statistics()["damaged"] >= 0
        assert session.hello.name == "loopback"


def test_a_firmware_of_another_version_is_refused_by_name():
    program = build_host("loopback9", "-DDUT_VERSION=9u")
    with Loopback(program=program) as loopback, pytest.raises(RunnerError) as error:
        loopback.session()
    assert "another version of the protocol; actual: 9 to 9" in str(error.value)
    assert "limit: 1 to 2" in str(error.value) and error.value.exit_code == 4


def test_a_port_that_is_not_there_is_named():
    with pytest.raises(RunnerError, match="there is no port '/dev/nowhere'"):
        SerialLine("/dev/nowhere", 115_200)


def test_an_address_is_a_board_and_options():
    assert parse_board("x", form="") == BoardAddress("x")
    both = ("kernels", "baud", "marker")
    made = parse_board("/dev/ttyACM0?kernels=reference&baud=921600", form="", options=both)
    assert made == BoardAddress("/dev/ttyACM0", "reference", 921_600)
    wrong = "?kernels=swar x?kernels= x?kernels=fast x?baud=9 x?baud=x x?cpus=1 x?baud=9600&baud=9600"
    for text in (None, "", "x?marker=no", *wrong.split()):
        with pytest.raises(UsageError):
            parse_board(text, form="serial:PORT", options=both)


def test_the_times_of_a_session_are_what_the_page_says():
    text = (ROOT / "firmware_bridge/PROTOCOL.md").read_text("utf-8")
    timing = BoardTiming()
    assert f"after {timing.resend:g} s of silence" in text
    assert f"then every {timing.resend_most:g} s" in text and f"After {timing.silence:g} s" in text
    assert json.dumps(timing.silence) == "10.0"


def test_the_command_line_runs_a_bundle_on_a_board_at_a_port(edgesnn_here):
    bundle = shared_bundle()
    with TerminalBoard(8 << 20, 8 << 20) as board:
        target = f"serial:{board.port}"
        done = edgesnn_here("verify", bundle, "--target", target, "--tokens", 40, "--json")
        assert done.exit_code == 0, done.stderr
        [result] = done.document["targets"]
        assert result["mismatches"] == 0 and set(result["forms"]) == {"sequence", "step", "prefill"}
        said = edgesnn_here("generate", bundle, "a", "--target", target, "--max-tokens", 8)
        same = edgesnn_here("generate", bundle, "a", "--target", "golden", "--max-tokens", 8)
        assert said.exit_code == 0 and said.stdout == same.stdout
        done = edgesnn_here(
            "profile", bundle, "--target", target, "--profile", "quick", "-o", "run.json", "--json"
        )
        assert done.exit_code == 0, done.stderr
        record = json.loads(Path("run.json").read_text("utf-8"))
        assert record["quantities"]["latency.p50"]["kind"] == "MEASURED"
        assert record["latency"]["clock"] == "device" and not record["device"]["simulated"]
        assert "instructions.per_token" not in record["quantities"]
        board.unplug()
        done = edgesnn_here("generate", bundle, "a", "--target", target)
        assert done.exit_code == 4 and "Traceback" not in done.stderr


def test_boards_and_ports_are_listed(edgesnn_here, monkeypatch):
    from serial.tools import list_ports
    from serial.tools.list_ports_common import ListPortInfo

    board, internal = ListPortInfo("/dev/ttyACM7"), ListPortInfo("/dev/ttyS0")
    board.vid, board.pid, board.description = 0x0483, 0x374B, "ST-Link VCP"
    monkeypatch.setattr(list_ports, "comports", lambda *_, **__: [board, internal])
    names = {item["name"]: item for item in edgesnn_here("list", "devices", "--json").document["items"]}
    assert names["serial:/dev/ttyACM7"]["description"] == "ST-Link VCP"
    assert "serial:/dev/ttyS0" not in names
    assert {name for name in names if name.startswith("qemu:")} == {f"qemu:{board}" for board in EMULATED}
