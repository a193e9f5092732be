"""``edgesnn upgrade``: distil a student of version 1.0 into one that has an integer program."""

from __future__ import annotations

import inspect
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from edgesnn.cli.output import JsonFlag, session

_TEXT, _SIZE, _RUN = "Text", "Size", "Training"
#: Attention windows of the recipe; none is longer than the sequences it is trained on.
_WINDOWS = (8, 16, 64, 128)


def upgrade(
    context: typer.Context,
    old: Annotated[Path, typer.Argument(help="Student of version 1.0: its folder, or its student.pt.")],
    *,
    dataset_path: Annotated[
        str, typer.Option(help="Text that the old student is asked about.", rich_help_panel=_TEXT)
    ],
    output_dir: Annotated[str, typer.Option(help="Where the new artifact goes.", rich_help_panel=_RUN)],
    tokenizer: Annotated[
        Path | None,
        typer.Option(
            help="tokenizer.json of the old student's teacher.",
            show_default="the one beside its weights",
            rich_help_panel=_TEXT,
        ),
    ] = None,
    eval_path: Annotated[
        str | None,
        typer.Option(help="Held-out file; else 5 % of the documents are held out.", rich_help_panel=_TEXT),
    ] = None,
    teacher_tokens: Annotated[
        int | None,
        typer.Option(
            help="Ask the old student about so many tokens.", show_default="300,000", rich_help_panel=_TEXT
        ),
    ] = None,
    vocab_size: Annotated[
        int, typer.Option(help="Ids of the new student, the old one's first.", rich_help_panel=_SIZE)
    ] = 4096,
    max_length: Annotated[
        int | None,
        typer.Option(
            help="Tokens per sequence.", show_default="as the old one was trained", rich_help_panel=_SIZE
        ),
    ] = None,
    dim: Annotated[int, typer.Option(help="Width of the residual stream.", rich_help_panel=_SIZE)] = 256,
    depth: Annotated[int, typer.Option(help="Number of blocks.", rich_help_panel=_SIZE)] = 2,
    rank: Annotated[int, typer.Option(help="Rank of the embedding.", rich_help_panel=_SIZE)] = 64,
    num_steps: Annotated[int, typer.Option(help="Optimizer steps.", rich_help_panel=_RUN)] = 14_000,
    batch_size: Annotated[int, typer.Option(help="Sequences per batch.", rich_help_panel=_RUN)] = 8,
    lr: Annotated[float, typer.Option(help="Peak learning rate.", rich_help_panel=_RUN)] = 1.2e-2,
    warmup_steps: Annotated[
        int | None,
        typer.Option(
            help="Steps of linear warm-up.", show_default="200, a tenth at most", rich_help_panel=_RUN
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights and data order.", rich_help_panel=_RUN)] = 0,
    threads: Annotated[
        int | None, typer.Option(help="CPU threads.", show_default="torch's", rich_help_panel=_RUN)
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Distil a student of version 1.0 into a spiking transformer that every target runs.

    The old student teaches. Its attention sees the future, so it is asked prefix by prefix, as it generates.
    The recipe is the preset 'reference' of edgesnn train. Run the same command after an interruption: both
    the teacher and the training go on where they stopped.

    Examples:
        edgesnn upgrade old --dataset-path text.txt --tokenizer gpt2/tokenizer.json --output-dir new
        edgesnn upgrade old/student.pt --dataset-path text.txt --output-dir new --num-steps 2000
    """
    given = {
        key: value for key, value in locals().items() if key not in ("context", "json", "old", "tokenizer")
    }
    del context
    with session("upgrade", json) as output:
        from edgesnn.api.v1.upgrading import read_v1_student, upgrade_student
        from edgesnn.cli.train.command import make_config, train
        from edgesnn.cli.train.view import render, run

        length = max_length or read_v1_student(old).max_length
        parameters = inspect.signature(train).parameters
        values = {name: one.default for name, one in parameters.items() if name not in ("context", "json")}
        chosen = {
            **{key: value for key, value in given.items() if value is not None},
            "max_length": length,
            "windows": ",".join(str(min(window, length)) for window in _WINDOWS),
            "warmup_steps": min(200, num_steps // 10) if warmup_steps is None else warmup_steps,
            "teacher_model": str(old),
            "system_prompt": None,
            "log_interval": min(50, max(1, num_steps // 10)),
            "preset": "reference",
        }
        config = make_config({**values, **chosen}, set(chosen))
        trained = run(config, output, partial(upgrade_student, old, tokenizer=tokenizer))
        output.document(
            "edgesnn.upgrade/1", {"directory": config.portable()["output_dir"], **trained.metadata}
        )
        render(trained, output)
