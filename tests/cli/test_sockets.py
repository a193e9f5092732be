"""No command speaks to a machine that nobody named: seen by the system calls that would.

The demo is watched where it runs from the wheel, ``test_wheel.py``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.artifacts import write_artifact
from tests.support.bundles import shared_bundle
from tests.support.strace import SWITCHES, foreign, misses, watching

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(misses() is not None, reason=str(misses()))


@pytest.fixture
def watched(tmp_path):
    """Runs ``edgesnn ARGUMENTS`` with a home of its own; gives the addresses that it or a child spoke to."""

    def run(*arguments):
        trace = tmp_path / "trace"
        kept = {name: value for name, value in os.environ.items() if name not in SWITCHES}
        done = subprocess.run(
            [*watching(trace), sys.executable, "-m", "edgesnn.cli.main", *map(str, arguments)],
            cwd=tmp_path,
            env={**kept, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path / "home")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert not list((tmp_path / "home").rglob("*onnxruntime*.db")), "ONNX Runtime keeps events"
        return foreign(trace.read_text(errors="replace"))

    return run


def test_the_watch_sees_a_question_for_a_name_and_a_connection():
    lines = (
        '1 connect(8, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("127.0.0.53")}, 16) = 0\n'
        "1 connect(8, {sa_family=AF_INET6, sin6_port=htons(443), sin6_flowinfo=htonl(0), "
        'inet_pton(AF_INET6, "2606:50c0::1", &sin6_addr), sin6_scope_id=0}, 28 <unfinished ...>\n'
        '1 sendto(7, "x", 1, 0, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("1.2.3.4")}, 16)\n'
        '1 connect(3, {sa_family=AF_INET, sin_port=htons(5037), sin_addr=inet_addr("127.0.0.1")}, 16) = 0\n'
        '1 connect(3, {sa_family=AF_UNIX, sun_path="/var/run/nscd/socket"}, 110) = -1 ENOENT\n'
    )
    assert foreign(lines) == {(53, "127.0.0.53"), (443, "2606:50c0::1"), (80, "1.2.3.4")}


QUICK = (
    'schema = "edgesnn.profile/1"\nname = "p"\n[workload]\nwindows = 1\nmin_window_seconds = 0.0\n'
    "min_window_tokens = 4\nfirst_tokens = 2\nactivity_tokens = 0\nmemory_probes = 1\n"
    "accuracy_tokens = 0\nparity_tokens = 4\nwarmup_tokens = 2\n"
)


@pytest.mark.slow
def test_export_profile_and_report_speak_to_nobody(watched, tmp_path):
    (tmp_path / "p.toml").write_text(QUICK)
    assert watched("export", write_artifact(tmp_path / "tiny"), "-o", "bundle") == set()
    litert = ["litert"] if (tmp_path / "bundle" / "student.tflite").is_file() else []
    native = ["native"] if shutil.which("cc") else []
    for target in ["onnxruntime", *litert, *native]:
        options = ["--target", target, "--profile", "p.toml", "--allow-unmeasured", "-o", f"{target}.json"]
        assert watched("profile", "bundle", *options) == set()
    assert watched("report", "onnxruntime.json", "--html", "page.html") == set()


@pytest.mark.slow
@pytest.mark.torch
def test_training_on_a_local_teacher_and_a_local_reference_speak_to_nobody(watched, tmp_path):
    pytest.importorskip("transformers", reason="needs the `train` extra")
    teacher = _teacher(tmp_path / "teacher")
    size = {"num-steps": 1, "dim": 16, "depth": 1, "num-heads": 1, "windows": 8, "rank": 8, "vocab-size": 300}
    size |= {"max-length": 32, "batch-size": 1, "teacher-tokens": 100, "threads": 1, "output-dir": "out"}
    student = [str(part) for name, value in size.items() for part in (f"--{name}", value)]
    board = ["--tensorboard"] if find_spec("tensorboard") else []
    assert watched("train", "--teacher-model", teacher, *student, *board) == set()
    (tmp_path / "p.toml").write_text(QUICK)
    options = ["--target", "golden", "--profile", tmp_path / "p.toml", "--allow-unmeasured", "-o", "run.json"]
    assert watched("profile", shared_bundle(), *options, "--reference", teacher) == set()


def _teacher(folder):
    """A random GPT-2 that spells every text in bytes."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<|endoftext|>", special=True, normalized=False)])
    size = {"n_positions": 512, "n_embd": 16, "n_layer": 1, "n_head": 2}
    GPT2LMHeadModel(GPT2Config(vocab_size=257, bos_token_id=256, eos_token_id=256, **size)).save_pretrained(
        folder
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|endoftext|>", eos_token="<|endoftext|>"
    ).save_pretrained(folder)
    return folder
