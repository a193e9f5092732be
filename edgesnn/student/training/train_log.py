"""``train_log.jsonl``: one line of metrics per log interval."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgesnn.errors import OutputError
from edgesnn.whole_files import write_whole

LOG_FILE = "train_log.jsonl"


class TrainLog:
    """The metrics file of an output directory."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / LOG_FILE

    def start(self, step: int) -> None:
        """Keep the lines up to ``step``; later ones belong to steps that will run again.

        Raises:
            OutputError: The file cannot be written.
        """
        kept = []
        if step and self._path.is_file():
            for line in self._path.read_text(encoding="utf-8").splitlines():
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue  # a line that a killed process left unfinished
                if entry["step"] <= step:
                    kept.append(line + "\n")
        write_whole(self._path, "".join(kept).encode("utf-8"))

    def add(self, entry: dict[str, Any]) -> None:
        """Append one line; ``entry`` has a ``step``.

        Raises:
            OutputError: The file cannot be written.
        """
        try:
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise OutputError(f"cannot write '{self._path.name}'", actual=error.strerror) from None
