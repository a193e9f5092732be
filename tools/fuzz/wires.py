"""Harnesses of what comes over a wire: devices, browsers, clients, children."""

from __future__ import annotations

import asyncio
import json
import struct
import tempfile
import threading
from pathlib import Path
from typing import Any

from edgesnn.children import Child
from edgesnn.errors import RunnerError
from edgesnn.runners.board.frames import REPLY, BoardCommand, BoardFrameReader, encode_frame
from edgesnn.runners.board.lines import ByteLine
from edgesnn.runners.board.session import BoardSession, BoardTiming
from edgesnn.runners.browser.protocol import read_frame, read_hello
from edgesnn.runners.remote.adb_client import read_line
from edgesnn.runners.remote.frames import RemoteFrameReader, Reply, encode
from edgesnn.runners.remote.link import DeviceLink, Finished
from edgesnn.runners.remote.state import choose_cpus, gauge_document, read_device
from edgesnn.server.requests import (
    ChatAsked,
    CompletionAsked,
    RequestRefusedError,
    ServerLimits,
    read_request,
)
from tools.fuzz.harness import Harness, Subject

# Boards and phones -----------------------------------------------------------------------------------------


class _PlayedLine(ByteLine):
    """A board that answers each request with the next piece; a greeting gets its own nonce back."""

    who = "the board"

    def __init__(self, replies: list[bytes]) -> None:
        self._replies, self._ready = replies, b""
        self._asked = BoardFrameReader()

    def read(self, seconds: float) -> bytes:
        if not self._ready and not self._replies:
            raise RunnerError("the board is gone")
        ready, self._ready = self._ready, b""
        return ready

    def write(self, data: bytes, seconds: float) -> None:
        for frame in self._asked.feed(data):
            if not self._replies:
                raise RunnerError("the board is gone")
            reply = self._replies.pop(0)
            if frame.cmd != BoardCommand.HELLO:
                self._ready += encode_frame(self.session, frame.seq, frame.cmd | REPLY, reply)
                continue
            nonce = frame.payload[4:8]
            self.session = int.from_bytes(nonce, "little")
            if len(reply) >= 12 and reply[0] != 0xFF:
                reply = reply[:4] + nonce + nonce + reply[12:]
            self._ready += encode_frame(0, 0, BoardCommand.HELLO | REPLY, reply)

    def close(self) -> None:
        """Nothing to let go of."""


def _hello() -> bytes:
    head = struct.pack("<BBBBIIIIIIIIIIBB2x", 0, 1, 1, 1, 0, 0, 10**9, 10**8, 1152, 256, *[1 << 20] * 4, 0, 0)
    head += struct.pack("<B3xII32s", 0, 0, 0, bytes(32))
    return head.ljust(96, b"\0") + b"0.1.0\0engine 1\0board\0swar reference\0"


def _board(folder: Path) -> Subject:
    timing = BoardTiming(resend=0.001, resend_most=0.001, silence=0.004, write=0.01)
    ok = struct.pack("<BxH", 0, 0) + bytes(8)

    def run(data: bytes) -> None:
        replies = data.split(b"#|#")
        session = BoardSession(_PlayedLine(replies), timing)
        session.call(BoardCommand.CLOCK, seconds=0.01)
        session.call(BoardCommand.READ, b"\4\0\0\0" + bytes(8), seconds=0.01)

    return Subject([b"#|#".join((_hello(), ok, ok))], run)


def _board_bytes(folder: Path) -> Subject:
    """The frame reader by itself, on raw bytes."""
    seeds = [
        encode_frame(0, 0, BoardCommand.HELLO | REPLY, _hello()),
        encode_frame(7, 3, 5 | REPLY, bytes(300)),
    ]

    def run(data: bytes) -> None:
        reader = BoardFrameReader()
        for at in range(0, len(data), 7):
            for frame in reader.feed(data[at : at + 7]):
                frame.is_of(7, 3)

    return Subject([b"".join(seeds), *seeds], run)


def _remote(folder: Path) -> Subject:
    """Frames of the program on a phone or a Linux board."""
    hello = encode(Reply.TEXT, 1, b"protocol=1\nengine=1\nvocab=5\n")
    done = encode(Reply.DONE, 1, bytes(48))
    state = encode(Reply.FILE, 2, b"/sys/x\x0012\n")

    def run(data: bytes) -> None:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(data)
            file.seek(0)
            reader = RemoteFrameReader(file, "the phone", after=b"[mark[\n")
            try:
                while (got := reader.read(threading.TIMEOUT_MAX)) is not None:
                    assert len(got[1]) == 32
            finally:
                reader.join(5.0)

    return Subject([b"welcome\n[mark[\n" + hello + done + state, b"[mark[\n" + hello], run)


class _PlayedLink(DeviceLink):
    """A shell that prints what it was given; ``@M@`` stands for the mark that the command asked for."""

    who, base = "phone '1'", "/data/local/tmp"

    def __init__(self, said: bytes) -> None:
        self._said = said

    def exchange(self, line: str, *, seconds: float, stdin: int | bytes | None = None) -> Finished:
        token = line.partition("m=")[2][:24]
        out, _, err = self._said.decode("utf-8", "replace").replace("@M@", token).partition("#|#")
        return Finished(0, out, err)

    def open_stream(self, line: str) -> Any:
        raise NotImplementedError

    def push(self, local: Path, remote: str, *, seconds: float) -> None:
        raise NotImplementedError

    def trouble(self, whole: Finished) -> RunnerError | None:
        return None

    def gone(self) -> RunnerError | None:
        return None

    def close(self) -> None:
        """Nothing to let go of."""


def _shell(folder: Path) -> Subject:
    """Answers of a device's shell, over adb or ssh."""
    seeds = [
        b"[@M@[\n" + b"ab" * 32 + b"  program.snn\n]@M@]0.\n#|#[@M@[\n]@M@]\n",
        b"Welcome!\r\n[@M@[\r\nNo space left\r\n]@M@]1.\r\n#|#[@M@[\nsh: no\n]@M@]\n",
    ]

    def run(data: bytes) -> None:
        said = _PlayedLink(data).shell("true")
        assert isinstance(said.code, int)

    return Subject(seeds, run)


def _adb_devices(folder: Path) -> Subject:
    seed = (
        b"List of devices attached\n0123456789 device usb:1-1 product:x model:Pixel_8 transport_id:3\n"
        b"adb-1 (2)._adb-tls-connect._tcp offline transport_id:4\n???? no permissions; see [http://x]\n"
    )

    def run(data: bytes) -> None:
        for line in data.decode("utf-8", "replace").splitlines():
            phone = read_line(line)
            assert phone is None or (phone.name and phone.selection and phone.trouble != "")

    return Subject([seed], run)


def _device_state(folder: Path) -> Subject:
    cpu = "/sys/devices/system/cpu/cpu{}/cpufreq/{}"
    files = {cpu.format(k, "cpuinfo_max_freq"): str(1_800_000 + 600_000 * (k > 3)) for k in range(8)}
    files |= {cpu.format(0, "scaling_governor"): "walt", "/sys/devices/system/cpu/online": "0-7"}
    files |= {f"/sys/class/thermal/thermal_zone0/{k}": v for k, v in (("type", "cpu"), ("temp", "41000"))}
    files |= {"/sys/class/thermal/cooling_device1/cur_state": "2"}
    supply = {"type": "Battery", "status": "Discharging", "current_now": "-250000", "voltage_now": "4100000"}
    files |= {f"/sys/class/power_supply/battery/{key}": value for key, value in supply.items()}

    def run(data: bytes) -> None:
        found = {}
        for part in data.decode("utf-8", "replace").split("#|#"):
            path, _, text = part.partition("=")
            found[path] = text
        state = read_device(found)
        _ = state.document(), state.throttling((0,)), state.hottest_c(), gauge_document(state.battery, None)
        choose_cpus("all", state)
        choose_cpus("big", state)

    return Subject(["#|#".join(f"{path}={text}" for path, text in files.items()).encode()], run)


# Browsers, clients, children -------------------------------------------------------------------------------


def _browser(folder: Path) -> Subject:
    hello = {
        "type": "hello",
        "protocol": 1,
        "user_agent": "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 Chrome/124.0.0.0 Mobile",
        "model": "Pixel 8",
        "system": None,
        "cores": 8,
        "memory_gb": 8,
        "screen": "412x915@2.625",
        "touch_points": 5,
        "secure_context": False,
        "cross_origin_isolated": False,
        "timer_step_us": 100.0,
        "wake_lock": False,
        "visible": True,
    }
    reply = {"type": "reply", "id": 3, "bytes": 20, "elapsed_ms": 1.5, "hash": "0" * 64}

    def run(data: bytes) -> None:
        text = data.decode("utf-8", "surrogatepass" if data[:1] == b"{" else "replace")
        fields = read_frame(text)
        if fields.text("type") == "hello":
            facts = read_hello(text)
            assert facts.browser and isinstance(facts.device, str)
        else:
            fields.whole("id", 0, 1 << 53), fields.number("elapsed_ms", 0, 1e9), fields.digest("hash")

    return Subject([json.dumps(one).encode() for one in (hello, reply)], run, allowed=(UnicodeDecodeError,))


def _server(folder: Path) -> Subject:
    from starlette.requests import Request

    chat = {
        "model": "x",
        "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hi"}],
        "max_tokens": 5,
        "temperature": 0.7,
        "top_p": 0.9,
        "seed": 1,
        "stop": ["\n"],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    parts = {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]}
    completion = {"prompt": "What is", "max_tokens": 3, "stop": "x"}

    def run(data: bytes) -> None:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": data, "more_body": False}

        kind = CompletionAsked if b'"prompt"' in data else ChatAsked
        asked: Any = asyncio.run(read_request(Request({"type": "http"}, receive), kind, ServerLimits()))
        _ = asked.stops, asked.wants_usage, [one.text for one in getattr(asked, "messages", ())]

    seeds = [json.dumps(one).encode() for one in (chat, parts, completion)]
    return Subject(seeds, run, allowed=(RequestRefusedError,))


def _child(folder: Path) -> Subject:
    """The lines of a child process, as a meter's, a probe's and Lava's speak."""
    seed = b'{"progress": ["loading", 1, 2]}\nsome library says hello\n{"result": {"a": [1, 2]}}\n'
    error = b'{"error": {"code": "runner", "what": "no", "actual": "1", "exit_code": 4}}\n'

    def run(data: bytes) -> None:
        path = folder / "said"
        path.write_bytes(data)
        with Child([str(path)], "the child", python="/bin/cat") as child:
            child.expect("result", 10.0, on_progress=lambda stage, done, total: None)

    return Subject([seed + error], run)


HARNESSES = {
    "board": Harness(_board),
    "board-frames": Harness(_board_bytes),
    "remote-frames": Harness(_remote),
    "shell-answers": Harness(_shell),
    "adb-devices": Harness(_adb_devices),
    "device-state": Harness(_device_state),
    "browser": Harness(_browser),
    "server": Harness(_server),
    "child": Harness(_child),
}
