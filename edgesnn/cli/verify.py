"""``edgesnn verify``: every runnable target against golden, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgesnn.cli.output import CommandOutput, HttpsFlag, JsonFlag, session
from edgesnn.errors import ParityError, UsageError

if TYPE_CHECKING:
    from edgesnn.bundle.bundle import Bundle
    from edgesnn.record.model import Parity


def verify(
    bundle: Annotated[Path, typer.Argument(help="Bundle: the folder that edgesnn export made.")],
    *,
    target: Annotated[
        list[str] | None, typer.Option("--target", help="Target to compare; repeatable. All by default.")
    ] = None,
    tokens: Annotated[int, typer.Option(min=1, help="Tokens to compare at least, per form.")] = 2000,
    form: Annotated[
        str | None, typer.Option(help="Form of the targets: --form graph is the target NAME:graph.")
    ] = None,
    https: HttpsFlag = False,
    json_mode: JsonFlag = False,
) -> None:
    """Compare targets with the golden interpreter: sequence, step and prefill, alone and in batches.

    Exit code 3 when a single logit differs; the first layer that differs is named. The files of a
    SpikingStudentLM v1.0 are compared with torch, by tolerances that are shown.

    Examples:
        edgesnn verify bundle
        edgesnn verify bundle --target native --target onnxruntime --tokens 500
    """
    with session("verify", json_mode) as out:
        from edgesnn.api.bundles import open_bundle
        from edgesnn.api.verification import parity_targets, verify_bundle
        from edgesnn.targets import with_form

        if form is not None and not target:
            raise UsageError("--form belongs to a target", remedy="name one with --target")
        chosen = [with_form(name, form) for name in target or []]
        if https:
            from edgesnn.runners.browser.address import with_https

            chosen = [with_https(one) for one in chosen or ["browser"]]
        opened = open_bundle(bundle)
        if opened.without_program is not None:
            _verify_v1(out, opened, chosen, tokens)
            return
        skipped = {} if chosen else {n: r for n, r in parity_targets(opened).items() if r is not None}
        with out.progress() as progress:
            task = progress.add_task("verify", total=None, detail="")

            def tell(stage: str, done: int, total: int) -> None:
                progress.update(task, description=stage, completed=done, total=total)

            results = verify_bundle(opened, chosen or None, tokens=tokens, on_progress=tell)
        out.document(
            "edgesnn.verify/1",
            {
                "bundle": opened.path.name,
                "program_hash": opened.manifest.program_hash,
                "targets": [result.model_dump(mode="json") for result in results],
                "skipped": skipped,
                "passed": all(result.mismatches == 0 for result in results),
            },
        )
        render(out, results, skipped)
        raise_on_mismatch(results)


def _verify_v1(out: CommandOutput, bundle: Bundle, targets: list[str], tokens: int) -> None:
    """Compare the files of a student of version 1.0 with torch.

    Raises:
        ParityError: One of them is beyond its tolerance.
    """
    from edgesnn.api.v1.agreement import verify_v1_bundle
    from edgesnn.cli.tables import Sheet, names, numbers

    with out.progress() as progress:
        task = progress.add_task("verify", total=None, detail="")

        def tell(stage: str, done: int, total: int) -> None:
            progress.update(task, description=stage, completed=done, total=total)

        results = verify_v1_bundle(bundle, targets or None, tokens=tokens, on_progress=tell)
    out.document(
        "edgesnn.verify-v1/1",
        {
            "bundle": bundle.path.name,
            "program_hash": bundle.manifest.program_hash,
            "targets": [result.as_dict() for result in results],
            "passed": not any(result.failures() for result in results),
        },
    )
    table = Sheet(
        f"agreement with torch on {results[0].text}",
        names("target"),
        names("arithmetic"),
        numbers("places", 2),
        numbers("same best token"),
        numbers("cross-entropy, nat"),
        numbers("largest difference", 1),
        numbers("undecided runs", 2),
        names("verdict"),
    )
    for result in results:
        table.add_row(
            result.target,
            result.arithmetic,
            f"{result.positions:,}",
            f"{result.top1:.4f}",
            f"{result.rise:+.5f}",
            f"{result.largest_difference:.2g}",
            f"{result.undecided:,}",
            "BEYOND" if result.failures() else "within",
        )
    out.print(table)
    for result in results:
        if result.failures():
            raise ParityError(
                f"target '{result.target}' does not agree with the float student in torch",
                actual="; ".join(result.failures()),
                remedy="of the forms of int8, weights is the nearest: export with --int8 weights"
                if result.arithmetic in ("small", "dynamic", "static")
                else "take the target onnxruntime-v1-fp32"
                if result.arithmetic == "weights"
                else "the file is wrong: export the student again",
            )


def render(out: CommandOutput, results: list[Parity], skipped: Mapping[str, str]) -> None:
    """Show one row per target."""
    from rich.text import Text

    from edgesnn.cli.tables import Sheet, names, numbers, words

    table = Sheet(
        "parity with golden",
        names("target"),
        words("forms", 3),
        numbers("tokens", 2),
        numbers("logits compared", 1),
        numbers("mismatches"),
        names("verdict"),
    )
    for result in results:
        verdict = Text("exact", "green") if result.mismatches == 0 else Text("DIFFERS", "red")
        table.add_row(
            result.target,
            ", ".join(result.forms),
            f"{result.tokens:,}",
            f"{result.logits_compared:,}",
            f"{result.mismatches:,}",
            verdict,
        )
    out.print(table)
    for name, reason in skipped.items():
        out.print(f"skipped {name}: {reason}")


def raise_on_mismatch(results: list[Parity]) -> None:
    """Fail when a target differs.

    Raises:
        ParityError: Names the target, the form and the first layer that differs.
    """
    for result in results:
        if result.mismatches:
            forms = ", ".join(f"{form} {count:,}" for form, count in result.forms.items() if count)
            layer = result.worst_layer or "not known (this form shows no values inside)"
            raise ParityError(
                f"target '{result.target}' differs from golden; first layer that differs: {layer}",
                actual=f"{result.mismatches:,} of {result.logits_compared:,} logits ({forms})",
                limit="0",
                remedy="the engine or the file is wrong: do not ship this build on that target",
            )
