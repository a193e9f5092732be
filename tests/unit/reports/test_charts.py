"""Scales, envelopes and drawings."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesnn.record.counts import Energy
from edgesnn.reports.html.charts.bars import COLOURS, _stacked, apart, energy_figure
from edgesnn.reports.html.charts.envelope import of_series, reduce
from edgesnn.reports.html.charts.latency import latency_figures
from edgesnn.reports.html.charts.power import power_figures
from edgesnn.reports.html.charts.scales import Axis, span
from edgesnn.reports.html.charts.svg import envelope_marks
from edgesnn.reports.html.charts.trend import TrendPoint, trend_figure
from edgesnn.reports.html.values import interval, limit, moment, number, signed_percent
from tests.conftest import ROOT
from tests.support import page_records as records

FINITE = st.floats(-1e12, 1e12)


@given(st.lists(FINITE, min_size=1, max_size=400), st.integers(1, 50))
def test_no_spike_disappears_from_an_envelope(values, points):
    found = of_series(values, points)
    assert found.high.max() == max(values)
    assert found.low.min() == min(values)
    assert len(found) <= max(points, 1) or len(values) <= points
    assert (found.low <= found.high).all()


def test_an_envelope_of_an_envelope_keeps_lowest_and_highest():
    rng = np.random.default_rng(1)
    low, high = rng.random(20_000), 1 + rng.random(20_000)
    high[12_345] = 50.0
    first = reduce(np.arange(20_000), low, (low + high) / 2, high, 900)
    second = reduce(first.x, first.low, first.mean, first.high, 300)
    assert second.high.max() == 50.0
    assert second.low.min() == low.min()


def test_lost_time_is_a_gap_and_what_is_not_finite_is_left_out():
    x = np.concatenate([np.arange(50.0), np.arange(500.0, 550.0)])
    found = reduce(x, x, x, np.where(x == 7, np.inf, x), 1_000)
    assert found.gap.sum() == 1
    assert 7.0 not in found.x
    assert len(reduce([], [], [], [], 10)) == 0


def test_a_band_and_its_means_leave_a_gap_open():
    x = np.array([0.0, 1.0, 2.0, 50.0, 51.0])
    few = reduce(x, x, x, x, 10)
    up = Axis(0.0, 51.0, 100.0, 0.0)
    band, *means = envelope_marks(few, Axis(0.0, 51.0, 0.0, 510.0), up, half=1.0)
    assert re.findall(r"M[^MZ]*Z", band) == [
        "M0.0,99.0L10.0,97.0L20.0,95.1L20.0,97.1L10.0,99.0L0.0,101.0Z",
        "M500.0,1.0L510.0,-1.0L510.0,1.0L500.0,3.0Z",
    ]
    assert len(means) == 2
    assert 'd="M500.0,2.0L510.0,0.0" class="head"' in means[1]


@given(st.lists(FINITE, max_size=20), st.booleans(), st.booleans())
def test_an_axis_has_two_ends_that_differ_and_few_ticks_between_them(values, zero, log):
    low, high = span(values, zero=zero, log=log)
    assert low < high
    scale = Axis(low, high, 0.0, 100.0, log=log)
    ticks = scale.ticks(6)
    assert len(ticks) <= 14
    assert all(0.0 <= scale(tick) <= 100.0 for tick in ticks)


def test_round_ticks_stand_on_round_numbers():
    assert Axis(0.0, 10.0, 0.0, 1.0).ticks(5) == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    assert Axis(1.0, 1000.0, 0.0, 1.0, log=True).ticks(5) == [1.0, 10.0, 100.0, 1000.0]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (1234567.0, "1,234,567"),
        (0.0213999, "0.0214"),
        (-2.5, "−2.5"),
        (1.5e-7, "1.5e−7"),
        (float("nan"), "not finite"),
    ],
)
def test_a_number_has_four_digits_that_matter(value, shown):
    assert number(value) == shown


def test_ends_that_a_sample_cannot_give_are_question_marks():
    assert interval(None, 2.0) == "[?, 2]"
    assert interval(None, None) == ""
    assert signed_percent(-0.0123, 2) == "−1.23\u202f%"
    assert limit("<=", 3.0, "uJ") == "≤\u202f3\u202fµJ"
    assert moment("2026-03-01T12:00:00+02:00") == "2026-03-01 10:00 UTC"
    assert moment("no time") == "no time"


def numbers_of(svg, class_):
    """Heights of every point of the paths of one class, over both drawings."""
    paths = re.findall(rf'<path d="([^"]*)" class="{class_}"', svg)
    return [[float(y) for y in re.findall(r",(-?[0-9.]+)", path)] for path in paths]


def test_the_power_trace_shows_a_spike_of_one_stretch_among_20_000_in_every_drawing():
    figures = power_figures(records.source(power=True), 100.0)
    assert len(figures) == 2
    for heights in numbers_of(figures[0], "band"):
        highest = sorted(heights)
        assert highest[0] < 40  # near the top of the plot
        assert highest[len(highest) // 2] > 150  # and alone there


def test_the_power_trace_names_invalid_windows_and_the_budget():
    trace = power_figures(records.source(power=True), 100.0)[0]
    assert "window invalid" in trace
    assert "budget 100 mW" in trace
    assert "0.3 % of its samples were lost" in trace
    assert "(SIMULATED)" in trace


def test_one_slow_token_among_a_thousand_is_told_beside_the_histogram():
    figures = latency_figures(records.source(), records.source(p95_ms=9.0), 50.0)
    assert "1 of 1,000 tokens are slower; the slowest took 32 ms" in figures[0]
    assert 'class="base"' in figures[0]


def test_arrays_that_make_no_sense_draw_nothing():
    raw = {
        "per_token_ms": np.zeros((2, 2)),
        "power_time_s": np.arange(5.0),
        "power_min_w": np.arange(4.0),
        "power_mean_w": np.array(["a", "b"]),
        "power_max_w": np.arange(5.0),
    }
    strange = records.Source(records.run(records.document(power=True), raw))
    assert latency_figures(strange, None, None) == []
    assert power_figures(strange, None) == []
    for values in (np.zeros(10), np.full(10, np.nan), np.array([-1.0, np.inf])):
        assert latency_figures(
            records.Source(records.run(records.document(), {"per_token_ms": values})), None, 1.0
        )


def test_a_trend_of_many_runs_is_an_envelope_and_keeps_its_highest_run():
    points = [TrendPoint("2026-03-01T10:00:00+00:00", "x", 1.0, None, None, "PASS") for _ in range(9_000)]
    points[4_321] = TrendPoint("2026-03-01T10:00:00+00:00", "x", 2.0, None, None, "FAIL")
    drawn = trend_figure("t", "a trend", "ms", points, limit=1.5, steps=[100])
    assert len(drawn) < 120_000
    for heights in numbers_of(drawn, "band"):
        assert min(heights) < 40 < sorted(heights)[5]


def energy_of(count):
    """Estimates of that many parts, each larger than the one before."""
    found = records._energy()
    for estimate in found["estimates"]:
        estimate["parts_uj"] = {f"part {k}": 0.1 * (k + 1) for k in range(count)}
        estimate["total_uj"] = sum(estimate["parts_uj"].values())
    return Energy.model_validate(found)


@pytest.mark.parametrize("count", [1, 5, 6, 7, 13, 40])
def test_no_two_parts_of_the_energy_share_a_colour_and_all_are_named(count):
    page = str(energy_figure(energy_of(count), "token"))
    keys = re.findall(r"k-part-\d+", page)
    assert len(keys) == len(set(keys)) == min(count, COLOURS)
    names = {f"part {k}" for k in range(count)}
    legend = page[page.index("k-part-0") : page.index("<table")]
    assert names <= set(re.findall(r"part \d+", legend))
    own, rest = apart([f"part {k}" for k in range(count)], [{f"part {k}": k + 1.0 for k in range(count)}])
    assert len(own) + len(rest) == count and rest == [f"part {k}" for k in range(len(rest))]
    assert len(rest) != 1  # one alone needs no word for others


def test_the_parts_of_a_bar_are_as_long_as_their_sum_whatever_shares_a_colour():
    bars = _stacked(
        {f"part {k}": 1.0 for k in range(9)}, {"part 8": "part-0"}, [f"part {k}" for k in range(8)]
    )
    assert [(style, value) for style, value, _ in bars] == [("part-0", 1.0), ("part-5", 8.0)]
    assert "part 3 1\N{NARROW NO-BREAK SPACE}µJ" in bars[1][2]


def test_the_sheet_of_styles_has_every_colour_once():
    style = (ROOT / "edgesnn" / "reports" / "html" / "style.css").read_text("utf-8")
    for block in re.findall(r"--p0:[^}\n]*", style):
        colours = re.findall(r"--p\d: (#\w+)", block)
        assert len(colours) == len(set(colours)) == COLOURS
