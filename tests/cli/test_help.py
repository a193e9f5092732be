"""What ``edgesnn`` does before any command runs: help, version, usage errors, and how little it imports."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from edgesnn.cli import main, reference
from edgesnn.errors import InternalError

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "onnx", "onnxruntime", "numpy", "pydantic", "scipy", "tokenizers", "safetensors", "psutil"}


def modules_after(*arguments):
    code = (
        "import sys\n"
        "from edgesnn.cli.main import run\n"
        f"run({list(arguments)!r})\n"
        "print('MODULES', sorted({name.partition('.')[0] for name in sys.modules}))\n"
    )
    finished = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    return set(ast.literal_eval(finished.stdout.rpartition("MODULES ")[2]))


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("exprot",)])
def test_nothing_heavy_is_imported_before_a_command_is_known(arguments):
    assert modules_after(*arguments) & HEAVY == set()


@pytest.mark.parametrize("command", [name for name in main.COMMANDS if name != "train"])
def test_the_help_of_a_command_imports_no_torch_and_no_engine(command):
    assert modules_after(command, "--help") & {"torch", "onnx", "onnxruntime"} == set()


def test_the_help_of_train_imports_no_torch():
    assert "torch" not in modules_after("train", "--help")


def test_the_help_has_a_line_for_every_command(edgesnn):
    finished = edgesnn("--help")
    assert finished.exit_code == 0
    assert all(name in finished.stdout and line in finished.stdout for name, line in main.COMMANDS.items())


def test_no_arguments_show_the_help(edgesnn):
    assert edgesnn().stdout == edgesnn("--help").stdout


def test_the_version_is_the_packages(edgesnn):
    from edgesnn import __version__

    assert edgesnn("--version").stdout == f"edgesnn {__version__}\n"


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_command_loads_takes_json_and_has_help(name, edgesnn):
    assert callable(main.command_function(name))
    finished = edgesnn(name, "--help")
    assert finished.exit_code == 0
    assert "--json" in finished.stdout


def test_an_unknown_command_names_the_nearest_and_exits_2(edgesnn):
    finished = edgesnn("exprot")
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
def test_a_usage_error_with_json_is_one_document(edgesnn, arguments, what, remedy):
    finished = edgesnn(*arguments)
    assert finished.exit_code == 2
    error = finished.document["error"]
    assert error["exit_code"] == 2
    assert error["what"].startswith(what)
    assert error["remedy"].startswith(remedy)
    assert finished.stderr == ""


def test_json_after_a_double_dash_is_no_flag(edgesnn):
    finished = edgesnn("doctor", "--", "--json")
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
