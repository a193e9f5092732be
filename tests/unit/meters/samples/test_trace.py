"""Energy, charge, peaks and their uncertainty: in memory (`Trace`) and from a stream (`Accumulator`)."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesnn.errors import RecordingError, UsageError
from edgesnn.meters.base import SampleStatus
from edgesnn.meters.files.format import join
from edgesnn.meters.samples.summary import Accumulator
from edgesnn.meters.samples.trace import Trace
from edgesnn.meters.samples.uncertainty import RangeSums, uncertainty
from tests.support.instruments.meter_blocks import block
from tests.support.instruments.plain_meter import accuracy

VOLTS = 2.0


def trace(*blocks, **changes):
    return Trace.of(blocks, accuracy(**changes), VOLTS)


def summary(*blocks, volts=VOLTS, **changes):
    adder = Accumulator(accuracy(**changes), volts)
    for one in blocks:
        adder.add(one)
    return adder.result()


def test_a_span_takes_the_share_of_the_samples_at_its_edges():
    one = trace(block([1.0, 2.0, 4.0], step_s=1.0))
    span = one.between(0.25, 2.5)
    assert span.charge_c == pytest.approx(0.75 * 1 + 2 + 0.5 * 4)
    assert span.energy_j == pytest.approx(VOLTS * span.charge_c)
    assert span.mean_w == pytest.approx(span.energy_j / 2.25)
    assert (span.missing_s, span.suspect_s) == (0.0, 0.0)


def test_a_span_within_one_sample_takes_that_share_of_it():
    assert trace(block([3.0], step_s=1.0)).between(0.2, 0.5).charge_c == pytest.approx(0.9)


def test_time_that_no_sample_covers_is_reported_and_not_filled_in():
    one = trace(block([1.0] * 10), block([1.0] * 10, start_s=0.030))
    span = one.between()
    assert span.missing_s == pytest.approx(0.020)
    assert span.measured_s == pytest.approx(0.020)
    assert span.charge_c == pytest.approx(0.020)
    assert span.coverage == pytest.approx(0.5)
    assert summary(one.block).missing_s == pytest.approx(0.020)


def test_time_before_the_first_sample_of_a_stream_is_missing():
    assert summary(block([1.0] * 10, start_s=0.5)).missing_s == pytest.approx(0.5)


def test_time_beyond_the_samples_is_missing_too():
    span = trace(block([1.0] * 10)).between(-0.005, 0.015)
    assert span.missing_s == pytest.approx(0.010)


def test_suspect_samples_do_not_count():
    status = np.zeros(10, np.uint8)
    status[3:5] = SampleStatus.SUSPECT
    status[7] = SampleStatus.SATURATED
    bad = block([1.0] * 3 + [1e6] * 2 + [1.0] * 5, status=status)
    span = trace(bad).between()
    assert span.charge_c == pytest.approx(0.008)
    assert span.suspect_s == pytest.approx(0.002)
    assert span.saturated == 1
    total = summary(bad)
    assert (total.charge_c, total.samples, total.saturated) == (pytest.approx(0.008), 8, 1)
    assert total.highest_w == pytest.approx(VOLTS)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 9.91e37])
@pytest.mark.parametrize("column", ["current_a", "voltage_v"])
def test_what_is_no_number_never_enters_a_result(value, column):
    columns = {"current_a": np.full(10, 0.5, np.float32), "voltage_v": np.full(10, 3.0, np.float32)}
    columns[column][4] = value
    found = block(columns.pop("current_a"), **columns)
    with np.errstate(invalid="ignore"):
        streamed = summary(found)
        part = trace(found).between()
    assert (streamed.samples, part.suspect_s) == (9, pytest.approx(1e-3))
    for one in (streamed.energy_j, part.energy_j):
        assert one == pytest.approx(9 * 1.5e-3)
    assert (streamed.highest_w, streamed.lowest_w) == pytest.approx((1.5, 1.5))
    assert math.isfinite(streamed.uncertainty.expanded_j)


def test_why_there_is_no_energy_is_said_as_it_is():
    bad = block([1.0, 1.0], status=np.full(2, SampleStatus.SUSPECT, np.uint8))
    assert summary().reason == "no sample came"
    assert summary(bad).reason == "no sample counts: all 2 failed a check"
    assert "voltage" in summary(block([1.0]), volts=None).reason
    assert summary(block([1.0])).reason is None


def test_an_empty_span_is_refused():
    with pytest.raises(UsageError, match="must end after"):
        trace(block([1.0] * 3)).between(0.002, 0.002)
    with pytest.raises(RecordingError, match="no sample"):
        trace()


def test_without_a_voltage_there_is_a_charge_and_no_energy():
    span = Trace(block([1.0] * 10), accuracy(), None).between()
    assert (span.energy_j, span.mean_w) == (None, None)
    assert span.charge_c == pytest.approx(0.01)
    total = summary(block([1.0] * 10), volts=None)
    assert (total.energy_j, total.mean_w, total.percentiles_w) == (None, None, {})
    assert total.charge_c == pytest.approx(0.01)


def test_an_instrument_that_gives_power_has_no_charge():
    power = replace(block([1.0] * 10), current_a=None, power_w=np.full(10, 3.0, np.float32))
    total = summary(power, volts=None)
    assert (total.charge_c, total.energy_j) == (None, pytest.approx(0.03))


def test_marker_spans_begin_and_end_with_their_samples_and_cut_ones_are_left_out():
    marks = np.array([1, 0, 1, 1, 0, 3, 0, 1], np.uint8)
    one = trace(block([1.0] * 8, step_s=1.0, markers=marks))
    assert [(span.start_s, span.stop_s) for span in one.marker_spans()] == [(2.0, 4.0), (5.0, 6.0)]
    assert [(span.start_s, span.stop_s) for span in one.marker_spans(1)] == [(5.0, 6.0)]
    assert summary(one.block).marker_edges == {0: 4, 1: 1}


def test_the_peak_is_the_highest_mean_over_a_millisecond_not_the_highest_sample():
    current = np.full(1000, 1.0)
    current[500:505] = 11.0
    one = trace(block(current, step_s=1e-4))
    assert one.peak_w() == pytest.approx(VOLTS * 6.0)
    assert summary(one.block).peak_w == pytest.approx(VOLTS * 6.0)


def test_no_peak_spans_a_gap():
    blocks = [block([9.0] * 5, step_s=1e-4), block([1.0] * 50, start_s=0.1, step_s=1e-4)]
    assert trace(*blocks).peak_w() == pytest.approx(VOLTS)
    assert summary(*blocks).peak_w == pytest.approx(VOLTS)


@st.composite
def cut_streams(draw):
    """A stream with gaps and bad samples, and the places where it is cut into blocks."""
    count = draw(st.integers(2, 400))
    random = np.random.default_rng(draw(st.integers(0, 1000)))
    steps = np.full(count, 2.0**-13)
    steps[random.integers(0, count, 3)] += 2.0**-9
    status = np.where(random.random(count) < 0.02, SampleStatus.SUSPECT, 0).astype(np.uint8)
    whole = block(
        random.gamma(2.0, 0.01, count),
        time_s=np.cumsum(steps) - steps[0],
        duration_s=2.0**-13,
        status=status,
        markers=(random.random(count) < 0.3).astype(np.uint8),
        range_index=random.integers(0, 5, count).astype(np.uint8),
    )
    cuts = sorted(draw(st.lists(st.integers(1, count - 1), max_size=6, unique=True)))
    return whole, cuts


def parts(whole, cuts):
    from edgesnn.meters.files.playback import part

    edges = [0, *cuts, len(whole)]
    return [part(whole, first, last) for first, last in zip(edges, edges[1:], strict=False)]


@given(cut_streams())
def test_a_stream_adds_up_to_the_same_however_it_is_cut(stream):
    whole, cuts = stream
    at_once, piecewise = summary(whole), summary(*parts(whole, cuts))
    one = trace(whole)
    span = one.between()
    if not at_once.samples:
        return
    for name in ("measured_s", "missing_s", "suspect_s", "energy_j", "charge_c", "mean_w"):
        assert getattr(piecewise, name) == pytest.approx(getattr(at_once, name), rel=1e-9, abs=1e-12)
    assert piecewise.peak_w == (None if at_once.peak_w is None else pytest.approx(at_once.peak_w))
    assert piecewise.marker_edges == at_once.marker_edges
    assert at_once.energy_j == pytest.approx(span.energy_j)
    assert at_once.missing_s == pytest.approx(span.missing_s, abs=1e-9)
    assert at_once.peak_w == (None if one.peak_w() is None else pytest.approx(one.peak_w()))
    assert at_once.uncertainty.energy_j == pytest.approx(span.uncertainty.energy_j)


@given(cut_streams(), st.floats(0.1, 0.9))
def test_two_parts_of_a_span_make_the_whole(stream, share):
    one = trace(stream[0])
    middle = one.start_s + share * (one.stop_s - one.start_s)
    first, second, whole = one.between(stop_s=middle), one.between(middle), one.between()
    assert first.energy_j + second.energy_j == pytest.approx(whole.energy_j, rel=1e-9, abs=1e-15)
    assert first.missing_s + second.missing_s == pytest.approx(whole.missing_s, abs=1e-6)


def test_percentiles_of_a_stream_are_near_the_exact_ones():
    current = np.random.default_rng(0).lognormal(-4, 1, 20_000)
    one = trace(block(current))
    exact = dict(zip((5, 50, 95, 99), one.percentiles_w((5, 50, 95, 99)), strict=True))
    for percent, found in summary(one.block).percentiles_w.items():
        assert found == pytest.approx(exact[percent], rel=0.012)


def test_a_promised_limit_is_a_rectangular_distribution_and_a_typical_one_a_deviation():
    sums = {0: RangeSums(10.0, 4.0, 2.0, 20.0)}
    assert uncertainty(sums, accuracy()).energy_j == pytest.approx(0.04 / math.sqrt(3))
    assert uncertainty(sums, accuracy(kind="typical")).energy_j == pytest.approx(0.04)


def test_every_kind_of_error_has_its_part():
    model = accuracy(
        kind="typical",
        ranges=[
            {"name": "low", "max_a": 0.1, "gain": 0.1, "offset_a": 1e-3, "resolution_a": 2e-3},
            {"name": "high", "max_a": 1.0, "gain": 0.2},
        ],
        voltage={"measured": False, "gain": 0.01, "offset_v": 0.1, "burden_v": 0.3},
        clock_ppm=100.0,
    )
    sums = {0: RangeSums(10.0, 4.0, 2.0, 20.0), 1: RangeSums(10.0, 6.0, 3.0, 20.0)}
    known = uncertainty(sums, model, edge_s=0.1)
    assert known.parts_j == pytest.approx(
        {
            "gain": 0.1 * 4 + 0.2 * 6,
            "offset": 1e-3 * 20,
            "resolution": 1e-3 / math.sqrt(3) * 20,
            "voltage": math.sqrt((0.01 * 10) ** 2 + (0.1 * 5) ** 2 + (0.3 * 5) ** 2 / 3),
            "clock": 1e-4 * 10,
            "edges": 0.1 / math.sqrt(6) / 20 * 10,
        }
    )
    assert known.energy_j == pytest.approx(math.hypot(*known.parts_j.values()))
    assert known.expanded_j == pytest.approx(2 * known.energy_j)


def test_a_longer_stream_is_not_known_better_because_gain_does_not_average_out():
    short, long = summary(block([1.0] * 10)), summary(block([1.0] * 10_000))
    assert short.uncertainty.energy_j / short.energy_j == pytest.approx(
        long.uncertainty.energy_j / long.energy_j
    )


def test_blocks_of_different_lengths_of_samples_can_be_joined():
    both = join([block([1.0], step_s=0.5), block([1.0], start_s=0.5, step_s=0.25)])
    assert both.duration_s.tolist() == [0.5, 0.25]
