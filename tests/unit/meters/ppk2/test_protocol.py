"""The PPK2's language, held against literal bytes and against the filter written sample by sample."""

import platform

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesnn.meters.base import SampleStatus
from edgesnn.meters.ppk2 import protocol
from edgesnn.meters.ppk2.twin import Ppk2Twin
from edgesnn.meters.twins.device import Conditions
from edgesnn.meters.twins.load import constant

TEXT = (
    b"Calibrated: 0\nR0: 1000.62500000000000000000\nR1: 101.46080017089843750000\n"
    b"R2: 10.23089981079101562500\n"
    b"R3: 0.96289998292922973633\nR4: 0.05590000003576278687\n"
    + b"".join(b"%s%d: 1.0\n" % (name, at) for name in (b"GS", b"GI") for at in range(5))
    + b"VDD: 3741\nHW: 49625\nmode: 2\n"
    + b"".join(
        b"%s%d: 0.00000000000000000000\n" % (name, at) for name in (b"O", b"S", b"I") for at in range(5)
    )
    + b"UG0: 1.00\nUG1: 1.00\nUG2: 1.00\nUG3: 1.00\nUG4: 1.00\nIA: 59\nEND\n"
)


def test_commands_are_the_bytes_of_the_protocol():
    assert protocol.set_voltage(800) == bytes([13, 3, 32])  # the "3, 32" that ppk2-api reckons with
    assert protocol.set_voltage(3700) == b"\x0d\x0e\x74"
    assert protocol.set_voltage(5000) == b"\x0d\x13\x88"
    assert protocol.set_mode(protocol.MODE_AMPERE) == b"\x11\x01"
    assert protocol.set_mode(protocol.MODE_SOURCE) == b"\x11\x02"
    assert (protocol.set_power(True), protocol.set_power(False)) == (b"\x0c\x01", b"\x0c\x00")
    assert (protocol.AVERAGE_START, protocol.AVERAGE_STOP, protocol.GET_METADATA) == (
        b"\x06",
        b"\x07",
        b"\x19",
    )


def test_a_sample_of_four_literal_bytes_is_20_milliamperes():
    # 0xA1149234: D7, D5 and D0 high; counter 5; range 2; converter 0x1234
    word = int(np.frombuffer(b"\x34\x92\x14\xa1", "<u4")[0])
    table = protocol.conversion_table(protocol.parse_metadata(TEXT), 3741)
    x = 0x1234 * 4 * (1.8 / 163840) / 10.230899810791016
    assert table.current_a[word & protocol.TABLE_MASK] == pytest.approx(x * (x + 1), rel=1e-14)
    assert table.status[word & protocol.TABLE_MASK] == SampleStatus.OK
    assert (word >> 18 & 63, word >> 24) == (5, 0b1010_0001)


def test_metadata_of_40_values_are_read():
    metadata = protocol.parse_metadata(TEXT)
    assert metadata.keys == 40 and metadata.absent == () and not metadata.stale
    assert (metadata.vdd_mv, metadata.mode, metadata.values["HW"]) == (3741, 2, 49625)
    assert metadata.constants["R"][4] == 0.05590000003576278687


def test_metadata_are_read_in_any_order():
    lines = TEXT.removesuffix(b"END\n").splitlines(keepends=True)
    shuffled = [lines[at] for at in np.random.default_rng(1).permutation(len(lines))]
    again = protocol.parse_metadata(b"".join(shuffled) + b"END\n")
    assert (again.constants, again.values) == (
        protocol.parse_metadata(TEXT).constants,
        protocol.parse_metadata(TEXT).values,
    )


def test_metadata_with_carriage_returns_are_read():
    assert protocol.parse_metadata(TEXT.replace(b"\n", b"\r\n")).keys == 40


@pytest.mark.parametrize("value", [b"-nan", b"nan", b"inf", b"", b"1.2.3", b"abc"])
def test_a_constant_that_is_no_number_is_absent_and_makes_its_range_suspect(value):
    metadata = protocol.parse_metadata(TEXT.replace(b"R4: 0.05590000003576278687", b"R4: " + value))
    assert metadata.absent == ("R4",) and metadata.constants["R"][4] is None
    status = protocol.conversion_table(metadata, 3700).status
    assert np.all(status[4 << 14 : 5 << 14] & SampleStatus.SUSPECT)
    assert not np.any(status[: 4 << 14] & SampleStatus.SUSPECT)


def test_a_missing_constant_is_named_and_a_missing_user_gain_is_one():
    text = TEXT.replace(b"GS1: 1.0\n", b"").replace(b"UG3: 1.00\n", b"")
    metadata = protocol.parse_metadata(text)
    assert metadata.absent == ("GS1",)
    assert metadata.assumed()["UG"][3] == 1.0
    assert metadata.lacking() == "GS1"
    bare = b"".join(line for line in TEXT.splitlines(keepends=True) if not line.startswith((b"GS", b"O2")))
    assert protocol.parse_metadata(bare).lacking() == "GS0 to GS4, O2"
    assert protocol.parse_metadata(TEXT).lacking() == ""


def test_a_constant_of_zero_is_zero():
    # Nordic's application takes its default of 1 for a GS of 0, and so doubles a current of 1 A
    text = TEXT.replace(b"GS4: 1.0", b"GS4: 0.0")
    table = protocol.conversion_table(protocol.parse_metadata(text), 3700)
    x = 1000 * 4 * (1.8 / 163840) / 0.05590000003576278687
    assert table.current_a[4 << 14 | 1000] == pytest.approx(x, rel=1e-12)


def test_stale_bytes_before_the_text_are_no_trouble():
    stale = bytes(range(256)) * 3 + b"\nEND\xff\xfe"
    metadata = protocol.parse_metadata(stale + TEXT)
    assert metadata.stale and metadata.keys == 40


@given(st.binary(max_size=400))
def test_no_bytes_before_the_text_break_the_reader(stale):
    metadata = protocol.parse_metadata(stale + b"\n" + TEXT)
    assert metadata.constants == protocol.parse_metadata(TEXT).constants


@given(st.integers(0, len(TEXT) - 2))
def test_a_part_of_the_text_is_not_taken_for_all_of_it(length):
    assert protocol.parse_metadata(TEXT[:length].removesuffix(b"END")) is None


@pytest.mark.parametrize("text", [b"", b"\nEND\n", b"AT+OK\r\n\nEND\n", b"END\n"])
def test_other_text_is_no_metadata(text):
    assert protocol.parse_metadata(text) is None


def test_currents_are_clamped_at_1_ampere_and_marked():
    table = protocol.conversion_table(protocol.parse_metadata(TEXT), 3700)
    assert np.nanmax(table.current_a) == 1.0
    assert table.status[4 << 14 | 0x3FFF] == SampleStatus.SATURATED
    assert table.status[0x3FFF] == SampleStatus.SATURATED
    assert table.status[4 << 14 | 500] == SampleStatus.OK
    assert np.all(table.status[5 << 14 :] == SampleStatus.SUSPECT)


@given(st.floats(0, 0.9), st.floats(0.8, 5.0))
@settings(max_examples=40)
def test_the_twin_converts_a_current_to_a_code_that_reads_as_that_current(amperes, volts):
    twin = Ppk2Twin(Conditions(constant(1.0)))
    twin.receive(protocol.set_voltage(round(volts * 1000)), 0.0)
    metadata = protocol.parse_metadata(twin.metadata_text())
    table = protocol.conversion_table(metadata, round(volts * 1000))
    current = np.full(400, amperes)
    ranges = twin._ranges(current)
    read = table.current_a[ranges << 14 | twin._convert(current, ranges)]
    step = table.current_a[int(ranges[0]) << 14 | 101] - table.current_a[int(ranges[0]) << 14 | 100]
    assert np.max(np.abs(read - amperes)) < 1.5 * step
    assert abs(read.mean() - amperes) < 0.2 * step


def filtered_one_by_one(currents, ranges):
    """The filter of Nordic's application, one sample after the other."""
    mean = mean_last = before = None
    left = run = 0
    out = []
    for current, at in zip(currents.tolist(), ranges.tolist(), strict=True):
        kept = mean, mean_last
        mean = current if mean is None else 0.18 * current + (1.0 - 0.18) * mean
        mean_last = current if mean_last is None else 0.06 * current + (1.0 - 0.06) * mean_last
        before = at if before is None else before
        if before != at or left > 0:
            if before != at:
                run, left = 0, 3
            else:
                run += 1
            if at == 4:
                if run < 2:
                    mean, mean_last = kept
                out.append(mean_last)
            else:
                out.append(mean)
            left -= 1
        else:
            out.append(current)
        before = at
    return np.array(out)


@given(st.data())
@settings(max_examples=80)
def test_the_filter_gives_the_bits_of_the_filter_one_by_one_however_it_is_cut(data):
    pieces = data.draw(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 9)), min_size=1, max_size=30))
    ranges = np.concatenate([np.full(count, at, np.uint8) for at, count in pieces])
    seed = data.draw(st.integers(0, 9999))
    current = np.random.default_rng(seed).lognormal(-6, 4, ranges.size)
    cuts = sorted(data.draw(st.lists(st.integers(0, ranges.size), max_size=6)))
    spikes = protocol.SpikeFilter()
    edges = [0, *cuts, ranges.size]
    parts = [
        spikes.apply(current[start:stop], ranges[start:stop])[0]
        for start, stop in zip(edges, edges[1:], strict=False)
        if stop > start
    ]
    expected = filtered_one_by_one(current, ranges)
    if platform.machine() in ("x86_64", "AMD64"):
        np.testing.assert_array_equal(np.concatenate(parts), expected)
    else:  # a processor that fuses multiplication and addition rounds once less
        np.testing.assert_allclose(np.concatenate(parts), expected, rtol=1e-13)


def test_the_filter_starts_anew_with_a_stream():
    spikes = protocol.SpikeFilter()
    spikes.apply(np.full(10, 0.5), np.full(10, 3, np.uint8))
    spikes.reset()
    filtered, replaced = spikes.apply(np.array([1e-6, 2e-6]), np.array([0, 0], np.uint8))
    assert filtered.tolist() == [1e-6, 2e-6] and not replaced.any()
