"""A long test is left out of CI only where CI runs a shorter one of the same promise."""

import ast
from pathlib import Path

import pytest

from tests.support.sources import ROOT

MARK = "pytest.mark.long"


def is_long(node):
    return isinstance(node, ast.Attribute) and node.attr == "long" and ast.unparse(node) == MARK


def marks(tree):
    """The marks `long` in a tree, as calls or bare names."""
    called = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and is_long(node.func)]
    inside = {id(call.func) for call in called}
    return called + [node for node in ast.walk(tree) if is_long(node) and id(node) not in inside]


def runs_in_ci(guard):
    """Whether a test exists and is long neither by itself nor by its file."""
    path, _, name = guard.partition("::")
    if not (ROOT / path).is_file():
        return False
    body = ast.parse((ROOT / path).read_text("utf-8")).body
    tests = [one for one in body if isinstance(one, ast.FunctionDef) and one.name == name]
    whole = [
        one for one in body if isinstance(one, ast.Assign) and ast.unparse(one.targets[0]) == "pytestmark"
    ]
    # A parameter of the guard may be long; its decorator may not.
    direct = [one for test in tests for one in test.decorator_list if ast.unparse(one).startswith(MARK)]
    return bool(tests) and name.startswith("test_") and not direct and not any(map(marks, whole))


def faults(path, text):
    """What is wrong with the long tests of a file."""
    for mark in marks(ast.parse(text)):
        said = {word.arg: word.value for word in mark.keywords} if isinstance(mark, ast.Call) else {}
        guard = said.get("guarded_by")
        if not isinstance(guard, ast.Constant):
            yield f"{path}:{mark.lineno}: say guarded_by=, the test that CI runs in its place"
        elif not runs_in_ci(guard.value):
            yield f"{path}:{mark.lineno}: CI runs no {guard.value}"


def test_every_long_test_names_one_that_ci_runs_in_its_place():
    texts = {path: path.read_text("utf-8") for path in sorted((ROOT / "tests").rglob("*.py"))}
    found = [
        fault
        for path, text in texts.items()
        if "mark.long" in text
        for fault in faults(path.relative_to(ROOT), text)
    ]
    assert found == []


HERE = Path(__file__).relative_to(ROOT).as_posix()
GUARD = "test_every_long_test_names_one_that_ci_runs_in_its_place"


@pytest.mark.parametrize(
    ("mark", "fault"),
    [
        (f"@{MARK}", "x.py:1: say guarded_by="),
        ("@pytest.mark.long()", "x.py:1: say guarded_by="),
        (f"@pytest.mark.long(guarded_by='{HERE}::test_gone')", "x.py:1: CI runs no "),
        (f"@pytest.mark.long(guarded_by='{HERE}::faults')", "x.py:1: CI runs no "),
        (f"@pytest.mark.long(guarded_by='tests/gone.py::{GUARD}')", "x.py:1: CI runs no "),
        (f"@pytest.mark.parametrize('a', [pytest.param(1, marks={MARK})])", "x.py:1: say guarded_by="),
        (f"@pytest.mark.long(guarded_by='{HERE}::{GUARD}')", None),
    ],
)
def test_what_stands_for_nothing_is_found(mark, fault):
    found = list(faults("x.py", f"{mark}\ndef test_x(): ...\n"))
    assert len(found) == (fault is not None) and all(one.startswith(fault) for one in found)


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        ("def test_x(): ...", True),
        ("@pytest.mark.long(guarded_by='y')\ndef test_x(): ...", False),
        ("pytestmark = [pytest.mark.torch, pytest.mark.long(guarded_by='y')]\ndef test_x(): ...", False),
        (
            "@pytest.mark.parametrize('a', [pytest.param(1, marks=pytest.mark.long())])\ndef test_x(): ...",
            True,
        ),
    ],
)
def test_a_guard_is_not_long_itself(tmp_path, text, runs):
    (tmp_path / "guard.py").write_text(text)
    assert runs_in_ci(f"{tmp_path}/guard.py::test_x") is runs
