"""What ``edgesnn`` does before any command runs: help, version, usage errors, and how little it imports."""

import ast
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from edgesnn.cli import main, reference
from edgesnn.errors import InternalError

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "onnx", "onnxruntime", "numpy", "pydantic", "scipy", "tokenizers", "safetensors", "psutil"}


@dataclass(frozen=True)
class Started:
    """A fresh process that has run one command line: what it said and what it had imported by then."""

    exit_code: int
    stdout: str
    stderr: str
    modules: set


@cache
def started(*arguments):
    code = (
        "import sys\n"
        "from edgesnn.cli.main import run\n"
        f"code = run({list(arguments)!r})\n"
        "print('MODULES', (code, sorted({name.partition('.')[0] for name in sys.modules})))\n"
    )
    environment = {**os.environ, "COLUMNS": "100"}
    command = [sys.executable, "-c", code]
    finished = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    stdout, _, rest = finished.stdout.rpartition("MODULES ")
    exit_code, modules = ast.literal_eval(rest)
    return Started(exit_code, stdout, finished.stderr, set(modules))


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("exprot",)])
def test_nothing_heavy_is_imported_before_a_command_is_known(arguments):
    assert started(*arguments).modules & HEAVY == set()


@pytest.mark.parametrize("command", main.COMMANDS)
def test_every_command_loads_takes_json_and_has_help_that_imports_no_torch_and_no_engine(command):
    engines = {"onnx", "onnxruntime"} if command != "train" else set()
    found = started(command, "--help")
    assert found.exit_code == 0
    assert "--json" in found.stdout
    assert found.modules & {"torch", *engines} == set()


def test_the_help_has_a_line_for_every_command():
    found = started("--help")
    assert found.exit_code == 0
    assert all(name in found.stdout and line in found.stdout for name, line in main.COMMANDS.items())


def test_no_arguments_show_the_help(edgesnn):
    finished = edgesnn()
    assert (finished.exit_code, finished.stdout) == (0, started("--help").stdout)


def test_the_version_is_the_packages():
    from edgesnn import __version__

    assert started("--version").stdout == f"edgesnn {__version__}\n"


def test_an_unknown_command_names_the_nearest_and_exits_2():
    finished = started("exprot")
    assert finished.exit_code == 2
    assert finished.stdout == ""
    assert (
        finished.stderr
        == "error: there is no command 'exprot'\n  remedy: did you mean 'export' or 'report'?\n"
    )


@pytest.mark.parametrize(
    ("arguments", "what", "remedy"),
    [
        (("exprot", "--json"), "there is no command 'exprot'", "did you mean 'export' or 'report'?"),
        (("doctor", "--jso", "--json"), "'edgesnn doctor' has no option '--jso'", "did you mean '--json'?"),
        (("list", "--json"), "missing argument 'what'. Choose from: targets", "see: edgesnn list --help"),
        (("list", "cars", "--json"), "invalid value for 'what': 'cars' is not one of", "see: edgesnn list"),
        (("doctor", "x", "--json"), "got unexpected extra argument", "see: edgesnn doctor --help"),
        (("--json",), "'edgesnn' has no option '--json'", "a command's options stand after its name"),
    ],
)
def test_a_usage_error_with_json_is_one_document(edgesnn_here, arguments, what, remedy):
    finished = edgesnn_here(*arguments)
    assert finished.exit_code == 2
    error = finished.document["error"]
    assert error["exit_code"] == 2
    assert error["what"].startswith(what)
    assert error["remedy"].startswith(remedy)
    assert finished.stderr == ""


def test_json_after_a_double_dash_is_no_flag(edgesnn_here):
    finished = edgesnn_here("doctor", "--", "--json")
    assert finished.exit_code == 2
    assert finished.stdout == ""


@pytest.mark.parametrize("environment", [{}, {"NO_COLOR": "1", "FORCE_COLOR": "1"}])
def test_without_a_terminal_or_with_no_color_there_is_no_colour(edgesnn, environment):
    for arguments in (("--help",), ("doctor",), ("exprot",)):
        finished = edgesnn(*arguments, environment=environment)
        assert "\x1b[3" not in finished.stdout + finished.stderr


def test_a_command_that_does_not_load_is_an_internal_error(monkeypatch, capsys):
    def no_module(name):
        raise ImportError("no module")

    monkeypatch.setattr(main, "import_module", no_module)
    assert main.run(["doctor", "--json"]) == InternalError.exit_code
    assert "does not load" in capsys.readouterr().out


def test_the_pages_in_docs_are_those_of_the_code():
    stale = [
        name
        for name, content in reference.pages().items()
        if not (ROOT / "docs" / name).is_file() or (ROOT / "docs" / name).read_text("utf-8") != content
    ]
    assert stale == [], "run: make docs"
