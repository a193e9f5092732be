"""Comparing targets with golden."""

from __future__ import annotations

from collections.abc import Sequence

from edgesnn import plugins
from edgesnn.api.progress import Progress, silent
from edgesnn.api.runners import runner_misses, runner_of
from edgesnn.bundle.bundle import Bundle
from edgesnn.errors import UsageError
from edgesnn.profiler.results import ParityResult
from edgesnn.profiler.verify import golden_cases, parity_ids, verify_runner
from edgesnn.runners.base import Capability, RunnerOptions
from edgesnn.targets import parse_target

#: Tokens that `verify_bundle` compares at least, per target and form.
PARITY_TOKENS = 2000


def parity_targets(bundle: Bundle) -> dict[str, str | None]:
    """Every exact runner, with the reason why it cannot run this bundle here, or None.

    Args:
        bundle: The bundle.

    Returns:
        Reasons by runner name; golden first.
    """
    reasons: dict[str, str | None] = {}
    for plugin in plugins.available(plugins.RUNNERS):
        if plugin.error is not None:
            reasons[plugin.name] = plugin.error
            continue
        runner = plugins.load_runner(plugin.name)
        if Capability.EXACT in runner.capabilities:
            reasons[plugin.name] = runner_misses(runner, bundle)
    return dict(sorted(reasons.items(), key=lambda item: (item[0] != "golden", item[0])))


def verify_bundle(
    bundle: Bundle,
    targets: Sequence[str] | None = None,
    *,
    tokens: int = PARITY_TOKENS,
    on_progress: Progress = silent,
) -> list[ParityResult]:
    """Compare targets with golden, bit for bit.

    Args:
        bundle: The bundle.
        targets: Names of targets; None for every exact runner that can run here.
        tokens: Tokens to compare at least, per form.
        on_progress: Told what happens.

    Returns:
        One result per target.

    Raises:
        UsageError: A target does not exist or does not run the integer program.
        DeviceError: A target cannot run here, or its engine fails.
    """
    chosen: list[tuple[str, str | None]]
    if targets is None:
        chosen = [(name, None) for name, reason in parity_targets(bundle).items() if reason is None]
    else:
        chosen = [(runner_of(target, bundle).name, parse_target(target).address) for target in targets]
    for name, _ in chosen:
        if Capability.EXACT not in plugins.load_runner(name).capabilities:
            raise UsageError(
                f"target '{name}' does not run the integer program", remedy="see edgesnn list runners"
            )
    program = bundle.program()
    held_out = bundle.eval_slice()
    text = None if held_out is None else held_out.ids
    batches = parity_ids(program, text, tokens)
    on_progress("golden", 0, 1)
    cases = golden_cases(program, batches)
    too_short = text is None or len(text) < batches[0].shape[1]
    source = "random token ids" if too_short else "held-out text and random token ids"
    results = []
    for name, address in chosen:
        target = name if address is None else f"{name}:{address}"
        with plugins.load_runner(name)() as runner:
            runner.open(bundle, RunnerOptions(address=address))
            results.append(
                verify_runner(
                    runner,
                    target,
                    program,
                    cases,
                    text=source,
                    on_progress=lambda form, done, total, target=target: on_progress(  # type: ignore[misc]
                        f"{target} {form}", done, total
                    ),
                )
            )
    return results
