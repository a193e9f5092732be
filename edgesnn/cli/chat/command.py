"""``edgesnn chat``: a conversation in the terminal."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from edgesnn.cli.console import visible
from edgesnn.cli.output import JsonFlag, session

_SAMPLING = "Sampling"


def chat(
    model: Annotated[str, typer.Argument(help="A bundle, a student artifact, or 'reference'.")] = "reference",
    *,
    target: Annotated[str, typer.Option(help="Where the student runs.")] = "cpu",
    system: Annotated[str | None, typer.Option(help="Text before the first prompt.")] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens of an answer at most.")] = 128,
    temperature: Annotated[
        float, typer.Option(min=0, help="0 takes the best token.", rich_help_panel=_SAMPLING)
    ] = 0.0,
    top_k: Annotated[int, typer.Option(min=0, help="0 for all.", rich_help_panel=_SAMPLING)] = 0,
    top_p: Annotated[float, typer.Option(min=0, max=1, help="1 for all.", rich_help_panel=_SAMPLING)] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draws.", rich_help_panel=_SAMPLING)] = 0,
    json: JsonFlag = False,
) -> None:
    """Talk with a student. It remembers what was said; nothing is read twice.

    An empty line or the end of the input ends it. Ctrl-C ends an answer. With --json all of it comes at the
    end.

    Examples:
        edgesnn chat
        edgesnn chat bundle --temperature 0.7 --top-k 40
    """
    with session("chat", json) as out:
        from edgesnn.api.runtime.backend import SNNLLMBackend

        options = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed}
        with SNNLLMBackend(model_path=model, target=target, runners=1) as backend:
            talk, turns = backend.conversation(system), []
            while prompt := _asked():
                pieces, said = talk.stream(prompt, max_tokens, **options), []
                try:
                    for piece in pieces:
                        said.append(piece.text)
                        if not json:
                            _write(piece.text)
                except KeyboardInterrupt:
                    pieces.close()  # type: ignore[attr-defined]  # a generator
                if not json:
                    _write("\n")
                turns.append({"prompt": prompt, "text": "".join(said)})
            out.document("edgesnn.chat/1", {"turns": turns, "tokens": talk.tokens})


def _write(text: str) -> None:
    sys.stdout.write(visible(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def _asked() -> str:
    """The next prompt, or nothing at the end."""
    if sys.stdin.isatty():
        try:
            return input("> ").strip()
        except EOFError:
            return ""
    return sys.stdin.readline().strip()
