"""Writes ``docs/cli.md``, ``docs/api.md`` and ``docs/schema/*.json`` from the code: they cannot drift.

``python -m edgesnn.cli.reference`` writes them into the checkout; a test compares them with `pages`.
"""

from __future__ import annotations

import json
import re
import textwrap
from importlib import import_module
from pathlib import Path
from typing import Any

from edgesnn.cli.api_page import python_api
from edgesnn.cli.help import EXAMPLES
from edgesnn.cli.main import COMMANDS, DESCRIPTION, PROGRAM, build_command
from edgesnn.record.schema import published

#: Documents that other programs and users read or write, by schema name: the pydantic model behind each, or
#: the function that gives its schema.
SCHEMAS: dict[str, str] = {
    "edgesnn.bundle/1": "edgesnn.bundle.manifest:Manifest",
    "edgesnn.chip/1": "edgesnn.chips.description:Chip",
    "edgesnn.compare/1": "edgesnn.reports.comparing.result:compare_schema",
    "edgesnn.energy/1": "edgesnn.chips.energy:EnergyTable",
    "edgesnn.profile/1": "edgesnn.profiler.budgets.profile:AnyProfile",
    "edgesnn.profiles/1": "edgesnn.record.profiles:Profiles",
    "edgesnn.run/1": "edgesnn.record.schema:run_schema",
    "edgesnn.target/1": "edgesnn.targets:Target",
}
#: The examples of a docstring, at the end of a description: they are Python's.
_EXAMPLES = re.compile(r'\\n\\nExamples:(?:[^"\\]|\\.)*"')
DIALECT = "https://json-schema.org/draft/2020-12/schema"

INTRODUCTION = f"""# Command line

<!-- Written by `make docs` from the live command line. Do not edit. -->

{DESCRIPTION}

Every command takes `--json`: stdout then holds one document with its schema's name and version, also when
the command fails. Without it results go to stdout, progress and errors to stderr. `NO_COLOR` is honoured.
Where stdout is no terminal a table is as wide as it has to be; a terminal that is too narrow shows fewer of
its columns and says which are left out.

`edgesnn help COMMAND` shows the help of a command, `edgesnn --install-completion` teaches bash, zsh, fish and
PowerShell to complete commands and options.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | the input is wrong: model, text, file |
| 2 | the command is wrong: flag, name, configuration |
| 3 | a gate failed: budget, regression, parity |
| 4 | a device failed |
| 5 | a bug of edgesnn; `EDGESNN_DEBUG=1` shows the traceback |
| 6 | a required budget could not be decided |
| 130 | interrupted |
"""


def pages() -> dict[str, str]:
    """Every generated page: its path below ``docs`` and its content."""
    schemas = {f"schema/{_short(name)}.schema.json": _schema(name) for name in SCHEMAS}
    return {"cli.md": command_line(), "api.md": python_api(), **schemas}


def command_line() -> str:
    """The reference of the command line as Markdown."""
    rows = (f"| [`{name}`](#{name}) | {line} |" for name, line in COMMANDS.items())
    table = ["| command | |", "|---|---|", *rows]
    return "\n".join([INTRODUCTION, *table, "", *(_command(name) for name in COMMANDS)])


def write(folder: Path) -> list[Path]:
    """Write every page below a folder.

    Returns:
        The files.
    """
    written = []
    for name, content in pages().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        written.append(path)
    return written


def _command(name: str) -> str:
    """The section of one command, or of a group and each of its commands."""
    command = build_command(name).commands[name]
    members = getattr(command, "commands", {})
    if not members:
        return _section(command, name)
    rows = [
        f"| [`{one}`](#{name}-{one}) | {member.get_short_help_str(200)} |" for one, member in members.items()
    ]
    lines = [
        f"## {name}",
        "",
        _filled(command.help),
        *_examples(command),
        "",
        "| command | |",
        "|---|---|",
        *rows,
        "",
    ]
    sections = [_section(member, f"{name} {one}") for one, member in members.items()]
    return "\n".join([*lines, *sections])


def _section(command: Any, name: str) -> str:
    """Usage, what it does, arguments, options by panel."""
    context = command.context_class(command, info_name=f"{PROGRAM} {name}")
    usage = " ".join(command.collect_usage_pieces(context))
    panels: dict[str, list[str]] = {}
    for parameter in command.get_params(context):
        is_argument = parameter.param_type_name == "argument"
        panel = getattr(parameter, "rich_help_panel", None) or ("Arguments" if is_argument else "Options")
        record = parameter.get_help_record(context)
        if record is not None:
            panels.setdefault(panel, []).append(f"| `{_cell(record[0])}` | {_cell(record[1])} |")
    lines = [
        f"## {name}",
        "",
        f"    {PROGRAM} {name} {usage}",
        "",
        _filled(command.help),
        *_examples(command),
        "",
    ]
    for panel, rows in panels.items():
        lines += [f"| {panel.lower()} | |", "|---|---|", *rows, ""]
    return "\n".join(lines)


def _filled(text: str) -> str:
    """Paragraphs in lines that a diff can show."""
    return "\n\n".join(textwrap.fill(one, 110) for one in text.split("\n\n"))


def _examples(command: Any) -> list[str]:
    """The examples of a command, as they stand below its help."""
    lines = (command.epilog or "").partition(f"{EXAMPLES}\n")[2].splitlines()
    return ["", EXAMPLES, "", *(f"    {line.strip()}" for line in lines)] if lines else []


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _short(name: str) -> str:
    return name.removeprefix(f"{PROGRAM}.").partition("/")[0]


def _schema(name: str) -> str:
    module, _, attribute = SCHEMAS[name].partition(":")
    source: Any = getattr(import_module(module), attribute)
    schema = source.model_json_schema() if hasattr(source, "model_json_schema") else source()
    document = published({"$schema": DIALECT, "$id": name, **schema})
    text = json.dumps(document, indent=2, sort_keys=True) + "\n"
    return _EXAMPLES.sub('"', text)


if __name__ == "__main__":
    for file in write(Path(__file__).parents[2] / "docs"):
        print(file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file)
