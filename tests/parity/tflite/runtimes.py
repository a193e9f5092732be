"""The two TFLite runtimes that every file must run in, each behind a worker process."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgesnn.exporters.tflite.graph import METADATA_NAME, schema
from tests.support.patience import patience

WORKER = Path(__file__).with_name("runtime_worker.py")
OLD_RUNTIME = ("tflite-runtime==2.14.0", "numpy>=1.24,<2")
#: tflite-runtime 2.14 has wheels up to this Python.
OLD_PYTHON = (3, 11)
NAMES = ("ai-edge-litert", "tflite-runtime")


class Runtime:
    """A runtime in a worker process that lives as long as the tests."""

    def __init__(self, name, python, scratch):
        self.name = name
        self._scratch = scratch
        self._worker = subprocess.Popen(
            [str(python), "-P" if name == NAMES[0] else "-E", str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": ""},
        )

    def call(self, content, inputs, *, xnnpack):
        """Outputs of one call of a model by name."""
        model, source, result = (self._scratch / f for f in ("call.tflite", "in.npz", "out.npz"))
        model.write_bytes(content)
        np.savez(source, **inputs)
        self._do(kind="call", model=str(model), inputs=str(source), outputs=str(result), xnnpack=xnnpack)
        return self._read(result)

    def forms(self, folder, ids, cut, *, xnnpack, threads=1):
        """Logits of every form of the student in a folder, by name of the form."""
        source, result = self._scratch / "ids.npy", self._scratch / "logits.npz"
        np.save(source, ids)
        rules = metadata((folder / "student.step.tflite").read_bytes())["state"]
        self._do(
            kind="forms",
            folder=str(folder),
            ids=str(source),
            outputs=str(result),
            rules=rules,
            cut=cut,
            xnnpack=xnnpack,
            threads=threads,
        )
        return self._read(result)

    def close(self):
        self._worker.stdin.close()
        self._worker.wait(timeout=patience())
        self._worker.stdout.close()

    def _do(self, **job):
        self._worker.stdin.write(json.dumps(job) + "\n")
        self._worker.stdin.flush()
        answer = self._worker.stdout.readline().strip()
        assert answer == "ok", (
            f"{self.name}: {answer or f'died, exit {self._worker.wait(timeout=patience())}'}"
        )

    @staticmethod
    def _read(path):
        with np.load(path) as arrays:
            return dict(arrays)


def metadata(content):
    """The facts that a file carries about itself, read with the schema objects alone."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    (entry,) = [m for m in model.metadata if m.name in (METADATA_NAME, METADATA_NAME.encode())]
    return json.loads(bytes(model.buffers[entry.buffer].data))


def old_python(cache):
    """A Python with tflite-runtime 2.14 and numpy 1, made once and kept; skips when pip cannot get it."""
    home = cache / "environment"
    python = home / "bin" / "python"
    if not (home / "ready").is_file():
        base = sys.executable if sys.version_info[:2] == OLD_PYTHON else shutil.which("python3.11")
        if base is None:
            pytest.skip("tflite-runtime 2.14 needs Python 3.11, which is not here")
        shutil.rmtree(home, ignore_errors=True)
        subprocess.run([base, "-m", "venv", str(home)], check=True, capture_output=True)
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "-q", *OLD_RUNTIME]
        done = subprocess.run(pip, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"pip cannot get {OLD_RUNTIME[0]}: {done.stderr.strip().splitlines()[-1]}")
        (home / "ready").touch()
    return python
