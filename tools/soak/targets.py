"""The exact targets of this machine: each says whether all its forms give golden's bits for a case."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt

from edgesnn import plugins
from edgesnn.api.runners import export_of, is_remote, runner_misses
from edgesnn.bundle.bundle import Bundle
from edgesnn.bundle.export import BundleSource, write_bundle
from edgesnn.bundle.frames import FramesBundleSource, write_frames_bundle
from edgesnn.errors import ExportError
from edgesnn.program.bounds import prove
from edgesnn.program.compile import Compiled
from edgesnn.program.float_program import FloatProgram
from edgesnn.program.snn_format import to_bytes
from edgesnn.runners.base import Capability, Runner, RunnerOptions
from edgesnn.runners.native.engine import Engine, kernel_sets
from tests.support.artifacts import tiny_tokenizer
from tools.soak.cases import Case

Int32Array = npt.NDArray[np.int32]
#: Gives the tokens or frames that it compared, and whether one output of one form differed.
Comparison = Callable[[Case], tuple[int, bool]]
#: Of a target that takes long to open: every how many rounds of its kind it has its turn; all others in each.
EVERY = {"onnxruntime": 6, "litert": 6, "lava": 60}
#: Sequences and tokens of each that a slow simulation runs; all others run all.
SHARE = {"lava": (2, 40)}


def native(kernels: str) -> Comparison:
    """The C engine with one kernel set: all tokens at once, one by one, and a prompt with steps behind it."""

    def compare(case: Case) -> tuple[int, bool]:
        engine = Engine(to_bytes(case.program), kernels, 7)
        try:
            return case.tokens, any(not np.array_equal(made, part) for made, part in _forms(engine, case))
        finally:
            engine.close()

    return compare


def _forms(engine: Engine, case: Case) -> Iterator[tuple[Int32Array, Int32Array]]:
    """Every form's outputs, and golden's."""
    batch, length = case.inputs.shape[:2]
    wanted, cut = case.wanted, (length + 1) // 2
    engine.reset(batch)
    if case.program.frames is not None:
        yield engine.frames(np.ascontiguousarray(case.inputs), every=True), wanted
        engine.reset(batch)
        yield engine.frames(np.ascontiguousarray(case.inputs[:, :cut]), every=False), wanted[:, cut - 1]
        for place in range(cut, length):
            one = np.ascontiguousarray(case.inputs[:, place : place + 1])
            yield engine.frames(one, every=True), wanted[:, place : place + 1]
        return
    ids = case.inputs.astype(np.uint32)
    yield engine.sequence(ids), wanted
    engine.reset(batch)
    yield engine.prefill(np.ascontiguousarray(ids[:, :cut])), wanted[:, cut - 1]
    for place in range(cut, length):
        yield engine.steps(np.ascontiguousarray(ids[:, place])), wanted[:, place]


def of_runner(kind: type[Runner]) -> Comparison:
    """A runner on a bundle of the program: whole sequences, and a prompt with steps where it has them."""

    def compare(case: Case) -> tuple[int, bool]:
        if kind.name in SHARE:
            rows, tokens = SHARE[kind.name]
            case = Case(case.program, case.inputs[:rows, :tokens])
        wanted, cut = case.wanted, (case.inputs.shape[1] + 1) // 2
        with TemporaryDirectory(prefix="edgesnn-soak-") as folder, kind() as runner:
            try:
                bundle = bundle_of(case, Path(folder), export_of(kind))
            except ExportError:  # Lava's fixed point does not have every op
                return 0, False
            if runner_misses(kind, bundle) is not None:
                return 0, False
            runner.open(bundle, RunnerOptions())
            differs = not np.array_equal(runner.sequence(case.inputs).logits, wanted)
            if {Capability.PREFILL, Capability.STEP} <= runner.capabilities:
                found = [runner.prefill(case.inputs[:, :cut]).logits]
                found += [runner.step(case.inputs[:, i]).logits for i in range(cut, case.inputs.shape[1])]
                differs |= not np.array_equal(np.stack(found, 1), wanted[:, cut - 1 :])
        return case.tokens, differs

    return compare


def bundle_of(case: Case, folder: Path, export: str | None) -> Bundle:
    """A bundle of the program alone, with the files of one format where the network has them."""
    exporters = {} if export is None else {export: plugins.load_exporter(export)()}
    if case.program.frames is not None:
        frames = {name: one for name, one in exporters.items() if one.frames}
        given = FramesBundleSource("soak", case.program, {}, {})
        return write_frames_bundle(given, folder / "bundle", frames, overwrite=False)
    tokenizer = folder / "tokenizer.json"
    tokenizer.write_text(tiny_tokenizer().to_str(), encoding="utf-8")
    compiled = Compiled(case.program, prove(case.program), (), (), {}, None)
    source = BundleSource("soak", compiled, FloatProgram(case.program.timesteps, ()), tokenizer, None, {}, {})
    return write_bundle(source, exporters, folder / "bundle", overwrite=False)


def targets() -> dict[str, Comparison]:
    """Every exact target of this computer by name; golden, which they are compared with, is none of them."""
    found: dict[str, Comparison] = {f"native {kernels}": native(kernels) for kernels in kernel_sets()}
    for name in plugins.names(plugins.RUNNERS):
        kind = plugins.load_runner(name)
        exact = Capability.EXACT in kind.capabilities and not is_remote(kind)
        if exact and name not in ("golden", "native") and kind.missing() is None:
            found[name] = of_runner(kind)
    return found
