"""What a harness is, and all of them by name."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(slots=True)
class Subject:
    """One parser, ready to be fed.

    Attributes:
        seeds: Right inputs, made by the project's own writers.
        run: Reads an input and uses what it got. It may raise an `EdgesnnError` and nothing else.
        fix: Makes checksums right again after an edit, or None.
        allowed: Other errors that are an answer there, such as a refusal of the server.
    """

    seeds: Sequence[bytes]
    run: Callable[[bytes], Any]
    fix: Callable[[bytes], bytes] | None = None
    allowed: tuple[type[Exception], ...] = ()


@dataclass(frozen=True, slots=True)
class Harness:
    """How to get a parser.

    Attributes:
        open: Makes it, with a folder of its own.
        share: Inputs for every hundred of a whole run: less where one costs the start of a process.
    """

    open: Callable[[Path], Subject]
    share: int = field(default=100)


def all_harnesses() -> dict[str, Harness]:
    """Every harness by name."""
    return {name: harness for module in _MODULES for name, harness in _of(module).items()}


def harness(name: str) -> Harness:
    """One of them, or ``MODULE:NAME`` for one of elsewhere; what the others need is not imported."""
    module, _, own = name.rpartition(":")
    if module:
        elsewhere: dict[str, Harness] = importlib.import_module(module).HARNESSES
        return elsewhere[own]
    return next(_of(one)[name] for one in _MODULES if name in _of(one))


def _of(module: str) -> dict[str, Harness]:
    found: dict[str, Harness] = importlib.import_module(f"tools.fuzz.{module}").HARNESSES
    return found


_MODULES = ("files", "wires", "instruments", "native", "wasm", "models", "students")
