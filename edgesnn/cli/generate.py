"""``edgesnn generate``: text out of a bundle or an artifact, streamed."""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from edgesnn.cli.output import JsonFlag, session
from edgesnn.errors import TextError


def generate(
    model: Annotated[Path, typer.Argument(help="Bundle or student artifact.")],
    prompt: Annotated[str, typer.Argument(help="The prompt; - reads standard input.")],
    *,
    target: Annotated[str, typer.Option(help="Where to run.")] = "cpu",
    max_tokens: Annotated[int, typer.Option(min=1, help="At most so many tokens.")] = 64,
    temperature: Annotated[float, typer.Option(help="Divides the logits; 0 is greedy.")] = 0.0,
    top_k: Annotated[int, typer.Option(help="Draw from the best k tokens only; 0 for all.")] = 0,
    top_p: Annotated[float, typer.Option(help="Draw from the fewest tokens of this probability.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    raw: Annotated[
        bool, typer.Option("--raw", help="Take the prompt as it is, without the template.")
    ] = False,
    json_mode: JsonFlag = False,
) -> None:
    """Write text after a prompt, token by token as it is made.

    The same bundle, prompt, options and seed give the same text on every target that runs the integer
    program.

    Examples:
        edgesnn generate bundle "Remind me to call"
        edgesnn generate bundle - --temperature 0.7 --top-k 40 --seed 7 < prompt.txt
    """
    with session("generate", json_mode) as out:
        from edgesnn.api.generation import generate_text
        from edgesnn.api.runners import engine_notes
        from edgesnn.cli.console import visible
        from edgesnn.text.sampling import SamplingOptions

        text = _text(prompt)
        options = SamplingOptions(temperature, top_k, top_p, seed)
        started = time.perf_counter()
        first_ms = None
        prompt_tokens: list[int] = []
        tokens: list[int] = []
        written: list[str] = []
        out.tell_engine(target, model)
        pieces = generate_text(
            model,
            text,
            options,
            target=target,
            max_tokens=max_tokens,
            raw=raw,
            on_progress=lambda stage, done, total: out.note(stage) if done == 0 else None,
            on_prompt=prompt_tokens.extend,
        )
        for piece in pieces:
            if first_ms is None:
                first_ms = 1e3 * (time.perf_counter() - started)
            if piece.token is not None:
                tokens.append(piece.token)
            written.append(piece.text)
            if not json_mode:
                sys.stdout.write(visible(piece.text) if sys.stdout.isatty() else piece.text)
                sys.stdout.flush()
        if not json_mode:
            sys.stdout.write("\n")
        out.document(
            "edgesnn.generate/1",
            {
                "prompt": text,
                "prompt_tokens": prompt_tokens,
                "text": "".join(written),
                "tokens": tokens,
                "target": target,
                "notes": engine_notes(target, model),
                "start_to_first_token_ms": first_ms,
            },
        )


def _text(prompt: str) -> str:
    """The prompt, in UTF-8 whatever the locale says.

    Raises:
        TextError: It is none.
    """
    try:
        if prompt == "-":
            if isinstance(sys.stdin, io.TextIOWrapper):
                sys.stdin.reconfigure(encoding="utf-8-sig", errors="strict")
            return sys.stdin.read()
        return prompt.encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeDecodeError as error:
        raise TextError(
            "the prompt is no text in UTF-8", actual=str(error), remedy="convert it: iconv -t UTF-8"
        ) from None
