"""No test fails by being slow: whatever would be waited for in vain is given up after `patience`."""

import ast
from pathlib import Path

import pytest

from tests.support import patience as module
from tests.support.patience import patience, wait_for

TESTS = Path(__file__).parents[2]
#: Programs of other people's environments: what they wait for is what they measure.
CLIENTS = TESTS / "foreign" / "clients"
WAITS = {"communicate", "join", "result", "exception", "wait"}


def number(node):
    """The seconds that a node says, 0 where it says none."""
    said = node.value if isinstance(node, ast.Constant) else None
    return said if isinstance(said, int | float) and not isinstance(said, bool) else 0


def limits(tree):
    """Places where a fixed number of seconds ends a wait."""
    for node in ast.walk(tree):
        given = []
        if isinstance(node, ast.Call):
            given = [word.value for word in node.keywords if word.arg == "timeout"]
            if isinstance(node.func, ast.Attribute) and node.func.attr in WAITS:
                given += node.args[:1]
        elif isinstance(node, ast.BinOp) and "monotonic()" in ast.unparse(node.left):
            given = [node.right]
        if any(number(value) >= 1 for value in given):
            yield node


def test_every_limit_of_a_wait_is_asked_for():
    found = [
        f"{path.relative_to(TESTS)}:{node.lineno}: {ast.unparse(node)}"
        for path in sorted(TESTS.rglob("*.py"))
        if CLIENTS not in path.parents
        for node in limits(ast.parse(path.read_text("utf-8")))
    ]
    assert found == []


def test_patience_is_multiplied(monkeypatch):
    monkeypatch.setattr(module, "FACTOR", 3.0)
    assert patience(2.0) == 6.0


def test_a_condition_is_waited_for_and_given_back():
    answers = iter((None, [], "there"))
    assert wait_for(lambda: next(answers), every=0.0) == "there"


def test_what_never_comes_is_said_by_its_name(monkeypatch):
    monkeypatch.setattr(module, "FACTOR", 0.0)
    with pytest.raises(AssertionError, match="the port did not come about in 0 s"):
        wait_for(lambda: False, "the port")
