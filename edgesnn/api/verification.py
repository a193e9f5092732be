"""Comparing targets with golden."""

from __future__ import annotations

import os
from collections.abc import Sequence

from edgesnn import plugins
from edgesnn.api.bundles import open_bundle
from edgesnn.api.options import Progress, silent
from edgesnn.api.runners import is_remote, runner_misses, runner_of, shown_by
from edgesnn.bundle.bundle import Bundle
from edgesnn.errors import UsageError
from edgesnn.profiler.quality.verify import (
    ParityCase,
    golden_cases,
    parity_frames,
    parity_ids,
    verify_runner,
)
from edgesnn.record.model import Parity
from edgesnn.runners.base import Capability, Runner, RunnerOptions, Screen
from edgesnn.targets import parse_target

#: Tokens that `verify_bundle` compares at least, per target and form.
PARITY_TOKENS = 2000


def parity_targets(bundle: Bundle | str | os.PathLike[str]) -> dict[str, str | None]:
    """Every exact runner, with the reason why it cannot run this bundle here, or None.

    Args:
        bundle: A bundle or its folder.

    Returns:
        Reasons by runner name; golden first.

    Raises:
        UserError: The bundle is unusable.

    Examples:
        >>> reasons = edgesnn.parity_targets("bundle")
        >>> reasons["golden"] is None
        True
    """
    bundle = open_bundle(bundle)
    reasons: dict[str, str | None] = {}
    for plugin in plugins.available(plugins.RUNNERS):
        if plugin.error is not None:
            reasons[plugin.name] = plugin.error
            continue
        runner = plugins.load_runner(plugin.name)
        if Capability.EXACT in runner.capabilities:
            reasons[plugin.name] = runner_misses(runner, bundle)
            if reasons[plugin.name] is None and is_remote(runner):
                reasons[plugin.name] = f"a device of its own: compared when named, --target {plugin.name}"
    return dict(sorted(reasons.items(), key=lambda item: (item[0] != "golden", item[0])))


def verify_bundle(
    bundle: Bundle | str | os.PathLike[str],
    targets: str | Sequence[str] | None = None,
    *,
    tokens: int = PARITY_TOKENS,
    on_progress: Progress = silent,
) -> list[Parity]:
    """Compare targets with golden, bit for bit.

    Args:
        bundle: A bundle or its folder.
        targets: Names of targets, or one of them; None for every exact runner that can run here.
        tokens: Tokens to compare at least, per form.
        on_progress: Told what happens.

    Returns:
        One result per target.

    Raises:
        UserError: The bundle is unusable.
        UsageError: A target does not exist or does not run the integer program.
        DeviceError: A target cannot run here, or its engine fails.

    Examples:
        >>> results = edgesnn.verify_bundle("bundle", ["native"], tokens=50)
        >>> {result.target: result.mismatches for result in results}
        {'native': 0}
    """
    bundle = open_bundle(bundle)
    chosen: list[tuple[str, str | None]]
    if isinstance(targets, str):
        targets = [targets]
    if targets is None:
        chosen = [(name, None) for name, reason in parity_targets(bundle).items() if reason is None]
    else:
        chosen = [(runner_of(target, bundle).name, parse_target(target).address) for target in targets]
    for name, _ in chosen:
        if Capability.EXACT not in plugins.load_runner(name).capabilities:
            raise UsageError(
                f"target '{name}' does not run the integer program", remedy="see edgesnn list runners"
            )
    cases, source = _cases(bundle, tokens, on_progress)
    results = []
    for name, address in chosen:
        target = name if address is None else f"{name}:{address}"
        with plugins.load_runner(name)() as runner:
            runner.open(bundle, RunnerOptions(address=address))
            result = _compare(runner, target, bundle, cases, source=source, on_progress=on_progress)
            if isinstance(runner, Screen):
                verdict = "EXACT" if result.mismatches == 0 else "DIFFERS"
                rows = [
                    ("logits compared", f"{result.logits_compared:,}"),
                    ("mismatches", f"{result.mismatches:,}"),
                ]
                runner.show_result(verdict, rows)
            results.append(result)
    return results


def verify_open(
    runner: Runner, target: str, bundle: Bundle, *, tokens: int, on_progress: Progress = silent
) -> Parity:
    """Compare an open runner with golden, bit for bit.

    Args:
        runner: A runner with `Capability.EXACT` that holds the bundle.
        target: Name of the target, for the result.
        bundle: The bundle.
        tokens: Tokens to compare at least, per form.
        on_progress: Told what happens.

    Raises:
        RunnerError: The runner failed.
    """
    cases, source = _cases(bundle, tokens, on_progress)
    return _compare(runner, target, bundle, cases, source=source, on_progress=on_progress)


def _cases(bundle: Bundle, tokens: int, on_progress: Progress) -> tuple[list[ParityCase], str]:
    """What golden makes of some token ids or frames, and what they were taken from."""
    program = bundle.program()
    if program.frames is not None:
        on_progress("golden", 0, 1)
        return golden_cases(program, parity_frames(program.frames, tokens)), "random frames"
    held_out = bundle.eval_slice()
    text = None if held_out is None else held_out.ids
    batches = parity_ids(program, text, tokens)
    on_progress("golden", 0, 1)
    too_short = text is None or len(text) < batches[0].shape[1]
    source = "random token ids" if too_short else "held-out text and random token ids"
    return golden_cases(program, batches), source


def _compare(
    runner: Runner,
    target: str,
    bundle: Bundle,
    cases: list[ParityCase],
    *,
    source: str,
    on_progress: Progress,
) -> Parity:
    tell = shown_by(runner, on_progress)
    return verify_runner(
        runner,
        target,
        bundle.program(),
        cases,
        text=source,
        on_progress=lambda form, done, total: tell(f"{target} {form}", done, total),
    )
