"""Runners ``onnxruntime`` and ``onnxruntime-fp32``: the bundle's ONNX files in ONNX Runtime on the CPU."""

from __future__ import annotations

import time
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from edgesnn.bundle.bundle import Bundle
from edgesnn.errors import RunnerError
from edgesnn.program.ops import LIF
from edgesnn.program.ops_frames import StatefulLIF
from edgesnn.program.program import Program, check_frames
from edgesnn.program.state import State, state_tensors
from edgesnn.runners.base import Capability, DeviceInfo, Inspectable, IntArray, Output, RunnerOptions
from edgesnn.runners.host import HostRunner, check_batch, check_state, cpu_flags, cpu_name, not_open
from edgesnn.runners.onnxruntime.session import engine_failed, open_session

_STATE_DTYPES = {"tensor(int8)": np.int8, "tensor(float)": np.float32}
_DTYPES = {**_STATE_DTYPES, "tensor(int16)": np.int16, "tensor(int32)": np.int32, "tensor(int64)": np.int64}
_VNNI = frozenset({"avx512_vnni", "avx_vnni"})


class _OnnxRunner(HostRunner):
    """What both runners share; a subclass names its export and turns logits into what it promises."""

    export: ClassVar[str]

    def __init__(self) -> None:
        self._sessions: dict[str, Any] = {}
        self._bundle: Bundle | None = None
        self._options = RunnerOptions()
        self._state: State | None = None
        self._bound: BoundStep | None = None
        self._outputs: list[str] = []
        self._new: list[str] = []

    @classmethod
    def missing(cls) -> str | None:
        try:
            import onnxruntime  # noqa: F401
        except ImportError as error:
            return f"onnxruntime does not load: {error}"
        return None

    def open(self, bundle: Bundle, options: RunnerOptions) -> DeviceInfo:
        """Load the step graph; the other forms are loaded when they are first used.

        Raises:
            BundleError: The bundle has no such export, or a file reaches outside itself.
            RunnerError: ONNX Runtime refused a file.
        """
        import onnxruntime

        started = time.perf_counter_ns()
        self._bundle, self._options = bundle, options
        frames = Capability.FRAMES in self.capabilities
        program = self._program = bundle.program() if frames else self._open_text(bundle)
        session = self._session("step")
        names = [tensor.name for tensor in state_tensors(program)]
        self._new = names
        given, made = _ends(program)
        self._outputs = [made, *(f"new.{name}" for name in names)]
        self._check_step(session, {given, *names})
        self.reset(1)
        load_ms = (time.perf_counter_ns() - started) / 1e6
        file = bundle.manifest.exports[self.export].files["step"]
        return DeviceInfo(
            device=cpu_name(),
            engine="onnxruntime",
            engine_version=str(onnxruntime.__version__),
            simulated=False,
            clock_hz=1e9,
            load_ms=load_ms,
            model_files=(file,),
            model_bytes=bundle.size_of((file,)),
            details={
                "provider": "CPUExecutionProvider",
                "threads": options.threads,
                "vnni": bool(_VNNI & cpu_flags()),
                "format": self.export,
            },
        )

    def reset(self, batch: int = 1) -> None:
        program = self._require_program()
        self._state = State(program, batch, self._state_dtype())

    def step(self, tokens: IntArray) -> Output:
        """Run one token or frame per sequence; the time includes the host's care for the state."""
        session, state = self._session("step"), self._state
        if state is None:
            raise not_open()
        check_batch(tokens, state.batch, frames=self._reads_frames)
        ids = self._given(np.asarray(tokens)[:, None])
        bound = self._bound
        if bound is None or bound.state is not state:
            bound = self._bound = BoundStep(session, state, self._require_program())
        started = time.perf_counter_ns()
        logits = bound.run(ids)
        elapsed = time.perf_counter_ns() - started
        return Output(self._promised(logits), elapsed)

    def sequence(self, ids: IntArray) -> Output:
        if self._reads_frames:
            outputs, _, elapsed = self._frames(ids)
            return Output(outputs, elapsed)
        session, checked = self._session("sequence"), self._require_program().check_ids(ids)
        started = time.perf_counter_ns()
        results = self._run(session, ["logits"], {"input_ids": checked})
        elapsed = time.perf_counter_ns() - started
        return Output(self._promised(results[0]), elapsed)

    def prefill(self, ids: IntArray) -> Output:
        if self._reads_frames:
            outputs, self._state, elapsed = self._frames(ids)
            return Output(outputs[:, -1], elapsed)
        session, checked = self._session("prefill"), self._require_program().check_ids(ids)
        state = State(self._require_program(), checked.shape[0], self._state_dtype())
        started = time.perf_counter_ns()
        names = ["logits", *(f"state.{name}" for name in self._new)]
        results = self._run(session, names, {"input_ids": checked})
        state.load(dict(zip(self._new, results[1:], strict=True)))
        elapsed = time.perf_counter_ns() - started
        self._state = state
        return Output(self._promised(results[0]), elapsed)

    def save(self) -> State:
        if self._state is None:
            raise not_open()
        return self._state.copied(self._require_program())

    def restore(self, state: State) -> None:
        program = self._require_program()
        check_state(program, state)
        given = state.oldest_first(program) if self._reads_frames else state
        self._state = given.copied(program, self._state_dtype())

    def close(self) -> None:
        self._sessions.clear()
        self._bundle = self._program = self._state = self._bound = None

    def _promised(self, logits: npt.NDArray[np.float32]) -> npt.NDArray[np.int32] | npt.NDArray[np.float32]:
        return logits

    def _given(self, ids: IntArray) -> npt.NDArray[np.integer]:
        """Ids ``[batch, length]``, or frames ``[batch, length, channels]``, that are right."""
        program = self._require_program()
        return program.check_ids(ids) if program.frames is None else check_frames(ids, program.frames)

    def _frames(self, frames: IntArray) -> tuple[npt.NDArray[np.int32], State, int]:
        """Outputs of frames from an empty context, one call each; the state after them, and the ns."""
        session, program, checked = self._session("step"), self._require_program(), self._given(frames)
        state = State(program, len(checked))
        bound = BoundStep(session, state, program)
        started = time.perf_counter_ns()
        rows = [bound.run(checked[:, i : i + 1]) for i in range(checked.shape[1])]
        elapsed = time.perf_counter_ns() - started
        return np.stack(rows, axis=1).astype(np.int32), state, elapsed

    def _state_dtype(self) -> npt.DTypeLike | None:
        """Type of all state tensors; None for each its own."""
        if self._reads_frames:
            return None
        for item in self._session("step").get_inputs():
            if item.name != "input_ids":
                return _STATE_DTYPES[item.type]
        return np.int8

    def _session(self, role: str) -> Any:
        if role not in self._sessions:
            if self._bundle is None:
                raise not_open()
            self._sessions[role] = open_session(
                self._bundle.export_file(self.export, role), self._options.threads
            )
        return self._sessions[role]

    def _check_step(self, session: Any, names: set[str]) -> None:
        inputs = {item.name for item in session.get_inputs()}
        outputs = {item.name for item in session.get_outputs()}
        types = {item.type for item in session.get_inputs()} - set(_DTYPES)
        if inputs != names or not outputs >= set(self._outputs) or types:
            raise RunnerError(
                f"the step graph of format '{self.export}' has other inputs or outputs than the program",
                actual=", ".join(sorted(inputs)),
                limit=", ".join(sorted(names)),
                remedy="export the student again",
            )

    @staticmethod
    def _run(session: Any, names: list[str], feed: dict[str, npt.NDArray[Any]]) -> list[Any]:
        try:
            results: list[Any] = session.run(names, feed)
        except Exception as error:  # onnxruntime's own exceptions share no base class
            raise engine_failed(error) from error
        return results


class BoundStep:
    """The step graph bound to the arrays of one state, so that a step copies nothing but its own part.

    Args:
        session: The session of a step graph.
        state: The state; its arrays are read in place.
        program: The program.
    """

    def __init__(self, session: Any, state: State, program: Program) -> None:
        import onnxruntime

        self.state = state
        self._session = session
        self._binding = session.io_binding()
        given, made = _ends(program)
        self._frames = program.frames is not None
        self._ids: npt.NDArray[np.integer] = np.zeros((state.batch, 1), np.int64)
        if program.frames is not None:
            self._ids = np.zeros((state.batch, program.frames.channels), np.int8)
        self._new: dict[str, npt.NDArray[Any]] = {}
        self._values: list[Any] = []
        for name, array in {given: self._ids, **state.tensors}.items():
            self._values.append(onnxruntime.OrtValue.ortvalue_from_numpy(array))
            self._binding.bind_ortvalue_input(name, self._values[-1])
        for item in session.get_outputs():
            dtype = _DTYPES[item.type]
            shape = [state.batch if isinstance(dim, str) else dim for dim in item.shape]
            array = self._new[item.name.removeprefix("new.")] = np.zeros(shape, dtype)
            self._values.append(onnxruntime.OrtValue.ortvalue_from_numpy(array))
            self._binding.bind_ortvalue_output(item.name, self._values[-1])
        self._logits = self._new.pop(made)

    def run(self, ids: npt.NDArray[np.integer]) -> npt.NDArray[Any]:
        """Run one token or frame per sequence and keep the state.

        Args:
            ids: Token ids ``[batch, 1]``, or frames ``[batch, 1, channels]``.

        Returns:
            Logits ``[batch, vocab]`` or outputs ``[batch, outputs]``, a copy.

        Raises:
            RunnerError: ONNX Runtime failed.
        """
        self._ids[...] = ids[:, 0] if self._frames else ids
        try:
            self._session.run_with_iobinding(self._binding)
        except Exception as error:  # onnxruntime's own exceptions share no base class
            raise engine_failed(error) from error
        if self._frames:  # whole tensors, delays oldest first
            self.state.load(self._new)
        else:
            self.state.push(self._new)
        return self._logits.copy()


class OnnxRuntimeRunner(_OnnxRunner, Inspectable):
    """The integer program in ONNX Runtime: the same bits as golden."""

    name: ClassVar[str] = "onnxruntime"
    summary: ClassVar[str] = "ONNX Runtime on this CPU, int8, exact"
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
            Capability.INTERMEDIATE,
        }
    )
    export: ClassVar[str] = "onnx"

    def values(self, ids: IntArray) -> dict[str, npt.NDArray[np.integer]]:
        """What every neuron gave by value name, ``[batch, length, T, c]``, of whole sequences.

        Raises:
            TextError: A token id is outside the vocabulary.
            RunnerError: The file does not name its values, or ONNX Runtime failed.
        """
        if self._bundle is None:
            raise not_open()
        if self._reads_frames:
            return self._frame_values(ids)
        names = [op.out for op in self._require_program().all(LIF)]
        path = self._bundle.export_file(self.export, "sequence")
        session = open_session(path, self._options.threads, names)
        results = self._run(session, names, {"input_ids": self._require_program().check_ids(ids)})
        return {
            name: (value != 0).transpose(1, 2, 0, 3).astype(np.int8)
            for name, value in zip(names, results, strict=True)
        }

    def _frame_values(self, frames: IntArray) -> dict[str, npt.NDArray[np.integer]]:
        program, checked = self._require_program(), self._given(frames)
        names = [op.out for op in program.all(StatefulLIF)]
        if self._bundle is None:
            raise not_open()
        session = open_session(self._bundle.export_file(self.export, "step"), self._options.threads, names)
        tensors = State(program, len(checked)).tensors
        rows: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in names}
        kept = [f"new.{name}" for name in self._new]
        given, _ = _ends(program)
        for i in range(checked.shape[1]):
            results = self._run(session, [*names, *kept], {given: checked[:, i], **tensors})
            for name, value in zip(names, results, strict=False):
                rows[name].append(value.astype(np.int32))
            tensors = dict(zip(self._new, results[len(names) :], strict=True))
        return {name: np.stack(each, axis=1)[:, :, None] for name, each in rows.items()}

    def _promised(self, logits: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
        """Integer logits: the graph multiplies them by a power of two, which loses nothing."""
        if self._reads_frames:
            return logits.astype(np.int32)
        return (logits * np.float32(1 / self._require_program().logit_scale)).astype(np.int32)


class OnnxRuntimeFloat32Runner(_OnnxRunner):
    """The float32 student in ONNX Runtime: the baseline, not the program."""

    name: ClassVar[str] = "onnxruntime-fp32"
    summary: ClassVar[str] = "ONNX Runtime on this CPU, float32 baseline of the same student"
    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {
            Capability.STEP,
            Capability.SEQUENCE,
            Capability.PREFILL,
            Capability.STATE,
            Capability.BATCH,
            Capability.LOGITS,
        }
    )
    export: ClassVar[str] = "onnx-fp32"


def _ends(program: Program) -> tuple[str, str]:
    """Names of the input and the output of a step graph that are no state."""
    return ("input_ids", "logits") if program.frames is None else ("frame", "outputs")
