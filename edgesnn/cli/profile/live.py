"""What a terminal shows while ``edgesnn profile`` runs: progress, power, and how the budgets stand.

Nothing is shown where stderr is no terminal, and with ``--json``.
"""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from edgesnn.cli.output import CommandOutput

if TYPE_CHECKING:
    from rich.console import RenderableType

    from edgesnn.meters.serve import Live
    from edgesnn.record.verdicts import Budget

#: Frames a second: few, because drawing runs beside the work.
FRAMES_PER_S = 4
#: Readings that the trace shows, ten a second.
READINGS = 120
ROWS = 3
_COLOURS = {"PASS": "green", "FAIL": "bold red"}


class LiveView:
    """The view of one command; in a ``with`` statement.

    Args:
        out: The streams of the command.
        output: The record that was asked for, beside which finished windows are kept; None keeps none.
        simulated: Whether the meter is a simulated one.
    """

    def __init__(self, out: CommandOutput, output: Path | None, *, simulated: bool = False) -> None:
        self._mark = "  SIMULATED" if simulated else ""
        self._output = output
        self._readings: deque[tuple[float, float]] = deque(maxlen=READINGS)
        self._figures = ""
        self._budgets: Sequence[Budget] = ()
        self._out = out
        self._bar: Any = None
        self._live: Any = None
        if not out.json_mode and sys.stderr.isatty():
            from rich.live import Live as Screen

            self._bar = out.progress()
            self._task = self._bar.add_task("profile", total=None, detail="")
            self._live = Screen(
                console=out.stderr,
                refresh_per_second=FRAMES_PER_S,
                transient=True,
                get_renderable=self.picture,
            )

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
        if error is not None and self._output is not None:
            self._say_what_is_kept(self._output)

    def progress(self, stage: str, done: int, total: int) -> None:
        """Take a step of the work."""
        if self._bar is not None:
            self._bar.update(self._task, description=stage, completed=done, total=total)

    def power(self, live: Live) -> None:
        """Take how the power goes."""
        if live.mean_w is None or live.lowest_w is None or live.highest_w is None:
            self._figures = "no power yet"
            return
        self._readings.append((live.lowest_w, live.highest_w))
        lost = f", {live.lost:,} samples lost" if live.lost else ""
        self._figures = (
            f"{1e3 * live.mean_w:.2f} mW, {1e3 * live.lowest_w:.2f} to {1e3 * live.highest_w:.2f}"
            f"{lost}{self._mark}"
        )

    def verdicts(self, budgets: Sequence[Budget]) -> None:
        """Take how the budgets stand."""
        self._budgets = budgets

    def picture(self) -> RenderableType:
        """The frame."""
        from rich.console import Group
        from rich.text import Text

        lines: list[Any] = [] if self._bar is None else [self._bar.get_renderable()]
        if self._readings:
            top, rows = band(self._readings, ROWS)
            labels = [f"{1e3 * top:.3g} mW", *[""] * (ROWS - 2), "0"]
            lines += [
                Text.assemble((f"{label:>9} ", "dim"), (row, "cyan"))
                for label, row in zip(labels, rows, strict=True)
            ]
        if self._figures:
            lines.append(Text(f"{'power':>9} {self._figures}"))
        for budget in self._budgets:
            lines.append(Text.assemble("  ", *_budget_line(budget)))
        return Group(*lines)

    def _say_what_is_kept(self, output: Path) -> None:
        from edgesnn.profiler.session_store import session_folder

        folder = session_folder(output)
        kept = len(list(folder.glob("window-*.npz")))
        if kept:
            words = "window is" if kept == 1 else "windows are"
            self._out.stderr.print(
                f"{kept} finished {words} kept in {folder}; the same command goes on from there",
                highlight=False,
            )


def band(readings: Sequence[tuple[float, float]], rows: int) -> tuple[float, list[str]]:
    """Readings as a band of braille, from the lowest to the highest power in each: no spike is lost.

    Args:
        readings: Lowest and highest power in watts, oldest first.
        rows: Height in characters.

    Returns:
        Power at the upper edge in watts, and the rows from the top down.
    """
    from edgesnn.meters.samples.envelope import PowerEnvelope, axis_top, plot

    columns = len(readings) + len(readings) % 2
    envelope = PowerEnvelope(columns, 1.0)
    for place, (lowest, highest) in enumerate(readings):
        envelope.lowest[place], envelope.highest[place] = lowest, highest
    top = axis_top(max(highest for _, highest in readings))
    return top, plot(envelope, rows, top)


def _budget_line(budget: Budget) -> list[Any]:
    value = budget.quantity.value
    colour = _COLOURS.get(budget.verdict, "yellow")
    shown = "not yet" if value is None or math.isnan(value) else f"{value:.4g} {budget.quantity.unit}"
    simulated = " SIMULATED" if budget.quantity.kind == "SIMULATED" else ""
    limit = f"{budget.side} {budget.limit:g}"
    why = "" if budget.reason is None or value is None else f"  {budget.reason}"
    return [
        (f"{budget.verdict:<10}", colour),
        f"{budget.subject}: {shown}{simulated} ({limit})",
        (why, "dim"),
    ]
