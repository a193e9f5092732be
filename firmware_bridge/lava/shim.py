"""Lets lava-nc 0.10.0, made for Python 3.10, be imported on a newer Python. Nothing happens on 3.10.

Since 3.11 a dataclass refuses defaults that cannot be hashed. One module of Lava has some; its classes are
given the identity hash that they would have had, and only while that module is imported.
"""

from __future__ import annotations

import dataclasses
import importlib
import sys

#: The one module that does not import.
MODULE = "lava.magma.compiler.var_model"


def import_on_newer_python() -> bool:
    """Import the module that needs help; whether it did."""
    if sys.version_info < (3, 11):
        return False
    original = dataclasses._get_field

    def tolerant(cls: type, name: str, *rest: object) -> object:
        kind = type(getattr(cls, name, None))
        if kind.__module__.startswith("lava.") and kind.__hash__ is None:
            kind.__hash__ = object.__hash__
        return original(cls, name, *rest)

    dataclasses._get_field = tolerant
    try:
        importlib.import_module(MODULE)
    finally:
        dataclasses._get_field = original
    return True
