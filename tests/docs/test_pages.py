"""Every block of README and of the pages below docs runs as printed, or says above it why not.

A page has a scratch folder, and its blocks run in it one after the other; `belongings` says what lies there
from the start: what a reader has by then. Workloads are smaller than the shipped ones (`small.py`), pip and
make are only looked at (`checked.py`). An instrument of 1,000 samples a second stands for one of 100,000,
which a busy machine would starve. A block that prints what a command says is compared with it.
"""

import ast
import importlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib

import pytest
import yaml

from edgesnn.cli import main
from edgesnn.profiler.budgets.profile import Profile
from tests.docs.fences import DATA, ROOT, SHELL, fences, pages
from tests.docs.small import make_small
from tests.docs.warm import write_programs
from tests.support.nir_files import recorded
from tests.support.patience import patience, wait_for

pytestmark = pytest.mark.slow

#: Words in capitals are the reader's own.
NAMES = {
    "BUNDLE": "bundle",
    "RUN.json": "run.json",
    "BASE": "baselines",
    "BASELINE": "baselines",
    "RUN...": "run.json",
}
_NUMBER = re.compile(r"\d[\d,.]*")


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """Runs a script in a folder, as a plain user's shell would with edgesnn on its path."""
    folder = tmp_path_factory.mktemp("programs")
    write_programs(folder / "bin")
    home = folder / "home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    if shutil.which("ssh-keygen"):
        key = [*["ssh-keygen", "-q", "-t", "ed25519", "-N"], "", "-f", str(home / ".ssh/id_ed25519")]
        subprocess.run(key, check=True)
    environment = {
        **os.environ,
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(home),
        "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")),
        "EDGESNN_WARM": str(folder / "socket"),
        "EDGESNN_SHIMS": str(folder / "bin"),
        "COLUMNS": "100",
        "OPENBLAS_NUM_THREADS": "1",
    }
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.docs.warm", str(folder / "socket"), str(folder)],
        cwd=ROOT,
        env=environment,
        start_new_session=True,
    )
    wait_for(lambda: server.poll() is not None or (folder / "socket").exists(), "the server")
    assert server.poll() is None

    def run(script, cwd):
        return subprocess.run(
            ["bash", "-c", f"set -o pipefail\n{script}"],
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=patience(),
        )

    yield run
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()


@pytest.fixture(scope="module")
def belongings(shell, tmp_path_factory):
    """What a reader has when a page begins: a student, its bundle, a run, baselines, a network."""
    folder = tmp_path_factory.mktemp("belongings")
    steps = """
    mkdir artifacts && cp -r REFERENCE artifacts/mine
    edgesnn export reference -o bundle --format onnx,c
    edgesnn profile bundle --target native --profile quick -o run.json
    edgesnn baseline update run.json
    edgesnn meter record 'sim:ppk2?voltage=3.7' -o trace.npz --duration 0.5
    edgesnn map bundle --chip loihi2 --tokens 16 --json > map.json
    cp -r bundle base && cp -r bundle head && mkdir runs && cp run.json run.npz runs/
    """.replace("REFERENCE", str(ROOT / "reference"))
    made = shell(f"set -e\n{steps}", folder)
    assert made.returncode == 0, made.stdout + made.stderr
    for part in (".nir", ".npz"):
        recorded("snntorch-zero", folder).with_suffix(part).rename(folder / f"wake{part}")
    rows = [
        json.dumps({"prompt": f"Where is tram {n}?", "response": "It leaves in four minutes."})
        for n in range(40)
    ]
    for name in ("prompts.jsonl", "heldout.jsonl", "my_dialogues.jsonl"):
        (folder / name).write_text("\n".join(rows) + "\n")
    (folder / "prompts.txt").write_text("Where is the tram?\nRead the sign.\n")
    (folder / "texts.jsonl").write_text("\n".join(rows) + "\n")
    (folder / "text.txt").write_text("The tram leaves in four minutes.\n\n" * 40)
    return folder


@pytest.mark.parametrize("page", pages())
def test_every_block_has_a_language_and_what_stands_above_it_is_understood(page):
    assert {fence.where: fence.faults() for fence in fences(page) if fence.faults()} == {}


def commands(fence):
    """The command lines of a block of the shell, joined where they go on."""
    text = fence.text.replace("\\\n", " ")
    if fence.language == "console":
        text = "\n".join(line.removeprefix("$ ") for line in text.splitlines() if line.startswith("$ "))
    return text.splitlines()


def words_of(line):
    """The words of the first command of a line that is edgesnn's, or None."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    try:
        words = list(lexer)
    except ValueError:
        return None
    if not words or words[0] != "edgesnn":
        return None
    stop = next((n for n, word in enumerate(words) if set(word) <= set("|&;<>")), len(words))
    return words[1:stop]


@pytest.mark.parametrize("page", pages())
def test_what_is_not_run_is_at_least_what_the_program_takes(page):
    for fence in fences(page):
        if fence.not_run and fence.language in SHELL:
            for words in filter(None, map(words_of, commands(fence))):
                command = main.build_command(words[0]).commands[words.pop(0)]
                while words and words[0] in getattr(command, "commands", {}):
                    command = command.commands[words.pop(0)]
                command.make_context(fence.where, words)  # raises for an option that is not there
        if fence.not_run and fence.language == "python":
            names_exist(fence)


def names_exist(fence):
    """What a block of Python imports of edgesnn is there."""
    for node in ast.walk(ast.parse(fence.text, fence.where)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "edgesnn":
            module = importlib.import_module(node.module)
            assert all(hasattr(module, name.name) for name in node.names), fence.where


def fits(shown, said):
    """Whether the lines of a page stand in the output, in order; numbers and borders do not count."""

    def plain(text):
        text = re.sub(r"[^\x00-\x7f]", " ", _NUMBER.sub("#", text))
        return [" ".join(line.split()) for line in text.splitlines() if line.strip()]

    there = iter(plain(said))
    return [line for line in plain(shown) if line != "..." and not any(line in one for one in there)]


def parsed(fence):
    """Read data; a profile by its own reader."""
    if fence.language == "json":
        return json.loads(fence.text)
    if fence.language == "yaml":
        return yaml.safe_load(fence.text)
    found = tomllib.loads(fence.text)
    if {"workload", "budgets", "target"} & set(found):
        whole = tomllib.loads((ROOT / "profiles/quick.toml").read_text("utf-8"))
        for name, part in found.items():
            whole[name] = {**whole.get(name, {}), **part} if isinstance(part, dict) else part
        Profile.model_validate_json(json.dumps(whole))
    return found


def run_block(fence, shell, folder, namespace):
    """Run one block to the end that its page promises."""
    text = fence.swapped()
    for made in re.findall(
        r"^(?!.*--force)(?:\$ )?edgesnn (?:export|import|meter record) .*?-o (\S+)", text, re.MULTILINE
    ):
        there = folder / made  # what a block makes is not there before it
        shutil.rmtree(there) if there.is_dir() else there.unlink(missing_ok=True)
    for name, ours in NAMES.items():
        text = re.sub(rf"(?<![\w/]){re.escape(name)}(?!\w)", ours, text) if fence.language in SHELL else text
    if fence.language == "python":
        exec(compile(text, fence.where, "exec"), namespace)
    elif fence.language in DATA:
        parsed(fence)
    elif fence.language == "bash":
        finished = shell(f"set -e\n{text}", folder)
        assert finished.returncode == fence.exit_code, f"{fence.where}\n{finished.stdout}{finished.stderr}"
    elif fence.language == "console":
        run_console(fence, text, shell, folder)


def run_console(fence, text, shell, folder):
    """Run what follows a dollar, and compare what it says with what is printed below."""
    parts = re.split(r"^\$ ", text, flags=re.MULTILINE)
    assert not parts[0].strip(), f"{fence.where}: a console begins with a command"
    for number, part in enumerate(parts[1:], 1):
        lines = part.splitlines()
        length = next((n for n, line in enumerate(lines) if not line.endswith("\\")), len(lines)) + 1
        finished = shell("\n".join(lines[:length]), folder)
        wanted = fence.exit_code if number == len(parts) - 1 else 0
        said = finished.stdout + finished.stderr
        assert finished.returncode == wanted, f"{fence.where}: {lines[0]}\n{said}"
        missing = fits("\n".join(lines[length:]), said)
        assert not missing, f"{fence.where}: not said: {missing}\n{said}"


RUN = [
    page
    for page in pages()
    if any(not f.not_run and f.language in (*SHELL, "python", *DATA) for f in fences(page))
]


@pytest.mark.parametrize("page", RUN)
def test_the_blocks_of_a_page_run_one_after_the_other(page, shell, belongings, tmp_path, monkeypatch):
    folder = tmp_path / "scratch"
    shutil.copytree(belongings, folder)
    if page.startswith("examples/"):  # its reader stands in its folder
        shutil.copytree((ROOT / page).parent, folder, dirs_exist_ok=True)
    monkeypatch.chdir(folder)
    make_small(tmp_path, monkeypatch.setattr)
    namespace = {"__name__": page}
    for fence in fences(page):
        if not fence.not_run:
            run_block(fence, shell, folder, namespace)
