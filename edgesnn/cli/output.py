"""What every command shares: where results, progress and errors go, and the exit code.

Results go to stdout, everything else to stderr. With ``--json`` stdout holds exactly one document, also
when the command fails. Rich is imported only when something is rendered. Text is shown as it is
(`edgesnn.cli.console`); what has a style is a pair of text and style.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgesnn import __version__
from edgesnn.errors import EXIT_INTERRUPTED, EdgesnnError, InternalError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import Progress

JsonFlag = Annotated[
    bool, typer.Option("--json", help="Print one JSON document to stdout and nothing else there.")
]

HttpsFlag = Annotated[
    bool,
    typer.Option("--https", help="With target browser: serve the page over https, certificate made now."),
]


class CommandOutput:
    """The two streams of one command.

    Args:
        command: Name of the command, for error documents.
        json_mode: Whether stdout holds one JSON document.
    """

    def __init__(self, command: str, json_mode: bool) -> None:
        self.command = command
        self.json_mode = json_mode
        self._document: dict[str, Any] | None = None
        self._exit_code = 0

    @property
    def stdout(self) -> Console:
        """Rich console for results."""
        from edgesnn.cli.console import PlainConsole

        return PlainConsole(sys.stdout)

    @property
    def stderr(self) -> Console:
        """Rich console for progress, notes and errors."""
        from edgesnn.cli.console import PlainConsole

        return PlainConsole(sys.stderr, stderr=True)

    def print(self, *parts: RenderableType | tuple[str, str]) -> None:
        """Show a result; silent in JSON mode.

        Args:
            parts: A table, or parts of a line: text, and pairs of text and style.
        """
        if not self.json_mode:
            self.stdout.print(_line(*parts), highlight=False, crop=False)

    def note(self, text: str) -> None:
        """Say something beside the result, on stderr; silent in JSON mode and when not a terminal."""
        if not self.json_mode and sys.stderr.isatty():
            self.stderr.print(text, style="dim", highlight=False)

    def warn(self, text: str) -> None:
        """Say on stderr what the user should know even when nobody watches."""
        self.stderr.print(_line(("warning:", "yellow"), f" {text}"), highlight=False)

    def tell_engine(self, target: str, model: Path) -> None:
        """Say on stderr where a target runs on a slower engine than it would rather take, and why."""
        from edgesnn.api.runners import engine_notes

        for sentence in engine_notes(target, model):
            self.warn(sentence)

    def progress(self) -> Progress:
        """A progress display on stderr that shows nothing when stderr is no terminal."""
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        return Progress(
            TextColumn("{task.description}", style="bold", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[detail]}", markup=False),
            console=self.stderr,
            disable=self.json_mode or not sys.stderr.isatty(),
            transient=True,
        )

    def document(self, schema: str, payload: dict[str, Any]) -> None:
        """Set the one document of JSON mode.

        Args:
            schema: Schema name and version, for example ``edgesnn.verify/1``.
            payload: JSON-serialisable content.
        """
        self._document = {"schema": schema, "edgesnn_version": __version__, **payload}

    def exit_with(self, code: int) -> None:
        """Set the exit code for a command that rendered its own verdict."""
        self._exit_code = code

    def fail(self, error: EdgesnnError) -> None:
        """Render an error; in JSON mode it joins the document."""
        self._exit_code = error.exit_code
        if self.json_mode:
            document = self._document or {
                "schema": "edgesnn.error/1",
                "edgesnn_version": __version__,
                "command": self.command,
            }
            self._document = {**document, "error": error.as_dict()}
            return
        console = self.stderr
        console.print(_line(("error: ", "bold red"), error.what), highlight=False)
        for label, value in (("actual", error.actual), ("limit", error.limit), ("remedy", error.remedy)):
            if value is not None:
                console.print(_line("  ", (f"{label}:", "dim"), f" {value}"), highlight=False)

    def finish(self) -> int:
        """Print the JSON document, if any, and give the exit code."""
        if self.json_mode:
            # whole before any of it is written: one document, or an error
            sys.stdout.write(json.dumps(_numbers(self._document or {}), indent=2, allow_nan=False) + "\n")
            sys.stdout.flush()
        return self._exit_code


def _line(*parts: RenderableType | tuple[str, str]) -> RenderableType:
    """Parts of a line as one text; anything else is itself."""
    from rich.text import Text

    if len(parts) == 1 and not isinstance(parts[0], (str, tuple)):
        return parts[0]
    return Text.assemble(*(part for part in parts if isinstance(part, (str, tuple, Text))))


def _numbers(value: Any) -> Any:
    """Plain data that JSON can carry: what is no finite number is null."""
    if isinstance(value, dict):
        return {key: _numbers(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_numbers(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def session(command: str, json_mode: bool) -> Iterator[CommandOutput]:
    """Run a command's body and turn every outcome into output and exit code.

    Args:
        command: Name of the command.
        json_mode: Whether ``--json`` was given.

    Yields:
        The output of the command.

    Raises:
        typer.Exit: Always at the end, with the exit code, unless it is 0.
    """
    output = CommandOutput(command, json_mode)
    try:
        yield output
    except EdgesnnError as error:
        output.fail(error)
    except KeyboardInterrupt:
        output.stderr.print("interrupted", style="yellow")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - lives until exit
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:
        if os.environ.get("EDGESNN_DEBUG"):
            raise
        output.fail(
            InternalError(
                f"internal error in '{command}': {type(error).__name__}: {error}",
                remedy="this is a bug; set EDGESNN_DEBUG=1 for the traceback",
            )
        )
    code = output.finish()
    if code:
        raise typer.Exit(code)
