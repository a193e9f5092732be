"""Harnesses of models: programs, bundles, artifacts, the files of each format, networks of other libraries."""

from __future__ import annotations

import hashlib
import json

import shutil
import subprocess
from pathlib import Path

import numpy as np

from edgesnn.bundle.bundle import MANIFEST_NAME, Bundle
from edgesnn.bundle.signature import SIGNATURE_NAME, require_signer, sign_bundle

from edgesnn.nir.calibration import CalibrationFrames, read_calibration, samples_for
from edgesnn.nir.fold import fold as fold_network
from edgesnn.nir.graph import read_graph
from edgesnn.nir.sources import rules_for
from edgesnn.program.artifact import read_artifact, read_tensors
from edgesnn.program.bounds import prove
from edgesnn.program.fold import fold
from edgesnn.program.snn_format import from_bytes, to_bytes
from edgesnn.program.v1_student import block_shapes, read_v1
from edgesnn.program.validate import check_program
from edgesnn.runners.litert.model import LiteRtModel
from edgesnn.runners.onnxruntime.session import open_session
from edgesnn.student.sampling.prompts import read_prompts
from edgesnn.student.teacher.cache import MANIFEST_FILE, CachedText, CacheKey, TeacherCache
from edgesnn.student.teacher.trimming import TrimmedVocabulary
from edgesnn.text.tokenizer import load_tokenizer
from tests.support import snn_reader
from tests.support.artifacts import tiny_tokenizer, write_artifact
from tests.support.frame_programs import smallest_frames
from tests.support.nir_files import chain, linear, neurons, recorded
from tests.support.programs import smallest
from tools.fuzz.harness import Harness, Subject
from tools.soak.cases import Case
from tools.soak.targets import bundle_of

# Programs --------------------------------------------------------------------------------------------------


def _fixed(data: bytes) -> bytes:
    """The file with its size, its hash and its checksum right again."""
    if len(data) < 128:
        return data
    return snn_reader.fix_up(data[:16] + len(data).to_bytes(8, "little") + data[24:])


def _read_program(data: bytes) -> None:
    program = from_bytes(data).program
    check_program(program)
    prove(program)
    assert to_bytes(program) == data, "a program that has two forms"


def _program(text: bool) -> Harness:
    def opened(folder: Path) -> Subject:
        return Subject([to_bytes(smallest() if text else smallest_frames())], _read_program, _fixed)

    return Harness(opened)


# Bundles ---------------------------------------------------------------------------------------------------


def _frames_bundle(folder: Path) -> Bundle:
    return bundle_of(Case(smallest_frames(), np.zeros((1, 1, 24), np.int8)), folder, None)


def _text_bundle(folder: Path, export: str | None) -> Bundle:
    return bundle_of(Case(smallest(), np.zeros((1, 1), np.int64)), folder, export)


def _manifest(folder: Path) -> Subject:
    bundles = [_text_bundle(folder, "tflite"), _frames_bundle(_made(folder / "f"))]
    seeds = [(one.path / MANIFEST_NAME).read_bytes() for one in bundles]

    def run(data: bytes) -> None:
        path = bundles[b'"bounds"' in data and b'"input_shape"' in data].path
        (path / MANIFEST_NAME).write_bytes(data)
        bundle = Bundle(path)
        _ = repr(bundle), bundle.name, bundle.without_program, bundle.reads_frames
        for name, entry in bundle.manifest.exports.items():
            assert [bundle.export_file(name, role) for role in entry.files]
        bundle.program()

    return Subject(seeds, run)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _signature(folder: Path) -> Subject:
    bundle, key = _text_bundle(folder, None), folder / "key"
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "someone", "-f", str(key)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    signers = folder / "signers"
    signers.write_text("someone@example " + key.with_suffix(".pub").read_text("utf-8"), encoding="utf-8")
    seed = sign_bundle(bundle, key).read_bytes()

    def run(data: bytes) -> None:
        (bundle.path / SIGNATURE_NAME).write_bytes(data)
        assert require_signer(bundle, signers) == "someone@example"

    return Subject([seed], run)


# Files of formats ------------------------------------------------------------------------------------------


def _export_files(folder: Path, export: str) -> list[bytes]:
    bundle = _text_bundle(folder, export)
    found = {bundle.export_file(export, role) for role in ("step", "sequence")}
    return [path.read_bytes() for path in sorted(found)]


def _onnx(folder: Path) -> Subject:
    seeds, path = _export_files(folder, "onnx"), folder / "a.onnx"

    def run(data: bytes) -> None:
        path.write_bytes(data)
        open_session(path, 1)

    return Subject(seeds, run)


def _tflite(folder: Path) -> Subject:
    seeds, path = _export_files(folder, "tflite"), folder / "a.tflite"

    def run(data: bytes) -> None:
        path.write_bytes(data)
        LiteRtModel(path, hashlib.sha256(data).hexdigest(), 1)

    return Subject(seeds, run)


# Students --------------------------------------------------------------------------------------------------


def _metadata(folder: Path) -> Subject:
    artifact = write_artifact(folder / "artifact")
    seed = (artifact / "metadata.json").read_bytes()

    def run(data: bytes) -> None:
        (artifact / "metadata.json").write_bytes(data)
        fold(read_artifact(artifact))

    return Subject([seed], run)


def _v1_tensors(vocab: int, dim: int, depth: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = {"embed.weight": (vocab, dim), "head.weight": (vocab, dim), "head.bias": (vocab,)}
    for number in range(depth):
        shapes |= {f"blocks.{number}.{name}": shape for name, shape in block_shapes(dim, 2 * dim).items()}
    return {name: rng.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}


def _v1_metadata(folder: Path) -> Subject:
    """Both dialects of students of version 1.0: what the newer script wrote, and the one before it."""
    from safetensors.numpy import save_file

    config = {"teacher_model": "some-teacher", "max_length": 64, "lr": 1e-4, "batch_size": 2}
    newer = {
        "model_type": "SpikingStudentLM",
        "architecture_version": "v1.0",
        "vocab_size": 50,
        "architecture": {"dim": 8, "depth": 2, "num_heads": 2},
        "snn_config": {"num_timesteps": 4, "surrogate_type": "sigmoid", "spike_threshold": 1.0},
        "training_config": {**config, "num_steps": 20},
        "training_results": {"steps": 20, "avg_loss": 3.5},
    }
    older = {"config": config, "steps": 20, "avg_loss": 3.5}
    save_file(_v1_tensors(50, 8, 2), folder / "student.safetensors")

    def run(data: bytes) -> None:
        (folder / "metadata.json").write_bytes(data)
        read_v1(read_artifact(folder))

    return Subject([json.dumps(one).encode() for one in (newer, older)], run)


def _tensors(folder: Path) -> Subject:
    from safetensors.numpy import save

    path = folder / "student.safetensors"
    codes = {"w": np.ones((3, 2), np.int8), "w.scales": np.ones(3, np.float32)}
    seeds = [save(_v1_tensors(5, 4, 1)), save({"a": np.ones((2, 3), np.float16)}), save(codes)]

    def run(data: bytes) -> None:
        path.write_bytes(data)
        read_tensors(path)

    return Subject(seeds[:2], run)


def _tokenizer(folder: Path) -> Subject:
    path, seed = folder / "tokenizer.json", tiny_tokenizer().to_str(pretty=False).encode()

    def run(data: bytes) -> None:
        path.write_bytes(data)
        tokenizer = load_tokenizer(path)
        tokenizer.decode(tokenizer.encode("What is that?"))
        tokenizer.byte_lengths()

    return Subject([seed], run)


def _prompts(folder: Path) -> Subject:
    lines = [json.dumps({"prompt": f"What is {k}?", "response": "A thing."}) for k in range(6)]
    seeds = ["\n".join(lines).encode(), b"one\ntwo\nthree\n", "drei\nvier".encode("utf-16")]
    path = folder / "prompts.txt"

    def run(data: bytes) -> None:
        path.write_bytes(data)
        read_prompts(path)

    return Subject(seeds, run)


def _teacher_cache(folder: Path) -> Subject:
    trimmed = TrimmedVocabulary.build(tiny_tokenizer().to_str(), 270)
    text = CachedText(
        np.arange(12, dtype=np.int32), np.array([0, 5, 12]), np.array([9, 11]), np.array([1, 3, 6, 7])
    )
    key = CacheKey("t", {"a": "0" * 64}, *["1" * 64] * 4, 2, 2.0, 8, 0, "float32")
    cache = folder / "cache"
    TeacherCache.create(cache, key, text, trimmed)
    seed = (cache / MANIFEST_FILE).read_bytes()

    def run(data: bytes) -> None:
        (cache / MANIFEST_FILE).write_bytes(data)
        opened = TeacherCache.open(cache)
        _ = opened.done, opened.total, opened.complete, opened.text, opened.rows

    return Subject([seed], run)


# Networks of other libraries -------------------------------------------------------------------------------


def _nir(folder: Path) -> Subject:
    lif = chain(folder / "a.nir", ("l", linear(2, 4)), ("n", neurons(2, "LIF")))
    seeds = [lif.read_bytes()]
    for case in ("snntorch-zero", "spikingjelly-maps"):
        seeds.append(recorded(case, folder).read_bytes())
    seeds = [seed for seed in seeds if len(seed) < 1 << 17]
    rules = rules_for("spikingjelly", None, None, None, None)
    path = folder / "b.nir"

    def run(data: bytes) -> None:
        path.write_bytes(data)
        fold_network(read_graph(path), rules, samples_for(None, None), "counts")

    return Subject(seeds[:1], run)


def _frames(folder: Path) -> Subject:
    path = folder / "a.npz"
    np.savez(path, frames=np.zeros((2, 3, 4), np.float32), labels=np.array([0, 1]))

    def run(data: bytes) -> None:
        path.write_bytes(data)
        assert isinstance(read_calibration(path, (4,)), CalibrationFrames)

    return Subject([path.read_bytes()], run)


HARNESSES = {
    "program-text": _program(text=True),
    "program-frames": _program(text=False),
    "manifest": Harness(_manifest),
    "onnx": Harness(_onnx, share=20),
    "tflite": Harness(_tflite, share=1),
    "student-metadata": Harness(_metadata),
    "v1-metadata": Harness(_v1_metadata),
    "safetensors": Harness(_tensors),
    "tokenizer": Harness(_tokenizer, share=20),
    "prompts": Harness(_prompts),
    "teacher-cache": Harness(_teacher_cache),
    "nir": Harness(_nir),
    "nir-frames": Harness(_frames),
}
if shutil.which("ssh-keygen"):
    HARNESSES["signature"] = Harness(_signature, share=5)
