"""Bundles for tests: one tiny export, shared by whoever only reads it."""

import json
import shutil
from functools import cache
from hashlib import sha256
from pathlib import Path

from edgesnn import export_student
from edgesnn.bundle.bundle import Bundle
from tests.support.artifacts import write_artifact
from tests.support.shared import shared


@cache
def shared_artifact() -> Path:
    """The folder of a tiny student; read only."""
    return shared("tiny", write_artifact)


@cache
def shared_bundle() -> Path:
    """The folder of that student's bundle as ONNX, exact and in float32; read only."""
    formats = ["onnx", "onnx-fp32"]
    return shared("bundle", lambda folder: export_student(shared_artifact(), folder, formats))


def copied_bundle(target: Path) -> Path:
    """A bundle that a test may damage."""
    return Path(shutil.copytree(shared_bundle(), target))


def manifest_of(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text("utf-8"))


def write_manifest(folder: Path, document: object) -> None:
    (folder / "manifest.json").write_text(json.dumps(document), encoding="utf-8")


def replace_file(folder: Path, name: str, content: bytes, **manifest) -> Bundle:
    """Put other content into a bundle and make the manifest agree with it."""
    (folder / name).write_bytes(content)
    document = manifest_of(folder)
    document["files"][name] = {"sha256": sha256(content).hexdigest(), "bytes": len(content)}
    write_manifest(folder, {**document, **manifest})
    return Bundle(folder)
