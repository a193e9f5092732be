"""The MLPerf Tiny protocol on the line of the frames: a client of that protocol, and nothing else."""

import itertools
import re
import time

import numpy as np
import pytest

from edgesnn import open_bundle
from edgesnn.bundle.bundle import PROGRAM_NAME
from edgesnn.firmware import EMULATED, find_firmware
from edgesnn.program.golden import Golden
from edgesnn.runners.board.board import Board
from edgesnn.runners.board.emulator import EmulatorLine
from edgesnn.runners.board.frames import InferFlag
from edgesnn.runners.board.qemu import QemuRunner
from tests.support.bundles import shared_bundle
from tests.support.devices.loopback import (
    QUICK,
    Loopback,
    build_host,
    small_model,
    small_program,
    why_no_compiler,
)
from tests.support.patience import patience

pytestmark = pytest.mark.skipif(why_no_compiler() is not None, reason=str(why_no_compiler()))
READY = "m-ready\r\n"
TOKENS = [3, 1, 36, 7]
# What the runner of MLCommons looks for.
NAME = re.compile(r"^m-(name)-dut-\[([^]]+)]$")
PROFILE = re.compile(r"^m-(model|profile)-\[([^]]+)]$")
RESULTS = re.compile(r"^m-results-\[([^]]+)\]$")
LAP = re.compile(r"^m-lap-us-([0-9]+)$")


def listen(line):
    """Lines up to the one that says ready, without the frame that a start of the firmware sends."""
    came, text, deadline = b"", b"", time.monotonic() + patience()
    while not text.endswith(READY.encode()):
        assert time.monotonic() < deadline, came
        came += line.read(0.1)
        text = re.sub(rb"\0[^\0]*\0", b"", came)
    return text.decode("ascii").removesuffix(READY)


def ask(line, command):
    line.write(command.encode() + b"%", patience())
    return listen(line)


def lines(text):
    assert text == "" or text.endswith("\r\n")
    return text.split("\r\n")[:-1]


def load(line, tokens, chunk=31):
    data = np.asarray(tokens, "<u4").tobytes()
    assert ask(line, f"db load {len(data)}") == f"m-[Expecting {len(data)} bytes]\r\n"
    for at in range(0, len(data), chunk):
        said = ask(line, "db " + data[at : at + chunk].hex())
        assert said == ("m-load-done\r\n" if at + chunk >= len(data) else "")


def logits(text):
    [found] = [match for row in lines(text) if (match := RESULTS.match(row))]
    return np.array([int(value) for value in found[1].split(",")])


def wanted(program, tokens):
    return Golden(program).sequence(np.array([tokens]))[0, -1]


@pytest.fixture
def line():
    """A board with the small model, behind what it says at its start."""
    with Loopback() as board:
        with board.session(QUICK) as session:
            Board(session).load(small_model())
        line = board.line()
        yield line
        line.close()


def test_a_board_that_starts_says_so_as_the_runner_waits_for_it():
    with Loopback() as board:
        line = board.line()
        first = lines(listen(line))
        line.close()
    assert first[0] == "m-timestamp-mode-performance" and first[2] == "m-init-done"
    assert LAP.match(first[1]) and len(first) == 3


def test_it_tells_name_profile_time_and_help(line):
    assert NAME.match(lines(ask(line, "name"))[0])[2] == "edgesnn"
    assert [PROFILE.match(row)[1] for row in lines(ask(line, "profile"))] == ["profile", "model"]
    first, second = (int(LAP.match(lines(ask(line, "timestamp"))[0])[1]) for _ in range(2))
    assert first <= second
    assert "infer" in ask(line, "help")


def test_an_inference_is_the_next_token_behind_the_input_with_goldens_logits(line):
    load(line, TOKENS, chunk=5)
    said = lines(ask(line, "infer 3 1"))
    assert said[:3] == ["m-warmup-start-1", "m-warmup-done", "m-infer-start-3"]
    start, end = (int(LAP.match(row)[1]) for row in said[3:5])
    assert start <= end and said[5] == "m-infer-done" and len(said) == 7
    np.testing.assert_array_equal(logits(said[6] + "\r\n"), wanted(small_program(), TOKENS))
    np.testing.assert_array_equal(logits(ask(line, "results")), wanted(small_program(), TOKENS))
    assert lines(ask(line, "infer 1"))[0] == "m-warmup-start-10"
    shown = ask(line, "db print 9 2")
    assert shown == "m-buffer-00-00-01-00-00-00-24-00\r\nm-buffer-00\r\n"


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("what is this", "e-[Unknown command: what]\r\n"),
        ("infer 0", "e-[Inference iterations must be >0]\r\n"),
        ("infer 1 -1", "e-[Inference warmup must be >=0]\r\n"),
        ("infer 1 0", "e-[The input is no whole number of tokens of 4 bytes]\r\n"),
        ("db", "e-[Command 'db' requires a subcommand]\r\n"),
        ("db load", "e-[Command 'db load' requires the # of bytes]\r\n"),
        ("db load 0", "e-[Command 'db load' must be >0 bytes]\r\n"),
        ("db load 27649", "Supplied buffer size 27649 exceeds maximum of 27648\n"),
        ("db 123", "e-[Insufficent number of hex digits]\r\n"),
        ("db 0g", "e-[Invalid hex digit 'g']\r\n"),
        ("", ""),
    ],
)
def test_what_is_wrong_is_said_in_the_protocols_own_words(line, command, answer):
    assert ask(line, command) == answer


def test_a_token_that_is_none_and_an_input_that_is_not_whole_are_told(line):
    load(line, [1, 37])
    assert "e-[A token is not in the vocabulary]" in ask(line, "infer 1 0")
    assert ask(line, "db load 8") == "m-[Expecting 8 bytes]\r\n" and ask(line, "db 01000000") == ""
    assert "no whole number of tokens" in ask(line, "infer 1 0")


def test_without_a_model_it_says_so_and_goes_on():
    with Loopback() as board:
        line = board.line()
        listen(line)
        assert "e-[There is no model]" in ask(line, "infer 1 0")
        assert NAME.match(lines(ask(line, "name"))[0])
        line.close()


def test_text_and_frames_share_the_line():
    """Each is understood behind the other, and a request of a frame takes the input away."""
    with Loopback() as board:
        line = board.line()
        listen(line)
        with board.session(QUICK) as session:
            Board(session).load(small_model())
        load(line, TOKENS)
        line.write(b"half of a command\0", patience())
        np.testing.assert_array_equal(logits(ask(line, "infer 1 0")), wanted(small_program(), TOKENS))
        with board.session(QUICK) as session:
            again = Board(session)
            again.load(small_model())
            run = again.run(TOKENS, InferFlag.FRESH, seconds=patience())
            np.testing.assert_array_equal(again.logits(), wanted(small_program(), TOKENS))
            assert run.best == int(np.argmax(wanted(small_program(), TOKENS)))
        assert "no whole number of tokens" in ask(line, "infer 1 0")
        line.close()


@pytest.mark.skipif(QemuRunner.missing() is not None, reason=str(QemuRunner.missing()))
@pytest.mark.parametrize("machine", sorted(EMULATED))
def test_an_emulated_board_opens_the_model_in_its_memory_and_answers(machine):
    bundle = open_bundle(shared_bundle())
    kind, data = EMULATED[machine], bundle.file(PROGRAM_NAME).read_bytes()
    line = EmulatorLine(kind, find_firmware(kind), data)
    try:
        assert lines(listen(line))[-1] == "m-init-done"
        load(line, TOKENS)
        said = ask(line, "infer 2 0")
        np.testing.assert_array_equal(logits(said), wanted(bundle.program(), TOKENS))
        start, end = (int(LAP.match(row)[1]) for row in lines(said)[3:5])
        assert end > start
    finally:
        line.close()


def test_in_the_energy_mode_every_timestamp_is_a_pulse_of_the_pin_and_no_line(tmp_path, monkeypatch):
    pin = tmp_path / "pin"
    monkeypatch.setenv("LOOPBACK_PIN", str(pin))

    def levels():
        return [tuple(map(int, row.split())) for row in pin.read_text().splitlines()]

    program = build_host("energy", "-DDUT_ENERGY=1")
    with Loopback(program=program) as loopback, loopback.session(QUICK) as session:
        Board(session).load(small_model())
        assert [level for _, level in levels()] == [1, 0, 1]  # high, and the timestamp of the start
        line = session._line
        assert ask(line, "timestamp") == ""
        load(line, TOKENS)
        said = lines(ask(line, "infer 4 1"))
        assert said[:4] == ["m-warmup-start-1", "m-warmup-done", "m-infer-start-4", "m-infer-done"]
        np.testing.assert_array_equal(logits(said[4] + "\r\n"), wanted(small_program(), TOKENS))
    times = levels()
    assert [level for _, level in times] == [1, 0, 1, 0, 1, 0, 1, 0, 1]
    held = [up - down for (down, low), (up, _) in itertools.pairwise(times) if low == 0]
    assert len(held) == 4 and min(held) >= 50_000  # ns: the runner's filter
