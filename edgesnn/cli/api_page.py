"""``docs/api.md`` out of the public names of `edgesnn`: signature, docstring and example of each."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import MISSING
from typing import Any

import edgesnn

#: What each command of the shell is in Python.
COMMANDS = {
    "train": ("train_student", "SNNDistillationTrainer"),
    "upgrade": ("upgrade_student", "read_v1_student"),
    "import": ("import_network",),
    "export": ("export_student", "V1ExportOptions"),
    "verify": ("verify_bundle", "verify_v1_bundle"),
    "generate": ("generate_text",),
    "chat": ("SNNLLMBackend",),
    "profile": ("profile_bundle", "profile_all", "profile_interleaved"),
    "map": ("map_bundle",),
    "compare": ("compare_runs",),
    "report": ("report_run",),
    "baseline": ("update_baselines",),
    "meter": ("measure_power",),
    "list": ("list_available",),
}
INTRODUCTION = """# Python

<!-- Written by `make docs` from the code. Do not edit. -->

```python
import edgesnn

edgesnn.export_student("reference", "bundle")
run = edgesnn.profile_bundle("bundle", profile="quick")
run                 # in a notebook: verdict, setting, budgets
run.plot()          # latency, power, spike rates; needs pip install 'edgesnn[report]'
```

A verb takes the path of a bundle (a string or any path object) or a bundle that is open. Nothing is printed:
`on_progress`, where a function has it, is told a stage, the steps done and the steps in all. Everything that
can go wrong is an `EdgesnnError` whose branches are the exit codes of the [command line](cli.md).
`import edgesnn` loads nothing heavy; a name is imported when it is first used. `demo`, `doctor`, `init`,
`sample` and `serve` are for the shell alone.

The examples run in a folder with the bundle of the reference student (`edgesnn export reference -o bundle`)
and a run of it (`edgesnn profile bundle --profile quick -o run.json`). A test runs every one of them.
"""
_WIDTH = 100
_SECTION = re.compile(r"^(Args|Attributes|Returns|Yields|Raises|Examples):$", re.MULTILINE)
_ENTRY = re.compile(r"^(\*{0,2}\w+(?:, \*{0,2}\w+)*): ", re.MULTILINE)


def python_api() -> str:
    """The reference of the Python API as Markdown."""
    rows = [f"| `edgesnn {name}` | {_links(functions)} |" for name, functions in COMMANDS.items()]
    listed = [f"| [`{name}`](#{name.lower()}) | {line} |" for name, (_, line) in edgesnn.PUBLIC.items()]
    commands = ["| command | in Python |", "|---|---|", *rows, ""]
    index = ["| name | |", "|---|---|", *listed, ""]
    return "\n".join([INTRODUCTION, *commands, *index, *(_section(name) for name in edgesnn.PUBLIC)])


def _links(functions: tuple[str, ...]) -> str:
    return ", ".join(f"[`{name}`](#{name.lower()})" for name in functions)


def _section(name: str) -> str:
    """Heading, signature, what it does, the tables of its docstring, methods, example."""
    described = getattr(edgesnn, name)
    text, sections = split_docstring(described)
    lines = [f"## {name}", "", "```python", *_signature(name, described), "```", "", text, ""]
    fields = getattr(described, "model_fields", None)
    if fields is not None and "Attributes" not in sections:
        lines += _table("attributes", {key: _field(field) for key, field in fields.items()})
    for title in ("Args", "Attributes"):
        lines += _table(title.lower(), _entries(sections.get(title, "")))
    for title in ("Returns", "Yields"):
        if title in sections:
            lines += [f"{title}: {_plain(sections[title])}", ""]
    lines += _table("raises", _entries(sections.get("Raises", "")))
    if inspect.isclass(described):
        lines += _table("methods", dict(_methods(described)))
    if "Examples" in sections:
        lines += ["```pycon", sections["Examples"], "```", ""]
    return "\n".join(lines)


def _field(field: Any) -> str:
    """What a field of a model says of itself, or its type and default."""
    kind = inspect.formatannotation(field.annotation).rpartition("edgesnn.")[2]
    default = "" if field.is_required() or field.default_factory else f" = {field.default!r}"
    return str(field.description or f"`{kind}{default}`")


def split_docstring(described: Any) -> tuple[str, dict[str, str]]:
    """A docstring as the text before its sections, and the content of each section by its title."""
    first, *rest = _SECTION.split(inspect.getdoc(described) or "")
    contents = (inspect.cleandoc(f"\n{content}").strip() for content in rest[1::2])
    return first.strip().replace("``", "`"), dict(zip(rest[::2], contents, strict=True))


def _entries(section: str) -> dict[str, str]:
    """The entries of a section by name."""
    _, *rest = _ENTRY.split(section)
    return dict(zip(rest[::2], rest[1::2], strict=True))


def _table(title: str, rows: dict[str, str]) -> list[str]:
    if not rows:
        return []
    return [f"| {title} | |", "|---|---|", *(f"| `{k}` | {_plain(v)} |" for k, v in rows.items()), ""]


def _methods(described: type) -> Iterator[tuple[str, str]]:
    """Public methods and properties that the class or a base of ours declares, with their first line."""
    for name in dir(described):
        owner = next((one for one in described.__mro__ if name in vars(one)), object)
        member = inspect.getattr_static(described, name)
        ours = owner.__module__.startswith("edgesnn.") and not name.startswith("_")
        if ours and (callable(member) or isinstance(member, (property, classmethod, staticmethod))):
            shown = name if isinstance(member, property) else f"{name}()"
            yield shown, (inspect.getdoc(member) or "").partition("\n\n")[0]


def _signature(name: str, described: Any) -> list[str]:
    """The call as it is written, one parameter a line where it is long."""
    a_class = isinstance(described, type)
    if a_class and "Args:" not in (described.__doc__ or "") and not _has_defaults(described):
        return [f"class {name}"]
    signature = inspect.signature(described)
    parts = [_parameter(one) for one in signature.parameters.values()]
    keywords = [one.kind is one.KEYWORD_ONLY for one in signature.parameters.values()]
    if True in keywords:
        parts.insert(keywords.index(True), "*")
    returned = "" if a_class else f" -> {signature.return_annotation}"
    line = f"{name}({', '.join(parts)}){returned}"
    if len(line) <= _WIDTH:
        return [line]
    return [f"{name}(", *(f"    {part}," for part in parts), f"){returned}"]


def _has_defaults(described: type) -> bool:
    """Whether it is a dataclass that users make: every field has a default."""
    fields = getattr(described, "__dataclass_fields__", {}).values()
    return bool(fields) and all(one.default is not MISSING for one in fields)


def _parameter(parameter: inspect.Parameter) -> str:
    if parameter.default is parameter.empty:
        return f"{parameter.name}: {parameter.annotation}"
    default = parameter.default
    shown = getattr(default, "__name__", repr(default)) if callable(default) else repr(default)
    return f"{parameter.name}: {parameter.annotation} = {shown.replace('<lambda>', '...')}"


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("``", "`")
