"""Why samples were lost is said in few lines, above what must stay on the screen."""

import pytest

from edgesnn.cli.meter.losses import MOST_LINES, grouped
from edgesnn.cli.meter.show import show_summary
from edgesnn.cli.output import CommandOutput
from edgesnn.cli.profile import show
from edgesnn.meters.base import Loss
from edgesnn.meters.samples.summary import StreamSummary
from edgesnn.record.model import RunRecord
from tests.support import page_records


def jumps(count):
    return [f"{k / 100:.5f} s: the counter jumped, {k % 7 + 1} samples are missing" for k in range(count)]


def test_what_is_alike_is_one_line_with_how_often_first_and_last_time_and_the_range_of_its_figures():
    assert grouped(jumps(400)) == [
        "400 times from 0 s to 3.99 s: the counter jumped, 1 to 7 samples are missing"
    ]


@pytest.mark.parametrize(
    ("reasons", "lines"),
    [
        ([], []),
        (["0.50000 s: stalled"], ["0.5 s: stalled"]),
        (["the machine slept for 3 s near 12.5 s"], ["12.5 s: the machine slept for 3 s"]),
        (["4 lost near 1 s", "9 lost near 3e-05 s"], ["2 times from 3e-05 s to 1 s: 4 to 9 lost"]),
        (["twice", "twice"], ["2 times: twice"]),
        (["1,500 bytes", "900 bytes"], ["2 times: 900 to 1,500 bytes"]),
        (["LPM01A fell silent"] * 3, ["3 times: LPM01A fell silent"]),
        (["and 30 more events of these kinds"], ["and 30 more events of these kinds"]),
    ],
)
def test_reasons_in_lines(reasons, lines):
    assert grouped(reasons) == lines


def test_many_kinds_are_still_few_lines_and_none_is_left_uncounted():
    letters = "abcdefghijklmnopqrst"
    lines = grouped([f"{k}.5 s: kind {letter}" for k, letter in enumerate(letters * 2)] + jumps(50))
    assert len(lines) == MOST_LINES
    assert any(line.startswith("50 times") for line in lines)
    assert (
        lines[-1]
        == f"{2 * (20 - (MOST_LINES - 2))} more of {20 - (MOST_LINES - 2)} other kinds; --json has them all"
    )


def test_a_recording_says_its_losses_above_its_summary(capsys):
    from edgesnn.meters.samples.accuracy import load_accuracy
    from edgesnn.meters.samples.summary import Accumulator

    summary = Accumulator(load_accuracy("ppk2"), 3.3).result()
    assert isinstance(summary, StreamSummary)
    loss = Loss(1000, 400, reasons=tuple(jumps(300)))
    show_summary(CommandOutput("test", False), "recorded", summary, loss, False)
    lines = capsys.readouterr().out.splitlines()
    assert "300 times" in lines[0] and lines[1] == "recorded"
    assert not any("jumped" in line for line in lines[1:])
    assert "400 lost" in lines[-1]


def test_a_profile_says_its_losses_first_and_its_verdict_last(capsys):
    found = page_records.document(power=True)
    found["power"]["loss"] = {"reasons": jumps(300)}
    found["latency"] = None
    for window in found["power"]["windows"]:
        window["invalid"] = "2.00% of it has no good sample, 0.1% is allowed"
    found["power"]["windows"] *= 10
    found["verdict"]["reasons"] = ["power was not measured"]
    record = RunRecord.model_validate(found)
    out = CommandOutput("profile", False)
    show._render_losses(out, record.power)
    out.print(show._power_windows_table(record.power, False))
    show._render_notes(out, record)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "meter: 300 times from 0 s to 2.99 s: the counter jumped, 1 to 7 samples are missing"
    assert sum("2.00% of it" in line for line in lines) == MOST_LINES
    assert any("50 of 50 do not count, the first 8 of them; --details has all" in line for line in lines)
    assert lines[-1].startswith("verdict: ")
    assert "  power was not measured" in lines[:-1]
