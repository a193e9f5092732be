"""``edgesnn profile`` for more than one record: every target of this machine, or two bundles in turns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from edgesnn.errors import UsageError

if TYPE_CHECKING:
    from edgesnn.api.all_targets import AllProfiled
    from edgesnn.api.interleaving import Interleaved
    from edgesnn.api.options import ProfileOptions, Progress
    from edgesnn.cli.output import CommandOutput
    from edgesnn.cli.tables import Sheet
    from edgesnn.record.files import RunData
    from edgesnn.record.model import RunRecord

INTERLEAVE_SCHEMA = "edgesnn.interleave/1"
ROLES = ("A", "B")
_FOLDER = Path("runs")
#: What stands side by side.
_COMPARED = (
    "latency.p50",
    "latency.p95",
    "first_token.p50",
    "frame.p50",
    "frame.p95",
    "power.mean",
    "energy.per_token",
    "energy.per_frame",
    "accuracy.top1",
    "accuracy.decisions",
    "size.model",
    "memory.peak",
    "parity.mismatches",
)


def check_flags(
    bundles: list[Path],
    target: str,
    output: Path | None,
    *,
    everything: bool,
    turns: bool,
    reference: str | None = None,
) -> None:
    """Refuse flags that contradict each other, before anything is measured.

    Raises:
        UsageError: They do.
    """
    if everything and turns:
        raise UsageError("--all-targets and --interleave exclude each other", remedy="give one of them")
    if turns and len(bundles) != 2:
        raise UsageError("--interleave compares two bundles", actual=len(bundles), limit=2)
    if not turns and len(bundles) > 1:
        raise UsageError(
            "several bundles are profiled in turns only", actual=len(bundles), remedy="add --interleave"
        )
    if (everything or turns) and reference is not None:
        raise UsageError(
            "--reference stands beside a single record", remedy="profile one bundle on one target"
        )
    if everything and target != "cpu":
        raise UsageError("--all-targets takes no --target", actual=target, remedy="leave one of them out")
    if (everything or turns) and output is not None and (output.suffix == ".json" or output.is_file()):
        raise UsageError(
            f"several records do not fit into '{output.name}'", remedy="name a folder with --output"
        )


def profile_everything(
    out: CommandOutput, bundle: Path, output: Path | None, options: ProfileOptions
) -> None:
    """Profile a bundle on every target that is usable here; write one record each, show one table.

    Args:
        out: The streams of the command.
        bundle: The bundle.
        output: Folder of the records, or None.
        options: How.
    """
    from edgesnn import __version__
    from edgesnn.api.all_targets import profile_all
    from edgesnn.record.profiles import EXIT_ORDER, SCHEMA, ErrorFigure, Profiles, Skipped, TargetRun

    with _progress(out) as tell:
        found = profile_all(bundle, options, on_progress=tell)
    files: dict[str, Path] = {}
    records: dict[str, RunRecord] = {}
    for one in found.profiled:
        if one.run is not None:
            files[one.target], records[one.target] = _write(one.run, output, "")
    document = Profiles(
        schema=SCHEMA,
        edgesnn_version=__version__,
        exit_code=found.exit_code,
        exit_order=list(EXIT_ORDER),
        targets=[
            TargetRun(
                target=one.target,
                gates=one.gates,
                reason=None if one.gates else _baseline(),
                exit_code=one.exit_code,
                file=files[one.target].name if one.target in files else None,
                record=records.get(one.target),
                error=None if one.error is None else ErrorFigure.model_validate(one.error.as_dict()),
            )
            for one in found.profiled
        ],
        skipped=[Skipped(target=name, reason=reason) for name, reason in found.skipped.items()],
    ).to_json()
    out.document(str(document.pop("schema")), document)
    _render_all(out, found, records, files)
    out.exit_with(found.exit_code)


def profile_in_turns(
    out: CommandOutput, bundles: list[Path], output: Path | None, options: ProfileOptions, seed: int
) -> None:
    """Profile two bundles with windows in turns; write two records, show the ratio.

    Args:
        out: The streams of the command.
        bundles: The two bundles.
        output: Folder of the records, or None.
        options: How.
        seed: Seed of the order.
    """
    from edgesnn.api.interleaving import profile_interleaved
    from edgesnn.record.profiles import EXIT_ORDER, worst

    with _progress(out) as tell:
        found = profile_interleaved(bundles[0], bundles[1], options, seed=seed, on_progress=tell)
    written = [_write(run, output, f"-{role}") for role, run in zip(ROLES, (found.a, found.b), strict=True)]
    code = worst([record.verdict.exit_code for _, record in written])
    document = {
        "exit_code": code,
        "exit_order": list(EXIT_ORDER),
        "median_ratio": found.median_ratio.model_dump(),
        "mean_ratio": found.mean_ratio.model_dump(),
        "statement": found.statement,
        "files": [path.name for path, _ in written],
        "records": [record.to_json() for _, record in written],
    }
    out.document(INTERLEAVE_SCHEMA, document)
    _render_turns(out, found, written, code)
    out.exit_with(code)


@contextmanager
def _progress(out: CommandOutput) -> Iterator[Progress]:
    """A callback whose progress is shown while the context lasts."""
    with out.progress() as display:
        task = display.add_task("profile", total=None, detail="")

        def tell(stage: str, done: int, total: int) -> None:
            display.update(task, description=stage, completed=done, total=total)

        yield tell


def _write(run: RunData, folder: Path | None, suffix: str) -> tuple[Path, RunRecord]:
    from edgesnn.cli.profile.show import default_path
    from edgesnn.record.files import write_run

    name = default_path(run.record)
    path = (folder or _FOLDER) / f"{name.stem}{suffix}.json"
    return path, write_run(run, path).record


def _baseline() -> str:
    from edgesnn.api.all_targets import BASELINE

    return BASELINE


def _render_all(
    out: CommandOutput, found: AllProfiled, records: dict[str, RunRecord], files: dict[str, Path]
) -> None:
    columns = {one.target: (records.get(one.target), one.exit_code) for one in found.profiled}
    out.print(_summary(columns))
    for one in found.profiled:
        if not one.gates:
            out.print(f"{one.target}: {_baseline()}")
    for one in found.profiled:
        record = records.get(one.target)
        if one.error is not None:
            out.print(f"{one.target}: ", ("error:", "bold red"), f" {one.error.sentence()}")
        for reason in record.verdict.reasons if record is not None else []:
            out.print(f"{one.target}: {reason}")
    if found.skipped:
        out.print(("\nskipped", "bold"))
        for name, reason in found.skipped.items():
            out.print(f"  {name}: {reason}")
    out.print("\nrun records: " + (", ".join(str(path) for path in files.values()) or "none"))
    out.print(f"exit code {found.exit_code}: the worst of the targets that gate")


def _render_turns(
    out: CommandOutput, found: Interleaved, written: list[tuple[Path, RunRecord]], code: int
) -> None:
    columns: dict[str, tuple[RunRecord | None, int]] = {
        f"{role}: {record.model.name}": (record, record.verdict.exit_code)
        for role, (_, record) in zip(ROLES, written, strict=True)
    }
    out.print(_summary(columns))
    first = written[0][1].interleaving
    if first is not None:
        out.print(f"order of the windows: {first.order} (seed {first.seed})")
    out.print(found.statement)
    out.print(found.mean_ratio.statement("mean time per step"))
    for _, record in written:
        name = record.model.name
        for mark in record.marks:
            out.print(("note:", "yellow"), f" {name}: {mark}")
        for reason in record.verdict.reasons:
            out.print(f"{name}: {reason}")
    out.print("run records: " + ", ".join(str(path) for path, _ in written))
    out.print(f"exit code {code}: the worse of the two verdicts; the ratio does not gate")


def _summary(columns: dict[str, tuple[RunRecord | None, int]]) -> Sheet:
    """One column per record, by its title: the record, or None where it failed, and the exit code."""
    from edgesnn.cli.profile.show import coloured
    from edgesnn.cli.tables import Sheet, numbers, words
    from edgesnn.record.quantities import QUANTITIES

    # the first stands longest: the fastest target, or A
    ranked = (numbers(title, place) for place, title in enumerate(columns))
    table = Sheet("profiles", words(""), *ranked)
    found = [record for record, _ in columns.values()]
    engines = ["-" if r is None else f"{r.device.engine} {r.device.engine_version}" for r in found]
    table.add_row("engine", *engines)
    for name in _COMPARED:
        if not any(record is not None and name in record.quantities for record in found):
            continue
        table.add_row(
            QUANTITIES[name].heading, *("-" if record is None else _cell(record, name) for record in found)
        )
    verdicts = ["ERROR" if record is None else record.verdict.verdict for record in found]
    table.add_row("verdict", *map(coloured, verdicts))
    table.add_row("exit code", *(str(code) for _, code in columns.values()))
    return table


def _cell(record: RunRecord, name: str) -> str:
    quantity = record.quantities.get(name)
    if quantity is None or quantity.value is None:
        return "-"
    kind = "" if quantity.kind == "MEASURED" else f" {quantity.kind}"
    return f"{quantity.value:,.4g}{kind}"
