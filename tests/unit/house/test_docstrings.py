"""A public method is documented where it is declared first; an override only says what it adds."""

import ast
import importlib
import inspect
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[3] / "edgesnn"
FILES = sorted(path for path in PACKAGE.rglob("*.py") if "_data" not in path.parts)


def module_of(path):
    name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    return name.removesuffix(".__init__")


def classes_in(path):
    """The public classes that a file defines, imported."""
    nodes = ast.parse(path.read_text(encoding="utf-8")).body
    names = [node.name for node in nodes if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    if not names:
        return []
    try:
        module = importlib.import_module(module_of(path))
    except ModuleNotFoundError as error:
        pytest.skip(f"{error.name} is not installed")
    return [getattr(module, name) for name in names]


def methods_of(kind):
    """Name and function of the public methods and properties that a class defines itself."""
    for name, member in vars(kind).items():
        function = getattr(member, "fget", None) or getattr(member, "__func__", member)
        if inspect.isfunction(function) and not name.startswith("_"):
            yield name, function


def inherited(kind, name):
    """The docstring of the nearest base class that documents a method."""
    for base in kind.__mro__[1:]:
        for found, function in methods_of(base):
            if found == name and function.__doc__:
                return function.__doc__
    return None


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_public_method_has_a_docstring_of_its_own_or_of_its_contract(path):
    bare = [
        f"{kind.__name__}.{name}"
        for kind in classes_in(path)
        for name, function in methods_of(kind)
        if not function.__doc__ and not inherited(kind, name)
    ]
    assert bare == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_docstring_of_an_override_repeats_its_contract_or_only_points_at_it(path):
    idle = [
        f"{kind.__name__}.{name}"
        for kind in classes_in(path)
        for name, function in methods_of(kind)
        if (contract := inherited(kind, name)) and function.__doc__
        if function.__doc__ == contract or re.fullmatch(r"[Ss]ee `[\w.]+`\.?", function.__doc__.strip())
    ]
    assert idle == []
