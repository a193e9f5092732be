"""The serial protocol, both ends, without an emulator: the firmware's C runs here at the end of a socket."""

import hashlib
import re
import struct
import threading
import time

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgesnn.errors import RunnerError
from edgesnn.program.golden import Golden
from edgesnn.runners.board.board import Board
from edgesnn.runners.board.frames import (
    BoardCommand,
    BoardFrameReader,
    BoardStatus,
    InferFlag,
    encode_frame,
)
from edgesnn.runners.board.session import BoardSession
from tests.support.devices.loopback import (
    QUICK,
    SHAPE,
    FaultyLine,
    Loopback,
    small_model,
    small_program,
    why_no_compiler,
)
from tests.support.patience import patience
from tests.support.sources import ROOT

pytestmark = pytest.mark.skipif(why_no_compiler() is not None, reason=str(why_no_compiler()))
IDS = np.random.default_rng(3).integers(0, SHAPE.vocab, 20)
WANTED = Golden(small_program()).sequence(IDS[None])[0]


@pytest.fixture
def loopback():
    with Loopback() as board:
        yield board


@pytest.fixture
def board(loopback):
    with loopback.session() as session:
        made = Board(session)
        made.load(small_model())
        yield made


def logits_of(codes):
    return codes.astype(np.int32) @ small_program().readout.table.astype(np.int32).T


def whole_session(line):
    """Everything a host does: begin, load, run, results, save and restore. Everything it got."""
    with BoardSession(line, QUICK) as session:
        board = Board(session)
        board.load(small_model())
        first = board.run(IDS[:4], InferFlag.ALL, seconds=patience())
        rows = [logits_of(board.codes(4))]
        state, position = board.save()
        board.run(IDS[4:9], seconds=patience())
        board.restore(state, position)
        rows += [board.logits()[None] for i in range(4, 7) if board.run(IDS[i : i + 1], seconds=patience())]
        return np.concatenate(rows), first.sha256


CLEAN = None


def clean():
    global CLEAN  # noqa: PLW0603
    if CLEAN is None:
        with Loopback() as board:
            CLEAN = whole_session(board.line())
    return CLEAN


def test_a_session_gives_goldens_logits():
    np.testing.assert_array_equal(clean()[0], WANTED[:7])


@given(st.binary(max_size=1152), st.integers(1, 255), st.integers(0, 2**40), st.integers(0, 2**32 - 1))
@example(bytes(1152), 7, 0, 1)
@example(bytes(range(1, 255)) * 4, 7, 255, 1)
@example(b"\1" * 254, 7, 256, 1)
def test_a_frame_arrives_as_it_was_sent_and_only_in_its_turn(payload, cmd, number, session):
    wire = encode_frame(session, number, cmd, payload)
    assert wire[0] == wire[-1] == 0 and 0 not in wire[1:-1]
    (frame,) = BoardFrameReader().feed(b"noise" + wire)
    assert (frame.cmd, frame.seq, frame.payload) == (cmd, number & 255, payload)
    assert frame.is_of(session, number)
    assert not frame.is_of(session ^ 1, number) and not frame.is_of(session, number + 256)


def test_the_frame_that_the_page_spells_out_is_the_frame_that_is_sent():
    page = (ROOT / "firmware_bridge/PROTOCOL.md").read_text("utf-8")
    spelled = re.search(r"`((?:[0-9a-f]{2} )+[0-9a-f]{2})`", page)[1]
    assert bytes.fromhex(spelled) == encode_frame(0x12345678, 3, BoardCommand.CLOCK)


def test_a_request_that_comes_twice_is_answered_twice_and_obeyed_once(loopback, board):
    request = encode_frame(board.session._session, board.session._number + 1, BoardCommand.INFER,
                           struct.pack("<BxxxIII", 0, 1, 0, 0) + struct.pack("<I", IDS[0]))  # fmt: skip
    reader, frames = BoardFrameReader(), []
    line = loopback.line()
    for wanted in (1, 2, 3):  # one after the other: while it is at work the answer would be BUSY
        line.write(request, 1)
        while len(frames) < wanted:
            frames += reader.feed(line.read(patience()))
    assert len({frame.payload for frame in frames}) == 1 and frames[0].payload[0] == BoardStatus.OK
    board.session._number += 1
    board.run(IDS[1:2], seconds=patience())
    np.testing.assert_array_equal(board.logits(), WANTED[1])
    assert board.statistics()["resends"] == 2


def test_a_request_of_an_earlier_turn_is_not_obeyed_again(loopback, board):
    number = board.session._number + 1
    board.run(IDS[:1], seconds=patience())
    board.run(IDS[1:2], seconds=patience())
    stale = encode_frame(board.session._session, number, BoardCommand.INFER,
                         struct.pack("<BxxxIII", 0, 1, 0, 0) + struct.pack("<I", IDS[0]))  # fmt: skip
    loopback.line().write(stale, 1)
    board.run(IDS[2:3], seconds=patience())
    np.testing.assert_array_equal(board.logits(), WANTED[2])


def test_a_hello_that_comes_again_late_changes_nothing(loopback, board):
    session = board.session
    late = encode_frame(0, 0, BoardCommand.HELLO, struct.pack("<BBBxII", 1, 1, 1, session._session, 0))
    board.run(IDS[:1], seconds=patience())
    loopback.line().write(late, 1)
    board.run(IDS[1:2], seconds=patience())
    np.testing.assert_array_equal(board.logits(), WANTED[1])


ways = st.sampled_from(("to", "from"))
kinds = st.sampled_from(("drop", "twice", "flip", "insert", "late"))
faults = st.tuples(ways, st.integers(0, 9000), kinds, st.integers(0, 255))


@settings(max_examples=60)
@given(st.lists(faults, min_size=1, max_size=5))
@example([("to", 0, "drop", 0), ("from", 0, "drop", 0)])
@example([("from", at, "flip", 3) for at in range(0, 4000, 400)])
@example([(way, at, "late", 0) for at in range(0, 4000, 100) for way in ("to", "from")])
def test_lost_doubled_changed_and_late_bytes_end_in_the_right_result_or_one_error(harm):
    wanted, digest = clean()
    with Loopback() as board:
        started = time.monotonic()
        try:
            rows, got = whole_session(FaultyLine(board.ours.dup(), harm))
        except RunnerError as error:
            assert error.exit_code == 4 and error.remedy  # noqa: PT017
        else:
            np.testing.assert_array_equal(rows, wanted)
            assert got == digest
        # every call either gives up after its silence, or goes on: a few silences for a few faults
        assert time.monotonic() - started < (len(harm) + 2) * 3 * QUICK.silence


@pytest.mark.parametrize("way", ["to", "from"])
def test_single_faults_at_every_part_of_a_session_are_recovered(way):
    """One damaged byte now and then costs a resend, never the session."""
    wanted, digest = clean()
    kinds = ("drop", "twice", "flip", "insert", "late")
    for start in range(0, 400, 80):
        harm = [(way, start + 700 * i, kinds[i % 5], i) for i in range(8)]
        with Loopback() as board:
            rows, got = whole_session(FaultyLine(board.ours.dup(), harm))
        np.testing.assert_array_equal(rows, wanted)
        assert got == digest


def test_a_line_that_loses_every_hundredth_byte_is_one_clear_error():
    harm = [(way, at, "drop", 0) for at in range(200, 40_000, 100) for way in ("to", "from")]
    with Loopback() as board, pytest.raises(RunnerError, match="loses what is sent to it|does not answer"):
        whole_session(FaultyLine(board.ours.dup(), harm))


@settings(max_examples=20)
@given(st.integers(0, 60), st.binary(max_size=200))
def test_noise_before_a_session_and_what_an_earlier_one_left_do_no_harm(cut, noise):
    with Loopback() as board:
        with board.session() as session:
            left = encode_frame(session._session, 1, BoardCommand.RESET)
        board.line().write(left + noise + left[:cut], 1)
        board.theirs.send(noise + b"\0" + noise)  # and towards the host
        rows, digest = whole_session(board.line())
    np.testing.assert_array_equal(rows, clean()[0])
    assert digest == clean()[1]


def test_an_upload_goes_on_where_it_was_cut(loopback):
    class Cut(Exception):
        pass

    def cut(have, size):
        if have > size // 2:
            raise Cut

    with loopback.session() as session, pytest.raises(Cut):
        Board(session).load(small_model(), on_progress=cut)
    with loopback.session() as session:
        assert session.hello.model_state == 1
        opened = Board(session).load(small_model())
        assert 0 < opened.sent < len(small_model()) / 2
    with loopback.session() as session:
        assert session.hello.model_state == 3 and session.hello.model_hash == opened.program_hash
        assert Board(session).load(small_model()).sent == 0


def test_another_model_of_the_same_size_is_not_taken_for_it(loopback, board):
    from dataclasses import replace

    from edgesnn.program.snn_format import to_bytes
    from tests.support.random_program import random_program

    other = random_program(replace(SHAPE), seed=6)
    data = to_bytes(other)
    assert len(data) == len(small_model())
    assert board.load(data).sent == len(data)
    board.run(IDS[:1], seconds=patience())
    np.testing.assert_array_equal(board.logits(), Golden(other).sequence(IDS[None, :1])[0, 0])


def test_a_model_that_is_not_the_one_that_was_declared_is_refused(loopback):
    data = small_model()
    with loopback.session() as session:
        begin = struct.pack("<II", len(data), 12345) + data[32:64]
        session.call(BoardCommand.BEGIN, begin, seconds=patience())
        for at in range(0, len(data), 1000):
            piece = struct.pack("<BxxxI", 1, at) + data[at : at + 1000]
            session.call(BoardCommand.WRITE, piece, seconds=patience())
        with pytest.raises(RunnerError, match=r"the model on the board is damaged.*limit: 00003039"):
            session.call(BoardCommand.OPEN, bytes(4), seconds=patience())
        Board(session).load(data)


def test_a_damaged_model_is_refused_by_the_engine(loopback):
    bad = bytearray(small_model())
    bad[-1] ^= 1
    with loopback.session() as session, pytest.raises(RunnerError, match="refused OPEN"):
        Board(session).load(bytes(bad))  # its own sum is right, that of the file inside is not


def test_a_window_repeats_its_passes_and_reports_every_step(board):
    got = board.run(IDS[:10], InferFlag.MARK, repeat=3, warmup=4, seconds=patience())
    assert got.steps == 30 and got.end > got.start
    assert got.sha256 == hashlib.sha256(WANTED[:10].tobytes() * 3).digest()
    ticks = board.ticks(30)
    assert ticks.min() >= 0 and ticks.sum() <= got.end - got.start
    once = board.run(IDS[:10], InferFlag.ALL, InferFlag.FRESH, seconds=patience())
    assert once.sha256 != got.sha256
    np.testing.assert_array_equal(logits_of(board.codes(10)), WANTED[:10])


def test_spikes_are_those_that_golden_counts(board):
    values = {}
    Golden(small_program()).sequence(IDS[None], values.__setitem__)
    from edgesnn.program.ops import LIF

    wanted = sum(int(values[op.out].sum()) for op in small_program().all(LIF))
    got = board.run(IDS, InferFlag.FRESH, InferFlag.SPIKES, seconds=patience())
    assert got.spikes == wanted
    assert board.run(IDS, InferFlag.FRESH, seconds=patience()).spikes == 0


def test_the_best_tokens_are_those_of_the_logits(board):
    got = board.run(IDS[:5], seconds=patience())
    order = sorted(range(SHAPE.vocab), key=lambda i: (-WANTED[4][i], i))
    assert board.top(7) == [(i, WANTED[4][i]) for i in order[:7]]
    assert got.best == order[0]


@pytest.mark.parametrize(
    ("command", "payload", "status"),
    [
        (BoardCommand.INFER, b"", "LENGTH"),
        (BoardCommand.INFER, struct.pack("<BxxxIII", 0, 0, 0, 0), "RANGE"),
        (BoardCommand.INFER, struct.pack("<BxxxIII", 2, 1 << 20, 0, 0), "too little memory"),
        (BoardCommand.INFER, struct.pack("<BxxxIIII", 0, 0, 0, 0, 1), "RANGE"),
        (BoardCommand.INFER, struct.pack("<BxxxIII", 0, 1, 1, 1 << 31) + bytes(8), "RANGE"),
        (BoardCommand.WRITE, struct.pack("<BxxxIH", 2, 0, 0), "RANGE"),
        (BoardCommand.WRITE, struct.pack("<BxxxII", 2, 1 << 30, 0), "too little memory"),
        (BoardCommand.INFER, struct.pack("<BxxxIIII", 0, 1, 0, 0, 37), "snn_status"),
        (BoardCommand.TOP, struct.pack("<I", 65), "RANGE"),
        (BoardCommand.READ, struct.pack("<BxxxII", 4, 0, 4000), "RANGE"),
        (BoardCommand.READ, struct.pack("<BxxxII", 9, 0, 4), "RANGE"),
        (BoardCommand.WRITE, struct.pack("<BxxxII", 1, 12, 0), "ORDER"),
        (BoardCommand.RESTORE, struct.pack("<Q", 0), "ORDER"),
        (BoardCommand.PIN, b"\2\0\0\0", "RANGE"),
        (BoardCommand.OPEN, b"\7\0\0\0", "RANGE"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_and_the_session_goes_on(board, command, payload, status):
    with pytest.raises(RunnerError, match=status):
        board.session.call(command, payload, seconds=patience())
    board.run(IDS[:1], InferFlag.FRESH, seconds=patience())
    np.testing.assert_array_equal(board.logits(), WANTED[0])


def test_long_work_says_that_it_is_at_work(loopback):
    """A call outlives the silence as long as the board answers resends."""
    with loopback.session() as session:
        board = Board(session)
        board.load(small_model())
        steps = 60_000
        begun = time.monotonic()
        got = board.run(IDS, repeat=steps // 20, seconds=patience())
        took = time.monotonic() - begun
        assert got.steps == steps
        if took > QUICK.silence:
            assert board.statistics()["busy_replies"] > 0


def test_a_call_ends_within_the_time_that_it_states(loopback):
    with loopback.session() as session:
        board = Board(session)
        board.load(small_model())
        begun = time.monotonic()
        with pytest.raises(RunnerError, match="did not answer in time"):
            board.run(IDS, repeat=9000, seconds=0.2)
        assert time.monotonic() - begun < patience(2)
        with pytest.raises(RunnerError, match="session with the board is over"):
            board.reset()


def test_a_second_host_takes_over_and_the_first_is_told(loopback):
    with loopback.session() as first, loopback.session() as second:
        assert second.hello.version == 2
        heard = []

        def ask():
            try:
                first.call(BoardCommand.CLOCK, seconds=patience())
            except RunnerError as error:
                heard.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        thread.join(patience())
    assert "another program took over" in str(heard[0])
