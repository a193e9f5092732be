"""Commands that are killed at random moments; ``python -m tools.crash`` kills each a hundred times."""

import json
import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from edgesnn.bundle.bundle import Bundle
from edgesnn.errors import OutputError
from edgesnn.runners.native import build as native_build
from edgesnn.whole_files import write_whole
from tests.support.artifacts import write_artifact
from tests.support.patience import patience
from tests.support.sources import ROOT
from tools.crash.__main__ import Place
from tools.crash.scenarios import EDGESNN, SCENARIOS

TORCH = {"train", "sample"}
#: Run by themselves they take long; in CI these are killed elsewhere, in the middle of what they write.
LONG = {
    "sample": pytest.mark.long(
        guarded_by="tests/unit/student/teacher/test_sampled_training.py::"
        "test_a_killed_command_ends_with_the_same_files_and_trains"
    ),
    "train": pytest.mark.long(
        guarded_by="tests/unit/student/test_trainer.py::test_a_run_killed_in_the_middle_goes_on_bit_for_bit"
    ),
    "profile": pytest.mark.long(
        guarded_by="tests/cli/profile/test_profile_meter.py::"
        "test_an_interrupted_command_goes_on_when_it_is_repeated"
    ),
}


@pytest.mark.slow
@pytest.mark.skipif(native_build.missing() is not None, reason=str(native_build.missing()))
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are found in /proc")
@pytest.mark.parametrize("name", [pytest.param(name, marks=LONG.get(name, ())) for name in sorted(SCENARIOS)])
def test_after_a_kill_the_next_run_is_whole_and_nothing_is_left(name, tmp_path):
    needed = "torch" if name in TORCH else "h5py" if name == "import" else "starlette"
    if find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed")
    command = [sys.executable, "-m", "tools.crash", "--kills", "1", "--only", name, "--json"]
    done = subprocess.run(
        [*command, "--folder", tmp_path], cwd=ROOT, capture_output=True, text=True, timeout=6 * patience()
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["commands"][name]["kills"] == 1


def test_what_is_left_is_seen(tmp_path):
    place = Place(tmp_path)
    assert place.left("made") == []
    (place.temporary / "x").write_text("")
    (place.work / ".made.edgesnn-1").write_text("")
    assert place.left("made") == ["temporary x", "hidden .made.edgesnn-1"]


def test_a_process_that_went_off_is_seen(tmp_path):
    place = Place(tmp_path)
    script = "import subprocess, sys; subprocess.Popen(['sleep', '600'], start_new_session=True)"
    subprocess.run([sys.executable, "-c", script], env=place._environment, check=True)
    end = time.monotonic() + patience()
    while not (found := place.processes()) and time.monotonic() < end:
        time.sleep(0.01)  # it begins with an empty environment
    (alive,) = found
    subprocess.run(["kill", "-9", str(alive)], check=True)
    assert place.left("made") == []


@pytest.mark.skipif(sys.platform != "linux", reason="a small disk is a tmpfs")
def test_on_a_full_disk_what_was_there_survives_and_the_error_says_so(tmp_path):
    """A disk of 64 KiB that this user may mount; where that is not allowed there is none to fill."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("this user may not mount a tmpfs")
    try:
        write_whole(disk / "kept", b"old")
        with pytest.raises(OutputError, match="cannot write"):
            write_whole(disk / "kept", bytes(1 << 17))
        assert (disk / "kept").read_bytes() == b"old"
        assert [path.name for path in disk.iterdir()] == ["kept"]
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="a read-only disk is a tmpfs")
def test_on_a_read_only_disk_every_writing_command_says_so_in_one_sentence(tmp_path, edgesnn_here):
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", disk], capture_output=True, check=False
    )
    if made.returncode != 0:
        pytest.skip("this user may not mount a tmpfs")
    try:
        student = write_artifact(tmp_path / "student")
        for command in (
            ("export", student, "-o", disk / "bundle", "--format", "c"),
            ("meter", "record", "sim:ppk2?voltage=3.7", "-o", disk / "trace.npz", "-d", "0.1"),
            ("init", disk / "project"),
        ):
            done = edgesnn_here(*command)
            assert done.exit_code in (1, 2), command
            assert "error:" in done.stderr and "Traceback" not in done.stderr
    finally:
        subprocess.run(["umount", disk], check=True)


def test_two_exports_into_one_folder_at_once_leave_one_whole_bundle(tmp_path):
    write_artifact(tmp_path / "student")
    command = [*EDGESNN, "export", "student", "-o", "bundle", "--format", "c", "--force"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    both = [
        subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(2)
    ]
    said = [one.communicate(timeout=patience())[1].decode() for one in both]
    assert 0 in [one.returncode for one in both], said
    assert all("Traceback" not in one for one in said), said
    assert Bundle(tmp_path / "bundle").program().vocab_size > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "student"]
