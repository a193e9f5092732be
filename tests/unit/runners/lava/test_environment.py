"""The environment of Lava: which interpreter makes it, and what is said where it is missing or broken."""

import json
import sys

import pytest

from edgesnn.cli import doctor
from edgesnn.cli.main import run
from edgesnn.errors import DeviceError, RunnerError, UsageError
from edgesnn.runners.lava import environment
from edgesnn.runners.lava.environment import Interpreter
from edgesnn.runners.lava.runner import LavaRunner
from edgesnn.targets import resolve_target
from tests.support.bundles import shared_bundle


def fake(path, version="3.10.9", code=0):
    """An interpreter that says its version and does nothing else."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho {version.replace('.', ' ')}\nexit {code}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """A computer without a Python 3.10 and without an environment of Lava."""
    monkeypatch.delenv(environment.VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setattr(environment, "_folders", lambda: [tmp_path / "lava-0"])
    (tmp_path / "bin").mkdir()
    return tmp_path


def test_the_interpreter_that_the_variable_names_wins(nowhere, monkeypatch):
    fake(nowhere / "bin" / "python3.10")
    monkeypatch.setenv(environment.VARIABLE, str(fake(nowhere / "mine", "3.12.4")))
    assert environment.find_interpreter() == Interpreter(nowhere / "mine", (3, 12, 4))


@pytest.mark.parametrize("place", ["bin/python3.10", "pyenv/versions/3.10.13/bin/python3.10"])
def test_a_python_3_10_of_path_or_pyenv_is_found(nowhere, place):
    found = fake(nowhere / place)
    assert environment.find_interpreter() == Interpreter(found, (3, 10, 9))


def test_a_python_3_10_of_uv_is_found(nowhere):
    theirs = fake(nowhere / "uv-pythons" / "python3.10")
    uv = nowhere / "bin" / "uv"
    uv.write_text(f"#!/bin/sh\necho {theirs}\n")
    uv.chmod(0o755)
    assert environment.find_interpreter() == Interpreter(theirs, (3, 10, 9))


def test_an_interpreter_that_does_not_run_or_is_another_version_is_passed_over(nowhere):
    fake(nowhere / "bin" / "python3.10", code=1)  # a shim of pyenv whose version is not chosen
    fake(nowhere / "pyenv" / "versions" / "3.10.1" / "bin" / "python3.10", "3.11.2")
    good = fake(nowhere / "pyenv" / "versions" / "3.10.0" / "bin" / "python3.10")
    assert environment.find_interpreter().path == good


def test_without_a_python_3_10_the_running_interpreter_serves(nowhere):
    found = environment.find_interpreter()
    assert (str(found.path), found.version) == (sys.executable, sys.version_info[:3])


def test_a_variable_that_names_no_interpreter_is_an_error_and_nothing_else_is_tried(nowhere, monkeypatch):
    fake(nowhere / "bin" / "python3.10")
    monkeypatch.setenv(environment.VARIABLE, str(nowhere / "none"))
    with pytest.raises(RunnerError, match="interpreter of EDGESNN_LAVA_PYTHON does not run") as caught:
        environment.install()
    assert caught.value.exit_code == 4


def test_no_usable_interpreter_at_all_is_one_error_with_a_remedy(nowhere, monkeypatch):
    monkeypatch.setattr(environment.sys, "executable", str(nowhere / "gone"))
    with pytest.raises(
        RunnerError, match="no interpreter can make an environment for Lava.*EDGESNN_LAVA_PYTHON"
    ):
        environment.install()


def test_an_installation_that_fails_leaves_no_environment_and_says_the_last_lines(nowhere, monkeypatch):
    def failing(command, what):
        raise RunnerError(what, actual="no matching distribution")

    monkeypatch.setattr(environment, "_run", failing)
    with pytest.raises(RunnerError, match="environment of Lava cannot be made; actual: no matching"):
        environment.install()
    assert "no environment of its own yet" in environment.missing()


def test_a_command_that_fails_is_said_with_its_last_lines(nowhere):
    python = str(sys.executable)
    with pytest.raises(RunnerError, match=r"it broke; actual: two \| three \| four"):
        script = "import sys; sys.stderr.write('one\\ntwo\\nthree\\nfour\\n'); sys.exit(1)"
        environment._run([python, "-c", script], "it broke")


def test_without_an_environment_every_way_in_says_what_makes_it(nowhere, capsys):
    assert LavaRunner.missing() == environment.missing()
    assert environment.missing().endswith("remedy: edgesnn doctor --install lava")
    with pytest.raises(RunnerError, match="has no environment of its own yet; remedy: edgesnn doctor"):
        environment.find()
    with pytest.raises(DeviceError, match="no runner of target 'lava' can run here"):
        resolve_target("lava")
    assert run(["verify", str(shared_bundle()), "--target", "lava", "--json"]) == 4
    error = json.loads(capsys.readouterr().out)["error"]
    assert "no environment of its own yet" in error["actual"]


def test_an_environment_whose_interpreter_is_gone_is_missing(nowhere):
    folder = nowhere / "lava-0"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(nowhere / "uninstalled")
    (folder / "environment.json").write_text("{}")
    assert "interpreter of the environment of Lava is gone" in environment.missing()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"version": "3.10.0"}'])
def test_a_damaged_description_is_an_error_with_a_remedy(nowhere, content):
    fake(nowhere / "lava-0" / "bin" / "python")
    (nowhere / "lava-0" / "environment.json").write_text(content)
    with pytest.raises(
        RunnerError, match="environment of Lava is damaged.*remedy: edgesnn doctor --install lava"
    ):
        environment.find()


def test_doctor_says_which_interpreter_runs_lava(nowhere):
    folder = nowhere / "lava-0"
    fake(folder / "bin" / "python")
    for patched, said in ((False, "ready: Python 3.10.9"), (True, "because no Python 3.10 was found")):
        (folder / "environment.json").write_text(json.dumps({"version": "3.10.9", "patched": patched}))
        (check,) = [c for c in doctor.examine() if (c.area, c.name) == ("runner", "lava")]
        assert check.ok and said in check.found


def test_doctor_sets_up_what_was_asked_for_and_nothing_else(monkeypatch):
    made = []
    monkeypatch.setattr(LavaRunner, "install", classmethod(lambda cls: made.append(cls.name)))
    doctor.set_up("lava")
    assert made == ["lava"]
    with pytest.raises(UsageError, match="'golden' needs no environment of its own"):
        doctor.set_up("golden")
    with pytest.raises(UsageError, match="lav"):
        doctor.set_up("lav")
