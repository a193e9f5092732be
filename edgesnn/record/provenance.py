"""Which software made a record, with no path of the machine in it."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from pydantic import JsonValue

from edgesnn import __version__
from edgesnn.record.model import Provenance

#: Packages whose versions can change a result.
PACKAGES = ("numpy", "scipy", "onnx", "onnxruntime", "tokenizers", "safetensors", "pydantic", "torch")
_GIT_TIMEOUT_S = 10.0
_POSIX = re.compile(r"(?<![\w.:/~-])~?/(?:[^\s/'\"`:;,()]+/)*([^\s/'\"`:;,()]+)/?")
_WINDOWS = re.compile(r"(?<!\w)(?:[A-Za-z]:[\\/]|\\\\)(?:[^\s\\/'\"`;,()]+[\\/])*([^\s\\/'\"`;,()]+)[\\/]?")


def without_paths(value: JsonValue) -> JsonValue:
    """Plain data with every absolute path in its texts shortened to its last part.

    Args:
        value: JSON-like data.

    Returns:
        A copy.
    """
    if isinstance(value, str):
        plain = value.replace("file://", "")
        return _POSIX.sub(r"\1", _WINDOWS.sub(r"\1", plain))
    if isinstance(value, dict):
        return {key: without_paths(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths(item) for item in value]
    return value


def collect_provenance(command: Sequence[str] | None = None, folder: Path | None = None) -> Provenance:
    """Describe this process.

    Args:
        command: The command line; None takes the process's own.
        folder: Where to look for a git commit; None is the working directory.
    """
    commit, dirty, reason = _git(folder or Path.cwd())
    words = list(sys.argv if command is None else command)
    return Provenance(
        command=[_short(word) for word in words],
        python=f"{platform.python_implementation()} {platform.python_version()}",
        packages={"edgesnn": __version__, **_versions()},
        git_commit=commit,
        git_dirty=dirty,
        git_reason=reason,
    )


def _short(word: str) -> str:
    """One word of a command line; a path that leaves the working directory keeps only its name."""
    option, equals, value = word.partition("=") if word.startswith("-") else ("", "", word)
    path = Path(value)
    if path.is_absolute() or ".." in path.parts or value.startswith("~"):
        value = path.name
    shortened = without_paths(value)
    return f"{option}{equals}{shortened}"


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _git(folder: Path) -> tuple[str | None, bool | None, str | None]:
    """Commit of a folder, whether it is dirty, and why there is none."""
    try:
        commit = _run_git(folder, "rev-parse", "--verify", "HEAD")
        if commit is None:
            return None, None, "the working directory is in no git repository with a commit"
        status = _run_git(folder, "status", "--porcelain", "--untracked-files=no")
    except FileNotFoundError:
        return None, None, "git is not installed"
    except subprocess.TimeoutExpired:
        return None, None, "git did not answer in time"
    return commit, None if status is None else bool(status), None


def _run_git(folder: Path, *arguments: str) -> str | None:
    done = subprocess.run(
        ["git", "--no-optional-locks", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=_GIT_TIMEOUT_S,
        check=False,
    )
    return done.stdout.strip() if done.returncode == 0 else None
