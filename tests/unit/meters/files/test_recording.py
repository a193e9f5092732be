"""Recordings: written as they come, readable by numpy, readable after a crash and on a full disk."""

import errno
import os
import signal
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesnn.errors import OutputError, RecordingError
from edgesnn.meters.base import Loss, Settings
from edgesnn.meters.files import recording as module
from edgesnn.meters.files.format import RUN_TOLERANCE_S, join
from edgesnn.meters.files.recording import Recorder, Recording
from edgesnn.meters.files.zip import ZipReader, ZipWriter
from tests.support.instruments.meter_blocks import block, segment

ROOT = Path(__file__).parents[4]


def record(path, blocks, loss=None, **options):
    with Recorder(path, **options) as recorder:
        recorder.begin_segment(segment())
        for one in blocks:
            recorder.add(one, loss or Loss(len(one)))
        recorder.end_segment(loss or Loss(sum(map(len, blocks))))


def read(path):
    with Recording(path) as recording:
        return [join(list(one.blocks())) for one in recording.segments]


def noisy(count, start=0, **columns):
    values = np.random.default_rng(start).normal(0.02, 1e-4, count)
    return block(values, start_s=start * 0.001, **columns)


def test_what_was_recorded_is_read_again_bit_for_bit(tmp_path):
    blocks = [noisy(1000), noisy(500, 1000), noisy(700, 1600)]
    record(tmp_path / "a.npz", blocks, Loss(2200, 100, reasons=("a gap",)))
    (again,) = read(tmp_path / "a.npz")
    whole = join(blocks)
    np.testing.assert_array_equal(again.current_a, whole.current_a)
    np.testing.assert_allclose(again.time_s, whole.time_s, rtol=0, atol=RUN_TOLERANCE_S)
    with Recording(tmp_path / "a.npz") as recording:
        (one,) = recording.segments
        assert (one.complete, one.samples, recording.cut_off) == (True, 2200, False)
        assert one.loss == Loss(2200, 100, reasons=("a gap",))
        assert one.info == segment()
        assert recording.simulated


def test_numpy_reads_it(tmp_path):
    record(tmp_path / "a.npz", [noisy(1000)])
    with np.load(tmp_path / "a.npz") as arrays:
        np.testing.assert_array_equal(arrays["s000/c00000/current_a"], noisy(1000).current_a)
        assert b"edgesnn.recording/1" in arrays["recording.json"]
    assert zipfile.ZipFile(tmp_path / "a.npz").testzip() is None


@st.composite
def streams(draw):
    """Times with gaps and jitter, lengths that vary or not."""
    count = draw(st.integers(1, 300))
    step = draw(st.sampled_from([1e-5, 1e-3, 0.1]))
    steps = np.full(count, step)
    for _ in range(draw(st.integers(0, 5))):
        steps[draw(st.integers(0, count - 1))] += draw(st.integers(1, 500)) * step
    if draw(st.booleans()):
        steps += np.abs(np.random.default_rng(count).normal(0, step / 10, count))
    times = draw(st.sampled_from([0.0, 3600.0])) + np.cumsum(steps)
    lengths = draw(st.sampled_from(["one", "each"]))
    columns = draw(st.sampled_from(["current", "both", "power"]))
    values = np.linspace(0, 1, count).astype(np.float32)
    return replace(
        block(values),
        time_s=times,
        duration_s=step if lengths == "one" else steps,
        voltage_v=values if columns == "both" else None,
        power_w=values if columns == "power" else None,
        current_a=None if columns == "power" else values,
        range_index=np.arange(count).astype(np.uint8) % 5,
        markers=(np.arange(count) // 7 % 2).astype(np.uint8),
    )


@given(streams())
@settings(max_examples=60)
def test_any_stream_survives_a_recording(tmp_path_factory, stream):
    path = tmp_path_factory.mktemp("r") / "a.npz"
    record(path, [stream])
    (again,) = read(path)
    np.testing.assert_allclose(again.time_s, stream.time_s, rtol=0, atol=RUN_TOLERANCE_S)
    np.testing.assert_array_equal(
        np.broadcast_to(again.duration_s, len(again)), np.broadcast_to(stream.duration_s, len(stream))
    )
    for name in ("current_a", "voltage_v", "power_w", "markers", "status", "range_index"):
        ours, theirs = getattr(again, name), getattr(stream, name)
        assert (ours is None) == (theirs is None)
        if ours is not None:
            np.testing.assert_array_equal(ours, theirs)


def test_a_uniform_stream_costs_nothing_for_its_times(tmp_path):
    current = np.random.default_rng(0).normal(0.02, 1e-4, 200_000)
    record(tmp_path / "a.npz", [block(current, step_s=1e-5)])
    assert (tmp_path / "a.npz").stat().st_size < 4 * current.size


def test_chunks_are_read_one_by_one_and_only_those_that_are_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CHUNK_SAMPLES", 100)
    record(tmp_path / "a.npz", [noisy(100, start) for start in range(0, 1000, 100)])
    with Recording(tmp_path / "a.npz") as recording:
        (one,) = recording.segments
        assert len(one.chunks) == 10
        assert [round(float(part.time_s[0]), 6) for part in one.blocks(0.25, 0.45)] == [0.2, 0.3, 0.4]


def test_a_slow_stream_reaches_the_disk_in_time(tmp_path):
    with Recorder(tmp_path / "a.npz") as recorder:
        recorder.begin_segment(segment())
        recorder.add(block([0.1], host_ns=0), Loss(1))
        recorder.add(block([0.1], start_s=1, host_ns=6_000_000_000), Loss(2))
        recorder.add(block([0.1], start_s=2, host_ns=6_100_000_000), Loss(3))
        recorder.end_segment(Loss(3))
    with Recording(tmp_path / "a.npz") as recording:
        assert [chunk.samples for chunk in recording.segments[0].chunks] == [2, 1]


def test_each_segment_has_its_own_clock_and_account(tmp_path):
    with Recorder(tmp_path / "a.npz") as recorder:
        for number in range(2):
            recorder.begin_segment(segment())
            recorder.add(noisy(10 + number), Loss(10 + number))
            recorder.end_segment(Loss(10 + number, number))
    with Recording(tmp_path / "a.npz") as recording:
        assert [(one.samples, one.loss.missing) for one in recording.segments] == [(10, 0), (11, 1)]


def test_after_a_kill_everything_up_to_the_last_whole_chunk_is_there(tmp_path):
    code = (
        "import os, signal, sys, time\n"
        "from edgesnn.meters.files import recording as module\n"
        "from edgesnn.meters.base import Loss\n"
        "from pathlib import Path\n"
        "from tests.support.instruments.meter_blocks import block, segment\n"
        "module.CHUNK_SAMPLES = 100\n"
        "recorder = module.Recorder(Path(sys.argv[1]))\n"
        "recorder.begin_segment(segment())\n"
        "for number in range(5):\n"
        "    recorder.add(block([0.5] * 100, start_s=number * 0.1), Loss(100 * (number + 1), number))\n"
        "while recorder._jobs.qsize(): time.sleep(0.001)\n"
        "recorder.add(block([0.5] * 30, start_s=0.5), Loss(530))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / "a.npz"
    finished = subprocess.run([sys.executable, "-c", code, path], cwd=ROOT)
    assert finished.returncode == -signal.SIGKILL
    assert not path.exists()
    with Recording(tmp_path / "a.npz.part") as recording:
        (one,) = recording.segments
        assert recording.cut_off
        assert not one.complete
        assert one.samples in (400, 500)  # the last job may have been under way
        assert one.loss.received == one.samples


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_a_file_cut_anywhere_gives_its_whole_chunks(tmp_path, monkeypatch, share):
    monkeypatch.setattr(module, "CHUNK_SAMPLES", 100)
    record(tmp_path / "a.npz", [noisy(100, start) for start in range(0, 1000, 100)])
    data = (tmp_path / "a.npz").read_bytes()
    cut = tmp_path / "cut.npz"
    cut.write_bytes(data[: int(len(data) * share)])
    with Recording(cut) as recording:
        (one,) = recording.segments
        assert recording.cut_off
        assert 0 < one.samples < 1000
        whole = join(list(one.blocks()))
    np.testing.assert_array_equal(whole.current_a[:100], noisy(100).current_a)


def test_a_changed_byte_is_found(tmp_path):
    record(tmp_path / "a.npz", [noisy(1000)])
    data = bytearray((tmp_path / "a.npz").read_bytes())
    place = data.index(b"current_a.npy") + 200
    data[place] ^= 0xFF
    (tmp_path / "a.npz").write_bytes(data)
    with Recording(tmp_path / "a.npz") as recording, pytest.raises(RecordingError, match="damaged"):
        list(recording.segments[0].blocks())


class FullDisk:
    """A file on a disk with so much room."""

    def __init__(self, file, room):
        self._file, self._room = file, room

    def write(self, data):
        fits = min(len(data), self._room - self._file.tell())
        if fits <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._file.write(bytes(data[:fits]))

    def __getattr__(self, name):
        return getattr(self._file, name)


@pytest.mark.parametrize("room", [3_000, 9_000, 11_111])
def test_on_a_full_disk_what_was_written_stays_readable(tmp_path, monkeypatch, room):
    monkeypatch.setattr(module, "CHUNK_SAMPLES", 200)
    opened = Recorder._open
    monkeypatch.setattr(Recorder, "_open", lambda self, replace: FullDisk(opened(self, replace), room))
    with pytest.raises(OutputError, match="stays readable"):
        record(tmp_path / "a.npz", [noisy(200, start) for start in range(0, 4000, 200)])
    assert (tmp_path / "a.npz").stat().st_size <= room
    with Recording(tmp_path / "a.npz") as recording:
        (one,) = recording.segments
        assert recording.cut_off
        assert 0 < one.samples < 4000
        assert one.samples == sum(map(len, one.blocks()))


def test_an_older_recording_is_kept_unless_it_may_be_replaced(tmp_path):
    record(tmp_path / "a.npz", [noisy(10)])
    with pytest.raises(OutputError, match="exists"):
        record(tmp_path / "a.npz", [noisy(20)])
    record(tmp_path / "a.npz", [noisy(20)], replace=True)
    assert sum(map(len, read(tmp_path / "a.npz"))) == 20


def test_a_recording_that_was_cut_off_is_not_written_over(tmp_path):
    (tmp_path / "a.npz.part").write_bytes(b"precious")
    with pytest.raises(OutputError, match="cut off"):
        record(tmp_path / "a.npz", [noisy(20)])
    assert (tmp_path / "a.npz.part").read_bytes() == b"precious"


@pytest.mark.parametrize("content", [b"", b"time,current\n1,2\n", b"PK\x03\x04" + b"\xff" * 60])
def test_what_is_no_recording_is_refused(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(RecordingError):
        Recording(tmp_path / "a.npz")


def test_an_npz_of_something_else_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros(3))
    with pytest.raises(RecordingError, match="no recording"):
        Recording(tmp_path / "a.npz")


def test_another_schema_is_refused_by_name(tmp_path):
    with (tmp_path / "a.npz").open("wb", buffering=0) as file:
        writer = ZipWriter(file)
        writer.add("s000/info.json", b'{"schema": "edgesnn.recording/2"}')
        writer.finish()
    with pytest.raises(RecordingError, match="edgesnn.recording/2"):
        Recording(tmp_path / "a.npz")


def test_an_archive_beyond_4_gib_and_65535_members_is_whole(tmp_path):
    path = tmp_path / "big.npz"
    with path.open("wb", buffering=0) as file:
        file.truncate(5 << 30)  # a sparse file: costs no room
        file.seek(5 << 30)
        writer = ZipWriter(file)
        for number in range(66_000):
            writer.add(f"{number}", b"")
        writer.add("last", b"x" * 1000, level=1)
        writer.finish()
    with zipfile.ZipFile(path) as archive:
        assert len(archive.namelist()) == 66_001
        assert archive.read("last") == b"x" * 1000
    reader = ZipReader(path)
    assert reader.read("last") == b"x" * 1000
    reader.close()


def test_a_constant_that_is_no_number_does_not_stop_a_recording(tmp_path):
    odd = replace(segment(), meter=replace(segment().meter, details={"R": (float("nan"), np.float32(2))}))
    with Recorder(tmp_path / "a.npz") as recorder:
        recorder.begin_segment(odd)
        recorder.end_segment(Loss(0))
    with Recording(tmp_path / "a.npz") as recording:
        assert recording.segments[0].info.meter.details == {"R": [None, 2.0]}


def test_settings_that_a_recording_keeps_are_those_that_were_in_force(tmp_path):
    record(tmp_path / "a.npz", [noisy(10)])
    with Recording(tmp_path / "a.npz") as recording:
        assert recording.segments[0].info.settings == Settings(voltage_v=2.0)
