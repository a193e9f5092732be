"""Frames of the INA228 bridge against literal bytes, and what a reader makes of damaged ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesnn.errors import UsageError
from edgesnn.meters.ina228 import protocol as wire


def test_the_crc_is_the_published_check_value_of_crc16_ccitt_false():
    assert wire.crc16(b"123456789") == 0x29B1


@pytest.mark.parametrize(
    ("plain", "stuffed"),
    [
        (b"\x00", b"\x01\x01"),
        (b"\x00\x00", b"\x01\x01\x01"),
        (b"\x11\x22\x00\x33", b"\x03\x11\x22\x02\x33"),
        (b"\x11\x00\x00\x00", b"\x02\x11\x01\x01\x01"),
        (bytes(range(1, 255)), b"\xff" + bytes(range(1, 255))),
        (b"\x00" + bytes(range(1, 255)), b"\x01\xff" + bytes(range(1, 255))),
        (bytes(range(1, 256)), b"\xff" + bytes(range(1, 255)) + b"\x02\xff"),
    ],
)
def test_cobs_gives_the_examples_of_its_paper(plain, stuffed):
    """Cheshire and Baker's examples as Wikipedia prints them (without the closing zero)."""
    assert wire.stuff(plain) == stuffed
    assert wire.unstuff(stuffed) == plain


@given(st.binary(max_size=600))
def test_cobs_has_no_zero_and_comes_back(data):
    stuffed = wire.stuff(data)
    assert 0 not in stuffed
    assert wire.unstuff(stuffed) == data


def test_the_hello_of_version_1_is_these_bytes():
    # type 10, version 01; CRC over 10 01 by hand with the bitwise definition
    crc = 0xFFFF
    for byte in (0x10, 0x01):
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021) & 0xFFFF if crc & 0x8000 else crc << 1 & 0xFFFF
    frame = bytes([5, 0x10, 0x01, crc & 0xFF, crc >> 8, 0])
    assert 0 not in frame[:-1]
    assert wire.encode(wire.Ina228FrameType.HELLO, b"\x01") == frame


def test_a_data_frame_of_the_protocol_page_is_decoded_field_by_field():
    payload = bytes.fromhex("3412 02 00 78563412 00480000 50c3ffff 00 7a563412 01480000 ffff0700")
    sequence, records = wire.parse_data(payload)
    assert sequence == 0x1234
    assert records["t_us"].tolist() == [0x12345678, 0x1234567A]
    assert records["bus"].tolist() == [0x4800, 0x4801]
    assert records["current"].tolist() == [-15536, 0x7FFFF]


def test_hello_config_and_mark_are_decoded_from_literal_bytes():
    hello = wire.parse_hello(bytes.fromhex("01 020304 0011223344556677 01"))
    assert (hello.version, hello.firmware, hello.board.hex(), hello.channels) == (
        1,
        "2.3.4",
        "0011223344556677",
        1,
    )
    config = wire.parse_config(bytes.fromhex("00 01 05000000 01 01 00 04 00 2506 00 00 03 03 00 0010"))
    assert (config.streaming, config.drops) == (True, 5)
    first = config.channels[0]
    assert (first.range, first.period_us, first.shunt_cal) == (1, 590, 0x0625)
    assert first.shunt_ohm == pytest.approx(0.015, rel=1e-3)
    mark = wire.parse_mark(bytes.fromhex("78563412 87"))
    assert mark == wire.Mark(0x12345678, 1, 3, answer=True)


def test_the_data_sheets_design_example_gives_its_shunt_calibration():
    """Section 8.2.2 of the data sheet: 16.2 mOhm, 10 A, SHUNT_CAL 4050 for an LSB of 19.0735 uA."""
    assert wire.shunt_cal(0.0162) / wire.CURRENT_LSB_A[0] == pytest.approx(4050 / 19.0735e-6, rel=1e-3)


@given(st.binary(max_size=3000), st.lists(st.integers(1, 40), max_size=30))
def test_any_bytes_in_any_pieces_give_no_frame_or_a_right_one_and_are_accounted_for(noise, cuts):
    reader = wire.Ina228FrameReader()
    good = wire.encode(wire.Ina228FrameType.ACK, b"\x11")
    stream = noise + b"\0" + good
    frames, at = [], 0
    for cut in [*cuts, len(stream)]:
        frames += reader.feed(stream[at : at + cut])
        at += cut
    assert frames[-1] == (wire.Ina228FrameType.ACK, b"\x11")
    assert reader.discarded_bytes <= len(noise) + 1


@given(st.integers(0, 22), st.data())
def test_a_frame_with_any_byte_changed_is_thrown_away_and_the_next_one_is_read(count, data):
    frame = wire.encode(wire.Ina228FrameType.DATA, bytes([0, 0, count]) + bytes(13) * count)
    at = data.draw(st.integers(0, len(frame) - 2))
    bit = data.draw(st.integers(1, 255))
    bad = frame[:at] + bytes([frame[at] ^ bit]) + frame[at + 1 :]
    reader = wire.Ina228FrameReader()
    frames = reader.feed(bad + wire.encode(wire.Ina228FrameType.ACK, b"\x12"))
    assert (wire.Ina228FrameType.ACK, b"\x12") in frames
    assert reader.discarded_bytes > 0 or bad == frame


@pytest.mark.parametrize(("rate", "period"), [(1695, 590), (3000, 330), (1000, 1102), (7.6, 135936)])
def test_the_nearest_rate_is_taken(rate, period):
    _, shunt, average = wire.nearest(rate)
    taken = (50 + wire.TIME_US[shunt]) * wire.AVERAGES[average]
    assert max(taken * rate / 1e6, 1e6 / (taken * rate)) <= max(period * rate / 1e6, 1e6 / (period * rate))


@pytest.mark.parametrize("rate", [100_000, 1e-3])
def test_a_rate_that_it_cannot_make_is_refused_with_its_limits(rate):
    with pytest.raises(UsageError, match="no such sample rate"):
        wire.nearest(rate)
