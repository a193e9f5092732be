"""An ONNX causal language model as a reference beside a student.

The usual export is understood: ``input_ids [batch, length]``, if asked for ``attention_mask``,
``position_ids``, and ``past_key_values.N.key/value`` that come back as ``present.N.key/value``; ``logits``
first among the results. Without past inputs every step reads the whole context again, and
`OnnxCausalModel.cached` says so.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn.errors import RunnerError, TextError, UsageError
from edgesnn.text.causality import check_causal, probes
from edgesnn.text.tokenizer import END_OF_TEXT, load_tokenizer

_PAST, _PRESENT = "past_key_values.", "present."
_ENDS = (END_OF_TEXT, "</s>", "<eos>", "<|end_of_text|>")
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
_ROUNDING, _DYNAMIC = float(np.sqrt(np.finfo(np.float16).eps)), 0.25
"""Change of a logit, as a share of the largest, that shows no future. Where activations are quantised as they
come, their step is that of the largest number in the sequence: other tokens round earlier ones otherwise."""
_OVERLAP = 256


def find_model(path: Path) -> Path | None:
    """The ONNX file that a path means, or None.

    Args:
        path: The file itself, or a folder with ``model.onnx`` or a single ``.onnx``.
    """
    if path.is_file():
        return path if path.suffix == ".onnx" else None
    if not path.is_dir():
        return None
    if (path / "model.onnx").is_file():
        return path / "model.onnx"
    files = sorted(path.glob("*.onnx"))
    return files[0] if len(files) == 1 else None


def _read_through(path: Path) -> tuple[set[Path], bool]:
    """The files beside an ONNX file that hold its weights, and whether it quantises activations as they come.

    A tensor that lies outside says where: ``location`` and a name, each with its length before it. The file
    is read in blocks: the memory of this process is a result.
    """
    found, dynamic, block = set(), False, b""
    with path.open("rb") as stream:
        while more := stream.read(1 << 20):
            block = block[-_OVERLAP:] + more
            dynamic = dynamic or b"DynamicQuantizeLinear" in block
            for entry in re.finditer(rb"\x0a\x08location\x12([\x01-\x7f])", block):
                name = block[entry.end() : entry.end() + entry[1][0]].decode("utf-8", "replace")
                found.add(path.parent / name)
    return {file for file in found if file.is_file()}, dynamic


class OnnxCausalModel:
    """The contract of `edgesnn.profiler.quality.reference.CausalModel` over ONNX Runtime.

    Args:
        path: The ``.onnx`` file; ``tokenizer.json`` stands beside it or one folder above.
        threads: Threads inside one operator.

    Raises:
        RunnerError: ONNX Runtime refuses it.
        UsageError: It is no causal language model by its inputs, or has no tokenizer.
        UserError: It reads the text that it predicts, or gives no numbers.
        TextError: Its tokenizer is damaged.

    Attributes:
        name: The file's name.
        engine: Library and version.
        parameters: None: a file does not say which numbers were trained.
        model_bytes: Size of the file and of the data files beside it.
        dtype: Type of its logits.
        cached: Whether steps keep keys and values.
    """

    def __init__(self, path: Path, threads: int) -> None:
        import onnxruntime

        places = [path.parent / "tokenizer.json", path.parent.parent / "tokenizer.json"]
        tokenizer = next((place for place in places if place.is_file()), None)
        if tokenizer is None:
            raise UsageError(
                f"the reference '{path.name}' has no tokenizer", remedy="put its tokenizer.json beside it"
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # what onnxruntime raises has no common base
            raise RunnerError(
                f"ONNX Runtime refuses the reference '{path.name}'", actual=str(error).split("\n")[0][:200]
            ) from None
        self._inputs = {one.name: one for one in self._session.get_inputs()}
        self._outputs = [one.name for one in self._session.get_outputs()]
        known = {"input_ids", "attention_mask", "position_ids"}
        other = [n for n in self._inputs if n not in known and not n.startswith(_PAST)]
        if "input_ids" not in self._inputs or "logits" not in self._outputs or other:
            raise UsageError(
                f"the reference '{path.name}' is no causal language model",
                actual=f"inputs {', '.join(self._inputs)}; results {', '.join(self._outputs[:4])}",
                limit="input_ids to logits; attention_mask, position_ids and past_key_values where needed",
            )
        self.tokenizer = load_tokenizer(tokenizer)
        self.name = path.name
        self.engine = f"onnxruntime {onnxruntime.__version__}"
        self.parameters = None
        data, dynamic = _read_through(path)
        self.model_bytes = sum(file.stat().st_size for file in {path, *data})
        self.dtype = next(o.type for o in self._session.get_outputs() if o.name == "logits")
        self._past_names = [name for name in self._inputs if name.startswith(_PAST)]
        self.cached = bool(self._past_names)
        self.before = self.text_start = self._start()
        self.between = tuple(self.tokenizer.encode("\n"))
        self.context = 1 << 30
        self.vocab_size = self.logits([0]).shape[1]
        self._state: dict[str, npt.NDArray[Any]] = {}
        self._ids: list[int] = []
        pair = probes(self.tokenizer, self.vocab_size)
        check_causal(f"the reference '{self.name}'", self.logits, pair, _DYNAMIC if dynamic else _ROUNDING)

    def logits(self, ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """Logits ``[len(ids), vocab_size]`` of a whole sequence.

        Raises:
            RunnerError: ONNX Runtime failed.
        """
        result: npt.NDArray[np.float32] = self._run(ids, self._empty(), 0)[0][0].astype(np.float32)
        return result

    def begin(self, ids: Sequence[int]) -> None:
        """Read a context; `step` continues it."""
        self._ids = list(ids)
        if self.cached:
            self._keep(self._run(ids, self._empty(), 0))

    def step(self, token: int) -> None:
        """Run one token on."""
        self._ids.append(token)
        if self.cached:
            self._keep(self._run([token], self._state, len(self._ids) - 1))
        else:
            self._run(self._ids, {}, 0)

    def _run(
        self, ids: Sequence[int], past: dict[str, npt.NDArray[Any]], seen: int
    ) -> list[npt.NDArray[Any]]:
        feeds: dict[str, npt.NDArray[Any]] = {"input_ids": np.array([list(ids)], np.int64), **past}
        if "attention_mask" in self._inputs:
            feeds["attention_mask"] = np.ones((1, seen + len(ids)), np.int64)
        if "position_ids" in self._inputs:
            feeds["position_ids"] = np.arange(seen, seen + len(ids), dtype=np.int64)[None]
        wanted = ["logits", *(_PRESENT + name.removeprefix(_PAST) for name in self._past_names)]
        try:
            found: list[npt.NDArray[Any]] = self._session.run(wanted, feeds)
        except Exception as error:  # what onnxruntime raises has no common base
            raise RunnerError(
                f"ONNX Runtime failed on the reference '{self.name}'", actual=str(error).split("\n")[0][:200]
            ) from None
        return found

    def _keep(self, results: list[npt.NDArray[Any]]) -> None:
        self._state = dict(zip(self._past_names, results[1:], strict=True))

    def _empty(self) -> dict[str, npt.NDArray[Any]]:
        """Keys and values of no token: batch 1, length 0; heads and width as the file says."""
        found = {}
        for name in self._past_names:
            _, heads, _, width = self._inputs[name].shape
            if not (isinstance(heads, int) and isinstance(width, int)):
                raise UsageError(
                    f"the reference '{self.name}' does not say how many heads its keys have", actual=name
                )
            found[name] = np.zeros((1, heads, 0, width), _TYPES.get(self._inputs[name].type, np.float32))
        return found

    def _start(self) -> tuple[int, ...]:
        for end in _ENDS:
            try:
                return (self.tokenizer.token_id(end),)
            except TextError:
                continue
        return ()
