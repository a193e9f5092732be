"""A run record is read by its attributes: mypy sees them, and cannot see a string in brackets."""

import ast
from functools import cache

import pytest

from tests.support.sources import FILES, tree, where

#: Where records are made, judged and shown.
READERS = ("api", "cli", "profiler", "integrations", "reports")
#: Dictionaries of other kinds whose keys are called like a field of a record, by their name.
OTHERS = {
    "request": "what a child process is asked",
    "report": "what a child process answers",
    "scores": "what a child process answers",
    "item": "an entry of a listing",
    "runner": "an entry of a listing",
    "profile": "a profile, which the record keeps as its file has it",
    "meter": "what a driver says of its instrument, which the record keeps as it is",
    "info": "what a driver says of its instrument, which the record keeps as it is",
    "loss": "what a driver says of its loss, which the record keeps as it is",
    "identity": "what tells one series of runs from another",
    "content": "a line of a baseline",
    "entry": "a line of a baseline",
    "loads": "a line of a baseline",
    "wanted": "what a test of the plug-in's user asks for",
    "metadata": "what training wrote into an artifact",
    "results": "what training wrote into an artifact",
    "quality": "what training wrote into an artifact",
    "cost": "what an export wrote into a manifest",
    "match": "a match of a regular expression",
    "schema": "a JSON schema",
    "_ring_bits": "an array for every op",
}
#: The same of names that mean something else in another file.
OTHERS_IN = {
    ("api/background/trainer.py", "latency"): "what the documents' profiler gives",
    ("api/background/trainer.py", "power"): "what the documents' profiler gives",
    ("api/listing.py", "one"): "a budget, as a profile's file has it",
    ("cli/profile/show.py", "parts"): "the uncertainty's components and their unit",
    ("cli/train/command.py", "values"): "options of a student's architecture",
    ("profiler/budgets/profile.py", "changes"): "what is changed in a profile",
    ("profiler/budgets/profile.py", "workload"): "a profile's file",
    ("profiler/budgets/workload.py", "Literal"): "a type of one value",
    ("profiler/power/uncertainty.py", "found"): "shares by component",
    ("reports/formats/junit.py", "case"): "an element of XML",
    ("reports/html/charts/bars.py", "found"): "a chip's energies, as its file has them",
    ("reports/html/charts/bars.py", "row"): "a chip's energies, as its file has them",
}


@cache
def fields():
    """Every field of every class of the record."""
    return {
        node.target.id
        for path in FILES
        if path.parts[0] == "record"
        for model in ast.walk(tree(path))
        if isinstance(model, ast.ClassDef)
        for node in model.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }


def asked(node):
    """The name of a dictionary and the string it is asked for, by ``x["name"]`` or ``x.get("name")``."""
    if isinstance(node, ast.Subscript):
        holder, key = node.value, node.slice
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
        holder, key = node.func.value, node.args[0] if node.args else None
    else:
        return None, None
    return last_name(holder), key.value if isinstance(key, ast.Constant) else None


def last_name(node):
    """What a reader would call an expression: ``meter`` for ``run.info["meter"]`` and ``self.meter()``."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.Subscript(slice=ast.Constant(value=name)):
            return name
        case ast.Call(func=made) | ast.Subscript(value=made):
            return last_name(made)
    return ast.unparse(node)


@pytest.mark.parametrize("path", [path for path in FILES if path.parts[0] in READERS], ids=str)
def test_no_field_of_a_record_is_asked_for_by_a_string(path):
    hits = []
    for node in ast.walk(tree(path)):
        name, key = asked(node)
        if key in fields() and name not in OTHERS and (path.as_posix(), name) not in OTHERS_IN:
            hits.append(f"{where(path, node)}: {ast.unparse(node)}")
    assert hits == []
