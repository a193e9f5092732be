"""The bridge's C core: strict builds, fuzzed, and byte for byte equal to the Python twin's."""

import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgesnn.meters.ina228 import protocol as wire
from edgesnn.meters.ina228.bridge_twin import Bridge
from tests.support.instruments.ina228 import CoreInC, build

_COMPILERS = [name for name in ("gcc", "clang") if shutil.which(name)]
u32 = st.integers(0, 2**32 - 1)
i32 = st.integers(-(2**31), 2**31 - 1)
count20 = st.integers(-(2**19), 2**19 - 1)

commands = st.one_of(
    st.sampled_from(
        [
            wire.Ina228FrameType.HELLO,
            wire.Ina228FrameType.START,
            wire.Ina228FrameType.STOP,
            wire.Ina228FrameType.GET_MARK,
        ]
    ).map(lambda kind: wire.encode(kind, b"\x01" if kind == wire.Ina228FrameType.HELLO else b"")),
    st.builds(wire.encode, st.just(int(wire.Ina228FrameType.GET_CONFIG))),
    st.builds(wire.encode, st.just(int(wire.Ina228FrameType.SET_MODE)), st.binary(min_size=1, max_size=1)),
    st.builds(
        lambda values: wire.encode(wire.Ina228FrameType.SET_ADC, bytes(values)),
        st.tuples(st.sampled_from([0, 1, 2, 255]), *[st.integers(0, 8)] * 4),
    ),
    st.builds(
        lambda channel, low, high: wire.encode(
            wire.Ina228FrameType.SET_SHUNT_CAL, bytes([channel, low, high])
        ),
        st.integers(0, 2),
        st.integers(0, 255),
        st.integers(0, 255),
    ),
    st.builds(wire.encode, st.integers(1, 255), st.binary(max_size=20)),
)
events = st.one_of(
    st.tuples(st.just("receive"), commands),
    st.tuples(st.just("receive"), commands.map(lambda frame: frame[: len(frame) // 2])),
    st.tuples(st.just("receive"), st.binary(max_size=700)),
    st.tuples(st.just("samples"), st.integers(1, 60), u32, count20, i32),
    st.tuples(st.just("mark"), u32, st.integers(0, 2)),
    st.tuples(st.just("dropped"), u32),
    st.tuples(st.just("edges_lost"), st.integers(0, 40)),
    st.tuples(st.just("poll"), u32),
)


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    if not _COMPILERS:
        pytest.skip("no C compiler")
    return build(_COMPILERS[0], tmp_path_factory.mktemp("bridge") / "bridge")


@pytest.fixture(scope="module")
def core(program):
    core = CoreInC(program)
    yield core
    core.close()


def play(core, event):
    """One event, the same way for both cores."""
    kind, *rest = event
    if kind == "samples":
        count, t_us, bus, current = rest
        sent = []
        for index in range(count):
            sent += core.sample(index % 3, (t_us + 300 * index) % 2**32, bus, current)
        return sent
    if kind == "receive":
        return core.receive(rest[0], 77)
    return getattr(core, kind)(*rest) or []


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("flags", [(), ("-m32",)])
def test_the_core_builds_without_a_warning(compiler, flags, tmp_path):
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    if flags and not _makes_32_bit(compiler, tmp_path):
        pytest.skip(f"{compiler} makes no 32-bit programs here")
    build(compiler, tmp_path / "bridge", flags)


def _makes_32_bit(compiler, folder):
    import subprocess

    (folder / "empty.c").write_text("#include <stdio.h>\nint main(void) { return 0; }\n")
    command = [compiler, "-m32", str(folder / "empty.c"), "-o", str(folder / "empty")]
    return subprocess.run(command, capture_output=True).returncode == 0


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 3), st.integers(1, 0x7FFF), st.integers(0, 1), st.lists(events, max_size=25))
def test_c_and_python_send_the_same_bytes_in_any_session(core, present, cal, level, session):
    core.restart(present, cal, level)
    twin = Bridge(present, cal, level)
    for event in [("receive", wire.encode(wire.Ina228FrameType.START)), *session]:
        assert play(core, event) == play(twin, event), event


@settings(max_examples=40)
@given(st.lists(st.binary(min_size=1, max_size=900), min_size=1, max_size=8))
def test_no_bytes_from_the_host_harm_the_core_and_it_answers_afterwards(core, pieces):
    core.restart()
    for piece in pieces:
        core.receive(piece, 0)
    sent = core.receive(b"\0" + wire.encode(wire.Ina228FrameType.HELLO, b"\x01"), 0)
    assert wire.Ina228FrameReader().feed(sent[-1])[0][0] == wire.Ina228FrameType.HELLO_ACK


def test_the_hooks_are_told_what_the_commands_ask(core):
    core.restart()
    told = []
    for kind, payload in [
        (wire.Ina228FrameType.SET_ADC, bytes([0, 1, 0, 4, 0])),
        (wire.Ina228FrameType.START, b""),
        (wire.Ina228FrameType.STOP, b""),
        (wire.Ina228FrameType.BOOTLOADER, b""),
        (wire.Ina228FrameType.GET_CONFIG, b""),
    ]:
        core.receive(wire.encode(kind, payload), 0)
        told.append(core.told)
    assert told == [1, 2, 3, 4, 0]


def test_a_frame_holds_as_many_samples_as_300_bytes_take_and_numbers_wrap(core):
    core.restart()
    core.receive(wire.encode(wire.Ina228FrameType.START), 0)
    frames = [frame for index in range(66) for frame in core.sample(0, 300 * index, 1, 2)]
    parsed = [
        wire.parse_data(payload)
        for kind, payload in wire.Ina228FrameReader().feed(b"".join(frames))
        if kind == wire.Ina228FrameType.DATA
    ]
    assert [(sequence, len(records)) for sequence, records in parsed] == [(0, 22), (1, 22), (2, 22)]
