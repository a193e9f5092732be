"""One TFLite file in LiteRT: opened in a child process first, resized when a shape is new, read in place."""

from __future__ import annotations

import ctypes
import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn.children import Child
from edgesnn.errors import BundleError, RunnerError
from edgesnn.runners.litert import probe as litert_probe

_IDENTIFIER = b"TFL3"
_PROBE_TIMEOUT_S = 120.0
#: Hashes of files that a child process has opened and run.
_probed: set[str] = set()
_said: set[bool] = set()


class LiteRtModel:
    """One loaded model. Tensors are views into the runtime's memory, valid until the next `resize`.

    Args:
        path: The file.
        sha256: The hash that the bundle promises, hex.
        threads: Threads of the runtime.

    Raises:
        BundleError: The file changed since the bundle was opened, or is no TFLite file.
        RunnerError: LiteRT refuses it, or crashes on it in the child process.

    Attributes:
        inputs: Views of the inputs by name.
        outputs: Views of the outputs by name.
    """

    def __init__(self, path: Path, sha256: str, threads: int) -> None:
        self._name = path.name
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise BundleError(f"file '{self._name}' was changed after the bundle was opened")
        if content[4:8] != _IDENTIFIER:
            raise BundleError(f"'{self._name}' is no TFLite file", remedy="export the student again")
        probe_once(content, sha256, self._name)
        self._interpreter = _interpreter(content, threads, self._name)
        self.inputs: dict[str, npt.NDArray[Any]] = {}
        self.outputs: dict[str, npt.NDArray[Any]] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._input_index = {item["name"]: item["index"] for item in self._interpreter.get_input_details()}
        self._output_index = {item["name"]: item["index"] for item in self._interpreter.get_output_details()}

    def require(self, inputs: Mapping[str, tuple[str, list[int]]], outputs: set[str]) -> None:
        """Refuse a model whose interface is not the program's.

        Args:
            inputs: Dtype and shape signature by name.
            outputs: Names that must be there.

        Raises:
            RunnerError: The interface is another one.
        """
        found = {
            item["name"]: (np.dtype(item["dtype"]).name, [int(size) for size in item["shape_signature"]])
            for item in self._interpreter.get_input_details()
        }
        if found != dict(inputs) or not outputs <= self._output_index.keys():
            raise RunnerError(
                f"'{self._name}' has other inputs or outputs than the program",
                actual=", ".join(sorted(found)),
                limit=", ".join(sorted(inputs)),
                remedy="export the student again",
            )

    def resize(self, shapes: Mapping[str, tuple[int, ...]]) -> bool:
        """Give the inputs these shapes; nothing happens when they have them.

        Args:
            shapes: Shape by name of every input.

        Returns:
            Whether the tensors were allocated anew, so that views are new and inputs are zero.

        Raises:
            RunnerError: LiteRT cannot allocate them.
        """
        if self._shapes == dict(shapes):
            return False
        self.inputs, self.outputs, self._shapes = {}, {}, {}
        try:
            for name, shape in shapes.items():
                self._interpreter.resize_tensor_input(self._input_index[name], list(shape))
            with _quiet():
                self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError, MemoryError) as error:
            raise self._failed(error) from error
        self.inputs = {name: self._view(index) for name, index in self._input_index.items()}
        self.outputs = {name: self._view(index) for name, index in self._output_index.items()}
        for view in self.inputs.values():
            view[...] = 0
        self._shapes = dict(shapes)
        return True

    def invoke(self) -> None:
        """Run once.

        Raises:
            RunnerError: LiteRT failed.
        """
        try:
            self._interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            raise self._failed(error) from error

    def _view(self, index: int) -> npt.NDArray[Any]:
        """A tensor's memory as an array that does not count as a reference to the interpreter.

        The runtime keeps inputs and outputs in place until the next allocation and never overwrites inputs;
        its own ``tensor()`` views forbid `invoke` while they live.
        """
        borrowed = self._interpreter.tensor(index)()
        if borrowed.size == 0:
            return np.zeros(borrowed.shape, borrowed.dtype)
        memory = (ctypes.c_char * borrowed.nbytes).from_address(borrowed.ctypes.data)
        return np.frombuffer(memory, borrowed.dtype).reshape(borrowed.shape)

    def _failed(self, error: Exception) -> RunnerError:
        return RunnerError(f"LiteRT failed on '{self._name}': {_short(error)}")


def probe_once(content: bytes, sha256: str, name: str) -> None:
    """Open a model in a child process, once per file in this process.

    Args:
        content: The model.
        sha256: Its hash, hex.
        name: Its name, for errors.

    Raises:
        RunnerError: LiteRT refused it, crashed on it or hung.
    """
    if sha256 in _probed:
        return
    what = f"the process that opens '{name}' in LiteRT"
    script = ["-P", str(Path(litert_probe.__file__)), name]
    with Child(script, what, given=content, remedy="export the student again") as child:
        child.expect("result", _PROBE_TIMEOUT_S)
    _probed.add(sha256)


def _interpreter(content: bytes, threads: int, name: str) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    try:
        return Interpreter(model_content=content, num_threads=threads)
    except (RuntimeError, ValueError) as error:
        raise RunnerError(
            f"LiteRT refused '{name}': {_short(error)}", remedy="export the student again"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the line that LiteRT writes to stderr, once per process, when it first makes its delegate."""
    if _said:
        yield
        return
    try:
        kept = os.dup(2)
    except OSError:
        yield  # no stderr to keep clean
        return
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
    _said.add(True)


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
