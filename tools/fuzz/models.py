"""Harnesses of models: programs, bundles, the files of each format, networks of other libraries."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import numpy as np

from edgesnn.bundle.bundle import MANIFEST_NAME, Bundle
from edgesnn.bundle.signature import SIGNATURE_NAME, require_signer, sign_bundle
from edgesnn.nir.calibration import CalibrationFrames, read_calibration, samples_for
from edgesnn.nir.fold import fold as fold_network
from edgesnn.nir.graph import read_graph
from edgesnn.nir.probe import probe
from edgesnn.nir.sources import rules_for
from edgesnn.program.bounds import prove
from edgesnn.program.snn_format import from_bytes, to_bytes
from edgesnn.program.validate import check_program
from edgesnn.runners.litert.model import LiteRtModel
from edgesnn.runners.onnxruntime.session import open_session
from tests.support import snn_reader
from tests.support.frame_programs import smallest_frames
from tests.support.nir_files import chain, linear, neurons, recorded
from tests.support.programs import smallest
from tools.fuzz.harness import Harness, Subject
from tools.soak.cases import Case
from tools.soak.targets import bundle_of

# Programs --------------------------------------------------------------------------------------------------


def fixed(data: bytes) -> bytes:
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
        return Subject([to_bytes(smallest() if text else smallest_frames())], _read_program, fixed)

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
            _ = [bundle.export_file(name, role) for role in entry.files]  # none is harmless
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
        probe(path)
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
    "onnx": Harness(_onnx),
    "tflite": Harness(_tflite, share=1),
    "nir": Harness(_nir, share=2),
    "nir-frames": Harness(_frames),
}
if shutil.which("ssh-keygen"):
    HARNESSES["signature"] = Harness(_signature, share=5)
