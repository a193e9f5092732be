"""How often the gate cries wolf, and how often it catches what is injected.

SIMULATED devices: every session has an offset of its own and windows around it, drawn as
tests/support/run_documents.py says; accuracy is that of builds that differ in 4 % of their answers. Rates
come with Clopper-Pearson 95 % intervals. ``--real N`` adds N A/A comparisons of the C engine on this machine,
the windows of A and B taking turns.

    python benchmarks/gate.py [--runs 200] [--real 20]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.stats import beta

sys.path.insert(0, str(Path(__file__).parents[1]))

from edgesnn import export_student, resources
from edgesnn.bundle.bundle import Bundle
from edgesnn.plugins import load_runner
from edgesnn.reports.comparing.compare import LEVEL, base_sides, compare_runs
from edgesnn.reports.comparing.result import Family, Outcome, RunComparison
from edgesnn.reports.comparing.summary import SummarisedRun
from edgesnn.runners.base import RunnerOptions
from tests.support.run_documents import BUDGET_BYTES, Device, session_of

INJECTED = {
    "latency +5 %": ("forward.p50", lambda d: replace(d, latency_ms=d.latency_ms * 1.05)),
    "energy +5 %": ("energy.per_token", lambda d: replace(d, power_mw=d.power_mw * 1.05)),
    "accuracy -1 point": ("accuracy.top1", lambda d: replace(d, accuracy_points=-1.0)),
    "one flipped logit": ("parity.mismatches", lambda d: replace(d, mismatches=1)),
    "size +1 byte over budget": ("size.model", lambda d: replace(d, model_bytes=BUDGET_BYTES + 1)),
}


def comparison(
    device: Device, head: Device, seed: int, sessions: int, *, other_answers: bool
) -> RunComparison:
    """A baseline of so many sessions against one session of another build; 0 sessions: windows took turns."""
    build = seed + 2 if other_answers else 1
    if sessions == 0:
        turns = f"{seed:032x}"
        base = [session_of(replace(device, interleaving=turns, session_sd=0.0), 2 * seed, build=1)]
        heads = [session_of(replace(head, interleaving=turns, session_sd=0.0), 2 * seed + 1, build=build)]
    else:
        base = [
            session_of(device, [seed, n], build=1, created=f"2026-01-{n + 1:02d}T00:00:00+00:00")
            for n in range(sessions)
        ]
        heads = [session_of(head, [seed, 99], build=build)]
    return compare_runs(base_sides(base), heads)


def rate(hits: int, runs: int) -> str:
    """A share with its Clopper-Pearson interval."""
    low = beta.ppf(0.025, hits, runs - hits + 1) if hits else 0.0
    high = beta.ppf(0.975, hits + 1, runs - hits) if hits < runs else 1.0
    share = f"{100 * hits / runs:5.1f} %, 95 % interval {100 * low:.1f} to {100 * high:.1f} %"
    return f"{hits:4d} of {runs} ({share})"


def families_that_moved(found: RunComparison) -> set[tuple[Family, Outcome]]:
    """Families with a false regression or improvement."""
    return {
        (metric.family, metric.outcome)
        for metric in found.targets[0].metrics
        if metric.outcome in (Outcome.REGRESSION, Outcome.IMPROVEMENT)
    }


def false_alarms(device: Device, sessions: int, runs: int) -> bool:
    """A/A: counts by family, and whether every rate may be what is stated."""
    moved: Counter[tuple[Family, Outcome]] = Counter()
    any_regression = 0
    for seed in range(runs):
        found = families_that_moved(comparison(device, device, seed, sessions, other_answers=True))
        moved.update(found)
        any_regression += any(outcome is Outcome.REGRESSION for _, outcome in found)
    stated = (1 - LEVEL) / 2
    holds = True
    for family in (Family.TIMES, Family.ENERGIES, Family.MEMORY, Family.ACCURACY):
        hits = moved[family, Outcome.REGRESSION]
        low = beta.ppf(0.025, hits, runs - hits + 1) if hits else 0.0
        holds &= low <= stated
        print(f"    false regressions, {family.value:9s} {rate(hits, runs)}")
    print(f"    any false regression of the target  {rate(any_regression, runs)}")
    return bool(holds)


def power(device: Device, sessions: int, runs: int) -> bool:
    """How often each injected regression is caught; counts and bits must always be."""
    holds = True
    for name, (metric, inject) in INJECTED.items():
        caught = 0
        for seed in range(runs):
            other = metric.startswith("accuracy")
            found = comparison(device, inject(device), seed, sessions, other_answers=other)
            one = next(m for m in found.targets[0].metrics if m.name == metric)
            caught += one.outcome is Outcome.REGRESSION and found.exit_code == 3
        if metric in ("parity.mismatches", "size.model"):
            holds &= caught == runs
        print(f"    caught: {name:25s} {rate(caught, runs)}")
    return holds


def real(runs: int) -> None:
    """A/A on this machine: two copies of one bundle, windows taking turns."""
    print(f"A/A on this machine, C engine, {runs} comparisons of 8 windows each, taking turns")
    moved: Counter[tuple[Family, Outcome]] = Counter()
    outcomes: Counter[Outcome] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        bundle = export_student(resources.folder("reference"), Path(folder) / "bundle", formats=["c"])
        pairs = [_engine_sessions(bundle, seed) for seed in range(runs)]
    for base, head in pairs:
        found = compare_runs(base_sides([base]), [head])
        moved.update({one for one in families_that_moved(found) if one[0] is Family.TIMES})
        outcomes.update(m.outcome for m in found.targets[0].metrics if m.name == "forward.p50")
    print(f"    false regressions, times     {rate(moved[Family.TIMES, Outcome.REGRESSION], runs)}")
    print(f"    forward.p50: {', '.join(f'{name} {count}' for name, count in outcomes.items())}")


def _engine_sessions(bundle: Bundle, seed: int) -> tuple[SummarisedRun, SummarisedRun]:
    """Two runners of the reference student, eight windows of 256 steps each, in an order by the seed."""
    device = Device(simulated=False, interleaving=f"{seed:032x}", windows=8)
    template = session_of(device, seed, metered=False)
    rng, ids = np.random.default_rng(seed), bundle.eval_slice().ids
    times: list[list[float]] = [[], []]
    tails: list[list[float]] = [[], []]
    runners = [load_runner("native")(), load_runner("native")()]
    with runners[0], runners[1]:
        for runner in runners:
            runner.open(bundle, RunnerOptions())
        for _ in range(8):
            for side in rng.permutation(2):
                runner = runners[side]
                runner.reset()
                steps = []
                for token in ids[:256, None]:
                    before = time.perf_counter()
                    runner.step(token)
                    steps.append(1e3 * (time.perf_counter() - before))
                times[side].append(float(np.median(steps[32:])))
                tails[side].append(float(np.quantile(steps[32:], 0.95)))
    made = []
    for side in range(2):
        series = {
            "forward.p50": replace(template.series["forward.p50"], values=tuple(times[side])),
            "forward.p95": replace(template.series["forward.p95"], values=tuple(tails[side])),
        }
        made.append(replace(template, series=series))
    return made[0], made[1]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--real", type=int, default=0)
    options = parser.parse_args(arguments)
    settings: dict[str, tuple[Device, int]] = {
        "baseline of 5 sessions, sd 0.5 % between sessions, 0.5 % within": (Device(session_sd=0.005), 5),
        "baseline of 10 sessions, sd 1 % between sessions, 0.5 % within": (Device(session_sd=0.01), 10),
        "baseline of 10 sessions, sd 5 % between sessions, 0.5 % within": (Device(session_sd=0.05), 10),
        "windows taking turns in one session, 5 each, sd 0.5 % within": (Device(), 0),
    }
    stated = f"at most {50 * (1 - LEVEL):.1f} % false regressions per target and family"
    print(f"SIMULATED devices, {options.runs} comparisons each; stated: {stated}")
    holds = True
    kinds: tuple[Callable[[Device, int, int], bool], ...] = (false_alarms, power)
    for name, (device, sessions) in settings.items():
        print(f"  {name}")
        for kind in kinds:
            holds &= kind(device, sessions, options.runs)
    if options.real:
        real(options.real)
    print("holds" if holds else "DOES NOT HOLD")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
