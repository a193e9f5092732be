"""Baselines: append-only histories of sessions in the user's repository, one file of JSON lines per key.

The first line names schema and key. Every other line is one entry with the SHA-256 of its content: a
session, scores by document (kept once for all sessions that share them), or the beginning of a new level.
Lines are only ever added, so two branches that both add merge by keeping both (``*.jsonl merge=union``).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from edgesnn.errors import OutputError, RecordError, UserError
from edgesnn.reports.comparing.result import Key
from edgesnn.reports.comparing.summary import DOCUMENT_ARRAYS, SummarisedRun

SCHEMA = "edgesnn.baseline/1"
#: Newest sessions of the current level that give a baseline its mean and variance.
MOST_SESSIONS = 20
_MAX_BYTES = 64 * 2**20
_MAX_DOCUMENTS_BYTES = 2**26
_DIGITS = 7

_Documents = Mapping[str, tuple[float, ...]]
_SESSION = TypeAdapter(SummarisedRun)
_KEY = TypeAdapter(Key)


@dataclass(frozen=True, slots=True)
class Level:
    """A change that somebody accepted: times and energies before it say nothing of those after it.

    Attributes:
        at: Number of sessions before it.
        created: When it was set, ISO 8601, UTC.
        reason: Why.
    """

    at: int
    created: str
    reason: str


@dataclass(frozen=True, slots=True)
class Baseline:
    """The history of one key.

    Attributes:
        key: The key.
        file: Name of its file.
        sessions: Every session, oldest first.
        levels: Accepted changes, oldest first.
    """

    key: Key
    file: str
    sessions: tuple[SummarisedRun, ...]
    levels: tuple[Level, ...]

    def current(self) -> tuple[SummarisedRun, ...]:
        """Sessions since the last accepted change, the newest `MOST_SESSIONS`."""
        start = self.levels[-1].at if self.levels else 0
        return self.sessions[start:][-MOST_SESSIONS:]


def file_name(key: Key) -> str:
    """Name of the file of a key: readable, and distinct by the digest at its end."""
    words = [
        re.sub(r"[^A-Za-z0-9.-]+", "_", part)[:40].strip(".") for part in (key.model, key.target, key.profile)
    ]
    digest = hashlib.sha256(json.dumps(asdict(key), sort_keys=True).encode()).hexdigest()[:8]
    return "-".join([*(word or "_" for word in words), digest]) + ".jsonl"


def is_baseline_folder(folder: Path) -> bool:
    """Whether a folder holds histories (``*.jsonl``)."""
    return folder.is_dir() and any(folder.glob("*.jsonl"))


def read_baselines(folder: Path) -> dict[Key, Baseline]:
    """Read every history of a folder.

    Raises:
        RecordError: A file is broken, was edited, or two files hold one key.
    """
    found: dict[Key, Baseline] = {}
    for path in sorted(folder.glob("*.jsonl")):
        baseline = read_baseline(path)
        if baseline.key in found:
            raise RecordError(
                f"'{path.name}' and '{found[baseline.key].file}' hold the same key",
                actual=baseline.key.text(),
            )
        found[baseline.key] = baseline
    return found


def read_baseline(path: Path) -> Baseline:
    """Read one history, strictly.

    Raises:
        RecordError: The file is no baseline of this version, is truncated or was edited.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise RecordError(f"'{path.name}' is too large for a baseline", limit=_MAX_BYTES)
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"cannot read the baseline '{path.name}'", actual=error) from None
    head = _json(path, 1, lines[0] if lines else "")
    if head.get("schema") != SCHEMA:
        raise RecordError(
            f"'{path.name}' is no baseline of this version", actual=head.get("schema"), limit=SCHEMA
        )
    try:
        key = _KEY.validate_python(head.get("key"))
    except ValidationError as error:
        raise RecordError(f"'{path.name}' names no key", actual=error.errors()[0]["msg"]) from None
    sessions: list[SummarisedRun] = []
    levels: list[Level] = []
    documents: dict[str, _Documents] = {}
    seen: set[str] = set()
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        entry = _json(path, number, line)
        content: Any = entry.get("content")
        kind = entry.get("entry")
        digest = _digest(content)
        if digest != entry.get("sha256"):
            raise RecordError(
                f"line {number} of '{path.name}' was changed after it was written",
                actual=digest,
                limit=entry.get("sha256"),
                remedy="take the line back from version control, or remove it",
            )
        if digest in seen and kind != "level":
            continue  # two branches added the same entry
        seen.add(digest)
        try:
            if kind == "session":
                sessions.append(_session(content, documents))
            elif kind == "documents":
                documents[digest] = _unpack(content)
            elif kind == "level":
                levels.append(Level(len(sessions), str(content["created"]), str(content["reason"])))
            else:
                raise ValueError(f"no entry is called '{kind}'")
        except (ValueError, KeyError, TypeError, zlib.error) as error:
            raise RecordError(f"line {number} of '{path.name}' holds no entry", actual=error) from None
    if any(session.key != key for session in sessions):
        raise RecordError(f"'{path.name}' holds sessions of another key", limit=key.text())
    return Baseline(key, path.name, tuple(sessions), tuple(levels))


def append_sessions(folder: Path, sessions: Sequence[SummarisedRun]) -> tuple[list[Path], int]:
    """Add sessions to the histories of a folder; those that are there already are passed over.

    Args:
        folder: The folder; it is made.
        sessions: The sessions.

    Returns:
        The files that grew, and how many sessions were there already.

    Raises:
        RecordError: A history is broken.
        OutputError: The folder cannot be written.
    """
    grown: dict[Path, None] = {}
    known = 0
    for session in sorted(sessions, key=lambda one: (one.created, one.source)):
        path = folder / file_name(session.key)
        digests = _digests(path)
        lines = []
        packed = _pack(session.documents) if session.documents else None
        content = json.loads(_SESSION.dump_json(_rounded(session)))
        content["documents"] = None if packed is None else _digest(packed)
        if _digest(content) in digests:
            known += 1
            continue
        if packed is not None and content["documents"] not in digests:
            lines.append(_line("documents", packed))
        lines.append(_line("session", content))
        _append(path, session.key, lines)
        grown[path] = None
    return list(grown), known


def start_level(folder: Path, keys: Sequence[Key], created: str, reason: str) -> None:
    """Accept a change: from here on earlier times and energies are no longer the base.

    Args:
        folder: The folder.
        keys: Which histories.
        created: When, ISO 8601, UTC.
        reason: Why.

    Raises:
        OutputError: The folder cannot be written.
    """
    for key in keys:
        _append(folder / file_name(key), key, [_line("level", {"created": created, "reason": reason})])


def _digests(path: Path) -> set[str]:
    """Digests of the entries of a history that may not exist yet; reading it checks it."""
    if not path.exists():
        return set()
    read_baseline(path)
    return {
        str(json.loads(line).get("sha256"))
        for line in path.read_text(encoding="utf-8").splitlines()[1:]
        if line.strip()
    }


def _append(path: Path, key: Key, lines: Sequence[str]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        head = [] if path.exists() else [json.dumps({"schema": SCHEMA, "key": asdict(key)})]
        torn = path.exists() and not path.read_bytes().endswith(b"\n")
        with path.open("a", encoding="utf-8") as stream:
            stream.write("\n" * torn + "".join(f"{line}\n" for line in (*head, *lines)))
    except OSError as error:
        raise OutputError(
            f"the baseline cannot be written to '{path}'", actual=error.strerror or str(error)
        ) from None


def _line(entry: str, content: Any) -> str:
    digest = _digest(content)
    return json.dumps({"entry": entry, "sha256": digest, "content": content}, separators=(",", ":"))


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _json(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"line {number} of '{path.name}' is not JSON", actual=error) from None
    if not isinstance(found, dict):
        raise RecordError(f"line {number} of '{path.name}' is no JSON object")
    return found


def _session(content: Any, documents: Mapping[str, _Documents]) -> SummarisedRun:
    fields = dict(content)
    digest = fields.pop("documents")
    session = _SESSION.validate_json(json.dumps(fields))
    if digest is not None and digest not in documents:
        raise ValueError("its scores by document are missing")
    return session if digest is None else replace(session, documents=documents[digest])


def _rounded(session: SummarisedRun) -> SummarisedRun:
    """A session with seven digits per window and without what a baseline does not need."""
    series = {
        name: replace(one, values=tuple(float(f"{value:.{_DIGITS}g}") for value in one.values))
        for name, one in session.series.items()
    }
    return replace(session, series=series, documents={})


def _pack(documents: _Documents) -> dict[str, str]:
    packed = {}
    for name, array in documents.items():
        compressed = zlib.compress(np.array(array, "<f8").tobytes(), 9)
        packed[name] = base64.b64encode(compressed).decode()
    return packed


def _unpack(content: Mapping[str, str]) -> _Documents:
    found: dict[str, tuple[float, ...]] = {}
    for name, text in content.items():
        if name not in DOCUMENT_ARRAYS:
            raise ValueError(f"no score is called '{name}'")
        try:
            engine = zlib.decompressobj()
            data = engine.decompress(base64.b64decode(text, validate=True), _MAX_DOCUMENTS_BYTES)
        except binascii.Error as error:
            raise ValueError(str(error)) from None
        if engine.unconsumed_tail or not engine.eof:
            raise ValueError(f"the scores '{name}' are too many, or cut off")
        found[name] = tuple(np.frombuffer(data, "<f8").tolist())
    if len({len(array) for array in found.values()}) > 1:
        raise ValueError("scores of different numbers of documents")
    return found


def refuse_unfit(sessions: Sequence[SummarisedRun], *, force: bool) -> None:
    """Refuse runs that would make a bad baseline.

    Args:
        sessions: What is to be added.
        force: Whether failed budgets are accepted; an INVALID run never is.

    Raises:
        UserError: One is INVALID, or failed a required budget.
    """
    for one in sessions:
        if one.verdict == "INVALID":
            raise UserError(f"'{one.source}' is INVALID and cannot be a baseline", remedy="profile again")
        if one.verdict == "FAIL" and not force:
            raise UserError(
                f"'{one.source}' failed a required budget",
                remedy="mend it, or accept it with --force",
            )
