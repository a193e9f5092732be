"""The rooms: docs/architecture.md, the import contracts and the folders agree; pages name what is there."""

import ast
import re
import tomllib

import pytest

from tests.support.sources import FILES, FOLDERS, ROOT, tables, tree

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in (
        "README.md",
        "docs/**/*.md",
        "reference/*.md",
        "benchmarks/*.md",
        "firmware_bridge/**/*.md",
    )
    for path in ROOT.glob(pattern)
)
#: Where the places that a page names begin: a page leaves out the folder that its reader is in.
BEGINNINGS = [ROOT, ROOT / "edgesnn", ROOT / "firmware_bridge"]
#: A path with a folder, and a Python file without one.
PLACE = re.compile(r"(?<![\w./:-])[\w*.-]+(?:/[\w*.-]+)+")
MODULE = re.compile(r"`([a-z_]\w*\.py)`")
ROWS = tables("docs/architecture.md")
TOP = sorted({path.parts[0].removesuffix(".py") for path in FILES} - {"__init__"})


def test_every_room_and_every_file_beside_them_has_one_row_and_every_row_is_there():
    assert sorted(name.strip("/").removesuffix(".py") for name, cells in ROWS if len(cells) > 1) == TOP


def test_every_folder_inside_a_room_has_one_line_which_is_its_own():
    lines = {name.strip("/"): cells[0] for name, cells in ROWS if len(cells) == 1}
    say = {
        folder.as_posix(): (ast.get_docstring(tree(folder / "__init__.py")) or "").partition("\n")[0]
        for folder in FOLDERS
        if len(folder.parts) > 1
    }
    assert lines == {folder: text.replace("``", "`") for folder, text in say.items()}


def test_the_import_contracts_order_every_room():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    assert sorted(name.strip(" ()") for layer in layers for name in layer.split("|")) == TOP


def is_there(place, page):
    """Whether a place is in the checkout; NAME in it is anything."""
    pattern = re.sub(r"NAME", "*", place)
    return any(next(root.glob(pattern), None) for root in (*BEGINNINGS, (ROOT / page).parent))


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_is_there(page):
    text = re.sub(r"^```.*?^```$", "", (ROOT / page).read_text("utf-8"), flags=re.M | re.S)
    places = {place for code in re.findall(r"`([^`]+)`", text) for place in PLACE.findall(code)}
    # what begins with a folder that is not ours is in a bundle or a cache, in build/ what we make
    places = {place for place in places if not place.startswith(("build/", "."))}
    ours = {place for place in places if is_there(place.partition("/")[0], page)}
    missing = {place for place in ours if not is_there(place, page)}
    links = re.findall(r"\]\((?!\w+:)([^)#\s]+)", text)
    missing |= {link for link in links if not ((ROOT / page).parent / link).exists()}
    modules = {path.name for path in ROOT.glob("[befrt]*/**/*.py")}
    assert missing | (set(MODULE.findall(text)) - modules) == set()
