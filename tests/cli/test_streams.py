"""Results reach any stream: what it cannot hold is replaced, and nothing ends with a crash."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.support.bundles import shared_bundle
from tests.support.patience import patience

PROMPT = "Grüße — 日本 😀"
#: Ways in which a stream is not UTF-8.
ENVIRONMENTS = {
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "latin-1": {"PYTHONIOENCODING": "latin-1:strict"},
    "the C locale": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "utf-8": {"PYTHONIOENCODING": "utf-8"},
}
COMMANDS = {
    "generate": ("generate", "BUNDLE", PROMPT, "--max-tokens", "5"),
    "generate --json": ("generate", "BUNDLE", PROMPT, "--max-tokens", "5", "--json"),
    "verify": ("verify", "BUNDLE", "--target", "native", "--tokens", "5"),
    "list": ("list", "targets"),
    "doctor": ("doctor",),
    "init": ("init", "ü/ü"),
    "an error": ("verify", f"no {PROMPT}"),
    "a usage error": (f"ü{PROMPT}",),
    "help": ("--help",),
    "help of a command": ("profile", "--help"),
}
CODES = {"an error": 1, "a usage error": 2, "init": 2}


def run(*arguments, cwd, environment=(), given=b"", **options):
    command = [sys.executable, "-m", "edgesnn.cli.main", *arguments]
    there = {**os.environ, "PYTHONPATH": str(ROOT), **dict(environment)}
    return subprocess.run(
        command, cwd=cwd, env=there, input=given, capture_output=True, timeout=patience(), **options
    )


@pytest.mark.parametrize(
    ("name", "environment"),
    [
        *((name, environment) for name in COMMANDS for environment in ("ascii", "the C locale")),
        *(("generate", environment) for environment in ("latin-1", "utf-8")),
    ],
)
def test_a_command_ends_as_ever_whatever_its_stream_can_hold(tmp_path, name, environment):
    arguments = [str(shared_bundle()) if word == "BUNDLE" else word for word in COMMANDS[name]]
    done = run(*arguments, cwd=tmp_path, environment=ENVIRONMENTS[environment])
    assert done.returncode == CODES.get(name, 0), done.stderr.decode("utf-8", "replace")
    assert b"Traceback" not in done.stderr and b"internal error" not in done.stderr


def test_the_prompt_is_read_as_utf_8_whatever_the_locale_says(tmp_path):
    said = {
        run(
            "generate", shared_bundle(), prompt, "--max-tokens", "5", "--json", cwd=tmp_path, **options
        ).stdout
        for name in ("the C locale", "utf-8")
        for prompt, options in (
            (PROMPT, {"environment": ENVIRONMENTS[name]}),
            ("-", {"environment": ENVIRONMENTS[name], "given": PROMPT.encode()}),
        )
    }
    texts = {
        line
        for one in said
        for line in one.decode("ascii").splitlines()
        if '"text"' in line or "prompt" in line
    }
    assert len(texts) == 3, texts  # one prompt, one list of its tokens, one text


@pytest.mark.parametrize("way", ["argument", "input"])
def test_a_prompt_that_is_no_text_is_an_error_of_the_user(tmp_path, way):
    bad = PROMPT[:5].encode("latin-1")
    prompt, given = (bad, b"") if way == "argument" else ("-", bad)
    done = run("generate", shared_bundle(), prompt, cwd=tmp_path, given=given)
    assert done.returncode == 1 and b"no text in UTF-8" in done.stderr


@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">&- 2>&-"])
def test_a_closed_stream_takes_all(tmp_path, redirection):
    line = f'"{sys.executable}" -m edgesnn.cli.main list profiles --json {redirection}'
    done = subprocess.run(
        ["sh", "-c", line], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True
    )
    assert done.returncode == 0 and b"Traceback" not in done.stderr
