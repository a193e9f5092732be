"""Runner ``lava``: the bundle's Lava export in Lava's CPU simulation, in a child process of its own."""

from __future__ import annotations

import hashlib
import json
import time
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from edgesnn import resources
from edgesnn.bundle.bundle import Bundle, file_sha256
from edgesnn.errors import BundleError, RunnerError, UsageError
from edgesnn.program.program import check_frames
from edgesnn.runners.base import Capability, DeviceInfo, IntArray, Output, RunnerOptions
from edgesnn.runners.host import HostRunner, check_batch, not_open
from edgesnn.runners.lava import environment as lava_environment
from edgesnn.runners.lava.child import Deadlines, LavaChild

#: What every result of this runner is taken on.
DEVICE = "Lava CPU simulation, Loihi 2 fixed point"
FORMS = ("single", "graph")
#: Words before the token ids of a job, and what they mean
#: (``firmware_bridge/lava/export/snn_lava/mailbox.py``).
_HEADER = 8
_STEPS, _SEQUENCES = 0, 1
#: Tokens of one job of the single-process form, over all sequences side by side.
_JOB_TOKENS = 64
_GRAPH = frozenset({Capability.SEQUENCE, Capability.LOGITS, Capability.EXACT})


class LavaRunner(HostRunner):
    """Executes the export ``lava`` in one of its forms, the target's address: ``single`` or ``graph``.

    The single-process form, which runs without an address, can do everything. The graph of processes runs
    whole sequences, one after another; networks that read frames have that form alone.
    """

    name: ClassVar[str] = "lava"
    summary: ClassVar[str] = (
        "Lava CPU simulation (Loihi 2 fixed point), simulated, exact; lava:graph for a graph"
    )
    capabilities: ClassVar[frozenset[Capability]] = _GRAPH | {
        Capability.STEP,
        Capability.PREFILL,
        Capability.BATCH,
        Capability.FRAMES,
    }

    export: ClassVar[str] = "lava"
    simulated: ClassVar[bool] = True

    def __init__(self, deadlines: Deadlines | None = None) -> None:
        self._deadlines = deadlines or Deadlines()
        self._running: LavaChild | None = None
        self._form = FORMS[0]
        self._vocab = 0
        self._batch = 1
        self._fresh = True

    @classmethod
    def missing(cls) -> str | None:
        return lava_environment.missing()

    @classmethod
    def present(cls) -> str:
        """The interpreter that Lava runs in."""
        return lava_environment.find().sentence()

    @classmethod
    def install(cls) -> str:
        """Make the environment of Lava; what it is.

        Raises:
            RunnerError: It cannot be made.
        """
        return lava_environment.install().sentence()

    def open(self, bundle: Bundle, options: RunnerOptions) -> DeviceInfo:
        """Start Lava with the bundle's export.

        The process package of the bundle is not executed: edgesnn runs its own copy, and refuses a bundle
        whose copy is another.

        Raises:
            UsageError: There is no such form.
            BundleError: The bundle has no such export, or one of another edgesnn.
            RunnerError: Lava is not installed, does not load or does not start.
        """
        forms = FORMS[1:] if bundle.reads_frames else FORMS
        form = options.address or forms[0]
        if form not in forms:
            raise UsageError(f"Lava has no form '{form}'", limit=", ".join(forms))
        self.close()
        files = _checked_files(bundle)
        environment = lava_environment.find()
        started = time.perf_counter_ns()
        program = self._program = bundle.program()
        self._vocab = program.outputs
        sizes = (_HEADER + _JOB_TOKENS, _JOB_TOKENS * self._vocab)
        self._form = form
        self._running = LavaChild(
            environment,
            bundle.export_file(self.export, "manifest").parent,
            form,
            words=sizes,
            threads=options.threads,
            deadlines=self._deadlines,
        )
        load_ms = (time.perf_counter_ns() - started) / 1e6
        if form == "graph":
            frames = {Capability.FRAMES} if bundle.reads_frames else set()
            self.capabilities = _GRAPH | frames  # type: ignore[misc] # it can do less than its class
        self.reset(1)
        facts = self._running.facts
        found = facts["ready"]
        return DeviceInfo(
            device=DEVICE,
            engine="lava-nc",
            engine_version=f"{found['lava']}, Python {found['python']}, numpy {found['numpy']}",
            simulated=True,
            clock_hz=1e9,
            load_ms=load_ms,
            model_files=files,
            model_bytes=bundle.size_of(files),
            details={"form": form, "processes": facts["processes"], "patched_import": found["patched"]},
        )

    def reset(self, batch: int = 1) -> None:
        self._child()
        self._batch, self._fresh = batch, True

    def step(self, tokens: IntArray) -> Output:
        self._only_single("step")
        check_batch(tokens, self._batch)
        ids = self._check(np.asarray(tokens)[:, None])
        started = time.perf_counter_ns()
        logits = self._job(ids, _STEPS, fresh=self._fresh, every=False)[:, 0]
        self._fresh = False
        return Output(logits, time.perf_counter_ns() - started)

    def sequence(self, ids: IntArray) -> Output:
        checked = self._check(ids)
        batch, length = checked.shape[:2]
        logits = np.empty((batch, length, self._vocab), np.int32)
        started = time.perf_counter_ns()
        if self._reads_frames:
            for row, frames in enumerate(checked):
                logits[row] = self._frames_job(frames)
        elif self._form == "graph":
            for row in range(batch):
                logits[row] = self._job(checked[row : row + 1], _SEQUENCES, fresh=True, every=True)
        else:
            for start, stop in _pieces(batch, length):
                part = checked[:, start:stop]
                logits[:, start:stop] = self._job(part, _SEQUENCES, fresh=start == 0, every=True)
        return Output(logits, time.perf_counter_ns() - started)

    def prefill(self, ids: IntArray) -> Output:
        self._only_single("prefill")
        checked = self._check(ids)
        batch, length = checked.shape
        logits = np.empty((batch, self._vocab), np.int32)
        started = time.perf_counter_ns()
        for start, stop in _pieces(batch, length):
            logits = self._job(checked[:, start:stop], _STEPS, fresh=start == 0, every=False)[:, 0]
        self._batch, self._fresh = batch, False
        return Output(logits, time.perf_counter_ns() - started)

    def close(self) -> None:
        if self._running is not None:
            self._running.stop()
        self._running = None

    def _job(
        self, ids: npt.NDArray[np.int32], context: int, *, fresh: bool, every: bool
    ) -> npt.NDArray[np.int32]:
        """Have some tokens run; their logits ``[batch, length or 1, vocab]``."""
        child, (batch, length) = self._child(), ids.shape
        size = batch * (length if every else 1) * self._vocab
        child.tokens.grow(_HEADER + ids.size)
        child.logits.grow(size)
        child.tokens.words[:5] = (context, fresh, batch, length, every)
        child.tokens.words[_HEADER : _HEADER + ids.size] = ids.ravel()
        child.advance(length)
        return child.logits.words[:size].reshape(batch, -1, self._vocab).copy()

    def _frames_job(self, frames: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """Have frames ``[length, channels]`` run from an empty context; their outputs."""
        child, (length, channels) = self._child(), frames.shape
        child.tokens.grow(_HEADER + frames.size)
        child.logits.grow(length * self._vocab)
        child.tokens.words[:5] = (_SEQUENCES, True, length, channels, True)
        child.tokens.words[_HEADER : _HEADER + frames.size] = frames.ravel()
        child.advance(length)
        return child.logits.words[: length * self._vocab].reshape(length, self._vocab).copy()

    def _child(self) -> LavaChild:
        if self._running is None:
            raise not_open()
        if self._running.ended:
            raise RunnerError("Lava is not running any more", remedy="open the runner again")
        return self._running

    def _only_single(self, what: str) -> None:
        self._child()
        if self._form == "graph":
            raise RunnerError(
                f"the graph form of Lava has no {what}: it runs whole sequences",
                remedy="use the target lava, whose form is single",
            )

    def _check(self, ids: IntArray) -> npt.NDArray[np.int32]:
        self._child()
        program = self._require_program()
        if program.frames is not None:
            return check_frames(ids, program.frames).astype(np.int32)
        return program.check_ids(ids).astype(np.int32)


def _pieces(batch: int, length: int) -> list[tuple[int, int]]:
    """Begin and end of the jobs that a sequence is cut into."""
    size = max(1, _JOB_TOKENS // batch)
    return [(start, min(start + size, length)) for start in range(0, length, size)]


def _checked_files(bundle: Bundle) -> tuple[str, ...]:
    """Names of the files that Lava reads, after a look at the whole export.

    Raises:
        BundleError: It is missing, changed since the bundle was opened, of another program, or its process
            package is not the one that edgesnn ships.
    """
    manifest = bundle.export_file("lava", "manifest")
    names = tuple(bundle.manifest.exports["lava"].files[role] for role in ("manifest", "weights"))
    for name in names:
        if file_sha256(bundle.file(name)) != bundle.manifest.files[name].sha256:
            raise BundleError(f"file '{name}' was changed after the bundle was opened")
    try:
        of_program = json.loads(manifest.read_text("utf-8"))["program_hash"]
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"'{names[0]}' is no manifest of a Lava export: {error}") from None
    if of_program != bundle.manifest.program_hash:
        raise BundleError(
            f"'{names[0]}' is of another program", actual=of_program, limit=bundle.manifest.program_hash
        )
    shipped = resources.folder("lava") / "export"
    for path in sorted((shipped / "snn_lava").glob("*.py")):
        entry = bundle.manifest.files.get(f"{manifest.parent.name}/snn_lava/{path.name}")
        if entry is None or entry.sha256 != hashlib.sha256(path.read_bytes()).hexdigest():
            raise BundleError(
                f"the Lava process package of the bundle is another than this edgesnn's: '{path.name}'",
                remedy="export the student again",
            )
    return names
