"""The entry point ``edgesnn``: finds the command that was typed and imports that one only.

``edgesnn --help`` shows one line per command from the table below, so it imports none of them. Usage errors
take the form of every other error (exit code 2; with ``--json`` a document), not typer's.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from shutil import get_terminal_size
from typing import Annotated, Any

import typer

from edgesnn import __version__
from edgesnn.cli.output import CommandOutput
from edgesnn.errors import EXIT_INTERRUPTED, EXIT_OK, EdgesnnError, InternalError, UsageError
from edgesnn.names import suggestion, unknown

# numpy's matrix products are small here, and its threads wait for each other by spinning: beside other work
# an export of the reference student took 105 s instead of 18 (35 s of processor time instead of 5.5).
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

#: Every command with its line in the help, in the order of the way through the house.
#: Command NAME is the function NAME (``list_`` for ``list``) of the module ``edgesnn.cli.NAME``, or there an
#: application with commands of its own. Those of `FOLDERS` stand in ``edgesnn.cli.NAME.command``, ``import_``
#: for ``import``, which no module can be called.
COMMANDS: dict[str, str] = {
    "sample": "Let a teacher answer prompts: text to train on, with its rows.",
    "train": "Distil a teacher, or text alone, into a student artifact.",
    "upgrade": "Distil a student of version 1.0 into a deployable one.",
    "import": "Make a program of another library's network, from NIR.",
    "export": "Compile a student artifact into a bundle that devices run.",
    "sign": "Sign a bundle's manifest with an SSH key.",
    "flash": "Put a bundle onto a microcontroller, with the firmware.",
    "verify": "Compare every runnable target with golden, bit for bit.",
    "generate": "Write text with a bundle or an artifact, streamed.",
    "chat": "Talk with a student in the terminal.",
    "serve": "Answer HTTP requests as OpenAI's interface has them.",
    "profile": "Measure a bundle on a target and write a run record.",
    "map": "Set a student against a neuromorphic chip and its limits.",
    "compare": "Say what got worse against a base: the gate in CI.",
    "report": "Write a run as one offline page, or a site over many.",
    "baseline": "Keep what runs are compared with, and its history.",
    "init": "Write profile, baseline folder and CI file into a repository.",
    "demo": "Go the whole way on the reference student.",
    "meter": "Show, monitor, record, calibrate and simulate power meters.",
    "list": "List targets, devices, runners, meters, chips and more.",
    "doctor": "Say what is missing: packages, runners, exporters, meters.",
    "help": "Show the help of a command.",
}

FOLDERS = frozenset({"chat", "flash", "import", "meter", "profile", "serve", "sign", "train", "upgrade"})

PROGRAM = "edgesnn"
#: So wide a terminal gets rich's help, which cuts words where it has less room.
RICH_COLUMNS = 100
#: The variable by which a shell asks for completions.
COMPLETE = "_EDGESNN_COMPLETE"
DESCRIPTION = (
    "Compile spiking language models to one integer program, run it with the same bits everywhere, "
    "and gate CI on what was measured."
)
EPILOG = (
    "Exit codes: 0 ok, 1 user or model error, 2 usage, 3 a gate failed, 4 device fault, 5 internal error, "
    "6 a required budget could not be decided, 130 interrupted."
)


def command_function(name: str) -> Callable[..., Any]:
    """Import the function behind a command.

    Args:
        name: A key of `COMMANDS`.

    Returns:
        The function, its parameters annotated for typer, or an application of typer.

    Raises:
        InternalError: The module or the function does not exist.
    """
    attribute = f"{name}_" if name in ("import", "list") else name
    module = f"{'import_' if name == 'import' else name}.command" if name in FOLDERS else name
    try:
        function: Callable[..., Any] = getattr(import_module(f"edgesnn.cli.{module}"), attribute)
    except (ImportError, AttributeError) as error:
        raise InternalError(
            f"command '{name}' does not load: {error}",
            remedy="see 'edgesnn doctor' for packages that are missing; if none is, this is a bug",
        ) from error
    return function


def build_app(selected: str | None) -> typer.Typer:
    """The application, in which only one command is real.

    Args:
        selected: The command to import; the others are there by name and line of help.
    """
    wide = sys.stdout is not None and sys.stdout.isatty() and get_terminal_size().columns >= RICH_COLUMNS
    styled = selected is not None and wide
    app = typer.Typer(
        help=DESCRIPTION,
        epilog=EPILOG,
        pretty_exceptions_enable=False,
        # Rich's help cuts words to its columns and imports a Markdown parser: a pipe, a narrow terminal and
        # the overview, asked for most, do without.
        rich_markup_mode="rich" if styled else None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    for name, line in COMMANDS.items():
        if name == selected:
            function = command_function(name)
            if isinstance(function, typer.Typer):
                app.add_typer(function, name=name, short_help=line)
            else:
                app.command(name, short_help=line)(function)
        else:
            app.command(name, help=line)(_not_imported)
    return app


def build_command(selected: str | None) -> Any:
    """The application as typer runs it, its help in the house's form."""
    from edgesnn.cli.help import dress

    app = build_app(selected)
    # Any: the command's class is typer's own or click's, by the version of typer.
    group: Any = typer.main.get_command(app)
    if selected is not None:
        dress(group.commands[selected], plain=app.rich_markup_mode is None)
    return group


def run(arguments: Sequence[str]) -> int:
    """Run one command line.

    Args:
        arguments: What follows ``edgesnn``; nothing at all asks for the help.

    Returns:
        The exit code.
    """
    arguments = list(arguments) or ["--help"]
    selected = _first_name(arguments)
    if COMPLETE in os.environ:  # the shell asks what could follow: only a real command knows its options
        typed = os.environ.get("_TYPER_COMPLETE_ARGS") or os.environ.get("COMP_WORDS") or ""
        selected = next((one for one in [_first_name(typed.split()[1:])] if one in COMMANDS), None)
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    try:
        if selected is not None and selected not in COMMANDS:
            raise unknown("command", selected, COMMANDS)
        outcome = build_command(selected).main(arguments, prog_name=PROGRAM, standalone_mode=False)
    except typer.TyperException as error:
        return _report(_usage_error(error), selected, "--json" in options)
    except EdgesnnError as error:
        return _report(error, selected, "--json" in options)
    except (typer.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    return outcome if isinstance(outcome, int) else EXIT_OK


def _first_name(arguments: Sequence[str]) -> str | None:
    """The first word that is no option."""
    return next((argument for argument in arguments if not argument.startswith("-")), None)


def main() -> None:
    """The console script."""
    _take_streams()
    sys.exit(run(sys.argv[1:]))


def _take_streams() -> None:
    """Make any stream do: what its encoding does not hold becomes '?', and a closed one takes all."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - lives until exit
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"{PROGRAM} {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Take the options that stand before a command."""


def _not_imported() -> None:
    """Stand in for a command that was not selected and therefore never runs."""


def _report(error: EdgesnnError, selected: str | None, json_mode: bool) -> int:
    output = CommandOutput(selected or PROGRAM, json_mode)
    output.fail(error)
    return output.finish()


def _usage_error(error: typer.TyperException) -> UsageError:
    """What typer found wrong, in the house's form: the sentence, the nearest options, where help is."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else PROGRAM
    option = getattr(error, "option_name", None)
    if option is not None and hasattr(error, "possibilities"):
        remedy = suggestion(option, error.possibilities or ()) or f"see: {path} --help"
        if path == PROGRAM:
            remedy = f"a command's options stand after its name; see: {path} --help"
        return UsageError(f"'{path}' has no option '{option}'", remedy=remedy)
    sentence = " ".join(error.format_message().replace("Value error, ", "").split()).rstrip(".")
    return UsageError(sentence[:1].lower() + sentence[1:], remedy=f"see: {path} --help")


if __name__ == "__main__":
    main()
