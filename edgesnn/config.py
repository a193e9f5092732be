"""Configuration: TOML files validated by pydantic models."""

from __future__ import annotations

import json
import re
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from edgesnn.errors import ConfigError
from edgesnn.names import suggestion, unknown
from edgesnn.resources import files

ModelT = TypeVar("ModelT", bound=BaseModel)
KeyPath = tuple[int | str, ...]

_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?$")
_ASSIGNMENT = re.compile(r"""^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*[A-Za-z0-9_-]+)*)\s*=""")


class StrictModel(BaseModel):
    """Base of configuration models: frozen, unknown keys are errors, no silent conversion."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def parse_toml(path: Path) -> tuple[str, dict[str, Any]]:
    """Read a TOML file as text and as what it says, whatever that is.

    Raises:
        ConfigError: The file cannot be read, or is no TOML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read '{path}'", actual=error.strerror or str(error)) from None
    except UnicodeDecodeError:
        raise ConfigError(f"'{path}' is not UTF-8 text") from None
    try:
        return text, tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also what Python says of 5,000 digits
        raise ConfigError(f"'{path}' is not valid TOML", actual=str(error)) from None


def load_toml(path: Path, model: type[ModelT]) -> ModelT:
    """Read a TOML file into a model.

    Values keep their TOML types: a string where a number belongs is an error. All problems are reported at
    once, each with its line and key.

    Args:
        path: The file.
        model: What it must fit.

    Returns:
        The validated model.

    Raises:
        ConfigError: The file cannot be read, is no TOML, or does not fit.
    """
    text, data = parse_toml(path)
    try:
        return model.model_validate_json(json.dumps(data, default=str), strict=True, extra="forbid")
    except ValidationError as error:
        lines = _line_numbers(text)
        problems = [_problem(dict(item), model, lines) for item in error.errors()]
    what = "; ".join(sentence for sentence, _ in problems)
    remedies = "; ".join(dict.fromkeys(remedy for _, remedy in problems if remedy))
    raise ConfigError(f"'{path}': {what}", remedy=remedies or None)


def find_profile(name_or_path: str) -> Path:
    """A profile by name (one of those shipped) or by path.

    Raises:
        UsageError: There is none.
    """
    return _find("profile", name_or_path, files("profiles"))


def find_target(name_or_path: str) -> Path:
    """A device description by name (one of those shipped) or by path.

    Raises:
        UsageError: There is none.
    """
    return _find("target", name_or_path, files("targets", "devices"))


def find_chip(name_or_path: str) -> Path:
    """A chip description by name (one of those shipped) or by path.

    Raises:
        UsageError: There is none.
    """
    return _find("chip", name_or_path, files("targets", "chips"))


def find_energy_table(name_or_path: str) -> Path:
    """A table of energies by name (one of those shipped) or by path.

    Raises:
        UsageError: There is none.
    """
    return _find("energy table", name_or_path, files("targets", "energy"))


def _find(kind: str, name_or_path: str, shipped: Mapping[str, Path]) -> Path:
    if name_or_path in shipped:
        return shipped[name_or_path]
    path = Path(name_or_path)
    if path.is_file():
        return path
    if path.suffix == ".toml" or len(path.parts) > 1:
        raise ConfigError(f"there is no {kind} file '{name_or_path}'")
    raise unknown(kind, name_or_path, shipped)


def _problem(
    error: dict[str, Any], model: type[BaseModel], lines: dict[KeyPath, int]
) -> tuple[str, str | None]:
    """One validation error as a sentence, and its remedy where a key is unknown."""
    location: KeyPath = error["loc"]
    key = ".".join(str(part) for part in location) or "the whole file"
    line = next((lines[location[:n]] for n in range(len(location), 0, -1) if location[:n] in lines), None)
    where = f"line {line}: {key}" if line else key
    if error["type"] == "extra_forbidden":
        return f"{where} is no key", suggestion(str(location[-1]), _fields(model, location[:-1]))
    if error["type"] == "missing":
        return f"{where} is missing", None
    message = error["msg"][0].lower() + error["msg"][1:]
    found = error.get("input")
    shown = "" if isinstance(found, (dict, list)) else f" (found {json.dumps(found, default=str)})"
    return f"{where}: {message}{shown}", None


def _fields(model: type[BaseModel], location: KeyPath) -> list[str]:
    """The keys that a model knows at a place."""
    current: Any = model
    for part in location:
        if isinstance(current, type) and issubclass(current, BaseModel):
            named = {field.alias or name: field for name, field in current.model_fields.items()}
            current = named[str(part)].annotation if part in named else None
        else:
            current = typing.get_args(current)[-1] if typing.get_args(current) else None
        if typing.get_origin(current) in (typing.Union, types.UnionType):
            current = next((one for one in typing.get_args(current) if one is not type(None)), None)
    if isinstance(current, type) and issubclass(current, BaseModel):
        return [field.alias or name for name, field in current.model_fields.items()]
    return []


def _line_numbers(text: str) -> dict[KeyPath, int]:
    """Lines of the tables and keys of valid TOML, by key path; keys inside inline values have none."""
    lines: dict[KeyPath, int] = {}
    table: KeyPath = ()
    counts: dict[KeyPath, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            table = _split(header[2])
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table = (*table, counts[table])
            elif table[:1] in counts:
                table = (table[0], counts[table[:1]], *table[1:])
            lines.setdefault(table, number)
        elif assignment := _ASSIGNMENT.match(line):
            lines.setdefault((*table, *_split(assignment[1])), number)
    return lines


def _split(dotted: str) -> KeyPath:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))
