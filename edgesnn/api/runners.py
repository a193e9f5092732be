"""Which runner a target means for a bundle."""

from __future__ import annotations

import os
from contextlib import suppress

from edgesnn import plugins
from edgesnn.api.bundles import open_bundle
from edgesnn.api.options import Progress
from edgesnn.bundle.bundle import Bundle
from edgesnn.errors import EdgesnnError
from edgesnn.runners.base import Capability, Runner, Screen
from edgesnn.targets import passed_over, resolve_target
from edgesnn.v1_rule import refuse_v1


def export_of(runner: type[Runner]) -> str | None:
    """The format whose files a runner reads; None where ``program.snn`` is enough."""
    export = getattr(runner, "export", None)
    return export if isinstance(export, str) else None


def is_remote(runner: type[Runner] | Runner) -> bool:
    """Whether a runner drives a device beside this computer, which must be named and is opened once."""
    return Capability.REMOTE in runner.capabilities


def shown_by(runner: Runner, on_progress: Progress) -> Progress:
    """Progress that the device shows too, where it has a screen."""
    if not isinstance(runner, Screen):
        return on_progress
    screen = runner

    def tell(stage: str, done: int, total: int) -> None:
        on_progress(stage, done, total)
        screen.show_progress(stage, done, total)

    return tell


def runner_misses(runner: type[Runner], bundle: Bundle) -> str | None:
    """Why a runner cannot run a bundle here, or None when it can."""
    export = export_of(runner)
    if bundle.reads_frames and Capability.FRAMES not in runner.capabilities:
        return "it runs networks that read text, and this one reads frames"
    if bundle.without_program is not None and (export is None or not bundle.has_export(export)):
        return bundle.without_program
    if export is not None and not bundle.has_export(export):
        return f"the bundle holds no format '{export}': export it again with --format {export}"
    return runner.missing()


def engine_notes(target: str, model: str | os.PathLike[str]) -> list[str]:
    """Where a target runs a bundle or an artifact on a slower engine than it would rather take, and why.

    Raises:
        UsageError: There is no such target.
    """
    found = passed_over(target)
    if found:
        with suppress(EdgesnnError):  # an artifact, which is exported for the fastest runner that can run
            found = passed_over(target, runner_of(target, open_bundle(model)).name)
    return found


def runner_of(target: str, bundle: Bundle) -> type[Runner]:
    """The fastest runner of a target that can run here and finds its files in the bundle.

    Args:
        target: Device or runner.
        bundle: The bundle.

    Returns:
        Its class; where the bundle has the files of none, the first one, which says so when it opens.

    Raises:
        UsageError: There is no such target.
        DeviceError: None of its runners can run here.
        CompileError: All of them need an integer program, which the student does not have.
    """
    classes = [plugins.load_runner(name) for name in resolve_target(target)]
    programless = bundle.without_program is not None
    for runner in classes:
        export = export_of(runner)
        if (export is None and not programless) or (export is not None and bundle.has_export(export)):
            return runner
    refuse_v1(bundle.manifest.student, bundle.name)
    return classes[0]
