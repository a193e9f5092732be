"""The wire format of the LPM01A, held against the literal examples of its documentation."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesnn.meters.lpm01a import protocol
from edgesnn.meters.lpm01a.clock import SampleClock
from edgesnn.meters.lpm01a.protocol import Lpm01aFrameType, Stamp
from edgesnn.meters.lpm01a.stream import AsciiStream, BinaryStream

#: 1 s stamp with an empty buffer, as the frame stands on the wire.
STAMP_0 = bytes.fromhex("f0 f3 00000000 00 ff ff")
STAMP_1000 = bytes.fromhex("f0 f3 000003e8 05 ff ff")


def binary(*parts, rate=10):
    stream = BinaryStream(SampleClock(rate, 2))
    for part in parts:
        stream.feed(part, 1.0)
    return stream


def test_the_documented_binary_sample_52a0_is_640_9_microamperes():
    assert protocol.decode_words(np.array([0x52A0], np.uint16))[0] == pytest.approx(640.9e-6, rel=1e-4)
    assert protocol.decode_words(np.array([0x52A0], np.uint16))[0] == 0x2A0 / 16**5


def test_the_documented_ascii_sample_6409_07_is_640_9_microamperes():
    assert protocol.decode_ascii(b"6409-07") == pytest.approx(640.9e-6, rel=1e-12)
    assert protocol.encode_ascii(640.9e-6) == b"6409-07"


@pytest.mark.parametrize("text", [b"6409-7", b"649-07", b"6409 07", b"64O9-07", b"", b"6409-076409-07"])
def test_what_is_no_sample_line_is_refused(text):
    with pytest.raises(ValueError, match="no sample"):
        protocol.decode_ascii(text)


@given(st.floats(1e-9, 0.05))
def test_a_binary_sample_is_within_0_2_percent_and_an_ascii_one_within_0_05_percent(value):
    word = protocol.encode_words(np.array([value]))
    assert word[0] < 0xF000
    assert protocol.decode_words(word)[0] == pytest.approx(value, rel=0.5 / 256 + 1e-9)
    assert protocol.decode_ascii(protocol.encode_ascii(value)) == pytest.approx(value, rel=0.5e-3 + 1e-9)


def test_zero_and_negative_currents_are_sent_as_zero():
    assert protocol.decode_words(protocol.encode_words(np.array([0.0, -1e-6]))).tolist() == [0.0, 0.0]
    assert protocol.decode_ascii(protocol.encode_ascii(-1.0)) == 0.0


def test_a_time_stamp_frame_holds_milliseconds_buffer_and_overflow():
    assert protocol.decode_stamp(STAMP_1000) == Stamp(1000, 5, False)
    assert protocol.decode_stamp(bytes.fromhex("f0 f3 800003e8 64 ff ff")) == Stamp(1000, 100, True)
    assert protocol.decode_stamp(bytes.fromhex("f0 f3 000003e8 65 ff ff")) is None
    assert protocol.decode_stamp(STAMP_1000[:-1]) is None
    assert protocol.encode_stamp(Stamp(1000, 5), ascii_format=False) == STAMP_1000


def test_an_ascii_stamp_has_the_line_that_the_mlcommons_runner_parses():
    line = protocol.encode_stamp(Stamp(61_002, 7), ascii_format=True)
    assert line == b"TimeStamp: 061s 002ms, buff 07%\r\n"
    text = line.strip().decode()
    assert re.match(r"^TimeStamp:[ ><]([0-9]{3})s ([0-9]{3})ms, buff [0-9]{2}%$", text)
    found = protocol.STAMP_LINE.fullmatch(line.strip())
    assert found is not None and found.groups() == (b"", b"061", b"002", b"07")


def test_a_stamp_is_found_at_any_phase():
    for shift in range(5):
        assert protocol.find_stamp(b"\x52" * shift + STAMP_1000) == shift
    assert protocol.find_stamp(b"\x52\xa0" * 8) == -1


def test_numbers_of_commands_are_in_millivolts():
    assert protocol.millivolts(1.8) == "1800m"
    assert protocol.millivolts(3.3) == "3300m"


@given(st.lists(st.integers(1, 40), max_size=8))
def test_a_binary_stream_may_come_in_any_pieces(cuts):
    whole = STAMP_0 + b"\x52\xa0" * 10 + STAMP_1000
    stream = BinaryStream(SampleClock(10, 2))
    at = 0
    for cut in [*cuts, len(whole)]:
        stream.feed(whole[at : at + cut], 1.0)
        at += cut
    assert [len(piece.current_a) for piece in stream.clock.ready] == [10]
    assert not stream.clock.ready[0].status.any()
    assert stream.clock.ready[0].current_a[0] == pytest.approx(640.9e-6, rel=1e-4)


def test_what_came_before_the_first_time_stamp_of_a_binary_stream_is_no_sample():
    stream = binary(b"\r\n\0\0PowerShield > " + STAMP_0 + b"\x52\xa0" * 10 + STAMP_1000)
    assert len(stream.clock.ready[0].current_a) == 10
    assert stream.clock.loss.discarded_bytes == 0


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (protocol.encode_frame(Lpm01aFrameType.OVERCURRENT), "more than the instrument can supply"),
        (protocol.encode_frame(Lpm01aFrameType.POWER_DOWN), "switched the supply"),
        (protocol.encode_frame(Lpm01aFrameType.ERROR, b"flash is worn"), "flash is worn"),
    ],
)
def test_a_frame_that_reports_a_fault_becomes_its_sentence(frame, words):
    stream = binary(STAMP_0 + b"\x52\xa0" * 3 + frame)
    assert words in str(stream.fault)


def test_frames_that_only_inform_leave_the_samples_alone():
    voltage = protocol.encode_frame(Lpm01aFrameType.VOLTAGE, (3292).to_bytes(2, "big"))
    stream = binary(
        STAMP_0 + b"\x52\xa0" * 5 + protocol.encode_frame(Lpm01aFrameType.INFO, b"hello") + voltage
    )
    stream.feed(b"\x52\xa0" * 5 + STAMP_1000, 1.0)
    assert stream.millivolts == 3292
    assert [len(piece.current_a) for piece in stream.clock.ready] == [10]
    assert stream.fault is None


def test_a_lost_byte_is_seen_at_the_next_stamp_and_the_stream_goes_on_behind_it():
    second = b"\x52\xa0" * 10
    stream = binary(STAMP_0 + second[:-3] + second[-2:] + STAMP_1000 + second)
    stream.feed(bytes.fromhex("f0 f3 000007d0 00 ff ff"), 2.0)
    first, after = stream.clock.ready
    assert (first.status & 4).all()
    assert not after.status.any()
    assert after.current_a == pytest.approx(np.full(10, 640.9e-6), rel=1e-4)


def test_a_stream_without_time_stamps_is_not_this_instruments():
    stream = BinaryStream(SampleClock(100_000, 2))
    for _ in range(50):
        stream.feed(b"\x00\x11" * 50_000, 1.0)
    assert "no time stamp" in str(stream.fault)


def test_nul_bytes_among_ascii_lines_do_not_matter():
    stream = AsciiStream(SampleClock(10, 9))
    stream.feed(b"\0\r\nTimeStamp: 000s 000ms, buff 00%\r\n\0" + b"6409-07\r\n" * 10, 0.1)
    stream.feed(b"\0TimeStamp: 001s 000ms, buff 00%\r\n\0", 1.0)
    assert len(stream.clock.ready[0].current_a) == 10
    assert not stream.clock.ready[0].status.any()


def test_the_seconds_of_ascii_stamps_may_begin_again_after_999():
    stream = AsciiStream(SampleClock(1, 9))
    stream.feed(b"6409-07\r\n", 1.0)
    for second in [*range(1, 1003)]:
        stream.feed(b"TimeStamp: %03ds 000ms, buff 00%%\r\n6409-07\r\n" % (second % 1000), float(second))
    assert stream.clock.stamp is not None and stream.clock.stamp.time_ms == 1_002_000
    assert stream.clock.loss.missing == 0
