"""Students beside each other: size, text, spikes, synaptic operations and retention of the integer program.

    python benchmarks/students.py STUDENT... [--against operations|text --picture FILE.png]

STUDENT is a distilled artifact (folder, or NAME=FOLDER). Each is compiled, scored in the native engine on its
own held-out slice (``eval.npz``), its activity counted on the first --activity-tokens of it. --picture draws
retention against synaptic operations of a token or against the tokens of its training text, its
interval as a bar, one line for the students of one size. Figures and pictures of docs/training.md.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import numpy.typing as npt

from edgesnn.api.students import compile_student, student_folder
from edgesnn.bundle.bundle import EVAL_NAME, read_eval_slice
from edgesnn.profiler.counts.activity import count_activity
from edgesnn.profiler.quality.accuracy import measure_logits
from edgesnn.profiler.results import Absent
from edgesnn.program.snn_format import to_bytes
from edgesnn.runners.native.engine import Engine
from edgesnn.student.artifact.files import read_metadata


@dataclass(frozen=True, slots=True)
class Point:
    """What was measured of one student."""

    name: str
    parameters: int
    text: int
    steps: int
    spikes: float
    operations: float
    dense: float
    bits: float
    retention: float
    low: float
    high: float


COLUMNS = (
    "student", "parameters", "text, tokens", "steps", "spikes", "synaptic operations", "of dense",
    "bits/byte", "retention",
)  # fmt: skip
AXES = {"operations": "effective synaptic operations per token", "text": "tokens of the training text"}


def main() -> None:
    """Measure, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("students", nargs="+", metavar="STUDENT")
    parser.add_argument("--against", choices=sorted(AXES), default="operations")
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--activity-tokens", type=int, default=512)
    given = parser.parse_args()
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    points = []
    for text in given.students:
        name, _, folder = text.rpartition("=")
        point = measure(name or Path(folder).name, student_folder(folder), given.activity_tokens)
        print(
            f"| {point.name} | {point.parameters:,} | {point.text:,} | {point.steps:,} | {point.spikes:.1%} "
            f"| {point.operations:,.0f} | {point.operations / point.dense:.1%} | {point.bits:.3f} "
            f"| {point.retention:.1%} [{point.low:.1%}, {point.high:.1%}] |",
            flush=True,
        )
        points.append(point)
    if given.picture is not None:
        draw(points, given.against, given.picture)


def measure(name: str, folder: Path, tokens: int) -> Point:
    """Compile a student, score it and count what it does."""
    program = compile_student(folder)[2].program
    held_out = read_eval_slice(folder / EVAL_NAME, program.vocab_size)
    engine, scale = Engine(to_bytes(program)), np.float32(program.logit_scale)

    def logits(ids: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
        engine.reset(len(ids))
        return engine.sequence(np.ascontiguousarray(ids, np.uint32)) * scale

    scored = measure_logits(logits, program.vocab_size, held_out, "held out")
    assert not isinstance(scored, Absent) and not isinstance(scored.retention, Absent)
    activity = count_activity(program, held_out.ids[:tokens])
    metadata = read_metadata(folder)
    results = metadata["training_results"]
    low, high = scored.retention_interval or (float("nan"), float("nan"))
    return Point(
        name=name,
        parameters=metadata["student_params"],
        text=results["train_tokens"],
        steps=results["steps"],
        spikes=activity.spike_rate,
        operations=activity.synaptic_operations,
        dense=activity.synaptic_operations_dense,
        bits=scored.bits_per_byte,
        retention=scored.retention,
        low=low,
        high=high,
    )


def draw(points: list[Point], against: str, path: Path) -> None:
    """Retention against one property, a line for the students of one size."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots()
    sizes: dict[tuple[int, int], list[Point]] = defaultdict(list)
    for point in points:
        # steps change what a student of one size can reach: where text is what varies they go with it
        sizes[point.parameters, 0 if against == "text" else point.steps].append(point)
    for (parameters, steps), group in sorted(sizes.items()):
        group.sort(key=lambda point: getattr(point, against))
        x = [getattr(point, against) for point in group]
        y = [100 * point.retention for point in group]
        bars = [[100 * (p.retention - p.low) for p in group], [100 * (p.high - p.retention) for p in group]]
        label = f"{parameters / 1e6:.2f} M parameters" + (f", {steps:,} steps" if steps else "")
        axes.errorbar(x, y, yerr=bars, marker="o", capsize=3, linewidth=1, label=label)
        for point, at, value in zip(group, x, y, strict=True):
            axes.annotate(f" {point.name}", (at, value), fontsize=8, va="bottom")
    axes.set_xlabel(AXES[against])
    axes.set_ylabel("retention on held-out text, % (95 % by document)")
    axes.axhline(85, color="tab:red", linewidth=0.8, linestyle=":")
    axes.margins(x=0.15)
    axes.xaxis.set_major_formatter(
        lambda value, _: f"{value / 1e6:.1f} M" if value >= 1e6 else f"{value / 1e3:.0f} k"
    )
    axes.legend(loc="lower right")
    axes.grid(alpha=0.3)
    canvas.print_png(str(path))


if __name__ == "__main__":
    main()
