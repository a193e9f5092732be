"""The commands that are killed: what each is given, what it makes, and how to tell that this is whole."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgesnn.bundle.bundle import Bundle
from edgesnn.meters.files.recording import Recording
from edgesnn.program.artifact import read_artifact
from edgesnn.program.fold import fold
from edgesnn.record.files import read_run
from edgesnn.reports.baseline import read_baselines
from edgesnn.student.sampling.parts import SampleFolder
from edgesnn.student.teacher.cache import TeacherCache
from tests.support.artifacts import tiny_tokenizer, write_artifact
from tests.support.nir_files import chain, linear, neurons

EDGESNN = (sys.executable, "-m", "edgesnn.cli.main")
_QUICK = ("--target", "native", "--profile", "quick")
_PROMPTS = [f"What is number {k}?" for k in range(12)]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One command.

    Attributes:
        prepare: Makes what it is given in a folder, once.
        command: Its arguments, in that folder.
        made: What it makes, by its name in that folder.
        read: Reads what it made, strictly; an `EdgesnnError` says that it is not whole.
        done: Gives whether a command that does not end by itself has done its work; None for one that ends.
    """

    prepare: Callable[[Path], object]
    command: tuple[str, ...]
    made: str
    read: Callable[[Path], object]
    done: Callable[[subprocess.Popen[bytes]], bool] | None = None


def run(folder: Path, *arguments: str) -> None:
    """A command that must work."""
    subprocess.run(
        [*EDGESNN, *arguments], cwd=folder, check=True, capture_output=True, stdin=subprocess.DEVNULL
    )


def _artifact(folder: Path) -> None:
    write_artifact(folder / "student")


def _bundle(folder: Path) -> None:
    _artifact(folder)
    run(folder, "export", "student", "-o", "bundle", "--format", "c")


def _record(folder: Path) -> None:
    _bundle(folder)
    run(
        folder,
        "profile",
        "bundle",
        "--target",
        "native",
        "--profile",
        "quick",
        "-o",
        "run.json",
        "--allow-unmeasured",
    )


def _network(folder: Path) -> None:
    chain(folder / "net.nir", ("l", linear(2, 4)), ("n", neurons(2)))
    np.savez(folder / "net.npz", frames=np.zeros((4, 6, 4), np.float32))


def _teacher(folder: Path) -> None:
    """A random GPT-2 of two small layers, and prompts to ask it."""
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    size = {"n_positions": 128, "n_embd": 16, "n_layer": 1, "n_head": 2}
    GPT2LMHeadModel(GPT2Config(vocab_size=280, bos_token_id=0, eos_token_id=0, **size)).save_pretrained(
        folder / "teacher"
    )
    end = "<|endoftext|>"
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tiny_tokenizer(), bos_token=end, eos_token=end)
    tokenizer.save_pretrained(folder / "teacher")
    (folder / "prompts.txt").write_text("\n".join(_PROMPTS) + "\n", encoding="utf-8")


def _text(folder: Path) -> None:
    lines = [f"{question} It is {len(question)} letters long." for question in _PROMPTS * 4]
    (folder / "text.txt").write_text("\n\n".join(lines) + "\n", encoding="utf-8")


def _read_bundle(path: Path) -> None:
    Bundle(path).program()


def _read_recording(path: Path) -> None:
    with Recording(path) as recording:
        assert not recording.cut_off, "the recording is said to be whole and is cut off"
        for segment in recording.segments:
            for block in segment.blocks():
                assert len(block)


def _read_sample(path: Path) -> None:
    assert SampleFolder(path).made() is not None
    assert TeacherCache.open(path / "rows").complete
    assert len((path / "answers.jsonl").read_text("utf-8").splitlines()) == len(_PROMPTS)


def _read_student(path: Path) -> None:
    fold(read_artifact(path))


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


PORT = free_port()


def _answers(process: subprocess.Popen[bytes]) -> bool:
    """Whether the server answers a request."""
    body = b'{"prompt": "What", "max_tokens": 2}'
    asked = urllib.request.Request(  # noqa: S310 - this computer
        f"http://127.0.0.1:{PORT}/v1/completions", body, {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(asked, timeout=10.0) as answer:  # nosec B310
            return bool(answer.read())
    except (urllib.error.URLError, OSError):
        time.sleep(0.05)
        return False


_SMALL = (
    *("--vocab-size", "270", "--dim", "8", "--depth", "1", "--num-heads", "2", "--windows", "2,5"),
    *("--mlp-dim", "8", "--rank", "4"),
)
SCENARIOS = {
    "export": Scenario(
        _artifact,
        ("export", "student", "-o", "bundle", "--format", "onnx,c", "--force"),
        "bundle",
        _read_bundle,
    ),
    "import": Scenario(
        _network,
        ("import", "net.nir", "--source", "spikingjelly", "--calibration", "net.npz", "-o", "net", "--force"),
        "net",
        _read_bundle,
    ),
    "profile": Scenario(
        _bundle,
        (
            *("profile", "bundle", *_QUICK, "-o", "run.json", "--meter", "sim:ppk2?voltage=3.7"),
            "--allow-unmeasured",
        ),
        "run.json",
        read_run,
    ),
    "record": Scenario(
        lambda folder: None,
        ("meter", "record", "sim:ppk2?voltage=3.7", "-o", "trace.npz", "-d", "0.6", "--force"),
        "trace.npz",
        _read_recording,
    ),
    "baseline": Scenario(
        _record,
        ("baseline", "update", "run.json", "--baselines", "baselines", "--force"),
        "baselines",
        lambda path: [one.sessions[0] for one in read_baselines(path).values()],
    ),
    "serve": Scenario(
        _bundle,
        ("serve", "bundle", "--port", str(PORT), "--target", "native"),
        "bundle",
        _read_bundle,
        _answers,
    ),
    "train": Scenario(
        _text,
        (
            *(
                "train",
                "--teacher-model",
                "none",
                "--dataset-path",
                "text.txt",
                "--output-dir",
                "made",
                *_SMALL,
                "--num-steps",
                "12",
            ),
            *("--checkpoint-interval", "2", "--max-length", "16", "--threads", "1"),
        ),
        "made",
        _read_student,
    ),
    "sample": Scenario(
        _teacher,
        (
            *("sample", "prompts.txt", "-o", "sampled", "--teacher-model", "teacher", "--vocab-size", "270"),
            *("--max-new-tokens", "4", "--batch-size", "3", "--max-length", "32", "--threads", "1"),
        ),
        "sampled",
        _read_sample,
    ),
}
