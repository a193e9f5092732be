"""What a page is made from: a run, its arrays as numbers, and where both stand."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgesnn.record.files import RunData, read_record, with_arrays
from edgesnn.record.model import RunRecord
from edgesnn.record.quantities import Quantity


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """One run record for a page.

    Attributes:
        run: Record and arrays; no arrays where they are missing or not whole.
        link: Path of the record's file as the page links to it, or None.
        arrays_link: Path of the arrays' file, or None.
    """

    run: RunData
    link: str | None = None
    arrays_link: str | None = None

    @property
    def record(self) -> RunRecord:
        """The record."""
        return self.run.record

    @property
    def name(self) -> str:
        """Model and target."""
        return f"{self.record.model.name} on {self.record.target}"

    @property
    def arrays_reason(self) -> str | None:
        """Why there are no arrays; None when they are there."""
        if self.run.arrays_error is not None:
            return self.run.arrays_error.sentence()
        return None if self.run.arrays else "the record has no raw arrays"

    def quantity(self, name: str) -> Quantity | None:
        """A quantity by name, or None where the record has none."""
        return self.record.quantities.get(name)

    def limit(self, budget: str) -> float | None:
        """The limit of a budget, or None where the profile has none."""
        return next((one.limit for one in self.record.budgets if one.name == budget), None)

    def numbers(self, name: str) -> npt.NDArray[np.float64] | None:
        """A raw array of finite numbers in one row, or None."""
        found = self.run.arrays.get(name)
        if found is None or found.ndim != 1 or found.dtype.kind not in "iuf" or not len(found):
            return None
        return found.astype(np.float64)

    def rows(self, *names: str) -> list[npt.NDArray[np.float64]] | None:
        """Arrays of one length that belong together, or None when one is missing or of another length."""
        found = [self.numbers(name) for name in names]
        whole = [row for row in found if row is not None]
        if len(whole) < len(names) or len({len(row) for row in whole}) != 1:
            return None
        return whole

    def windows_ms(self) -> list[npt.NDArray[np.float64]]:
        """Times of all steps, window by window, milliseconds."""
        names = sorted(n for n in self.run.arrays if n.startswith("window_") and n.endswith("_latencies_ms"))
        return [row for name in names if (row := self.numbers(name)) is not None]


def load_source(path: Path, page_folder: Path) -> Source:
    """Read a record and, where they are whole, its arrays.

    Args:
        path: The record.
        page_folder: The folder of the page, from which links start.

    Returns:
        The source; arrays that are missing or were changed are left out with the reason.

    Raises:
        RecordError: The record itself cannot be read.
    """
    return source_of(with_arrays(read_record(path), path), path, page_folder)


def source_of(run: RunData, path: Path, page_folder: Path) -> Source:
    """A run that was read as the source of a page.

    Args:
        run: The run.
        path: Its record's file.
        page_folder: The folder of the page, from which links start.
    """
    entry = run.record.arrays
    beside = None if entry is None or run.arrays_error is not None else path.parent / entry.file
    return Source(run, relative(path, page_folder), None if beside is None else relative(beside, page_folder))


def relative(path: Path, folder: Path) -> str | None:
    """A path as a link from a folder, or None where there is none (another drive)."""
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError:
        return None
