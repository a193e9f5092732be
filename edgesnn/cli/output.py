"""What every command shares: where results, progress and errors go, and the exit code.

Results go to stdout, everything else to stderr. With ``--json`` stdout holds exactly one document, also
when the command fails. Rich is imported only when something is rendered.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
        from rich.console import Console

        return Console(file=sys.stdout, soft_wrap=not sys.stdout.isatty())

    @property
    def stderr(self) -> Console:
        """Rich console for progress, notes and errors."""
        from rich.console import Console

        return Console(file=sys.stderr, stderr=True, soft_wrap=not sys.stderr.isatty())

    def print(self, renderable: RenderableType) -> None:
        """Show a result; silent in JSON mode."""
        if not self.json_mode:
            self.stdout.print(renderable, highlight=False)

    def note(self, text: str) -> None:
        """Say something beside the result, on stderr; silent in JSON mode and when not a terminal."""
        if not self.json_mode and sys.stderr.isatty():
            self.stderr.print(text, style="dim", highlight=False)

    def warn(self, text: str) -> None:
        """Say on stderr what the user should know even when nobody watches."""
        self.stderr.print(f"[yellow]warning:[/] {text}", highlight=False)

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
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[detail]}"),
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
        from rich.markup import escape
        from rich.text import Text

        console = self.stderr
        console.print(Text.assemble(("error: ", "bold red"), error.what), highlight=False)
        for label, value in (("actual", error.actual), ("limit", error.limit), ("remedy", error.remedy)):
            if value is not None:
                console.print(f"  [dim]{label}:[/] {escape(value)}", highlight=False)

    def finish(self) -> int:
        """Print the JSON document, if any, and give the exit code."""
        if self.json_mode:
            json.dump(self._document or {}, sys.stdout, indent=2, allow_nan=False)
            sys.stdout.write("\n")
            sys.stdout.flush()
        return self._exit_code


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
