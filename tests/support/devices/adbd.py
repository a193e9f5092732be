"""A phone for adb: the device side of its protocol on a loopback port, a folder as the phone's storage.

The real adb client and server talk to it (``adb connect 127.0.0.1:PORT``). Its shell is this computer's, with
the phone's paths put into the folder; programs pushed to it run under user-mode QEMU, which shows them the
folder's ``/sys`` in place of ours. Facts of the protocol: AOSP's ``protocol.txt``, ``SYNC.TXT``, shell v2.
"""

import contextlib
import os
import shlex
import signal
import socket
import struct
import subprocess
import threading
from pathlib import Path

TMP = "/data/local/tmp"
VERSION, MAX_DATA = 0x01000001, 1 << 18
_HEADER = struct.Struct("<4sIIIII")
_STDIN, _STDOUT, _STDERR, _EXIT, _CLOSE_STDIN = range(5)
_ENOSPC = b"couldn't write file: No space left on device"

PROPERTIES = {
    "ro.product.manufacturer": "Test",
    "ro.product.model": "Folder 1",
    "ro.product.cpu.abi": "arm64-v8a",
    "ro.build.version.release": "14",
    "ro.build.version.sdk": "34",
    "ro.soc.model": "T1000",
}
CPU, THERMAL, SUPPLY = "sys/devices/system/cpu", "sys/class/thermal", "sys/class/power_supply"
#: A phone of one small and one big processor, warm, on its charger.
SYSTEM = {
    f"{CPU}/online": "0-1",
    **{
        f"{CPU}/cpu{cpu}/cpufreq/{name}": value
        for cpu, highest in ((0, "1800000"), (1, "2800000"))
        for name, value in (
            ("cpuinfo_max_freq", highest),
            ("scaling_max_freq", highest),
            ("scaling_cur_freq", "1200000"),
            ("scaling_governor", "schedutil"),
        )
    },
    f"{THERMAL}/thermal_zone0/type": "cpu-big",
    f"{THERMAL}/thermal_zone0/temp": "41250",
    f"{THERMAL}/thermal_zone1/type": "unused",
    f"{THERMAL}/thermal_zone1/temp": "-274000",
    f"{THERMAL}/cooling_device0/type": "cpufreq-cpu0",
    f"{THERMAL}/cooling_device0/cur_state": "0",
    f"{SUPPLY}/battery/type": "Battery",
    f"{SUPPLY}/battery/status": "Charging",
    f"{SUPPLY}/battery/capacity": "81",
    f"{SUPPLY}/battery/voltage_now": "4102000",
    f"{SUPPLY}/battery/current_now": "512000",
    f"{SUPPLY}/usb/type": "USB",
    f"{SUPPLY}/usb/online": "1",
}


class Phone:
    """One phone.

    Args:
        root: Its storage, an empty folder.
        emulator: What runs its programs; None where it cannot run them.
        authorized: Whether it accepts any computer's key.
        silent: Whether it takes connections and never says a word.
    """

    def __init__(self, root, emulator="qemu-aarch64-static", *, authorized=True, silent=False, properties=()):
        self.root, self.emulator, self.authorized, self.silent = Path(root), emulator, authorized, silent
        self.properties = {**PROPERTIES, **dict(properties)}
        self.free_bytes = None  #: a push beyond this fails
        self.damage = False  #: whether a byte of every push changes
        self.garble = False  #: whether a byte of everything that programs write changes
        self.before = self.after = ""  #: what its shell does of its own, before and after a command
        self.running = {}  #: processes by number, with their command
        self._lock = threading.Lock()
        self._connections = set()
        (self.root / TMP[1:]).mkdir(parents=True)
        for path, text in SYSTEM.items():
            self.write(path, text)
        bin_ = self.root / "bin"
        bin_.mkdir()
        listed = "\n".join(f"[{name}]: [{value}]" for name, value in self.properties.items())
        self._script(bin_ / "getprop", f"cat <<'END'\n{listed}\nEND")
        self._script(bin_ / "dumpsys", f'cat {shlex.quote(str(self.root))}/dumpsys-"$1" 2>/dev/null')
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.serial = f"127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def write(self, path, text):
        """Put a file into its system."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")

    def left(self):
        """What lies in its folder for everyone."""
        return sorted(path.name for path in (self.root / TMP[1:]).iterdir())

    def kill_programs(self):
        """Kill what runs on it, as a phone short of memory does."""
        for process in list(self.running):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def unplug(self):
        """Go away: no connection, no new one."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            connection.close()

    def close(self):
        """Unplug it and end what runs on it."""
        self.unplug()
        self.kill_programs()

    def _script(self, path, body):
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    def _accept(self):
        while True:
            try:
                made, _ = self._listener.accept()
            except OSError:
                return
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = _Connection(self, made)
            with self._lock:
                self._connections.add(connection)
            threading.Thread(target=connection.serve, daemon=True).start()

    def forget(self, connection):
        with self._lock:
            self._connections.discard(connection)

    def path(self, remote):
        """Where a path of the phone lies here."""
        return Path(str(self.root) + remote)

    def start(self, command):
        """Run a command as its shell would."""
        command = command.replace(TMP, f"{self.root}{TMP}")
        if self.emulator:
            command = command.replace("exec ./", f"exec {self.emulator} -L {self.root} ./")
        # in a shell of its own, as its last words come after an `exec` too
        own = f'(eval "$LINE"){self.after}' if self.after else 'eval "$LINE"'
        line = f"{self.before}\n{own}" if self.before or self.after else command
        process = subprocess.Popen(
            ["/bin/sh", "-c", line],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.root,
            env={**os.environ, "LINE": command, "PATH": f"{self.root}/bin:{os.environ['PATH']}"},
            start_new_session=True,
            bufsize=0,
        )
        self.running[process] = command
        return process


class _Connection:
    """One computer on the wire: a socket and the streams on it."""

    def __init__(self, phone, wire):
        self.phone, self.wire = phone, wire
        self.streams, self.next_id, self.lock = {}, 1, threading.Lock()

    def send(self, command, first, second, data=b""):
        (number,) = struct.unpack("<I", command)
        header = _HEADER.pack(command, first, second, len(data), 0, number ^ 0xFFFFFFFF)
        with self.lock, contextlib.suppress(OSError):
            self.wire.sendall(header + data)

    def close(self):
        with contextlib.suppress(OSError):
            self.wire.shutdown(socket.SHUT_RDWR)
        self.wire.close()

    def serve(self):
        try:
            while header := self._exactly(_HEADER.size):
                command, first, second, length, _, _ = _HEADER.unpack(header)
                self._handle(command, first, second, self._exactly(length) if length else b"")
        except OSError:
            pass
        finally:
            for stream in list(self.streams.values()):
                stream.end()
            self.close()
            self.phone.forget(self)

    def _exactly(self, size):
        data = b""
        while len(data) < size:
            part = self.wire.recv(size - len(data))
            if not part:
                return b""
            data += part
        return data

    def _handle(self, command, first, second, data):
        if self.phone.silent:
            return
        stream = self.streams.get(second)
        if command in (b"CNXN", b"AUTH"):
            if self.phone.authorized:
                banner = "device::ro.product.name=folder;ro.product.model=Folder_1;features=shell_v2,cmd"
                self.send(b"CNXN", VERSION, MAX_DATA, banner.encode())
            elif command == b"CNXN" or first == 2:  # a signature of a key that is not known
                self.send(b"AUTH", 1, 0, bytes(20))
        elif command == b"OPEN":
            self._open(first, data.rstrip(b"\0").decode())
        elif command == b"WRTE" and stream is not None:
            self.send(b"OKAY", second, first)
            stream.take(data)
        elif command == b"OKAY" and stream is not None:
            stream.ready.set()
        elif command == b"CLSE" and stream is not None:
            stream.end()

    def _open(self, remote, service):
        local, self.next_id = self.next_id, self.next_id + 1
        kind, _, argument = service.partition(":")
        if kind == "sync":
            stream = _Sync(self, local, remote)
        elif kind.startswith("shell,v2"):
            stream = _Shell(self, local, remote, argument)
        else:
            self.send(b"CLSE", 0, remote)
            return
        self.streams[local] = stream
        self.send(b"OKAY", local, remote)
        stream.begin()


class _Stream:
    """One service on a connection; a write waits for the computer's leave."""

    def __init__(self, connection, local, remote):
        self.connection, self.local, self.remote = connection, local, remote
        self.ready, self.open, self.order = threading.Event(), True, threading.Lock()

    def begin(self):
        """The computer knows the stream."""

    def write(self, data):
        with self.order:
            for at in range(0, len(data), MAX_DATA):
                if not self.open:
                    return
                self.ready.clear()
                self.connection.send(b"WRTE", self.local, self.remote, data[at : at + MAX_DATA])
                self.ready.wait()

    def end(self):
        if self.connection.streams.pop(self.local, None) is not None:
            self.open = False
            self.ready.set()
            self.connection.send(b"CLSE", self.local, self.remote)
            self.ended()

    def ended(self):
        """Nobody listens any more."""


class _Shell(_Stream):
    def __init__(self, connection, local, remote, command):
        super().__init__(connection, local, remote)
        self.buffer, self.command, self.process = b"", command, None

    def begin(self):
        self.process = self.connection.phone.start(self.command)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        pumps = [
            threading.Thread(target=self._pump, args=(pipe, kind), daemon=True)
            for pipe, kind in ((self.process.stdout, _STDOUT), (self.process.stderr, _STDERR))
        ]
        for pump in pumps:
            pump.start()
        for pump in pumps:
            pump.join()
        code = self.process.wait()
        self.connection.phone.running.pop(self.process, None)
        self.ended()
        self.write(struct.pack("<BIB", _EXIT, 1, code if code >= 0 else 128 - code))
        self.end()

    def _pump(self, pipe, kind):
        with pipe:
            while data := pipe.read(1 << 16):
                if self.connection.phone.garble:
                    data = data[:-1] + bytes([data[-1] ^ 1])
                self.write(struct.pack("<BI", kind, len(data)) + data)

    def take(self, data):
        self.buffer += data
        while len(self.buffer) >= 5:
            kind, length = struct.unpack_from("<BI", self.buffer)
            if len(self.buffer) < 5 + length:
                return
            body, self.buffer = self.buffer[5 : 5 + length], self.buffer[5 + length :]
            if kind == _CLOSE_STDIN:
                self.ended()
            elif kind == _STDIN:
                with contextlib.suppress(OSError, ValueError):
                    self.process.stdin.write(body)

    def ended(self):
        if self.process is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()


class _Sync(_Stream):
    def __init__(self, connection, local, remote):
        super().__init__(connection, local, remote)
        self.buffer, self.file, self.failed, self.written = b"", None, False, 0

    def take(self, data):
        self.buffer += data
        while len(self.buffer) >= 8:
            name, length = struct.unpack_from("<4sI", self.buffer)
            body = 0 if name in (b"DONE", b"QUIT") else length
            if len(self.buffer) < 8 + body:
                return
            argument, self.buffer = self.buffer[8 : 8 + body], self.buffer[8 + body :]
            if name in (b"STAT", b"DONE"):  # their answers wait for the computer's leave, read by this thread
                threading.Thread(target=self._do, args=(name, argument), daemon=True).start()
            else:
                self._do(name, argument)

    def _do(self, name, argument):
        if name == b"STAT":
            self.write(struct.pack("<4sIII", b"STAT", *self._facts(argument.decode())))
        elif name == b"SEND":
            path = self.connection.phone.path(argument.decode().rpartition(",")[0])
            self.file, self.failed, self.written = path.open("wb"), False, 0
        elif name == b"DATA":
            self._data(argument)
        elif name == b"DONE":
            self.file.close()
            answer = struct.pack("<4sI", b"FAIL", len(_ENOSPC)) + _ENOSPC
            self.write(answer if self.failed else struct.pack("<4sI", b"OKAY", 0))
        elif name == b"QUIT":
            self.end()

    def _data(self, data):
        phone = self.connection.phone
        if phone.damage:
            data = bytes([data[0] ^ 1]) + data[1:]
        self.written += len(data)
        if phone.free_bytes is not None and self.written > phone.free_bytes:
            self.failed = True
        else:
            self.file.write(data)

    def _facts(self, remote):
        try:
            facts = self.connection.phone.path(remote).stat()
        except OSError:
            return 0, 0, 0
        return facts.st_mode, facts.st_size, int(facts.st_mtime)

    def ended(self):
        if self.file is not None:
            self.file.close()
