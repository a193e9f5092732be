"""What the runners of devices are made of: addresses, readings, binaries, and the program on the device."""

import hashlib
import os
import shlex
import shutil
import signal
import struct
import subprocess
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesnn.errors import RunnerError, UsageError
from edgesnn.program.golden import Golden
from edgesnn.program.snn_format import to_bytes
from edgesnn.runners.remote import build as remote_build
from edgesnn.runners.remote.adb_client import STATES, read_line
from edgesnn.runners.remote.address import Address, parse_address, parse_cpus
from edgesnn.runners.remote.build import find_binary, machine_named
from edgesnn.runners.remote.frames import Command, RemoteFrameReader, Reply, encode
from edgesnn.runners.remote.link import DeviceLink, Finished, Marks, printable, quoted
from edgesnn.runners.remote.session import DeviceSession
from edgesnn.runners.remote.state import DeviceState, choose_cpus, gauge_document, names_of, read_device
from edgesnn.toolchain import TARGETS, Compiler, cross_compiler
from tests.support.devices.adbd import SYSTEM
from tests.support.patience import patience
from tests.support.random_program import RandomShape, random_program

HERE = os.uname().machine
needs_compiler = pytest.mark.skipif(
    HERE not in remote_build.MACHINES or cross_compiler(TARGETS[HERE]) is None,
    reason="there is no compiler for this computer",
)


def test_an_address_is_a_device_and_options():
    assert parse_address(None) == Address(None)
    assert parse_address("127.0.0.1:4000").device == "127.0.0.1:4000"
    made = parse_address("x?cpus=0-2,7&throttled=refuse&folder=/a/b/&port=22", ("port",))
    assert made == Address("x", cpus="0-2,7", throttled="refuse", folder="/a/b", extra=(("port", "22"),))
    assert made.option("port") == "22" and made.option("key") is None
    assert parse_address("?cpus=big").device is None
    assert parse_cpus("7,0-2") == (0, 1, 2, 7)


@pytest.mark.parametrize(
    "text",
    ["x?cpu=big", "x?cpus=", "x?cpus=huge", "x?cpus=3-1", "x?cpus=0-99999999999", "x?port=1",
     "x?throttled=yes", "x?folder=a", "x?folder=/a%0Ab", "x?cpus=0&cpus=1"],
)  # fmt: skip
def test_a_wrong_option_is_a_usage_error(text):
    with pytest.raises(UsageError):
        parse_address(text)


def test_the_state_of_a_phone_is_read_from_its_files():
    state = read_device({f"/{path}": text for path, text in SYSTEM.items()})
    assert state.clusters() == {1800000: (0,), 2800000: (1,)}
    assert state.temperatures_c == {"cpu-big": 41.25} and state.hottest_c() == 41.25
    assert state.battery.charges and state.battery.voltage_v == pytest.approx(4.102)
    assert state.throttling(()) == []
    assert choose_cpus("little", state) == (0,) and choose_cpus("1", state) == (1,)
    assert choose_cpus("all", state) == ()
    for wanted in ("middle", "5"):
        with pytest.raises(UsageError):
            choose_cpus(wanted, state)
    assert names_of(1) == ["all"] and names_of(3) == ["little", "middle", "big"]
    assert names_of(4) == ["little", "middle1", "middle2", "big"]


@given(st.dictionaries(st.sampled_from([f"/{path}" for path in SYSTEM]), st.text(max_size=12)))
def test_no_content_of_a_devices_files_is_an_error(files):
    state = read_device(files)
    state.document()
    state.throttling(())
    gauge_document(state.battery, None)


def test_a_device_that_shows_nothing_has_an_empty_state():
    assert read_device({}) == DeviceState()
    assert gauge_document(None, None)["label"] == "ABSENT"


MDNS = "adb-0123-aBcDeF (2)._adb-tls-connect._tcp"


@pytest.mark.parametrize(
    ("line", "serial", "state", "model", "transport"),
    [
        ("0123 device usb:1-1 model:Pixel_7 device:d transport_id:1", "0123", "device", "Pixel_7", "1"),
        ("0123\tdevice", "0123", "device", None, None),
        (f"{MDNS} device product:x model:G device:x transport_id:4", MDNS, "device", "G", "4"),
        (f"{MDNS} offline transport_id:4", MDNS, "offline", None, "4"),
        ("my device 2 unauthorized usb:1-1", "my device 2", "unauthorized", None, None),
        ("bus host device", "bus host", "device", None, None),
        ("127.0.0.1:5000        offline transport_id:3", "127.0.0.1:5000", "offline", None, "3"),
        ("(no serial number)     device usb:1-2 transport_id:5", "(no serial number)", "device", None, "5"),
        ("a b waking usb:1-2 transport_id:5", "a b", "waking", None, "5"),
        ("0123 device product:my device model:M transport_id:6", "0123", "device", "M", "6"),
        (
            "???????????? no permissions (missing udev rules? user is in the plugdev group); see [http://x]",
            "????????????", "no permissions", None, None,
        ),
        ("0 1 no permissions; see [http://x] transport_id:3", "0 1", "no permissions", None, "3"),
    ],
)  # fmt: skip
def test_a_line_of_adb_is_a_serial_a_state_and_facts(line, serial, state, model, transport):
    found = read_line(line + "\r")
    assert (found.serial, found.state, found.model, found.transport) == (serial, state, model, transport)


@pytest.mark.parametrize(
    "line",
    [
        "List of devices attached ",
        "",
        "adb server version (32) doesn't match this client (36); killing...",
        "adb server is out of date.  killing...",
        "ADB server didn't ACK",
        "* daemon not running. starting it now on port 5037 *",
        "* daemon started successfully *",
        "daemon started successfully",
        "- waiting for device -",
        "error: device offline",
        "adb: error: device unauthorized",
        "cannot bind 'tcp:5037'",
        "WARNING: linker: /system/lib/libx.so: unused device",
        "device",
    ],
)
def test_what_adb_says_of_itself_is_no_phone(line):
    assert read_line(line) is None


WORDS = st.sampled_from(
    ["adb-0123-x", "(2)._adb-tls-connect._tcp", "my", "device", "host", "offline", "ü", "1:2"]
)


@given(st.lists(WORDS, min_size=1, max_size=4), st.sampled_from(sorted(STATES)), st.booleans())
def test_a_serial_number_of_any_words_is_read_back(words, state, told):
    serial = " ".join(words)
    found = read_line(f"{serial:<22} {state}" + (" usb:1-1 product:p transport_id:7" if told else ""))
    assert (found.serial, found.state, found.transport) == (serial, state, "7" if told else None)


SHELLS = [
    path for name in ("sh", "bash", "zsh", "ksh", "tcsh", "csh", "fish") if (path := shutil.which(name))
]


@pytest.mark.parametrize("shell", SHELLS)
def test_every_login_shell_reads_a_command_alike(shell, tmp_path):
    folder = tmp_path / 'it\'s $HOME ! `x` a\\b "c"'
    marks = Marks()
    command = (
        f"mkdir {shlex.quote(str(folder))} && [ ! -e x ] && echo $(echo 'a  b'); printf %s end; cat; exit 3"
    )
    done = subprocess.run([shell, "-c", marks.around(command)], input="in", capture_output=True, text=True)
    found = marks.cut(Finished(done.returncode, f"hello\n{done.stdout}bye", f"warning\n{done.stderr}"))
    assert (
        found == Finished(3, "a b\nendin".replace("a b", "a  b" if False else "a b"), "") and folder.is_dir()
    )


def test_what_stands_outside_the_marks_is_never_the_answer():
    marks = Marks()
    done = subprocess.run(
        ["sh", "-c", marks.around("echo out; echo err >&2")], capture_output=True, text=True
    )
    assert marks.cut(Finished(255, done.stdout, done.stderr)) == Finished(0, "out\n", "err\n")
    for text in ("", "out\n", marks.around("echo out"), done.stdout[: len(done.stdout) // 2]):
        assert marks.cut(Finished(0, text, text)) is None
    assert Marks().cut(Finished(0, done.stdout, done.stderr)) is None
    with pytest.raises(RunnerError, match="one line"):
        quoted("a\nb")


def test_what_a_shell_printed_is_shown_without_control_sequences():
    assert printable("\x1b]0;board7\x07\x1b[1mWelcome\x1b[0m\r\n to\x00 it\n") == "Welcome to it"


def test_processors_have_one_name():
    assert machine_named("arm64-v8a") == "aarch64" and machine_named("armv7l") == "armhf"
    with pytest.raises(RunnerError, match="not built for this processor"):
        machine_named("mips")


def test_a_missing_compiler_is_an_error_that_says_what_to_install(monkeypatch):
    monkeypatch.setattr(remote_build, "cross_compiler", lambda target: None)
    assert "gcc-aarch64-linux-gnu" in remote_build.missing()
    with pytest.raises(RunnerError, match="no compiler for riscv64") as caught:
        find_binary("riscv64")
    assert "gcc-riscv64-linux-gnu" in caught.value.remedy and "ziglang" in caught.value.remedy
    monkeypatch.setenv(remote_build.BINARY_VARIABLE, "no-such-file")
    assert remote_build.missing() is None
    with pytest.raises(RunnerError, match="cannot be read"):
        find_binary("riscv64")


def test_a_compiler_that_fails_is_an_error_and_leaves_nothing(monkeypatch, tmp_path):
    broken = tmp_path / "cc"
    broken.write_text("#!/bin/sh\necho the disk is on fire >&2\nexit 1\n")
    broken.chmod(0o755)
    compiler = Compiler("cc", (str(broken),), "cc 1")
    monkeypatch.setattr(remote_build, "cross_compiler", lambda target: compiler)
    monkeypatch.setenv("EDGESNN_CACHE", str(tmp_path / "cache"))
    with pytest.raises(RunnerError, match="on fire"):
        find_binary("aarch64")
    assert [path.name for path in (tmp_path / "cache" / "remote").iterdir()] == ["lock"]


@pytest.mark.parametrize("machine", remote_build.MACHINES)
def test_the_program_is_built_for_every_processor_once(machine, monkeypatch, tmp_path):
    if cross_compiler(TARGETS[machine]) is None:
        pytest.skip(f"there is no compiler for {machine}")
    if machine not in ("aarch64", HERE):  # no other test runs it, and optimising takes most of the time
        flags = tuple("-O0" if flag == "-O3" else flag for flag in remote_build.FLAGS)
        monkeypatch.setattr(remote_build, "FLAGS", flags)
        monkeypatch.setenv("EDGESNN_CACHE", str(tmp_path))
    binary = find_binary(machine)
    assert remote_build._elf_machine(binary.path.read_bytes()) == machine
    assert hashlib.sha256(binary.path.read_bytes()).hexdigest() == binary.sha256
    facts = binary.path.stat().st_mtime_ns
    assert find_binary(machine).path.stat().st_mtime_ns == facts


@pytest.fixture(scope="module")
def program():
    return random_program(RandomShape(vocab=300, dim=64, windows=(1, 3, 5, 9)), 3)


@pytest.fixture
def run(program, tmp_path):
    """Runs the program on this computer over a job: bytes in; exit code, frames and complaint out."""
    path = tmp_path / "program.snn"
    path.write_bytes(to_bytes(program))
    binary = find_binary(HERE).path

    def job(*frames, kernels="-", folder="-", file=path):
        done = subprocess.run(
            [binary, file, kernels, folder], input=b"".join(frames), capture_output=True, timeout=patience()
        )
        return done.returncode, frames_of(done.stdout), done.stderr.decode()

    return job


def frames_of(data):
    """All frames of a result, each with the hash of what stood before it."""
    read, write = os.pipe()
    with os.fdopen(read, "rb") as pipe:
        reader = RemoteFrameReader(pipe, "this computer")
        with os.fdopen(write, "wb") as out:
            out.write(data)
        found = []
        try:
            while (got := reader.read(time.monotonic() + patience())) is not None:
                found.append(got)
        finally:
            reader.join(patience())
    return found


@needs_compiler
@pytest.mark.parametrize("kernels", ["reference", "swar", "dsp", "vector", "-"])
def test_a_job_file_gives_goldens_logits_and_an_end_marker(run, program, kernels):
    ids = np.random.default_rng(1).integers(0, 300, 20)
    tokens = ids.astype("<u4").tobytes()
    want = Golden(program).sequence(ids[None])[0]
    code, found, _ = run(
        encode(Command.SEQUENCE, 1, tokens),
        encode(Command.WINDOW, 2, struct.pack("<II", 2, 5) + tokens),
        encode(Command.END, 3),
        kernels=kernels,
    )
    assert code == 0
    logits = [np.frombuffer(frame.payload, "<i4") for frame, _ in found if frame.kind == Reply.LOGITS]
    np.testing.assert_array_equal(np.stack(logits), want)
    done = [(frame, before) for frame, before in found if frame.kind == Reply.DONE]
    assert [frame.sequence for frame, _ in done] == [1, 2, 3]
    assert all(frame.payload[:32] == before for frame, before in done)
    digest = hashlib.sha256(want.astype("<i4").tobytes() * 2).digest()
    assert done[1][0].payload[48:80] == digest


@needs_compiler
def test_what_is_no_command_is_refused_and_what_is_no_frame_ends_the_program(run):
    hello = encode(Command.HELLO, 1)
    refused = [
        encode(77, 1),
        encode(Command.STEP, 1),
        encode(Command.STEP, 1, struct.pack("<I", 300)),
        encode(Command.PREFILL, 1),
        encode(Command.WINDOW, 1, struct.pack("<III", 0, 0, 1)),
        encode(Command.WINDOW, 1, struct.pack("<III", 2**31, 0, 1)),
        encode(Command.WINDOW, 1, struct.pack("<III", 1, 0, 300)),
        encode(Command.AFFINITY, 1, struct.pack("<I", 2**31)),
        encode(Command.EXTEND, 1),
        encode(Command.RESTORE, 1),
        encode(Command.RESTORE, 1, bytes(8)),
    ]
    code, found, _ = run(*refused, encode(Command.END, 2))
    assert code == 0
    assert [frame.kind for frame, _ in found] == [Reply.FAILED] * len(refused) + [Reply.DONE]
    broken = [
        b"hello there, this is no frame",
        hello[:-3],
        hello + b"SN",
        hello[:16] + bytes(4),
        encode(Command.FILES, 1, b"x" * 40)[:30],
        b"SNRF" + struct.pack("<IIII", 1, 1, 2**31, 0),
    ]
    for bytes_in in broken:
        code, _, said = run(bytes_in)
        assert code == 4 and "no frame" in said
    assert run(hello)[0] == 5  # the input ended without an end


@needs_compiler
def test_a_broken_program_and_wrong_arguments_are_said(run, tmp_path):
    (tmp_path / "bad.snn").write_bytes(b"x" * 200)
    for file, words in ((tmp_path / "bad.snn", "SNN_E_MAGIC"), (tmp_path / "none", "SNN_E_TRUNCATED")):
        code, found, said = run(encode(Command.END, 1), file=file)
        assert code == 3 and found == [] and words in said
    assert run(kernels="fast")[0] == 2
    assert run(folder=str(tmp_path / "none"))[0] == 2


@needs_compiler
def test_files_are_given_by_pattern_and_cut_at_4096_bytes(run, tmp_path):
    for name, text in (("a1", "one"), ("a2", "x" * 5000), ("b", "")):
        (tmp_path / name).write_text(text)
    pattern = f"{tmp_path}/a?\n/no/such/file\n{tmp_path}/b\n{tmp_path}"
    _, found, _ = run(encode(Command.FILES, 1, pattern.encode()), encode(Command.END, 2))
    files = [frame.payload.partition(b"\0") for frame, _ in found if frame.kind == Reply.FILE]
    assert [(os.path.basename(path), len(text)) for path, _, text in files] == [
        (b"a1", 3),
        (b"a2", 4096),
        (b"b", 0),
    ]


@needs_compiler
def test_an_engine_that_ends_removes_its_own_folder_and_no_more(run, tmp_path):
    folder = tmp_path / "edgesnn-mine"
    for end in ([encode(Command.END, 1)], [], [b"no frame at all, but long enough"]):
        folder.mkdir()
        (folder / "program.snn").write_bytes(b"")
        run(*end, folder=str(folder))
        assert not folder.exists()
    folder.mkdir()
    (folder / "precious").write_text("")
    run(encode(Command.END, 1), folder=str(folder))
    assert [path.name for path in folder.iterdir()] == ["precious"]


class Here(DeviceLink):
    """A link to this computer."""

    who = "this computer"

    def __init__(self, base):
        self.base = str(base)

    def exchange(self, line, *, seconds, stdin=None):
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=patience())
        return Finished(done.returncode, done.stdout, done.stderr)

    def push(self, local, remote, *, seconds):
        shutil.copyfile(local, remote)

    def open_stream(self, line):
        pipe = subprocess.PIPE
        return subprocess.Popen(["sh", "-c", line], stdin=pipe, stdout=pipe, stderr=pipe)

    def trouble(self, whole):
        return None

    def gone(self):
        return None

    def close(self):
        pass


@needs_compiler
@pytest.mark.parametrize("tokens", [1, 200_000], ids=["it does not answer", "it does not read"])
def test_a_device_that_stops_meets_the_deadline_and_is_cleaned(program, tmp_path, tokens):
    session = DeviceSession(Here(tmp_path), find_binary(HERE), to_bytes(program))
    pid = int(session.hello["pid"])
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(RunnerError, match="did not answer in time|died"):
        session.call(Command.PREFILL, bytes(4 * tokens), seconds=0.2)
    session.close()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(RunnerError, match="is over"):
        session.call(Command.CLOCK)
    session.close()


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_frames_begin_after_their_mark_wherever_it_is_cut(size):
    mark, frame = Marks().begin, encode(Reply.TEXT, 1, b"abc")
    whole = b"\x1b]0;title\x07" + mark[:-1] + b"x" * 5000 + mark + frame
    read, write = os.pipe()
    with os.fdopen(read, "rb") as pipe, os.fdopen(write, "wb", buffering=0) as out:
        reader = RemoteFrameReader(pipe, "phone 'x'", after=mark)
        for at in range(0, len(whole), size):
            out.write(whole[at : at + size])
        got, before = reader.read(time.monotonic() + patience())
        assert got.payload == b"abc" and before == hashlib.sha256().digest()
        assert reader.begun and reader.skipped.endswith(b"xxx") and len(reader.skipped) <= 4096
        out.close()
        reader.join(patience())  # or its thread reads from whatever gets the number of this pipe next


def test_a_frame_that_never_ends_meets_the_deadline():
    read, write = os.pipe()
    with os.fdopen(read, "rb") as pipe, os.fdopen(write, "wb", buffering=0) as out:
        reader = RemoteFrameReader(pipe, "phone 'x'")
        out.write(encode(Reply.TEXT, 1, b"abc")[:-1])
        with pytest.raises(RunnerError, match="phone 'x' did not answer in time"):
            reader.read(time.monotonic() + 0.05)
        out.write(b"c")
        frame, before = reader.read(time.monotonic() + patience())
        assert frame.payload == b"abc" and before == hashlib.sha256().digest()
        out.close()
        reader.join(patience())


@given(st.binary(max_size=200))
def test_no_bytes_make_the_reader_of_frames_fail_otherwise_than_by_its_error(data):
    try:
        for frame, _ in frames_of(data):
            assert isinstance(frame.payload, bytes)
    except RunnerError as error:
        assert "no frame" in error.what
