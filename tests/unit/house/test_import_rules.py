"""What each room may import from outside, exactly: the tables of docs/architecture.md are the rules."""

import ast
import sys

import pytest

from tests.support.sources import FILES, nodes, tables, tree, where

#: By room, the last cell of its row: packages by the name under which they are imported.
ALLOWED = {
    name.strip("/").removesuffix(".py"): {package.strip() for package in cells[-1].split(",") if package}
    for name, cells in tables("docs/architecture.md")
    if len(cells) > 1
} | {"__init__": set()}


def outside_imports(path):
    """Third-party packages that a file imports at run time, anywhere in it."""
    found = set()
    skipped = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            skipped.update(id(inner) for inner in ast.walk(node))
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module.partition(".")[0])
    return {name for name in found if name not in sys.stdlib_module_names and name != "edgesnn"}


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_room_imports_only_the_packages_it_is_allowed(path):
    room = path.parts[0].removesuffix(".py")
    assert room in ALLOWED, f"say in docs/architecture.md what '{room}' is and may import"
    assert outside_imports(path) <= ALLOWED[room]


def test_no_file_writes_a_relative_import():
    assert [where(path, node) for path, node in nodes(ast.ImportFrom) if node.level] == []
