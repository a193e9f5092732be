"""``edgesnn baseline``: what runs are compared with, kept as files in the user's repository."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgesnn.cli.output import CommandOutput, JsonFlag, session
from edgesnn.errors import GateError, UsageError
from edgesnn.names import unknown

if TYPE_CHECKING:
    from edgesnn.cli.tables import Sheet
    from edgesnn.reports.baseline import Baseline
    from edgesnn.reports.comparing.result import Key
    from edgesnn.reports.history import LevelChange, SessionDrift

SCHEMA = "edgesnn.baselines/1"
ACTIONS = ("update", "list", "show")


def baseline(
    action: Annotated[str, typer.Argument(help="update: add runs; list: what is there; show: its history.")],
    runs: Annotated[
        list[Path] | None,
        typer.Argument(help="update: records or folders of records. show: part of a file's name."),
    ] = None,
    *,
    baselines: Annotated[Path, typer.Option("--baselines", help="Folder of the baselines.")] = Path(
        "baselines"
    ),
    new_level: Annotated[
        str | None,
        typer.Option(
            "--new-level", help="update: times changed on purpose, and why; earlier ones are no base."
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="update: take runs that failed a required budget.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="show: exit code 3 when times or energies drifted upwards.")
    ] = False,
    json_mode: JsonFlag = False,
) -> None:
    """Keep baselines: one append-only file per model, target, engine, meter, profile and workload.

    Times and energies gate from five sessions on; counts and bits from the first. The history shows steps,
    and the drift of the newest sessions against the first since the last accepted change.

    Examples:
        edgesnn baseline update runs --baselines baselines
        edgesnn baseline show --check
    """
    with session("baseline", json_mode) as out:
        if action not in ACTIONS:
            raise unknown("action of baseline", action, ACTIONS)
        if action == "update":
            _update(out, baselines, runs or [], new_level, force)
        else:
            _look(out, baselines, [str(one) for one in runs or []] if action == "show" else [], action, check)


def _update(out: CommandOutput, folder: Path, runs: list[Path], new_level: str | None, force: bool) -> None:
    from edgesnn.api.comparing import update_baselines
    from edgesnn.reports.baseline import file_name, read_baseline
    from edgesnn.reports.comparing.series import MIN_SESSIONS

    if not runs:
        raise UsageError("no run was named", remedy="edgesnn baseline update RUN.json")
    grown, known, keys = update_baselines(folder, runs, new_level=new_level, force=force)
    rows = []
    for key in keys:
        path = folder / file_name(key)
        sessions = len(read_baseline(path).current())
        missing = max(0, MIN_SESSIONS - sessions)
        rows.append({**_key(key), "file": path.name, "sessions": sessions, "sessions_missing": missing})
        gate = "times and energies gate" if not missing else f"times and energies gate after {missing} more"
        out.print(f"{path}: {sessions} session{'s' * (sessions != 1)}; {gate}")
    if known:
        out.print(f"{known} run{'s were' if known > 1 else ' was'} there already")
    out.document(SCHEMA, {"grown": [path.name for path in grown], "known": known, "baselines": rows})


def _look(out: CommandOutput, folder: Path, parts: list[str], action: str, check: bool) -> None:
    from edgesnn.reports.baseline import read_baselines
    from edgesnn.reports.history import drifts, steps

    if not folder.is_dir():
        raise UsageError(
            f"there is no folder '{folder}'", remedy="edgesnn baseline update RUN.json, or --baselines"
        )
    found = [one for one in read_baselines(folder).values() if all(part in one.file for part in parts)]
    if not found:
        wanted = f" whose name holds {' and '.join(parts)}" if parts else ""
        raise UsageError(f"there is no baseline{wanted} in '{folder}'", remedy="edgesnn baseline list")
    rows: list[dict[str, Any]] = []
    worse: list[str] = []
    if action == "list":
        out.print(_list_table(found))
    for one in found:
        cut, slow = steps(one), drifts(one)
        worse += [f"{one.file}: {drift.sentence()}" for drift in slow if drift.worse]
        rows.append(_document(one, cut, slow))
        if action == "show":
            _show(out, one, cut, slow)
    out.document(SCHEMA, {"baselines": rows})
    if check and worse:
        raise GateError(
            worse[0], actual=f"{len(worse)} drifts", remedy="mend it, or accept it: --new-level REASON"
        )


def _key(key: Key) -> dict[str, str]:
    return dict(key.parts())


def _document(one: Baseline, cut: list[LevelChange], slow: list[SessionDrift]) -> dict[str, Any]:
    from dataclasses import asdict

    from edgesnn.reports.history import session_means

    metrics = dict.fromkeys(name for session in one.sessions for name in session.series)
    return {
        **_key(one.key),
        "file": one.file,
        "sessions": len(one.current()),
        "history": [
            {"created": session.created, "commit": session.commit, "program_hash": session.program_hash}
            for session in one.sessions
        ],
        "mean_log": {name: session_means(one.sessions, name)[1].tolist() for name in metrics},
        "levels": [asdict(level) for level in one.levels],
        "steps": [asdict(step) for step in cut],
        "drifts": [asdict(drift) for drift in slow],
    }


def _list_table(found: list[Baseline]) -> Sheet:
    from edgesnn.cli.tables import Sheet, names, numbers, words

    table = Sheet(
        "baselines",
        words("model"),
        names("target"),
        words("engine", 5),
        words("meter", 4),
        words("profile", 1),
        numbers("sessions"),
        numbers("history", 3),
        names("latest", 2),
    )
    for one in found:
        key = one.key
        latest = one.sessions[-1].created if one.sessions else "-"
        cells = (key.model, key.target, key.engine, key.meter, key.profile, str(len(one.current())))
        table.add_row(*cells, str(len(one.sessions)), latest)
    return table


def _show(out: CommandOutput, one: Baseline, cut: list[LevelChange], slow: list[SessionDrift]) -> None:
    out.print("\n", (one.file, "bold"), f": {one.key.text()}")
    out.print(_history_table(one))
    for level in one.levels:
        out.print(f"accepted before session {level.at + 1} ({level.created}): {level.reason}")
    for step in cut:
        commit = f", commit {step.commit[:12]}" if step.commit else ""
        out.print(
            ("step:", "yellow"),
            f" {step.metric} {100 * math.expm1(step.change):+.1f} % from session "
            f"{step.at + 1} on ({step.created}{commit})",
        )
    for drift in slow:
        out.print((drift.sentence(), "bold red" if drift.worse else "dim"))


def _history_table(one: Baseline) -> Sheet:
    from edgesnn.cli.tables import Sheet, names, numbers
    from edgesnn.reports.formats.wording import number
    from edgesnn.reports.history import session_means

    metrics = list(dict.fromkeys(name for session in one.sessions for name in session.series))
    columns = (numbers(""), names("created", 1), names("commit", 2), names("program", len(metrics) + 3))
    # the further to the right, the sooner a narrow terminal does without
    figures = (numbers(metric, place + 2 if place else 0) for place, metric in enumerate(metrics))
    table = Sheet("history, geometric means", *columns, *figures)
    for place, run in enumerate(one.sessions):
        cells = [str(place + 1), run.created, (run.commit or "-")[:10], run.program_hash[:10]]
        for metric in metrics:
            _, means = session_means([run], metric)
            cells.append(number(math.exp(means[0])) if len(means) else "-")
        table.add_row(*cells)
    return table
