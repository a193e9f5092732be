"""``edgesnn demo``: the whole way on the reference student, ending in a summary a newcomer can read."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgesnn.cli.output import CommandOutput, JsonFlag, session
from edgesnn.cli.verify import raise_on_mismatch
from edgesnn.cli.verify import render as render_parity
from edgesnn.errors import OutputError

if TYPE_CHECKING:
    from edgesnn.record.model import Parity, RunRecord

_MARKER = "demo.txt"
_METER = "sim:ppk2?voltage=3.3"
_ENGINE_COLUMNS = (
    ("p95\nms/token", "latency.p95"),
    ("SIMULATED\nuJ/token", "energy.per_token"),
    ("SIMULATED\nmW", "power.mean"),
    ("\ntop-1", "accuracy.top1"),
    ("files\nMB", "size.model"),
    ("wrong\nlogits", "parity.mismatches"),
)
_PROMPT = "Remind me to call the dentist tomorrow."


def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the bundle and the run record.")
    ] = Path("edgesnn-demo"),
    json_mode: JsonFlag = False,
) -> None:
    """Export, verify, profile and talk to the reference student that ships with edgesnn.

    Needs no torch, no device and no network. The verdicts are printed; the exit code is 0 when the whole
    chain worked, whatever this computer's speed.

    Examples:
        edgesnn demo
        edgesnn demo -o tried
    """
    with session("demo", json_mode) as out:
        from edgesnn import resources

        _prepare(output)
        steps: dict[str, float] = {}
        student, bundle_path, record_path = (
            resources.folder("reference"),
            output / "bundle",
            output / "run.json",
        )
        with _step(out, steps, "export", f"edgesnn export {student.name} -o {bundle_path}"):
            _export(out, student, bundle_path)
        with _step(out, steps, "verify", f"edgesnn verify {bundle_path}"):
            results = _verify(out, bundle_path)
        command = f"edgesnn profile {bundle_path} --profile quick --meter '{_METER}' -o {record_path}"
        with _step(out, steps, "profile", command):
            records = _profile(out, bundle_path, output, results)
            record = records[0]
            _engines(out, records)
        page = record_path.with_suffix(".html")
        with _step(out, steps, "report", f"edgesnn report {record_path} --html {page}"):
            _report(record_path, page)
        with _step(out, steps, "generate", f'edgesnn generate {bundle_path} "{_PROMPT}"'):
            text = _generate(bundle_path)
            out.print("  ", (_PROMPT, "bold"), f"\n  {text.strip()}")
        _summary(out, record, steps)
        out.print(f"\nthe bundle: {bundle_path}    the run record: {record_path}    the page: {page}")
        out.document(
            "edgesnn.demo/1",
            {
                "seconds": steps,
                "parity": {result.target: result.mismatches for result in results},
                "verdict": record.verdict.verdict,
                "prompt": _PROMPT,
                "text": text,
                "run": record_path.name,
                "page": page.name,
                "engines": {
                    one.device.runner: {
                        "latency_ms_p95": one.quantities["latency.p95"].value,
                        "energy_per_token_uj": one.quantities["energy.per_token"].value,
                        "energy_kind": one.quantities["energy.per_token"].kind,
                        "verdict": one.verdict.verdict,
                    }
                    for one in records
                },
            },
        )


def _prepare(output: Path) -> None:
    """Make the folder; an older demo's is emptied, anything else is left alone."""
    try:
        if output.exists():
            if not (output / _MARKER).is_file():
                raise OutputError(
                    f"'{output}' exists and is not an earlier demo's",
                    remedy="name another folder with --output",
                )
            shutil.rmtree(output)
        output.mkdir(parents=True)
        (output / _MARKER).write_text("Made by edgesnn demo, which replaces this folder.\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write '{output}': {error.strerror or error}") from None


@contextmanager
def _step(out: CommandOutput, steps: dict[str, float], name: str, command: str) -> Iterator[None]:
    out.print((f"\n{len(steps) + 1}. {name}", "bold cyan"), "  ", (command, "dim"))
    started = time.perf_counter()
    yield
    steps[name] = round(time.perf_counter() - started, 2)


def _export(out: CommandOutput, student: Path, target: Path) -> None:
    from edgesnn.api.students import export_student

    with out.progress() as progress:
        task = progress.add_task("export", total=None, detail="")
        bundle = export_student(
            student,
            target,
            name="reference",
            on_progress=lambda stage, done, total: progress.update(
                task, description=stage, completed=done, total=total
            ),
        )
    manifest = bundle.manifest
    facts, cost = manifest.student, manifest.quantisation["calibration"]
    out.print(
        f"  {facts['student_params']:,} parameters became one integer program of "
        f"{manifest.files['program.snn'].bytes:,} bytes (hash {manifest.program_hash[:12]})\n"
        f"  int8 weights, int32 membranes; no overflow possible: proof by {len(manifest.bounds)} bounds\n"
        f"  cost of the integers on held-out text: {cost['loss_percent']:+.2f} % bits per byte (MEASURED)"
    )


def _verify(out: CommandOutput, bundle_path: Path) -> list[Parity]:
    from edgesnn.api.bundles import open_bundle
    from edgesnn.api.verification import parity_targets, verify_bundle

    bundle = open_bundle(bundle_path)
    with out.progress() as progress:
        task = progress.add_task("verify", total=None, detail="")
        results = verify_bundle(
            bundle,
            on_progress=lambda stage, done, total: progress.update(
                task, description=stage, completed=done, total=total
            ),
        )
    skipped = {name: reason for name, reason in parity_targets(bundle).items() if reason is not None}
    render_parity(out, results, skipped)
    raise_on_mismatch(results)
    return results


def _profile(out: CommandOutput, bundle_path: Path, folder: Path, verified: list[Parity]) -> list[RunRecord]:
    """Every exact engine beside a simulated meter, the fastest first."""
    from edgesnn.api.profiling import profile_bundle
    from edgesnn.profiler.results import Absent
    from edgesnn.record.files import write_run
    from edgesnn.targets import resolve_target

    names = [result.target for result in verified if result.target != "golden"]
    fastest = next(name for name in resolve_target("cpu") if name in names)
    records = []
    with out.progress() as progress:
        task = progress.add_task("profile", total=None, detail="")
        for target in [fastest, *(name for name in names if name != fastest)]:
            first = target == fastest
            run = profile_bundle(
                bundle_path,
                target=target,
                profile="quick",
                allow_unmeasured=True,
                verified=verified,
                accuracy=None if first else Absent("measured once, see the first engine"),
                compare=first,
                meter=_METER,
                on_progress=lambda stage, done, total, target=target: progress.update(  # type: ignore[misc]
                    task, description=f"{target}: {stage}", completed=done, total=total
                ),
            )
            path = folder / ("run.json" if first else f"run-{target}.json")
            records.append(write_run(run, path).record)
    return records


def _engines(out: CommandOutput, records: list[RunRecord]) -> None:
    """One row an engine. Accuracy is the first one's: the others have the same bits."""
    from edgesnn.cli.tables import Sheet, names, numbers

    # the further to the right, the sooner a narrow terminal does without
    figures = (numbers(title, place) for place, (title, _) in enumerate(_ENGINE_COLUMNS))
    columns = (names("\nengine"), *figures, names("\nverdict"))
    table = Sheet("every engine, one program", *columns, ruled=False)
    for record in records:
        cells = [
            _number(records[0] if name == "accuracy.top1" else record, name) for _, name in _ENGINE_COLUMNS
        ]
        table.add_row(record.device.runner, *cells, record.verdict.verdict)
    out.print(table)
    out.print(
        "The meter is a simulated PPK2 on a simulated device: its energy tries the chain and says nothing\n"
        "of this computer. The windows are shorter than a claim needs: for one take --profile smartglass."
    )
    slow = [record.device.runner for record in records if record.device.simulated]
    if slow:
        out.print(f"{', '.join(slow)}: a simulation; its times are SIMULATED too, and say nothing of a chip.")


def _report(record_path: Path, page: Path) -> None:
    from edgesnn.api.reporting import report_run

    report_run(record_path, page)


def _number(record: RunRecord, name: str) -> str:
    value = record.quantities[name].value
    return "-" if value is None else f"{value:,.3g}"


def _generate(bundle_path: Path) -> str:
    from edgesnn.api.generation import generate_text
    from edgesnn.text.sampling import SamplingOptions

    options = SamplingOptions(temperature=0.7, top_k=40, top_p=0.9, seed=7)
    return "".join(piece.text for piece in generate_text(bundle_path, _PROMPT, options, max_tokens=48))


def _summary(out: CommandOutput, record: RunRecord, steps: dict[str, float]) -> None:
    from edgesnn.cli.tables import Sheet, names, words

    columns = (words(""), names("value"), names("kind", 1), words("how", 2))
    table = Sheet("what this computer measured", *columns)
    rows = (
        ("one token, full context, p95", "latency.p95"),
        ("prompt to first token, p95", "first_token.p95"),
        ("model files", "size.model"),
        ("peak memory", "memory.peak"),
        ("mismatching logits", "parity.mismatches"),
        ("bits per byte, held-out text", "accuracy.bits_per_byte"),
        ("top-1, held-out text", "accuracy.top1"),
        ("spike rate", "activity.spike_rate"),
        ("power", "power.mean"),
    )
    for label, name in rows:
        quantity = record.quantities[name]
        value = "absent" if quantity.value is None else f"{quantity.value:,.4g} {quantity.unit}"
        table.add_row(
            label,
            value,
            quantity.kind,
            (quantity.how if quantity.value is not None else quantity.reason) or "",
        )
    out.print("")
    out.print(table)
    for row in record.comparisons:
        out.print(row.statement)
    spent = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in steps.items())
    out.print(f"verdict: {record.verdict.verdict}    took: {spent}")
