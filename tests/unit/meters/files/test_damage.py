"""A recording with damage is refused, never shorter or other than it was; a bomb does not go off."""

import json
import struct
import zlib

import numpy as np
import pytest

from edgesnn.errors import RecordingError
from edgesnn.meters.base import Loss
from edgesnn.meters.files.recording import Recorder, Recording
from edgesnn.meters.files.zip import ZipWriter
from edgesnn.meters.samples.trace import Trace
from tests.support.instruments.meter_blocks import block, segment

#: Every so many bits one is changed; a prime, so that every field of every header has its turn.
STRIDE = 89


def recorded(path, *, segments=1, chunks=2):
    """A small recording; its bytes."""
    noise = np.random.default_rng(0)
    with Recorder(path, replace=True) as recorder:
        for number in range(segments):
            recorder.begin_segment(segment())
            for k in range(chunks):
                part = block(noise.normal(0.02, 1e-4, 20), start_s=k * 0.03)
                recorder.add(part, Loss(20 * (k + 1), 10 * k))
                recorder._flush()
            recorder.end_segment(Loss(20 * chunks, 10 * (chunks - 1) + number))
    return path.read_bytes()


def content(path):
    """Everything that a recording tells."""
    with Recording(path) as recording:
        return [
            (one.info, one.loss, one.complete, one.accuracy, [
                (part.time_s.tobytes(), part.duration_s, part.current_a.tobytes(), part.status.tobytes())
                for part in one.blocks()
            ])
            for one in recording.segments
        ]  # fmt: skip


@pytest.mark.parametrize("share", [1.0, 0.55], ids=["whole", "cut off"])
def test_any_changed_bit_is_refused_or_changes_nothing(tmp_path, share):
    data = recorded(tmp_path / "a.npz", segments=2)
    path = tmp_path / "b.npz"
    path.write_bytes(data := data[: int(len(data) * share)])
    right = content(path)
    refused = 0
    for bit in range(0, 8 * len(data), STRIDE):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        try:
            found = content(path)
        except RecordingError:
            refused += 1
        else:  # what follows the last whole chunk of a file that was cut off may be less than it was
            assert found == right or (share < 1 and cut_earlier(found, right)), f"bit {bit}"
    assert refused > 8 * len(data) / STRIDE / 3


def cut_earlier(found, right):
    """Whether only the end is missing, and said to be."""
    *whole, last = found
    assert "cut off after" in last[1].reasons[-1]
    return whole == right[: len(whole)] and last[4] == right[len(whole)][4][: len(last[4])]


PARTS = (b"s000/info.json", b"s000/c00001/current_a.npy", b"s000/c00001/chunk.json", b"recording.json")


def entry(data, name):
    """Where the entry of a part stands in the directory."""
    return data.rindex(b"PK\x01\x02", 0, data.rindex(name))


@pytest.mark.parametrize(
    "name", [b"s000/info.json", b"s000/c00001/current_a.npy", b"s000/c00001/chunk.json", b"recording.json"]
)
@pytest.mark.parametrize(
    ("field", "size"), [(10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (32, 2), (42, 4), (46, 14)],
    ids="method checksum packed size name-length extra-length comment-length offset name".split(),  # noqa: SIM905
)  # fmt: skip
def test_every_field_of_the_directory_is_held_against_the_file(tmp_path, name, field, size):
    data = recorded(tmp_path / "a.npz")
    right = content(tmp_path / "a.npz")
    place = entry(data, name) + field
    for bit in range(8 * size):
        changed = bytearray(data)
        changed[place + bit // 8] ^= 1 << bit % 8
        (tmp_path / "a.npz").write_bytes(changed)
        try:
            assert content(tmp_path / "a.npz") == right
        except RecordingError as error:
            assert "a.npz" in error.what


def test_damage_is_named(tmp_path):
    data = recorded(tmp_path / "a.npz")
    place = entry(data, b"s000/c00001/chunk.json") + 46 + len(b"s000/c00001/c")
    changed = bytearray(data)
    changed[place] ^= 2
    (tmp_path / "a.npz").write_bytes(changed)
    with pytest.raises(RecordingError, match="'s000/c00001/cjunk.json' is not where it belongs"):
        Recording(tmp_path / "a.npz")


def test_a_part_in_the_middle_of_a_recording_that_was_cut_off_is_damage_and_no_end(tmp_path):
    data = bytearray(recorded(tmp_path / "a.npz", chunks=4))
    del data[data.index(b"recording.json") :]
    place = data.index(b"s000/c00001/current_a.npy") + 60
    data[place] ^= 1
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(RecordingError, match="others follow it"):
        Recording(tmp_path / "a.npz")


def rewritten(path, change):
    """The same recording with other content and right checksums."""
    with Recording(path) as recording:
        parts = {name: recording._archive.read(name) for name in recording._archive.names}
    change(parts)
    with path.open("wb", buffering=0) as file:
        writer = ZipWriter(file)
        for name, data in parts.items():
            writer.add(name, data, level=1)
        writer.finish()


def change_json(name, change):
    def changed(parts):
        data = json.loads(parts[name])
        change(data)
        parts[name] = json.dumps(data).encode()

    return changed


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (
            change_json("recording.json", lambda data: data["segments"][0].update(chunks=3)),
            "its account says",
        ),
        (change_json("recording.json", lambda data: data["segments"].append({})), "its account says"),
        (
            change_json("recording.json", lambda data: data["segments"][0]["info"].update(host_ns=1)),
            "beginning",
        ),
        (change_json("s000/c00001/chunk.json", lambda data: data.update(samples=19)), "does not fit"),
        (change_json("s000/c00001/chunk.json", lambda data: data.update(samples=1 << 40)), "incomplete"),
        (change_json("s000/c00001/chunk.json", lambda data: data.update(samples=1e400)), "incomplete"),
        (
            change_json("s000/c00001/chunk.json", lambda data: data.update(end_s=9.0)),
            "not those of its account",
        ),
        (change_json("s000/info.json", lambda data: data.update(accuracy={"name": 3})), "beginning"),
        (lambda parts: parts.pop("s000/c00000/chunk.json"), "not where it belongs"),
        (lambda parts: parts.pop("s000/c00000/status.npy"), "no column 'status'"),
        (lambda parts: parts.update({"s000/extra.npy": b""}), "not where it belongs"),
    ],
)
def test_what_differs_from_the_account_is_refused(tmp_path, change, what):
    recorded(tmp_path / "a.npz")
    rewritten(tmp_path / "a.npz", change)
    with pytest.raises(RecordingError, match=what):
        content(tmp_path / "a.npz")


def test_an_accuracy_that_cannot_be_is_our_own_error(tmp_path):
    recorded(tmp_path / "a.npz")

    def change(parts):
        change_json("s000/info.json", lambda data: data.update(accuracy={"name": 3}))(parts)
        change_json("recording.json", lambda data: data["segments"][0]["info"].update(accuracy={"name": 3}))(
            parts
        )

    rewritten(tmp_path / "a.npz", change)
    with Recording(tmp_path / "a.npz") as recording, pytest.raises(RecordingError, match="accuracy"):
        Trace.of_segment(recording.segments[0])


def test_a_trace_that_changes_its_columns_is_our_own_error(tmp_path):
    with Recorder(tmp_path / "a.npz") as recorder:
        recorder.begin_segment(segment())
        recorder.add(block([0.1, 0.1]), Loss(2))
        recorder.add(block([0.1, 0.1], start_s=1, voltage_v=np.ones(2, np.float32)), Loss(4))
        recorder.end_segment(Loss(4))
    with Recording(tmp_path / "a.npz") as recording, pytest.raises(RecordingError, match="changes what it"):
        Trace.of_segment(recording.segments[0])


def test_a_column_that_unpacks_to_gigabytes_is_not_unpacked(tmp_path):
    recorded(tmp_path / "a.npz")
    header = b"\x93NUMPY\x01\x00" + struct.pack("<H", 118)
    shape = b"{'descr': '<f4', 'fortran_order': False, 'shape': (268435456,), }"
    bomb = header + shape.ljust(117) + b"\n" + bytes(1 << 20)
    rewritten(tmp_path / "a.npz", lambda parts: parts.update({"s000/c00001/current_a.npy": bomb}))
    with pytest.raises(RecordingError, match=r"268435456|bytes"):
        content(tmp_path / "a.npz")
    data = bytearray((tmp_path / "a.npz").read_bytes())
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    zeros = bytes(1 << 20)
    body = b"".join(packer.compress(zeros) for _ in range(160)) + packer.flush()
    place = data.index(b"s000/c00001/current_a.npy") - 30
    head = struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0x800, 8, 0, 0x21, 0, len(body), 160 << 20, 25, 0)
    (tmp_path / "a.npz").write_bytes(data[:place] + head + b"s000/c00001/current_a.npy" + body)
    with Recording(tmp_path / "a.npz") as recording:
        assert recording.cut_off
        assert len(recording.segments[0].chunks) == 1
