"""Runner ``litert``: the bundle's TFLite files in LiteRT (ai-edge-litert) on the CPU."""

from __future__ import annotations

import time
from importlib.metadata import version
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from edgesnn.bundle.bundle import Bundle
from edgesnn.errors import missing_extra
from edgesnn.program.program import check_frames
from edgesnn.program.state import State, state_tensors
from edgesnn.runners.base import Capability, DeviceInfo, IntArray, Output, RunnerOptions
from edgesnn.runners.host import HostRunner, check_batch, check_state, cpu_name, not_open
from edgesnn.runners.litert.model import LiteRtModel
from edgesnn.runners.litert.state import PlacedState, step_names

_PACKAGE = "ai-edge-litert"
_IDS = "input_ids"
_FRAME = "frame"


class LiteRtRunner(HostRunner):
    """The integer program in LiteRT with XNNPACK: the same bits as golden."""

    name: ClassVar[str] = "litert"
    summary: ClassVar[str] = "LiteRT (TFLite) on this CPU, int8 weights, exact"
    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {
            Capability.STEP,
            Capability.SEQUENCE,
            Capability.PREFILL,
            Capability.STATE,
            Capability.BATCH,
            Capability.LOGITS,
            Capability.EXACT,
            Capability.FRAMES,
        }
    )

    export: ClassVar[str] = "tflite"

    def __init__(self) -> None:
        self._models: dict[str, LiteRtModel] = {}
        self._bundle: Bundle | None = None
        self._options = RunnerOptions()
        self._names: list[str] = []
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._dtypes: dict[str, str] = {}
        self._state: PlacedState | None = None
        self._batch = 0

    @classmethod
    def missing(cls) -> str | None:
        try:
            import ai_edge_litert.interpreter  # noqa: F401
        except ImportError as error:
            if isinstance(error, ModuleNotFoundError) and (error.name or "").startswith("ai_edge_litert"):
                return "ai-edge-litert is not installed: pip install 'edgesnn[tflite]'"
            return f"ai-edge-litert does not load: {error}"
        return None

    def open(self, bundle: Bundle, options: RunnerOptions) -> DeviceInfo:
        """Load the step model; the other forms are loaded when they are first used.

        Every file is opened in a child process before this one opens it, once per file and process.

        Raises:
            BundleError: The bundle has no such export, or a file is not what it was when it was opened.
            RunnerError: LiteRT refused a file or crashed on it.
            MissingExtraError: ai-edge-litert is not installed.
        """
        if self.missing() is not None:
            raise missing_extra(_PACKAGE, "tflite", "the runner litert")
        started = time.perf_counter_ns()
        self._bundle, self._options = bundle, options
        program = self._program = bundle.program()
        self._names = step_names(program)
        self._shapes = {t.name: t.shape for t in state_tensors(program) if t.name in self._names}
        self._dtypes = {t.name: t.dtype for t in state_tensors(program)}
        self._model("step")
        self.reset(1)
        load_ms = (time.perf_counter_ns() - started) / 1e6
        file = bundle.manifest.exports[self.export].files["step"]
        return DeviceInfo(
            device=cpu_name(),
            engine="litert",
            engine_version=version(_PACKAGE),
            simulated=False,
            clock_hz=1e9,
            load_ms=load_ms,
            model_files=(file,),
            model_bytes=bundle.size_of((file,)),
            details={"delegate": "XNNPACK", "threads": options.threads, "format": self.export},
        )

    def reset(self, batch: int = 1) -> None:
        model, program = self._model("step"), self._require_program()
        shapes = {name: (batch, *shape) for name, shape in self._shapes.items()}
        given = {_IDS: (batch, 1)} if program.frames is None else {_FRAME: (batch, program.frames.channels)}
        if model.resize({**given, **shapes}) or self._state is None:
            tensors = {name: model.inputs[name] for name in self._names}
            self._state = PlacedState(program, tensors, {n: model.outputs[f"new.{n}"] for n in self._names})
        self._state.clear()
        self._batch = batch

    def step(self, tokens: IntArray) -> Output:
        """Run one token or frame per sequence; the time includes the host's care for the state."""
        model, state, program = self._model("step"), self._state, self._require_program()
        if state is None:
            raise not_open()
        check_batch(tokens, self._batch, frames=self._reads_frames)
        rows = np.asarray(tokens)[:, None]
        if program.frames is not None:
            return self._step_frames(check_frames(rows, program.frames)[:, 0])
        ids = program.check_ids(rows).astype(np.int32)
        started = time.perf_counter_ns()
        model.inputs[_IDS][...] = ids
        model.invoke()
        state.push()
        elapsed = time.perf_counter_ns() - started
        return Output(self._integers(model.outputs["logits"]), elapsed)

    def sequence(self, ids: IntArray) -> Output:
        """Run whole sequences; tensors of a new shape are allocated outside the time that is reported.

        Frames run one after another, and the context stays as it was.
        """
        if self._reads_frames:
            kept = self.save()
            outputs, elapsed = self._run_frames(ids)
            self.restore(kept)
            return Output(outputs, elapsed)
        model, elapsed = self._whole("sequence", ids)
        return Output(self._integers(model.outputs["logits"]), elapsed)

    def prefill(self, ids: IntArray) -> Output:
        if self._reads_frames:
            outputs, elapsed = self._run_frames(ids)
            return Output(outputs[:, -1], elapsed)
        model, elapsed = self._whole("prefill", ids)
        started = time.perf_counter_ns()
        self.reset(len(ids))
        if self._state is not None:
            self._state.load({name: model.outputs[f"state.{name}"] for name in self._names})
        elapsed += time.perf_counter_ns() - started
        return Output(self._integers(model.outputs["logits"]), elapsed)

    def save(self) -> State:
        if self._state is None:
            raise not_open()
        return self._state.copied(self._require_program(), self._batch)

    def restore(self, state: State) -> None:
        program = self._require_program()
        check_state(program, state)
        state = state.oldest_first(program) if self._reads_frames else state
        self.reset(state.batch)
        if self._state is not None:
            self._state.load(state.tensors, state.count)

    def close(self) -> None:
        self._state = None
        self._models.clear()
        self._bundle = self._program = None

    def _step_frames(self, frames: npt.NDArray[np.int8]) -> Output:
        """One frame ``[batch, channels]`` each, behind the context."""
        model, state = self._model("step"), self._state
        if state is None:
            raise not_open()
        started = time.perf_counter_ns()
        model.inputs[_FRAME][...] = frames
        model.invoke()
        state.push()
        elapsed = time.perf_counter_ns() - started
        return Output(model.outputs["outputs"].copy(), elapsed)

    def _run_frames(self, ids: IntArray) -> tuple[npt.NDArray[np.int32], int]:
        """Outputs of frames from an empty context ``[batch, length, outputs]``, and the ns."""
        program = self._require_program()
        assert program.frames is not None
        frames = check_frames(ids, program.frames)
        self.reset(len(frames))
        steps = [self._step_frames(frames[:, i]) for i in range(frames.shape[1])]
        rows = np.stack([step.logits for step in steps], axis=1).astype(np.int32)
        return rows, sum(step.elapsed_ns for step in steps)

    def _whole(self, role: str, ids: IntArray) -> tuple[LiteRtModel, int]:
        model, checked = self._model(role), self._require_program().check_ids(ids).astype(np.int32)
        model.resize({_IDS: checked.shape})
        started = time.perf_counter_ns()
        model.inputs[_IDS][...] = checked
        model.invoke()
        return model, time.perf_counter_ns() - started

    def _integers(self, logits: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
        """Integer logits: the model multiplies them by a power of two, which loses nothing."""
        return (logits * np.float32(1 / self._require_program().logit_scale)).astype(np.int32)

    def _model(self, role: str) -> LiteRtModel:
        if role not in self._models:
            if self._bundle is None:
                raise not_open()
            path = self._bundle.export_file(self.export, role)
            file = self._bundle.manifest.exports[self.export].files[role]
            sha256 = self._bundle.manifest.files[file].sha256
            model = LiteRtModel(path, sha256, self._options.threads)
            model.require(self._inputs(role), self._outputs(role))
            self._models[role] = model
        return self._models[role]

    def _inputs(self, role: str) -> dict[str, tuple[str, list[int]]]:
        """Dtype and shape signature of every input of a form."""
        if role != "step":
            return {_IDS: ("int32", [-1, -1])}
        state = {name: (self._dtypes[name], [-1, *shape]) for name, shape in self._shapes.items()}
        if (frames := self._require_program().frames) is not None:
            return {_FRAME: ("int8", [-1, frames.channels]), **state}
        return {_IDS: ("int32", [-1, 1]), **state}

    def _outputs(self, role: str) -> set[str]:
        prefix = {"step": "new.", "prefill": "state."}.get(role)
        names = self._names if prefix is not None else []
        return {"outputs" if self._reads_frames else "logits", *(f"{prefix}{name}" for name in names)}
