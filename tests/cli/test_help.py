"""What ``edgesnn`` does before any command runs: help, version, usage errors, and how little it imports."""

import ast
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from edgesnn.cli import help as help_command
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
        == "error: there is no command 'exprot'\n  remedy: did you mean 'export' or 'report' or 'import'?\n"
    )


@pytest.mark.parametrize(
    ("arguments", "what", "remedy"),
    [
        (("exprot", "--json"), "there is no command 'exprot'", "did you mean 'export' or 'report'"),
        (("doctor", "--jso", "--json"), "'edgesnn doctor' has no option '--jso'", "did you mean '--json'?"),
        (("map", "--json"), "missing argument 'bundle'", "see: edgesnn map --help"),
        (("help", "exprot", "--json"), "there is no command 'exprot'", "did you mean 'export' or 'report'"),
        (
            ("help", "meter", "recrod", "--json"),
            "there is no command of 'edgesnn meter'",
            "did you mean",
        ),
        (("help", "map", "x", "--json"), "'edgesnn map' has no command of its own", "edgesnn help map"),
        (("meter", "recrod", "--json"), "no such command 'recrod'", "see: edgesnn meter --help"),
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


def every_command():
    """Name and command of each, those of a group after it."""
    for name in main.COMMANDS:
        command = main.build_command(name).commands[name]
        yield name, command
        yield from ((f"{name} {one}", member) for one, member in getattr(command, "commands", {}).items())


COMMANDS = dict(every_command())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_flows_and_ends_with_examples_that_can_be_typed(name, edgesnn_here):
    shown = edgesnn_here("help", *name.split())
    assert shown.exit_code == 0 and shown.stdout == edgesnn_here(*name.split(), "--help").stdout
    assert all(word not in shown.stdout for word in ("…", "Raises:", "Args:"))
    _, found, below = shown.stdout.partition("Examples:\n")
    lines = [line.strip() for line in below.splitlines() if line.strip()]
    assert found and lines
    for line in lines:
        program, *words = shlex.split(line.partition(" < ")[0])
        assert program == "edgesnn" and " ".join(words).startswith(name)
        command = COMMANDS[words.pop(0)]
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        command.make_context(name, words)  # raises for an option that is not there
    for paragraph in COMMANDS[name].help.split("\n\n"):
        assert "\n" not in paragraph


def test_paragraphs_are_joined_and_kept_apart_and_sections_are_left_out():
    text = """One
    line.

    Two
    lines.

    Examples:
        edgesnn a
        edgesnn b

    Raises:
        Error: Not for users.
    """
    assert help_command.description(text) == "One line.\n\nTwo lines."
    assert help_command.examples(text) == ["edgesnn a", "edgesnn b"]
    assert help_command.description(None) == "" and help_command.examples("Examples of it.") == []


def test_help_alone_is_the_overview_and_with_json_a_document(edgesnn_here):
    assert edgesnn_here("help").stdout == edgesnn_here("--help").stdout
    document = edgesnn_here("help", "map", "--json").document
    assert document["schema"] == "edgesnn.help/1" and document["command"] == ["map"]
    assert document["help"] == edgesnn_here("map", "--help").stdout


@pytest.mark.parametrize(
    ("typed", "place", "offered"),
    [
        ("edgesnn prof", 1, "profile"),
        ("edgesnn profile --all-t", 2, "--all-targets"),
        ("edgesnn meter rec", 2, "record"),
        ("edgesnn list ch", 2, "chips"),
    ],
)
def test_a_shell_completes_commands_and_options(edgesnn, typed, place, offered):
    environment = {"_EDGESNN_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(place)}
    assert edgesnn(environment=environment).stdout.split() == [offered]


def test_completion_can_be_shown_and_installed(edgesnn, tmp_path):
    help_text = edgesnn("--help").stdout
    assert "--install-completion" in help_text and "--show-completion" in help_text
    environment = {"HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    shown = edgesnn("--show-completion=bash", environment=environment)
    assert shown.exit_code == 0 and "_edgesnn_completion" in shown.stdout
    assert edgesnn("--install-completion=bash", environment=environment).exit_code == 0
    assert "edgesnn" in (tmp_path / ".bashrc").read_text()


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
