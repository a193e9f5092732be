"""The shape of the house: files read in one go, folders seen at once, names that mean one thing."""

import ast
from collections import Counter, defaultdict

from tests.support.sources import FILES, FOLDERS, PACKAGE, ROOT, nodes, ours, where

LINES = 400
SIDE_BY_SIDE = 20


def test_no_file_is_longer_than_a_reader_takes_in_at_once():
    lengths = {str(path): len((PACKAGE / path).read_text("utf-8").splitlines()) for path in FILES}
    assert {path: length for path, length in lengths.items() if length > LINES} == {}


def test_no_folder_holds_more_files_than_can_be_seen_at_once():
    tests = (path.relative_to(ROOT) for path in (ROOT / "tests").rglob("*.py"))
    side_by_side = Counter(str(path.parent) for path in (*ours("*"), *tests))
    assert {folder: n for folder, n in side_by_side.items() if n > SIDE_BY_SIDE} == {}


def test_a_folder_says_what_it_holds():
    silent = [
        str(folder)
        for folder in FOLDERS
        if not ast.get_docstring(ast.parse((PACKAGE / folder / "__init__.py").read_text("utf-8")))
    ]
    assert silent == []


def test_a_public_class_has_a_name_of_its_own():
    places = defaultdict(list)
    for path, node in nodes(ast.ClassDef):
        if not node.name.startswith("_"):
            places[node.name].append(where(path, node))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
