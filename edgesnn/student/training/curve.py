"""The learning curve as a picture, drawn from ``train_log.jsonl``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgesnn.errors import OutputError
from edgesnn.student.training.train_log import LOG_FILE

CURVE_FILE = "learning_curve.png"

_LOSSES = (("loss", "loss"), ("ce", "cross-entropy"), ("kd", "KL from the teacher"))


def read_log(directory: Path) -> list[dict[str, Any]]:
    """The lines of a metrics file, broken ones left out."""
    path = directory / LOG_FILE
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    entries = []
    for line in lines:
        try:
            entries.append(json.loads(line))
        except ValueError:
            continue  # a line that a killed process left unfinished
    return entries


def draw_curve(directory: Path, phases: dict[str, int]) -> Path | None:
    """Draw losses, held-out bits per byte, spike rate and learning rate over the steps.

    Args:
        directory: Output directory of a run.
        phases: Steps to mark, by name.

    Returns:
        The picture, or None where matplotlib is not installed or nothing was logged.

    Raises:
        OutputError: It cannot be written.
    """
    entries = read_log(directory)
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return None
    if len(entries) < 2:
        return None
    figure = Figure(figsize=(8, 6), layout="constrained")
    canvas: Any = FigureCanvasAgg(figure)
    losses, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    steps = [entry["step"] for entry in entries]
    for key, label in _LOSSES:
        points = [(entry["step"], entry[key]) for entry in entries if entry.get(key)]
        if points:
            losses.plot(*zip(*points, strict=True), label=label, linewidth=1)
    losses.set_ylabel("nats per token")
    scored = [
        (e["step"], e["eval_bits_per_byte"]) for e in entries if e.get("eval_bits_per_byte") is not None
    ]
    if scored:
        right = losses.twinx()
        right.plot(*zip(*scored, strict=True), "k.-")
        right.set_ylabel("held-out bits per byte (black)")
    losses.legend(loc="upper right")
    rates = [
        (entry["step"], 100 * entry["spike_rate"]) for entry in entries if entry["spike_rate"] is not None
    ]
    if rates:
        below.plot(*zip(*rates, strict=True), color="tab:green", linewidth=1)
    below.set_ylabel("spikes, % (green)")
    below.set_xlabel("step")
    speed = below.twinx()
    speed.plot(steps, [entry["lr"] for entry in entries], color="tab:gray", linewidth=1)
    speed.set_ylabel("learning rate (grey)")
    marked = {name: step for name, step in phases.items() if 0 < step < steps[-1]}
    for number, (name, step) in enumerate(marked.items()):
        for axis in (losses, below):
            axis.axvline(step, color="tab:red", linewidth=0.8, linestyle=":")
        # the phases may begin close together: the last name stands behind its line, the others before theirs
        side = "left" if number == len(marked) - 1 else "right"
        losses.annotate(
            f" {name} ", (step, 1.0), xycoords=("data", "axes fraction"), fontsize=8, va="bottom", ha=side
        )
    path = directory / CURVE_FILE
    try:
        canvas.print_png(str(path))
    except OSError as error:
        raise OutputError(f"cannot write '{path.name}'", actual=error.strerror or str(error)) from None
    return path
