"""A device under test that speaks the ASCII protocol of MLCommons Tiny, in energy mode, and draws power.

Commands end in ``%``, answers in CR LF, every answer with ``m-ready``. A timestamp is a falling edge on the
line that goes to D7 of the power monitor. While it infers it does not listen, as the firmware does not.
"""

from collections import deque

#: How long the line stays low; the protocol asks for 1 us, LPM01A twins look eight times a sample.
LOW_S = 1e-3
#: From a command to what it does: the power monitor's twin must not have passed that moment yet.
AHEAD_S = 0.02
MODEL = "kws01"


class MlcommonsDut:
    """See the module; a carrier (`PtyTwin`, `VirtualLink`) moves its bytes.

    Args:
        load: A live load that is fed (`edgesnn.meters.twins.live.LiveLoad.feed`).
        infer_s: Length of one inference.
        active_w: Power of the `n`-th inference of a window, a function of window and inference.
        idle_w: Power between.
        ready_s: From the end of a window to the answer that says so.
        shift_s: What the load's clock is ahead of this twin's.
    """

    name = "mlcommons-dut"
    buffer_bytes = 65536

    def __init__(self, load, *, infer_s, active_w, idle_w, ready_s=2 * LOW_S, shift_s=0.0):
        self.load, self.infer_s, self.active_w, self.idle_w = load, infer_s, active_w, idle_w
        self.ready_s, self.shift_s = ready_s, shift_s
        #: Start, end and inferences of every window, by the load's clock.
        self.windows = []
        self._command = b""
        self._waiting = deque()
        self._free_s = 0.0
        self._expected = self._loaded = 0
        self._said = deque()
        load.feed(idle_w, 1, 0.0)

    def receive(self, data, now_s):
        *whole, self._command = (self._command + data).split(b"%")
        self._waiting.extend(whole)
        return b"".join(self.advance(now_s))

    def advance(self, now_s):
        while self._waiting and now_s >= self._free_s:
            text = self._waiting.popleft().decode("ascii", "replace").strip()
            if text:
                self._obey(text, now_s)
        out = []
        while self._said and self._said[0][0] <= now_s:
            out.append(self._said.popleft()[1])
        return out

    def drop(self, samples):
        """It has none."""

    def replugged(self):
        self._waiting.clear()
        self._said.clear()

    def truth(self):
        raise NotImplementedError("the power monitor's twin keeps the truth")

    def _obey(self, text, now_s):
        words = text.split()
        if words[0] == "infer":
            self._infer(int(words[1]), int(words[2]) if len(words) > 2 else 10, now_s)
            return
        self._say(now_s, *self._answer(words), "m-ready")

    def _answer(self, words):
        if words == ["name"]:
            return ["m-name-dut-[edgesnn-twin]"]
        if words == ["profile"]:
            return ["m-profile-[ULPMark for tinyML Firmware V0.0.1]", f"m-model-[{MODEL}]"]
        if words[:2] == ["db", "load"]:
            self._expected, self._loaded = int(words[2]), 0
            return [f"m-[Expecting {self._expected} bytes]"]
        if words[0] == "db":
            self._loaded += len(words[1]) // 2
            return ["m-load-done"] if self._loaded >= self._expected else []
        return [f"e-[Unknown command: {words[0]}]"]

    def _infer(self, count, warmups, now_s):
        at = now_s + AHEAD_S
        self._say(at, f"m-warmup-start-{warmups}")
        for number in range(warmups):
            self._draw(at + number * self.infer_s, self.active_w(len(self.windows), number), 1)
        at += warmups * self.infer_s + 1e-4
        self._say(at, "m-warmup-done", f"m-infer-start-{count}")
        begin, end = at, at + count * self.infer_s
        self._draw(begin, self.active_w(len(self.windows), 0), 0)
        self._draw(begin + LOW_S, self.active_w(len(self.windows), 0), 1)
        for number in range(1, count):
            self._draw(begin + number * self.infer_s, self.active_w(len(self.windows), number), 1)
        self._draw(end, self.idle_w, 0)
        self._draw(end + LOW_S, self.idle_w, 1)
        self.windows.append((begin + self.shift_s, end + self.shift_s, count))
        self._free_s = end + self.ready_s
        self._say(self._free_s, "m-infer-done", "m-results-[0.1,0.9]", "m-ready")

    def _draw(self, at_s, watts, level):
        self.load.feed(watts, level, at_s + self.shift_s)

    def _say(self, at_s, *lines):
        self._said.append((at_s, "".join(f"{line}\r\n" for line in lines).encode()))
