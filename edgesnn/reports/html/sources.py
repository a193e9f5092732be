"""What a page is made from: a record as plain data, its arrays where they are whole, and where both stand."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn.errors import RecordError
from edgesnn.record.files import read_record, read_run

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """One run record for a page.

    Attributes:
        document: The record as JSON-like data.
        arrays: Its raw arrays by name; empty where they are missing or not whole.
        link: Path of the record's file as the page links to it, or None.
        arrays_link: Path of the arrays' file, or None.
        arrays_reason: Why there are no arrays; None when they are there.
    """

    document: Document
    arrays: Mapping[str, npt.NDArray[np.generic]] = field(default_factory=dict)
    link: str | None = None
    arrays_link: str | None = None
    arrays_reason: str | None = None

    @property
    def name(self) -> str:
        """Model and target."""
        return f"{self.document['model']['name']} on {self.document['target']}"

    def quantity(self, name: str) -> Mapping[str, Any] | None:
        """A quantity by name, or None where the record has none."""
        found: Mapping[str, Any] | None = self.document["quantities"].get(name)
        return found

    def numbers(self, name: str) -> npt.NDArray[np.float64] | None:
        """A raw array of finite numbers in one row, or None."""
        found = self.arrays.get(name)
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
        names = sorted(n for n in self.arrays if n.startswith("window_") and n.endswith("_latencies_ms"))
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
    try:
        run = read_run(path)
    except RecordError as broken:
        record = read_record(path)  # raises again unless only the arrays are wrong
        return Source(record.to_json(), link=relative(path, page_folder), arrays_reason=broken.sentence())
    beside = None if run.record.arrays is None else path.parent / run.record.arrays.file
    return Source(
        run.record.to_json(),
        run.arrays,
        relative(path, page_folder),
        None if beside is None else relative(beside, page_folder),
        "the record has no raw arrays" if beside is None else None,
    )


def relative(path: Path, folder: Path) -> str | None:
    """A path as a link from a folder, or None where there is none (another drive)."""
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError:
        return None
