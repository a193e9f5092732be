"""Runner ``browser``: a phone opens a page of this computer and runs the bundle in WebAssembly.

One session takes one phone; further ones are told to wait and try again. Several phones at once are several
commands, each with an address and a record of its own.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from types import TracebackType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from edgesnn.bundle.bundle import Bundle
from edgesnn.errors import RunnerError
from edgesnn.runners.base import (
    Capability,
    ClockReading,
    DeviceInfo,
    IntArray,
    LoadChip,
    Output,
    RunnerOptions,
    Screen,
    Sighting,
    Watchful,
    Window,
)
from edgesnn.runners.browser.address import parse_place, qr_lines, split_engine
from edgesnn.runners.browser.device import MS_PER_NS, PINGS, keep_bound, served_files, welcome
from edgesnn.runners.browser.engines import OnnxRuntimeEngine, WasmEngine
from edgesnn.runners.browser.phone import BrowserPhone, PhoneGone
from edgesnn.runners.browser.protocol import calls_per_sample, group_sizes
from edgesnn.runners.browser.server import PhoneServer
from edgesnn.runners.browser.tls import session_certificate
from edgesnn.runners.host import ProgramRunner, check_batch, check_window, not_open

#: Least time between two signs of progress that the phone is asked to paint.
_SHOW_S = 0.2


class BrowserRunner(ProgramRunner, Watchful, Screen):
    """The integer program in a worker of the page that a phone opened.

    It runs ``program.snn`` in the C engine; the address ``onnxruntime`` asks for the bundle's ONNX files in
    onnxruntime-web instead.
    """

    name: ClassVar[str] = "browser"
    summary: ClassVar[str] = "a phone's browser: the C engine in WebAssembly, exact"
    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {
            Capability.STEP,
            Capability.SEQUENCE,
            Capability.PREFILL,
            Capability.LOGITS,
            Capability.EXACT,
            Capability.DEVICE_CLOCK,
            Capability.PATTERN,
            Capability.REMOTE,
        }
    )
    #: How long a person has to open the page, seconds.
    wait_s: ClassVar[float] = 300.0

    def __init__(self) -> None:
        self._server: PhoneServer | None = None
        self._open_phone: BrowserPhone | None = None
        self._details: dict[str, Any] = {}
        self._calls: int | None = None
        self._hidden = 0
        self._shown: tuple[str, float] = ("", 0.0)

    @classmethod
    def missing(cls) -> str | None:
        for package in ("websockets", "segno"):
            if find_spec(package) is None:
                return f"{package} is not installed; remedy: pip install 'edgesnn[phone]'"
        return None

    def open(self, bundle: Bundle, options: RunnerOptions) -> DeviceInfo:
        """Serve the page, say where it is, wait for a phone and load the model there.

        Raises:
            BundleError: ONNX Runtime is asked for and the bundle has no int8 ONNX files, or a file reaches
                outside itself.
            UsageError: The address is none.
            MissingExtraError: A package for the page is not installed.
            RunnerError: The page cannot be served, no phone came, or its browser refused the model.
        """
        program = self._open_text(bundle)
        onnx, address = split_engine(options.address)
        engine = OnnxRuntimeEngine() if onnx else WasmEngine()
        place = parse_place(address)
        context, fingerprint = session_certificate(place.host) if place.tls else (None, None)
        self._server = PhoneServer(place, served_files(bundle, engine), context)
        self._announce(self._server.url, fingerprint)
        deadline = time.monotonic() + self.wait_s
        while True:
            phone = self._server.phone(deadline)
            if phone is None:
                raise RunnerError(
                    f"no phone opened the page within {self.wait_s:g} s",
                    actual=self._server.url,
                    remedy="the phone must be in the same network, and a firewall must let it through",
                )
            self._open_phone = phone  # from here on it is told how the session ends
            try:
                info = welcome(phone, bundle, program, options, engine)
            except PhoneGone as gone:
                self._open_phone = None
                self._server.release(phone)
                print(f"{gone.what}; waiting for another one", file=sys.stderr, flush=True)
                continue
            self._details = info.details
            return info

    def reset(self, batch: int = 1) -> None:
        if batch != 1:
            raise RunnerError("a phone runs one sequence at a time", actual=batch, limit=1)
        self._phone().ask("reset")

    def step(self, tokens: IntArray) -> Output:
        """Run one token, ids ``[1]``; the time is the phone's and includes the care for the state."""
        check_batch(tokens, 1)
        return self._run("step", self._ids(np.asarray(tokens)[None, :]), (1, -1))

    def sequence(self, ids: IntArray) -> Output:
        checked = self._ids(ids)
        return self._run("sequence", checked, (1, len(checked), -1))

    def prefill(self, ids: IntArray) -> Output:
        return self._run("prefill", self._ids(ids), (1, -1))

    def window(self, ids: IntArray, repeat: int, warmup: int) -> Window:
        """Run and time steps on the phone alone, over ``ids [length]`` ``repeat`` times.

        Where its timer is too coarse for one step, neighbouring steps are timed together and each gets their
        mean; `seen` says how many. Host times are the phone's, set against this computer's clock before and
        after.

        Raises:
            TextError: A token id is outside the vocabulary.
            RunnerError: There is nothing to run, or the phone failed.
        """
        check_window(ids, repeat)
        phone, tokens = self._phone(), self._ids(np.asarray(ids)[None, :])
        step_ms = phone.facts.timer_step_us / 1e3
        if self._calls is None:
            answer, _ = phone.ask("calibrate", ids=tokens[:64])
            self._calls = calls_per_sample(step_ms, answer.number("call_ms", 1e-6, 1e7))
            self._details["calls_per_sample"] = self._calls
        sizes = group_sizes(len(tokens), self._calls)
        offset, bound = phone.host_offset_ns(PINGS)
        before = time.perf_counter_ns()
        answer, numbers = phone.ask(
            "window",
            expect_bytes=8 * len(sizes) * repeat,
            ids=tokens,
            repeat=repeat,
            warmup=warmup,
            sizes=sizes,
        )
        after = time.perf_counter_ns()
        later, later_bound = phone.host_offset_ns(PINGS)
        keep_bound(self._details, max(bound, later_bound))
        means_ms = np.frombuffer(numbers, "<f8")
        senseless = means_ms[~(np.isfinite(means_ms) & (means_ms > 0))]
        if senseless.size:
            raise RunnerError(
                "the phone gave times that its timer cannot tell from nothing",
                actual=f"{senseless[0]:g} ms",
                limit=f"> 0 ms; its timer steps by {step_ms:g} ms",
                remedy="use --https, whose timer is finer, or longer windows",
            )
        latencies = np.rint(np.repeat(means_ms, np.tile(sizes, repeat)) / MS_PER_NS).astype(np.int64)
        started = round(answer.number("started_ms", 0, 1e15) / MS_PER_NS + offset)
        ended = round(answer.number("ended_ms", 0, 1e15) / MS_PER_NS + later)
        if not before <= started <= ended <= after:
            started, ended = before, after
        return Window(latencies, started, ended, answer.digest("output_sha256"), len(latencies))

    def idle(self, seconds: float) -> None:
        time.sleep(seconds)
        self._phone().ask("now")

    def play(self, pattern: tuple[LoadChip, ...]) -> None:
        chips = [[chip.busy, chip.seconds] for chip in pattern]
        self._phone().ask("play", chips=chips)

    def clock(self) -> ClockReading:
        phone = self._phone()
        before = time.perf_counter_ns()
        answer, _ = phone.ask("now")
        after = time.perf_counter_ns()
        ticks = answer.number("now_ms", 0, 1e15) * 1e3 / phone.facts.timer_step_us
        return ClockReading(round(ticks), before, after)

    def watch(self) -> None:
        """Forget how often the page was hidden; a measurement begins."""
        self._hidden = self._page()[0]

    def seen(self) -> Sighting:
        """Whether the page was hidden since `watch`, and how the times were taken."""
        phone = self._phone()
        hidden, visible = self._page()
        invalid = None
        if hidden != self._hidden or not visible:
            invalid = "the page was hidden while it was measured: browsers slow hidden pages down"
        marks = ["tokenising and text decoding ran on this computer, not on the phone"]
        step_us = phone.facts.timer_step_us
        if self._calls is not None and self._calls > 1:
            marks.append(
                f"each time is the mean of {self._calls} neighbouring steps or more: "
                f"the browser's timer steps by {step_us:g} us"
            )
        if phone.near:
            marks.append(
                "the browser reached this computer from its own address: it runs here, "
                "or it is a phone behind a cable"
            )
        return Sighting(invalid, tuple(marks))

    def show_progress(self, stage: str, done: int, total: int) -> None:
        last, at = self._shown
        now = time.monotonic()
        if self._open_phone is not None and (stage != last or now - at >= _SHOW_S):
            self._shown = (stage, now)
            self._open_phone.tell("progress", stage=stage, done=done, total=total)

    def show_result(self, verdict: str, rows: Sequence[tuple[str, str]]) -> None:
        if self._open_phone is not None:
            self._open_phone.tell("result", verdict=verdict, rows=[list(row) for row in rows])

    def close(self) -> None:
        if self._open_phone is not None:
            self._open_phone.tell("over")
        if self._server is not None:
            self._server.close()
        self._server = self._open_phone = self._program = self._calls = None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the runner; the phone is told when it ended in an error."""
        if error is not None and self._open_phone is not None:
            what = getattr(error, "what", None) or "interrupted"
            self._open_phone.tell("result", verdict="FAILED", rows=[["", str(what)[:300]]])
        self.close()

    def _run(self, form: str, ids: list[int], shape: tuple[int, ...]) -> Output:
        vocab = self._require_program().vocab_size
        rows = len(ids) if form == "sequence" else 1
        answer, numbers = self._phone().ask(form, expect_bytes=4 * vocab * rows, ids=ids, silence_s=120.0)
        elapsed = round(answer.number("elapsed_ms", 0, 1e9) / MS_PER_NS)
        logits: npt.NDArray[np.int32] = np.frombuffer(numbers, "<i4").astype(np.int32).reshape(shape)
        return Output(logits, elapsed)

    def _page(self) -> tuple[int, bool]:
        """How often the page was hidden, and whether it is visible."""
        answer, _ = self._phone().ask("page")
        return answer.whole("hidden", 0, 1 << 40), answer.flag("visible")

    def _phone(self) -> BrowserPhone:
        if self._open_phone is None:
            raise not_open()
        return self._open_phone

    def _ids(self, ids: IntArray) -> list[int]:
        """Token ids of one sequence ``[1, length]``, checked: a browser would not refuse wrong ones."""
        checked = self._require_program().check_ids(ids)
        if len(checked) != 1:
            raise RunnerError("a phone runs one sequence at a time", actual=len(checked), limit=1)
        return [int(token) for token in checked[0]]

    def _announce(self, url: str, fingerprint: str | None) -> None:
        """Say on stderr where the page is: someone must open it, so this is said even when nobody watches."""
        lines = [*qr_lines(url, colour=True), ""] if sys.stderr.isatty() else []
        lines.append(f"open on the phone: {url}")
        if fingerprint is not None:
            lines.append(f"the browser will warn; its certificate's SHA-256 must be: {fingerprint}")
        print("\n".join(lines), file=sys.stderr, flush=True)
