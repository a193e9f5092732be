"""What `edgesnn train` shows: a live display on a terminal, plain lines elsewhere, the table at the end."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgesnn.cli.output import CommandOutput
    from edgesnn.student.config import TrainConfig
    from edgesnn.student.teacher import PassProgress
    from edgesnn.student.training.progress import Progress, Trained


def run(config: TrainConfig, output: CommandOutput, train: Callable[..., Trained] | None = None) -> Trained:
    """Train with a live display on a terminal and plain lines elsewhere.

    Args:
        config: The run.
        output: Where it is shown.
        train: What trains, with the arguments of `train_student`, which it is by default.
    """
    from edgesnn.api.students import train_student

    train = train or train_student
    if output.json_mode or not sys.stderr.isatty():
        return train(
            config,
            _print_line,
            on_teacher=_print_teacher,
            on_read=lambda text: print(text.sentence(), file=sys.stderr, flush=True),
            on_doubt=output.warn,
        )
    with output.progress() as display:
        tasks: dict[str, Any] = {}
        rate = ""

        def ask(name: str, progress: PassProgress) -> None:
            task = tasks.setdefault(name, display.add_task(f"teacher, {name}", total=None, detail=""))
            detail = f"{progress.positions_per_s:,.0f} positions/s"
            display.update(task, completed=progress.done, total=progress.total, detail=detail)

        def show(progress: Progress) -> None:
            nonlocal rate
            if "training" not in tasks:
                tasks["training"] = display.add_task("training", total=config.num_steps, detail="")
            if progress.spike_rate is not None:
                rate = f"  spikes {100 * progress.spike_rate:.1f} %"
            detail = (
                f"loss {progress.loss:.4f}  lr {progress.lr:.2e}{rate}  {progress.tokens_per_s:,.0f} tokens/s"
            )
            display.update(tasks["training"], completed=progress.step, detail=detail)

        return train(
            config,
            show,
            on_teacher=ask,
            on_read=lambda text: display.console.print(text.sentence(), markup=False, highlight=False),
            on_doubt=output.warn,
        )


def _print_teacher(name: str, progress: PassProgress) -> None:
    print(
        f"teacher, {name}: {progress.done:,}/{progress.total:,} positions  "
        f"{progress.positions_per_s:,.0f} positions/s  {progress.seconds_left:.0f} s left",
        file=sys.stderr,
        flush=True,
    )


def _print_line(progress: Progress) -> None:
    if not progress.logged:
        return
    rate = "" if progress.spike_rate is None else f"  spikes {100 * progress.spike_rate:.1f} %"
    print(
        f"step {progress.step}/{progress.num_steps}  loss {progress.loss:.4f}  lr {progress.lr:.2e}{rate}  "
        f"{progress.tokens_per_s:,.0f} tokens/s  {progress.seconds_left:.0f} s left",
        file=sys.stderr,
        flush=True,
    )


def render(trained: Trained, output: CommandOutput) -> None:
    """Show what was trained, as a table."""
    from edgesnn.cli.tables import Sheet, words

    results = trained.metadata["training_results"]
    quality = results["eval"]
    table = Sheet(f"student in {trained.directory}", words(""), words(""), header=False)
    table.add_row("parameters", f"{trained.metadata['student_params']:,}")
    table.add_row("steps", f"{results['steps']:,}")
    table.add_row("final loss", f"{results['final_loss']:.4f} nats per token")
    if quality["bits_per_byte"] is not None:
        table.add_row("held-out text", f"{quality['bits_per_byte']:.4f} bits per byte")
    native, whose = quality["perplexity"], "native token of the teacher"
    found, whose = (quality["own_perplexity"], "own token") if native is None else (native, whose)
    table.add_row("perplexity", f"{found:.2f} per {whose}")
    table.add_row("held-out top-1", f"{100 * quality['top1']:.1f} % of {quality['tokens']:,} tokens")
    for label, scored in (("float", quality), ("integer", results["integer_eval"])):
        if scored is not None and scored.get("retention") is not None:
            table.add_row(f"retention, {label}", f"{100 * scored['retention']:.1f} % of the teacher's top-1")
    if results["integer_eval"] is not None and quality["bits_per_byte"]:
        cost = 100 * (results["integer_eval"]["bits_per_byte"] / quality["bits_per_byte"] - 1)
        table.add_row("cost of the integers", f"{cost:+.2f} % bits per byte")
    output.print(table)
