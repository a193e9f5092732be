"""The Python environment that Lava runs in: found, described, made.

lava-nc is made for Python 3.10, so it never shares edgesnn's environment. `install` makes one beside it from
the first interpreter it finds: the one that ``EDGESNN_LAVA_PYTHON`` names, a Python 3.10 of the path, of
pyenv or of uv, or else the interpreter that runs now, where a child process patches the one module that needs
it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgesnn import resources, system
from edgesnn.children import ending, last_words
from edgesnn.errors import RunnerError
from edgesnn.locks import locked_file

#: What makes the environment.
REMEDY = "edgesnn doctor --install lava"
#: Names an interpreter to make the environment from.
VARIABLE = "EDGESNN_LAVA_PYTHON"
_MARKER = "environment.json"
_WANTED = (3, 10)
_PROBE = "import sys, venv, ensurepip; print(*sys.version_info[:3])"
_PROBE_SECONDS = 30
_INSTALL_SECONDS = 900
_CHECK = (
    "import sys; sys.path.insert(0, sys.argv[1]); import shim; shim.import_on_newer_python(); "
    "import lava.proc.lif.process, lava.proc.dense.process, lava.magma.core.run_configs"
)


@dataclass(frozen=True, slots=True)
class Environment:
    """An environment that has Lava.

    Attributes:
        python: Its interpreter.
        version: Version of that, for example ``3.10.13``.
        patched: Whether Lava needs the patch of ``shim.py`` there.
    """

    python: Path
    version: str
    patched: bool

    def command(self) -> list[str]:
        """How its interpreter is started: isolated, with compiled modules in a place that can be written."""
        cache = self.python.parents[1] / "pycache"
        return [str(self.python), "-I", "-X", f"pycache_prefix={cache}"]

    def sentence(self) -> str:
        """What it is, for ``edgesnn doctor``."""
        patch = " with a patched import, because no Python 3.10 was found" if self.patched else ""
        return f"Python {self.version}{patch}"


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python that can make an environment.

    Attributes:
        path: Its executable.
        version: Major, minor, patch.
    """

    path: Path
    version: tuple[int, int, int]


def missing() -> str | None:
    """Why Lava cannot run here, or None."""
    if not system.is_linux():
        return "Lava's processes are guarded by means of Linux; this is another system"
    for folder in _folders():
        if (folder / _MARKER).is_file():
            if os.access(_python(folder), os.X_OK):
                return None
            return f"the interpreter of the environment of Lava is gone: {_python(folder)}; remedy: {REMEDY}"
    return f"Lava has no environment of its own yet; remedy: {REMEDY}"


def find() -> Environment:
    """The environment.

    Raises:
        RunnerError: There is none that works.
    """
    reason = missing()
    if reason is not None:
        what, _, remedy = reason.partition("; remedy: ")
        raise RunnerError(what, remedy=remedy or None)
    folder = next(folder for folder in _folders() if (folder / _MARKER).is_file())
    try:
        facts = json.loads((folder / _MARKER).read_text("utf-8"))
        return Environment(_python(folder), str(facts["version"]), bool(facts["patched"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunnerError(
            f"the environment of Lava is damaged: {type(error).__name__}: {error}", remedy=REMEDY
        ) from None


def install() -> Environment:
    """Make the environment anew from the first interpreter that works.

    Returns:
        The environment.

    Raises:
        RunnerError: No interpreter works, or the packages cannot be installed.
    """
    interpreter = find_interpreter()
    folder = _folders()[0]
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked_file(folder.with_suffix(".lock")):
            shutil.rmtree(folder, ignore_errors=True)
            return _make(interpreter, folder)
    except OSError as error:
        raise RunnerError(
            f"the environment of Lava cannot be made in '{folder}': {error.strerror or error}"
        ) from None


def find_interpreter() -> Interpreter:
    """The interpreter to make the environment from.

    Raises:
        RunnerError: The one that ``EDGESNN_LAVA_PYTHON`` names does not run, or none can make environments.
    """
    named = os.environ.get(VARIABLE)
    if named:
        found = _probe(Path(shutil.which(named) or named))
        if found is None:
            raise RunnerError(
                f"the interpreter of {VARIABLE} does not run or lacks venv and ensurepip", actual=named
            )
        return found
    for path in _candidates():
        found = _probe(path)
        if found is not None and found.version[:2] == _WANTED:
            return found
    found = _probe(Path(sys.executable))
    if found is None:
        raise RunnerError(
            "no interpreter can make an environment for Lava",
            actual=f"{sys.executable} lacks venv or ensurepip, and there is no Python 3.10",
            remedy=f"install Python 3.10 with venv, or name an interpreter in {VARIABLE}",
        )
    return found


def _candidates() -> Iterator[Path]:
    """Where a Python 3.10 may be."""
    on_path = shutil.which("python3.10")
    if on_path is not None:
        yield Path(on_path)
    pyenv = Path(os.environ.get("PYENV_ROOT") or (resources.home() or Path("/")) / ".pyenv")
    yield from sorted(pyenv.glob("versions/3.10*/bin/python3.10"), reverse=True)
    uv = shutil.which("uv")
    if uv is not None:
        said = _output([uv, "python", "find", "--no-python-downloads", "3.10"])
        if said:
            yield Path(said)


def _probe(path: Path) -> Interpreter | None:
    said = _output([str(path), "-I", "-c", _PROBE])
    try:
        major, minor, patch = (int(part) for part in (said or "").split())
    except ValueError:
        return None
    return Interpreter(path, (major, minor, patch))


def _output(command: list[str]) -> str | None:
    """What a command prints, or None where it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PROBE_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _make(interpreter: Interpreter, folder: Path) -> Environment:
    shipped = resources.folder("lava")
    python, requirements = str(_python(folder)), str(shipped / "export" / "requirements.txt")
    _run([str(interpreter.path), "-m", "venv", str(folder)], "the environment of Lava cannot be made")
    # Newer interpreters are refused by the package's own declaration; what it needs is in the file, pinned.
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--ignore-requires-python"]
    command = [python, "-m", "pip", "install", *options, "-r", requirements]
    _run(command, "the packages of Lava cannot be installed")
    version = ".".join(map(str, interpreter.version))
    made = Environment(_python(folder), version, interpreter.version[:2] != _WANTED)
    _run([*made.command(), "-c", _CHECK, str(shipped)], "Lava was installed and does not load")
    (folder / _MARKER).write_text(
        json.dumps({"version": made.version, "patched": made.patched}), encoding="utf-8"
    )
    return made


def _run(command: list[str], what: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise RunnerError(what, actual=f"more than {_INSTALL_SECONDS} s") from None
    if done.returncode != 0:
        raise RunnerError(what, actual=last_words(done.stderr or done.stdout) or ending(done.returncode))


def _folders() -> list[Path]:
    """Where the environment may be: inside the virtual environment that runs now, else in the user's cache.

    The name holds a hash of the pinned packages, so an environment of other pins is never taken.
    """
    pins = (resources.folder("lava") / "export" / "requirements.txt").read_bytes()
    name = f"lava-{hashlib.sha256(pins).hexdigest()[:12]}"
    places = [resources.cache_folder(name)]
    if sys.prefix != sys.base_prefix and os.access(sys.prefix, os.W_OK):
        places.insert(0, Path(sys.prefix) / name)
    return places


def _python(folder: Path) -> Path:
    return folder / "bin" / "python"
