"""The package's own sources, read once, for the tests that hold the house."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "edgesnn"
#: What a wheel carries beside the code; a checkout has none of it.
DATA = "_data"


def ours(pattern):
    """Files of the package by a pattern, without shipped data and compiled code."""
    found = (path.relative_to(PACKAGE) for path in PACKAGE.rglob(pattern) if path.is_file())
    return sorted(path for path in found if not {DATA, "__pycache__"} & set(path.parts))


#: Every Python file, by its place in the package.
FILES = ours("*.py")
#: Every folder with Python in it, the package's own left out.
FOLDERS = sorted({path.parent for path in FILES} - {Path()})


@cache
def tree(path):
    """The syntax tree of a file of the package."""
    return ast.parse((PACKAGE / path).read_text(encoding="utf-8"))


@cache
def walked(path):
    """Every node of a file of the package."""
    return tuple(ast.walk(tree(path)))


def nodes(kind):
    """Every node of a kind, with the file in which it stands."""
    return [(path, node) for path in FILES for node in walked(path) if isinstance(node, kind)]


def where(path, node):
    """Where a node stands, as a reader would look for it."""
    return f"edgesnn/{path.as_posix()}:{node.lineno}"


def tables(page):
    """The rows of every table of a page that begin with code, as (the code, the other cells)."""
    found = []
    for line in (ROOT / page).read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("| `"):
            found.append((cells[0].strip("`"), cells[1:]))
    return found
