"""Does a metered session tell the truth? Random sessions in simulated time whose true energy is known.

Run: ``python benchmarks/truth.py [--sessions 1000] [--seed 0] [--json FILE]``; SIMULATED throughout. Every
session draws a meter (PPK2, LPM01A in both formats, INA228), one unit of it with errors from its
specification, a load (shape, rise time, scatter, drift), delays of the host, faults, and how windows are
found; the twin's bytes go through the real driver, and `edgesnn.profiler.power.evaluation.evaluate` says what
it makes of them. Windows are 0.4 to 1.2 s of simulated time, not the 10 s of a claim: edges weigh ten times
more here.

Told, by meter and by rung:

coverage        how often the 95 % interval holds the truth (aim 93 to 98 %), of mean power and of energy a
                token
width           the interval's width over that of one who knows everything but the one unit's errors and the
                scatter of the windows that he happened to get
false PASS      how often a budget that is exactly the true power passes (aim: at most 2.5 %)
alignment       without a marker: distance of an edge over what sample and rise time allow (half a sample and
                half a rise, for a PPK2 the three samples of its spike filter too; for the clock map what its
                readings bound instead of the rise)
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from truth_session import Case, Session, draw_case, run_case

from edgesnn.errors import EdgesnnError
from edgesnn.meters.samples.accuracy import AccuracyKind, MeterAccuracy
from edgesnn.profiler.budgets.judging import BudgetSpec
from edgesnn.profiler.budgets.profile import Limit
from edgesnn.profiler.power.quantities import judge_power, power_quantities
from edgesnn.record.power import Rung
from edgesnn.record.quantities import Side
from edgesnn.record.steps import TOKENS
from edgesnn.record.verdicts import BudgetOutcome

TRIALS = 20_000
TAILS = (0.025, 0.975)
#: Samples after a change of range that the PPK2's spike filter replaces by a running mean.
FILTERED = 3


@dataclass(frozen=True, slots=True)
class Row:
    """What one session shows.

    Attributes:
        seed: Of the session.
        meter: Driver, with its format.
        rung: How windows were found.
        valid: Valid windows.
        windows: Windows.
        faults: Faults that were played.
        failed: Why there is no result at all, or None.
        power_held: Whether the interval of mean power holds the truth.
        energy_held: Whether that of energy a token does.
        above: Whether the truth is above the interval of mean power.
        error: Mean power over the truth, less 1.
        width: Width of the interval of mean power over the truth.
        ideal: The same for one who knows everything else.
        verdict: Of a budget that is exactly the true power.
        edges: Distance of each edge of valid windows over what the rung allows; none with a marker.
        late_s: Distances of these edges.
    """

    seed: int
    meter: str
    rung: str
    valid: int
    windows: int
    faults: int
    failed: str | None = None
    power_held: bool = False
    energy_held: bool = False
    above: bool = False
    error: float = 0.0
    width: float = 0.0
    ideal: float = 0.0
    verdict: str | None = None
    edges: tuple[float, ...] = ()
    late_s: tuple[float, ...] = ()


def measure(seed: int, *, trials: int = TRIALS) -> Row:
    """One session.

    Args:
        seed: Of everything in it.
        trials: Of the Monte Carlo propagation.
    """
    case = draw_case(seed)
    name = case.meter + ("" if case.rate_hz is None else " ascii" if case.rate_hz <= 5000 else " binary")
    try:
        session = run_case(case, trials=trials)
    except EdgesnnError as error:
        return Row(seed, name, case.rung, 0, case.windows, len(case.faults), failed=str(error))
    result, valid = session.result, len(session.result.valid)
    if result.budget is None:
        reason = "; ".join(sorted({window.invalid or "" for window in result.windows}))
        return Row(seed, name, case.rung, 0, case.windows, len(case.faults), failed=reason)
    pairs = zip(result.windows, session.truth_w, strict=True)
    truth_w = float(np.mean([truth for window, truth in pairs if window.invalid is None]))
    truth_j = truth_w * case.token_s
    power, energy = result.budget.active_w, result.budget.energy_per_inference_j
    ratios, late = _edges(session)
    return Row(
        seed,
        name,
        case.rung,
        valid,
        case.windows,
        len(case.faults),
        power_held=power.lower <= truth_w <= power.upper,
        energy_held=energy.lower <= truth_j <= energy.upper,
        above=truth_w > power.upper,
        error=power.value / truth_w - 1,
        width=(power.upper - power.lower) / truth_w,
        ideal=ideal_width(case, session.accuracy, truth_w, valid),
        verdict=_verdict(session, truth_w),
        edges=ratios,
        late_s=late,
    )


def ideal_width(case: Case, accuracy: MeterAccuracy, truth_w: float, windows: int) -> float:
    """Relative width of the interval of one who knows all but the unit's errors and the windows' scatter.

    Args:
        case: The session.
        accuracy: The specification.
        truth_w: True mean power.
        windows: Windows that count.
    """
    random = np.random.default_rng(7)
    n = 20_000

    def unit() -> Any:
        return (
            random.standard_normal(n) if accuracy.kind is AccuracyKind.TYPICAL else random.uniform(-1, 1, n)
        )

    amperes = truth_w / case.volts
    own = next((one for one in accuracy.ranges if amperes <= one.max_a), accuracy.ranges[-1])
    volts = accuracy.voltage
    voltage = unit() * (volts.gain + volts.offset_v / case.volts)
    voltage = (1 + voltage) * (1 - random.uniform(0, 1, n) * volts.burden_v / case.volts)
    true = (1 - unit() * own.offset_a / amperes) / (1 + unit() * own.gain) * voltage
    true = true + random.standard_normal(n) * case.scatter / np.sqrt(windows)
    lower, upper = np.quantile(true, TAILS)
    return float(upper - lower)


def _verdict(session: Session, truth_w: float) -> str | None:
    """Of a budget that is exactly the true power; None with one window, where no verdict is given."""
    if len(session.result.valid) < 2:
        return None
    spec = BudgetSpec("power_mw", "mean power", Side.BELOW, Limit(limit=truth_w * 1e3))
    quantity = power_quantities(session.result, TOKENS, simulated=True)["power.mean"]
    return judge_power(spec, quantity, session.result).verdict


def _edges(session: Session) -> tuple[tuple[float, ...], tuple[float, ...]]:
    case, result = session.case, session.result
    if case.rung is Rung.MARKER or not session.edges_s:
        return (), ()
    found = [window for window in result.windows if window.interval is not None]
    late = [
        abs(edge)
        for window, edges in zip(found, session.edges_s, strict=True)
        if window.invalid is None
        for edge in edges
    ]
    allowed = session.sample_s / 2
    if case.rung is Rung.PREAMBLE:
        allowed += case.rise_s / 2
        if case.meter == "ppk2":
            allowed += FILTERED * session.sample_s
    elif result.clock is not None:  # what is stated is half of it over the root of 3
        allowed += result.clock.sd_s * np.sqrt(3.0)
    return tuple(float(one / allowed) for one in late), tuple(float(one) for one in late)


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """What a group of sessions shows; shares of the sessions that gave a result.

    Args:
        rows: At least one.
    """
    good = [row for row in rows if row.failed is None]
    judged = [row for row in good if row.verdict is not None]
    edges = np.array([edge for row in good for edge in row.edges])
    late = np.array([one for row in good for one in row.late_s])

    def share(some: Sequence[Row], test: Callable[[Row], bool]) -> float | None:
        return sum(map(test, some)) / len(some) if some else None

    return {
        "sessions": len(rows),
        "failed": len(rows) - len(good),
        "faulty": sum(row.faults > 0 for row in rows),
        "windows": sum(row.windows for row in rows),
        "valid": sum(row.valid for row in rows),
        "power_coverage": share(judged, lambda row: row.power_held),
        "energy_coverage": share(judged, lambda row: row.energy_held),
        "width_ratio": float(np.mean([row.width / row.ideal for row in judged])) if judged else None,
        "width_ratio_median": float(np.median([row.width / row.ideal for row in judged])) if judged else None,
        "false_pass": share(judged, lambda row: row.verdict == BudgetOutcome.PASS),
        "false_fail": share(judged, lambda row: row.verdict == BudgetOutcome.FAIL),
        "edge_rms_ratio": float(np.sqrt((edges**2).mean())) if edges.size else None,
        "edge_p95_ratio": float(np.quantile(edges, 0.95)) if edges.size else None,
        "edge_p95_ms": float(np.quantile(late, 0.95)) * 1e3 if late.size else None,
    }


def groups(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """All sessions, then by meter, by rung and by valid windows."""
    found = {"all": summary(rows)}
    keys: tuple[Callable[[Row], str], ...] = (
        lambda row: row.meter,
        lambda row: row.rung,
        lambda row: "faulty" if row.faults else "faultless",
        lambda row: f"{row.valid} windows",
    )
    for key in keys:
        for name in sorted({key(row) for row in rows}):
            found[name] = summary([row for row in rows if key(row) == name])
    return found


def table(found: dict[str, dict[str, Any]]) -> str:
    """The groups as a table in Markdown."""

    def percent(value: float | None) -> str:
        return "-" if value is None else f"{value:.1%}"

    def times(value: float | None) -> str:
        return "-" if value is None else f"{value:.2f}"

    lines = [
        "| sessions | n | power held | energy held | width, mean | median | false PASS | false FAIL "
        "| edge rms | edge p95 | p95, ms |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, one in found.items():
        cells = [
            name,
            str(one["sessions"] - one["failed"]),
            percent(one["power_coverage"]),
            percent(one["energy_coverage"]),
            times(one["width_ratio"]),
            times(one["width_ratio_median"]),
            percent(one["false_pass"]),
            percent(one["false_fail"]),
            times(one["edge_rms_ratio"]),
            times(one["edge_p95_ratio"]),
            "-" if one["edge_p95_ms"] is None else f"{one['edge_p95_ms']:.3g}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="number of the first session")
    parser.add_argument("--json", type=Path, help="write every session and the summary there")
    arguments = parser.parse_args()
    began, rows = time.monotonic(), []
    for number in range(arguments.sessions):
        rows.append(measure(arguments.seed + number))
        if sys.stderr.isatty() or (number + 1) % 100 == 0:
            print(f"\r{number + 1} of {arguments.sessions} sessions", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    found = groups(rows)
    total = found["all"]
    print(
        f"{total['sessions']} sessions (SIMULATED) in {time.monotonic() - began:.0f} s, windows 0.4 to 1.2 s"
    )
    print(
        f"{total['faulty']} with a fault; {total['valid']} of {total['windows']} windows valid; "
        f"{total['failed']} sessions without a result"
    )
    print(table(found))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"groups": found, "sessions": [asdict(row) for row in rows]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
