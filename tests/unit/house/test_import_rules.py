"""What each room may import from outside, exactly: a new dependency must be written down here."""

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[3] / "edgesnn"

ALLOWED = {
    "bundle": {"numpy", "pydantic"},
    "chips": {"pydantic"},
    "cli": {"pydantic", "rich", "typer"},
    "exporters": {"ai_edge_litert", "flatbuffers", "numpy", "onnx"},
    "meters": {"numpy", "pydantic", "pyjoulescope_driver", "pyvisa", "scipy", "serial"},
    "profiler": {"numpy", "scipy", "pydantic", "psutil"},
    "program": {"numpy", "safetensors"},
    "record": {"numpy", "pydantic"},
    "pytest_plugin": {"pytest"},
    "reports": {"matplotlib", "numpy", "pydantic", "scipy"},
    "runners": {"ai_edge_litert", "cryptography", "numpy", "onnxruntime", "segno", "websockets"},
    "student": {
        "numpy",
        "torch",
        "safetensors",
        "tokenizers",
        "pydantic",
        "transformers",
        "datasets",
        "accelerate",
        "matplotlib",
    },  # fmt: skip
    "text": {"numpy", "tokenizers"},
    "api": {"numpy"},
    "config": {"pydantic"},
    "targets": {"pydantic"},
    "names": set(),
    "plugins": set(),
    "resources": set(),
    "errors": set(),
    "children": set(),
    "closing": set(),
    "whole_files": set(),
    "scratch": set(),
    "locks": {"filelock"},
    "toolchain": set(),
    "__init__": set(),
}


def outside_imports(path):
    """Third-party packages that a file imports at run time, anywhere in it."""
    found = set()
    skipped = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            skipped.update(id(inner) for inner in ast.walk(node))
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module.partition(".")[0])
    return {name for name in found if name not in sys.stdlib_module_names and name != "edgesnn"}


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = sorted(path for path in PACKAGE.rglob("*.py") if "_data" not in path.parts)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_the_packages_it_is_allowed(path):
    room = room_of(path)
    assert room in ALLOWED, f"say what the new room '{room}' may import"
    assert outside_imports(path) <= ALLOWED[room]


def test_no_file_writes_a_relative_import():
    offenders = [
        f"{path}:{node.lineno}"
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert offenders == []
