"""What all tests share: the command line as a user meets it, and what the markers mean here."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command does it, before numpy is imported
# A second thread spins while another worker has its core. Tests of threads set their number themselves.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

from tests.support import shared
from tests.support.patience import patience

# The same examples in every run: a red CI can be repeated. HYPOTHESIS_PROFILE=default draws new ones.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

# The background job of a shell inherits Ctrl-C ignored, and would hand that on to every command under test.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Finished:
    """One command line that has run."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def document(self):
        """The one JSON document that ``--json`` promises."""
        return json.loads(self.stdout)


@pytest.fixture
def edgesnn(tmp_path):
    """Runs ``edgesnn ARGUMENTS`` in a process of its own, in an empty folder, from this checkout."""

    def run(*arguments, environment=None):
        finished = subprocess.run(
            [sys.executable, "-m", "edgesnn.cli.main", *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100", **(environment or {})},
            capture_output=True,
            text=True,
            timeout=patience(),
        )
        return Finished(finished.returncode, finished.stdout, finished.stderr)

    return run


@pytest.fixture
def edgesnn_here(tmp_path, monkeypatch, capsys):
    """Like `edgesnn`, in this process, which has its imports behind it: for what a command does and says."""
    from edgesnn.cli.main import run as run_command

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments):
        capsys.readouterr()
        code = run_command([str(argument) for argument in arguments])
        return Finished(code, *capsys.readouterr())

    return run


def pytest_configure(config):
    """Make the folder in which the processes of this run share what one of them makes."""
    if not hasattr(config, "workerinput"):
        folder = TemporaryDirectory(prefix="edgesnn-tests-")
        os.environ[shared.VARIABLE] = folder.name
        config.add_cleanup(folder.cleanup)


def pytest_addoption(parser):
    parser.addoption("--devices", action="store_true", help="run the tests that need attached hardware")


def pytest_collection_modifyitems(config, items):
    """Skip, with its reason, what cannot run here; among several workers, begin with the long files."""
    if hasattr(config, "workerinput"):
        long = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: item.path not in long)  # or the last worker would be alone with one
    no_torch = find_spec("torch") is None
    for item in items:
        if item.get_closest_marker("torch") and no_torch:
            item.add_marker(pytest.mark.skip(reason="torch is not installed: pip install 'edgesnn[train]'"))
        if item.get_closest_marker("device") and not config.getoption("--devices"):
            item.add_marker(pytest.mark.skip(reason="needs attached hardware: pytest --devices"))
