"""What the runners `adb` and `ssh` share: the contract of runners over a session on a device."""

from __future__ import annotations

import struct
import time
from abc import abstractmethod
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, ClassVar

import numpy as np

from edgesnn import __version__
from edgesnn.bundle.bundle import PROGRAM_NAME, Bundle
from edgesnn.errors import BundleError, RunnerError, UsageError
from edgesnn.program.program import check_frames
from edgesnn.program.state import State
from edgesnn.runners.base import (
    Capability,
    ClockReading,
    DeviceInfo,
    IntArray,
    LoadChip,
    Output,
    RunnerOptions,
    Sighting,
    Watchful,
    Window,
)
from edgesnn.runners.host import ProgramRunner, check_batch, check_state, check_window, not_open
from edgesnn.runners.remote.address import Address, parse_address
from edgesnn.runners.remote.build import find_binary, machine_named
from edgesnn.runners.remote.frames import Command, Reply
from edgesnn.runners.remote.link import DeviceLink
from edgesnn.runners.remote.session import Answer, DeviceSession
from edgesnn.runners.remote.state import choose_cpus, names_of
from edgesnn.runners.remote.watch import DeviceWatch, read_state

#: A call may take this many times what its steps should take, beside `_ANSWER_S`.
_PATIENCE = 50.0
_ANSWER_S = 30.0
#: Time of a step that is assumed before one was seen.
_UNKNOWN_STEP_S = 1.0
#: Exchanges with the device's clock before a window; the one with the shortest round trip counts.
_CLOCK_TRIES = 5
_POSITION = struct.Struct("<Q")
_WINDOW_MORE = struct.Struct("<32sIIII")


@dataclass(frozen=True, slots=True)
class Identity:
    """What a device says of itself.

    Attributes:
        name: Its name, for example maker and model.
        machine: Its processor, as it calls it.
        emulated: What emulates it, or None.
        details: More for the record.
    """

    name: str
    machine: str
    emulated: str | None
    details: dict[str, Any] = field(default_factory=dict)


class RemoteRunner(ProgramRunner, Watchful):
    """Executes ``program.snn`` in C on a device that is reached by a link; times are the device's own."""

    name: ClassVar[str]
    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {
            Capability.STEP,
            Capability.SEQUENCE,
            Capability.PREFILL,
            Capability.STATE,
            Capability.LOGITS,
            Capability.EXACT,
            Capability.FRAMES,
            Capability.DEVICE_CLOCK,
            Capability.PATTERN,
            Capability.REMOTE,
        }
    )
    #: Options of the address that only this runner knows.
    extra_options: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        self._session: DeviceSession | None = None
        self._link: DeviceLink | None = None
        self._details: dict[str, Any] = {}
        self._step_s = _UNKNOWN_STEP_S
        self._watch: DeviceWatch | None = None

    @abstractmethod
    def connect(self, address: Address) -> DeviceLink:
        """Find the device and make the way to it.

        Raises:
            UsageError: The address does not say which device.
            RunnerError: The device cannot be reached.
        """

    @abstractmethod
    def identify(self, link: DeviceLink) -> Identity:
        """Ask the device what it is."""

    def open(self, bundle: Bundle, options: RunnerOptions) -> DeviceInfo:
        """Push the engine and ``program.snn``, check them there, start the engine.

        Raises:
            ProgramFormatError: The program breaks its format.
            BundleError: The file holds another program than the manifest says.
            UsageError: The address, or the number of threads, makes no sense.
            RunnerError: The device cannot be reached, is full, or does not run the engine.
        """
        if options.threads != 1:
            raise UsageError("on a device one sequence runs on one thread", actual=options.threads, limit=1)
        self.close()
        address = parse_address(options.address, self.extra_options)
        self._program = bundle.program()
        self._link = self.connect(address)
        try:
            return self._open(bundle, address, self._link)
        except BaseException:
            self._shut(orderly=False)
            raise

    def _open(self, bundle: Bundle, address: Address, link: DeviceLink) -> DeviceInfo:
        identity = self.identify(link)
        binary = find_binary(machine_named(identity.machine))
        program = bundle.file(PROGRAM_NAME).read_bytes()
        session = self._session = DeviceSession(link, binary, program, address.kernels)
        hello = session.hello
        if hello.get("program_hash") != bundle.manifest.program_hash:
            raise BundleError(
                f"{PROGRAM_NAME} changed while it was opened",
                actual=hello.get("program_hash"),
                limit=bundle.manifest.program_hash,
            )
        state = read_state(session)
        cpus, refuse = choose_cpus(address.cpus, state), address.throttled == "refuse"
        session.call(Command.AFFINITY, struct.pack(f"<{len(cpus)}I", *cpus))
        throttling = state.throttling(cpus)
        if throttling and refuse:
            raise RunnerError(
                f"{link.who} holds its clock down",
                actual="; ".join(throttling[:3]),
                remedy="let it cool, take it off battery saving, or open it with throttled=mark",
            )
        emulator = hello.get("emulator") or identity.emulated
        clusters = state.clusters()
        self._details = {
            **identity.details,
            "system": hello.get("system"),
            "transport": self.name,
            "processor": identity.machine,
            "emulated_by": emulator,
            "clusters": [
                {"name": name, "cpus": list(members), "highest_khz": khz}
                for name, (khz, members) in zip(names_of(len(clusters)), clusters.items(), strict=True)
            ],
            "cpus": list(cpus) or "all",
            "kernels": hello.get("kernels"),
            "context_bytes": _count(hello, "context_bytes"),
            "threads": 1,
            "binary": {"sha256": binary.sha256, "compiler": binary.compiler, "machine": binary.machine},
            "stale_folders_removed": _count(hello, "reaped"),
            "memory": {
                "baseline_kb": _count(hello, "baseline_kb"),
                "loaded_kb": _count(hello, "loaded_kb"),
                "how": "VmHWM before, VmRSS after the program was opened, by the device's kernel",
            },
            "before": state.document(),
        }
        self._watch = DeviceWatch(session, cpus, refuse=refuse, details=self._details)
        return DeviceInfo(
            device=identity.name + (f" (emulated by {emulator})" if emulator else ""),
            engine="native",
            engine_version=f"edgesnn {__version__}, engine {hello.get('engine')}",
            simulated=emulator is not None,
            clock_hz=1e9,
            load_ms=(_count(hello, "load_ns") or 0) / 1e6,
            model_files=(PROGRAM_NAME,),
            model_bytes=bundle.size_of((PROGRAM_NAME,)),
            details=self._details,
        )

    def reset(self, batch: int = 1) -> None:
        if batch != 1:
            raise RunnerError("a device runs one sequence at a time", actual=batch, limit=1)
        self._call(Command.RESET)

    def step(self, tokens: IntArray) -> Output:
        self._open_session()
        check_batch(tokens, 1, frames=self._reads_frames)
        return self._forward(Command.STEP, self._given(np.asarray(tokens)[:, None]))

    def prefill(self, ids: IntArray) -> Output:
        self._open_session()
        return self._forward(Command.PREFILL, self._given(ids))

    def extend(self, ids: IntArray) -> Output:
        self._open_session()
        return self._forward(Command.EXTEND, self._given(ids))

    def save(self) -> State:
        self._open_session()
        answer, state = self._call(Command.SAVE), State(self._require_program())
        flat = b"".join(frame.payload for frame in answer.frames if frame.kind == Reply.STATE)
        wanted = sum(array.nbytes for array in state.tensors.values())
        if len(flat) != wanted or len(answer.more) != _POSITION.size:
            raise RunnerError("the device sent a state of another size", actual=len(flat), limit=wanted)
        state.take(self._require_program(), 0, np.frombuffer(flat, np.int8))
        (state.count,) = _POSITION.unpack(answer.more)
        return state

    def restore(self, state: State) -> None:
        self._open_session()
        check_state(self._require_program(), state)
        if state.batch != 1:
            raise RunnerError("a device runs one sequence at a time", actual=state.batch, limit=1)
        flat = state.flat(self._require_program(), 0)
        self._call(Command.RESTORE, _POSITION.pack(state.count) + flat.tobytes())

    def sequence(self, ids: IntArray) -> Output:
        self._open_session()
        checked = self._given(ids)
        steps = checked.shape[1]
        answer = self._call(Command.SEQUENCE, checked.tobytes(), steps=steps)
        return Output(self._logits(answer, steps)[None], answer.end - answer.start)

    def window(self, ids: IntArray, repeat: int, warmup: int) -> Window:
        """Run and time steps on the device with nothing in between.

        Times are CLOCK_MONOTONIC of the device. The window's start and end are mapped to the host's clock by
        the exchange with the shortest round trip, whose half is the bound of that mapping.

        Raises:
            RunnerError: There is nothing to run, or the device failed.
        """
        self._open_session()
        check_window(ids, repeat, frames=self._reads_frames)
        checked = self._given(ids[None, :])
        readings = [self.clock() for _ in range(_CLOCK_TRIES)]
        best = min(readings, key=lambda r: r.host_after_ns - r.host_before_ns)
        offset = (best.host_before_ns + best.host_after_ns) // 2 - best.device_ticks
        payload = struct.pack("<II", repeat, warmup) + checked.tobytes()
        before = time.perf_counter_ns()
        # the logits of every step are made a second time, for the hash
        answer = self._call(Command.WINDOW, payload, steps=2 * repeat * checked.shape[1] + warmup)
        after = time.perf_counter_ns()
        blocks = [np.frombuffer(f.payload, "<u8") for f in answer.frames if f.kind == Reply.STAMPS]
        stamps = np.concatenate(blocks).reshape(-1, 2)
        latencies = (stamps[:, 1] - stamps[:, 0]).astype(np.int64)
        digest, cpu_start, khz_start, cpu_end, khz_end = _WINDOW_MORE.unpack(answer.more)
        self._step_s = max(float(np.median(latencies)) / 1e9, 1e-6)
        first, last = answer.start + offset, answer.end + offset
        if not before <= first <= last <= after:
            first, last = before, after
        bound_us = (best.host_after_ns - best.host_before_ns) / 2e3
        self._open_watch().note(bound_us, (cpu_start, cpu_end), (khz_start, khz_end))
        return Window(latencies, first, last, digest.hex(), len(latencies))

    def idle(self, seconds: float) -> None:
        self._open_session()
        time.sleep(seconds)

    def play(self, pattern: tuple[LoadChip, ...]) -> None:
        words = [word for chip in pattern for word in (int(chip.busy), round(chip.seconds * 1000))]
        seconds = _ANSWER_S + sum(chip.seconds for chip in pattern)
        self._open_session().call(Command.PLAY, struct.pack(f"<{len(words)}I", *words), seconds=seconds)

    def clock(self) -> ClockReading:
        """Exchange one reading with the device's clock, CLOCK_MONOTONIC in ns."""
        before = time.perf_counter_ns()
        answer = self._call(Command.CLOCK)
        return ClockReading(answer.start, before, time.perf_counter_ns())

    def watch(self) -> None:
        self._open_watch().begin()

    def seen(self) -> Sighting:
        """What moved the clock since `watch`; a throttled run is invalid where the address says refuse."""
        return self._open_watch().end()

    def close(self) -> None:
        """End the engine and remove its folder; safe to call twice.

        Raises:
            RunnerError: The end marker is missing, or something was left on the device.
        """
        self._shut(orderly=True)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the runner; an error that is under way is not covered by one of closing."""
        self._shut(orderly=kind is None)

    def _shut(self, *, orderly: bool) -> None:
        session, self._session = self._session, None
        self._watch = self._program = None
        link, self._link = self._link, None
        try:
            if session is not None:
                session.close(orderly=orderly)
        finally:
            if link is not None:
                link.close()

    def _open_session(self) -> DeviceSession:
        if self._session is None:
            raise not_open()
        return self._session

    def _open_watch(self) -> DeviceWatch:
        if self._watch is None:
            raise not_open()
        return self._watch

    def _call(self, command: Command, payload: bytes = b"", steps: int = 1) -> Answer:
        seconds = _ANSWER_S + _PATIENCE * steps * self._step_s
        return self._open_session().call(command, payload, seconds=seconds)

    def _forward(self, command: Command, ids: IntArray) -> Output:
        steps = ids.shape[1]
        answer = self._call(command, ids.tobytes(), steps=steps)
        elapsed = answer.end - answer.start
        self._step_s = max(elapsed / steps / 1e9, 1e-6)
        return Output(self._logits(answer, 1), elapsed)

    def _logits(self, answer: Answer, rows: int) -> np.ndarray[Any, np.dtype[np.int32]]:
        width = self._require_program().outputs
        parts = [frame.payload for frame in answer.frames if frame.kind == Reply.LOGITS]
        if len(parts) != rows or any(len(part) != 4 * width for part in parts):
            raise RunnerError("the device sent logits of another shape", actual=len(parts), limit=rows)
        return np.frombuffer(b"".join(parts), "<i4").astype(np.int32).reshape(rows, width)

    def _given(self, ids: IntArray) -> IntArray:
        """Ids or frames of one sequence that are right, as the device reads them."""
        program = self._require_program()
        checked = program.check_ids(ids) if program.frames is None else check_frames(ids, program.frames)
        if len(checked) != 1:
            raise RunnerError("a device runs one sequence at a time", actual=len(checked), limit=1)
        return checked.astype(np.dtype("<u4")) if program.frames is None else checked


def _count(hello: dict[str, str], key: str) -> int | None:
    text = hello.get(key, "")
    return int(text) if text.isdigit() else None
