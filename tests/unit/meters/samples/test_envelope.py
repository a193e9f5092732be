"""The plot in the terminal: nothing that was drawn gets lost between its columns."""

import io

import numpy as np
import pytest

from edgesnn.cli.meter.monitor import _Screen
from edgesnn.cli.meter.show import quantity
from edgesnn.cli.output import CommandOutput
from edgesnn.meters.base import Loss
from edgesnn.meters.capture import SegmentStart
from edgesnn.meters.samples.envelope import PowerEnvelope, axis_top, marker_row, plot
from tests.support.instruments.meter_blocks import block, segment
from tests.support.instruments.plain_meter import accuracy


def envelope(current_a, columns=20, span_s=1.0, cuts=(), **options):
    shown = PowerEnvelope(columns, span_s)
    whole = block(current_a, **options)
    from edgesnn.meters.files.playback import part

    edges = [0, *cuts, len(whole)]
    for first, last in zip(edges, edges[1:], strict=False):
        piece = part(whole, first, last)
        shown.add(piece, piece.current_a.astype(float))
    return shown


def test_a_spike_of_one_sample_is_in_its_column():
    current = np.full(1000, 0.1)
    current[733] = 5.0
    shown = envelope(current)
    assert np.nanargmax(shown.highest) == 14
    assert np.nanmax(shown.highest) == 5.0
    assert np.nanmin(shown.lowest) == pytest.approx(0.1)


def test_however_the_stream_is_cut_the_picture_is_the_same():
    current = np.random.default_rng(0).random(1500)
    at_once, piecewise = envelope(current), envelope(current, cuts=(1, 333, 900, 901))
    np.testing.assert_array_equal(at_once.highest, piecewise.highest)
    np.testing.assert_array_equal(at_once.lowest, piecewise.lowest)


def test_old_columns_leave_and_the_newest_stands_at_the_end():
    shown = envelope(np.arange(3000))
    assert shown.highest[-1] == 2999
    assert shown.lowest[0] == 2000
    assert shown.end_s == pytest.approx(3.0)


def test_a_slow_meter_fills_the_time_that_its_samples_cover():
    shown = envelope([1.0, 2.0], step_s=0.5)
    assert shown.highest.tolist() == [1.0] * 10 + [2.0] * 10


def test_a_gap_stays_empty():
    shown = PowerEnvelope(10, 1.0)
    for start in (0.0, 0.8):
        piece = block([1.0] * 100, start_s=start)
        shown.add(piece, piece.current_a.astype(float))
    assert np.isnan(shown.highest).tolist() == [True, False, *[True] * 7, False]


def test_the_band_stands_at_its_height():
    rows = plot(envelope([1.0] * 500 + [0.0] * 500, columns=4), 2, 1.0)
    assert rows[0] == "\u2809\u2800"
    assert rows[1] == "\u2800\u28c0"


def test_nothing_is_drawn_where_nothing_was_measured():
    assert plot(PowerEnvelope(4, 1.0), 2, 1.0) == ["\u2800\u2800"] * 2


def test_markers_have_a_row():
    marks = np.repeat(np.array([0, 1, 1, 0], np.uint8), 250)
    assert marker_row(envelope([1.0] * 1000, columns=4, markers=marks), 0) == "▐▌"


@pytest.mark.parametrize(("highest", "top"), [(0.0, 1e-3), (0.08, 0.08), (0.081, 0.1), (1.2, 1.5), (9.5, 10)])
def test_the_axis_ends_at_a_round_number(highest, top):
    assert axis_top(highest) == pytest.approx(top)


@pytest.mark.parametrize(
    ("value", "text"), [(0.0123, "12.3 mW"), (1.5, "1.5 W"), (2e-7, "200 nW"), (0.0, "0 W"), (None, "-")]
)
def test_quantities_have_the_prefix_that_suits_them(value, text):
    assert quantity(value, "W") == text


def test_the_picture_says_simulated_and_shows_what_was_drawn_marked_and_lost():
    from rich.console import Console

    output = CommandOutput("meter monitor", False)
    screen = _Screen(output, 1.0, 6)
    marks = (np.arange(1000) >= 500).astype(np.uint8) * 4
    screen.take(SegmentStart(segment(voltage_v=2.0), accuracy()), Loss(0))
    screen.take(block([0.05] * 1000, markers=marks), Loss(1000, 50))
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(screen.picture(Loss(1000, 50)))
    text = console.export_text()
    assert text.count("SIMULATED") == 2
    assert "mean 100 mW" in text
    assert "energy 100 mJ" in text
    assert "marker 2" in text
    assert "marker 0" not in text
    assert "50 lost" in text
