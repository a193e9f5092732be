"""Runs as a user holds them: read, written, shown in a notebook, drawn."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from edgesnn.record import files
from edgesnn.record.quantities import QUANTITIES, Kind, Quantity

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Quantities that the text of a run shows, where its record has them.
_HEADLINE = (
    "latency.p50",
    "latency.p95",
    "first_token.p95",
    "frame.p50",
    "frame.p95",
    "power.mean",
    "duty.power",
    "energy.per_token",
    "energy.per_frame",
    "size.model",
    "accuracy.retention",
    "accuracy.decisions",
    "accuracy.points_below_float",
    "parity.mismatches",
)
_WIDTH = 100


class Run(files.RunData):
    """A run record and its raw arrays; the last line of a notebook's cell shows its verdict and budgets.

    Attributes:
        record: The record: verdict, budgets, quantities, setting.
        arrays: Raw arrays by name, for example ``per_token_ms``.

    Examples:
        >>> run = edgesnn.read_run("run.json")
        >>> run
        <Run: PASS (exit code 0), reference on cpu, ...
        >>> run.record.quantities["latency.p95"].unit
        'ms'
        >>> run.arrays["per_token_ms"].ndim
        1
    """

    __slots__ = ()

    def __repr__(self) -> str:
        """A few lines: verdict, model, target, and the numbers that matter."""
        record = self.record
        verdict = f"{record.verdict.verdict} (exit code {record.verdict.exit_code})"
        engine = f"{record.device.engine} {record.device.engine_version}"
        profile = record.profile.get("name", "unknown")
        head = f"<Run: {verdict}, {record.model.name} on {record.target}, {engine}, profile {profile}"
        rows = [_row(name, record.quantities[name]) for name in _HEADLINE if name in record.quantities]
        return "\n  ".join([head, *rows]) + ">"

    def _repr_html_(self) -> str:
        """The head of the run's report, for a notebook."""
        from edgesnn.reports.html.notebook import run_summary

        return run_summary(self)

    def plot(self, base: files.RunData | None = None) -> Figure:
        """Draw latency, power and spike rates, each where the run has it.

        Args:
            base: A run to draw behind it.

        Returns:
            A figure of matplotlib, which a notebook shows.

        Raises:
            MissingExtraError: matplotlib is not installed.
            RecordError: There is nothing to draw.

        Examples:
            >>> edgesnn.read_run("run.json").plot().savefig("run.png")
        """
        from edgesnn.reports.formats.pictures import draw_run

        return draw_run(self, base)


def shown(run: files.RunData) -> Run:
    """A run that can show itself."""
    return Run(run.record, run.arrays, run.arrays_error)


def read_run(path: str | os.PathLike[str]) -> Run:
    """Read a run record and its raw arrays.

    Args:
        path: ``RUN.json``; ``RUN.npz`` stands beside it.

    Raises:
        RecordError: The record is wrong, or its arrays are missing or were changed.

    Examples:
        >>> edgesnn.read_run("run.json").record.model.name
        'reference'
    """
    return shown(files.read_run(Path(path)))


def write_run(run: files.RunData, path: str | os.PathLike[str]) -> Run:
    """Write ``RUN.json`` and ``RUN.npz`` beside it, each whole or not at all.

    Args:
        run: The run.
        path: Where the record goes, a ``.json`` file; folders are made.

    Returns:
        The run as it stands on disk: its record names the arrays' file and hash.

    Raises:
        OutputError: The path cannot be written.

    Examples:
        >>> run = edgesnn.read_run("run.json")
        >>> edgesnn.write_run(run, "kept/run.json").record.arrays.file
        'run.npz'
    """
    return shown(files.write_run(run, Path(path)))


def _row(name: str, quantity: Quantity) -> str:
    """A number, or why there is none."""
    title = QUANTITIES[name].title
    if quantity.value is None:
        return f"{title}: absent, {quantity.reason}"[:_WIDTH]
    kind = "" if quantity.kind is Kind.MEASURED else f" {quantity.kind}"
    unit = "" if quantity.unit == "share" else f" {quantity.unit}"
    return f"{title}: {quantity.value:.4g}{unit}{kind}"
