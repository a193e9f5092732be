"""``edgesnn help``, and how every help reads: flowing paragraphs, then examples.

A command's help is its docstring. Its lines end where the source is full; a terminal has another width, so
they are joined. The section ``Examples:`` holds command lines, one a line.
"""

from __future__ import annotations

import inspect
import io
import re
from contextlib import redirect_stdout
from typing import Annotated, Any

import typer

from edgesnn.cli.output import JsonFlag, session
from edgesnn.errors import UsageError

SCHEMA = "edgesnn.help/1"
EXAMPLES = "Examples:"
_SECTION = re.compile(rf"^(?:Args|Returns|Yields|Raises|{EXAMPLES[:-1]}):$", re.MULTILINE)


def help(
    command: Annotated[
        list[str] | None, typer.Argument(help="A command, or a group and one of its commands.")
    ] = None,
    json_mode: JsonFlag = False,
) -> None:
    """Show the help of a command, as its --help does; without a name the overview.

    Examples:
        edgesnn help profile
        edgesnn help meter record
    """
    with session("help", json_mode) as out:
        from edgesnn.cli.main import run

        asked = [one for one in command or [] if one != "help"] or (["help"] if command else [])
        _check(asked)
        if not json_mode:
            run([*asked, "--help"])
            return
        with redirect_stdout(io.StringIO()) as text:
            run([*asked, "--help"])
        out.document(SCHEMA, {"command": asked, "help": text.getvalue()})


def description(text: str | None) -> str:
    """What a docstring says to who uses the command: its paragraphs, each in one line, no section."""
    prose = _SECTION.split(inspect.cleandoc(text or ""), maxsplit=1)[0].strip()
    return "\n\n".join(" ".join(one.split()) for one in re.split(r"\n\s*\n", prose))


def examples(text: str | None) -> list[str]:
    """The command lines of a docstring's examples."""
    _, found, rest = inspect.cleandoc(text or "").partition(f"\n{EXAMPLES}\n")
    lines = rest.split("\n\n")[0].splitlines() if found else []
    return [line.strip() for line in lines if line.strip()]


def dress(command: Any, *, plain: bool) -> None:
    """Give a command, and those below it, a help that flows and ends with its examples.

    Args:
        command: A command of typer.
        plain: Whether the help is written without rich, which joins lines that nothing keeps apart.
    """
    lines, keep = examples(command.help), "\b\n" if plain else ""
    command.help = description(command.help)
    if lines:
        command.epilog = f"{keep}{EXAMPLES}\n" + "\n".join(f"  {line}" for line in lines)
    for member in getattr(command, "commands", {}).values():
        dress(member, plain=plain)


def _check(asked: list[str]) -> None:
    """Refuse what is no command, as the command line itself does.

    Raises:
        UsageError: There is no such command.
    """
    from edgesnn.cli.main import COMMANDS, build_app
    from edgesnn.names import unknown

    if not asked:
        return
    if asked[0] not in COMMANDS:
        raise unknown("command", asked[0], COMMANDS)
    group: Any = typer.main.get_command(build_app(asked[0]))
    members = getattr(group.commands[asked[0]], "commands", {})
    for name in asked[1:2] if members else []:
        if name not in members:
            raise unknown(f"command of 'edgesnn {asked[0]}'", name, members)
    if len(asked) > 1 + bool(members):
        raise UsageError(
            f"'edgesnn {' '.join(asked[: 1 + bool(members)])}' has no command of its own",
            actual=asked[-1],
            remedy=f"edgesnn help {' '.join(asked[: 1 + bool(members)])}",
        )
