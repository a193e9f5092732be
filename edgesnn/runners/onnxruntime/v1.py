"""Runners ``onnxruntime-v1`` and ``onnxruntime-v1-fp32``: students of version 1.0, whole sequences only."""

from __future__ import annotations

import time
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from edgesnn.bundle.bundle import Bundle
from edgesnn.errors import BundleError, RunnerError
from edgesnn.program.program import check_ids
from edgesnn.runners.base import Capability, DeviceInfo, IntArray, Output, RunnerOptions
from edgesnn.runners.host import HostRunner, cpu_flags, cpu_name, not_open
from edgesnn.runners.onnxruntime.session import engine_failed, open_session
from edgesnn.v1_rule import V1_FORM

_VNNI = frozenset({"avx512_vnni", "avx_vnni"})


class _V1Runner(HostRunner):
    """What both share; a subclass names its export."""

    export: ClassVar[str]
    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {Capability.SEQUENCE, Capability.BATCH, Capability.LOGITS}
    )

    def __init__(self) -> None:
        self._session: Any = None
        self._vocab_size = 0
        self._alone = False

    @classmethod
    def missing(cls) -> str | None:
        try:
            import onnxruntime  # noqa: F401
        except ImportError as error:
            return f"onnxruntime does not load: {error}"
        return None

    def open(self, bundle: Bundle, options: RunnerOptions) -> DeviceInfo:
        """Load the sequence graph.

        Raises:
            BundleError: The bundle holds an integer program or no such export, or the file reaches outside
                itself.
            RunnerError: ONNX Runtime refused the file, or it has other inputs or outputs.
        """
        import onnxruntime

        started = time.perf_counter_ns()
        if bundle.without_program is None:
            raise BundleError(
                f"runner '{self.name}' runs students of version 1.0 only",
                actual=f"bundle '{bundle.name}' holds an integer program",
                remedy="take the target cpu",
            )
        path = bundle.export_file(self.export, "sequence")
        session = open_session(path, options.threads)
        inputs = {(item.name, item.type) for item in session.get_inputs()}
        outputs = {(item.name, item.type, item.shape[-1]) for item in session.get_outputs()}
        wanted = {("logits", "tensor(float)", bundle.vocab_size)}
        if inputs != {("input_ids", "tensor(int64)")} or outputs != wanted:
            raise RunnerError(
                f"'{path.name}' is not the graph of this student",
                actual=f"inputs {sorted(inputs)}, outputs {sorted(map(str, outputs))}",
                limit=f"input_ids int64 to logits float32 of {bundle.vocab_size} ids",
                remedy="export the student again",
            )
        self._session, self._vocab_size = session, bundle.vocab_size
        int8 = None if self.export.endswith("fp32") else bundle.manifest.quantisation.get("int8")
        self._alone = int8 == "dynamic"
        return DeviceInfo(
            device=cpu_name(),
            engine="onnxruntime",
            engine_version=str(onnxruntime.__version__),
            simulated=False,
            clock_hz=1e9,
            load_ms=(time.perf_counter_ns() - started) / 1e6,
            model_files=(path.name,),
            model_bytes=bundle.size_of((path.name,)),
            details={
                "provider": "CPUExecutionProvider",
                "threads": options.threads,
                "vnni": bool(_VNNI & cpu_flags()),
                "format": self.export,
                "int8": int8,
                "form": V1_FORM,
            },
        )

    def sequence(self, ids: IntArray) -> Output:
        """Run whole sequences; one after another where activations share a scale that the text decides."""
        checked = check_ids(np.asarray(ids), self._vocab_size)
        rows = np.split(checked, len(checked)) if self._alone else [checked]
        started = time.perf_counter_ns()
        logits = [self._run(part) for part in rows]
        elapsed = time.perf_counter_ns() - started
        return Output(logits[0] if len(logits) == 1 else np.concatenate(logits), elapsed)

    def _run(self, ids: IntArray) -> npt.NDArray[np.float32]:
        if self._session is None:
            raise not_open()
        try:
            logits: npt.NDArray[np.float32] = self._session.run(["logits"], {"input_ids": ids})[0]
        except Exception as error:  # onnxruntime's own exceptions share no base class
            raise engine_failed(error) from error
        return logits

    def close(self) -> None:
        self._session = None


class OnnxRuntimeV1Runner(_V1Runner):
    """The int8 file of a student of version 1.0."""

    name: ClassVar[str] = "onnxruntime-v1"
    summary: ClassVar[str] = (
        "ONNX Runtime on this CPU, int8 file of a v1.0 student; sequences only, not exact"
    )
    export: ClassVar[str] = "onnx-v1"


class OnnxRuntimeV1Float32Runner(_V1Runner):
    """The float32 file of a student of version 1.0."""

    name: ClassVar[str] = "onnxruntime-v1-fp32"
    summary: ClassVar[str] = "ONNX Runtime on this CPU, float32 file of a v1.0 student; sequences only"
    export: ClassVar[str] = "onnx-v1-fp32"
