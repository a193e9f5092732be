"""Damaged inputs for every parser, in this process: a short run; ``python -m tools.fuzz`` is the long one.

What the long one found stands at the end, one test each.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from edgesnn.chips.description import load_chip
from edgesnn.errors import (
    ArtifactError,
    ConfigError,
    MeterProtocolError,
    NetworkError,
    RunnerError,
    TextError,
    TrainingError,
)
from edgesnn.meters.base import Loss
from edgesnn.meters.calibration.points import _load
from edgesnn.meters.files.recording import Recorder, Recording
from edgesnn.meters.host.battery import parse_gauge
from edgesnn.meters.joulescope.join import Join
from edgesnn.nir import probe as nir_probe
from edgesnn.profiler.budgets.profile import load_profile
from edgesnn.runners.browser.protocol import read_hello
from edgesnn.runners.remote.state import read_device
from edgesnn.text.tokenizer import load_tokenizer
from tests.support.artifacts import tiny_tokenizer
from tests.support.instruments.meter_blocks import block, segment
from tests.support.patience import patience
from tests.support.sources import ROOT
from tools.fuzz.child import fast_folder, tried
from tools.fuzz.harness import all_harnesses
from tools.fuzz.mutate import mutated

HARNESSES = all_harnesses()
#: These start or compile a program: the long run feeds them, and tests of their own.
LONG = {
    "tflite",
    "signature",
    "child",
    "nir",
    *(name for name in HARNESSES if name.startswith(("c-", "wasm"))),
}
INPUTS = 60


@pytest.fixture
def subject(request):
    with tempfile.TemporaryDirectory(prefix="edgesnn-fuzz-", dir=fast_folder()) as folder:
        yield HARNESSES[request.param].open(Path(folder))


@pytest.mark.parametrize("subject", sorted(HARNESSES.keys() - LONG), indirect=True)
def test_damaged_inputs_are_refused_or_harmless(subject):
    for seed in subject.seeds:
        assert tried(subject, seed)[0] == "taken"
    for number in range(INPUTS):
        data = mutated(subject.seeds, 7, number, subject.fix)
        outcome, what = tried(subject, data)
        assert outcome != "finding", (number, what)


#: Formats whose readers have no such test of their own.
SMALL = ["calibration", "chip", "device", "energy", "student-metadata", "v1-metadata", "safetensors"]
SMALL += ["eval-slice", "record-arrays", "nir-frames", "teacher-cache", "prompts", "browser", "server"]
SMALL += ["adb-devices", "shell-answers", "device-state", "battery-gauge", "scpi"]


@pytest.mark.parametrize("subject", SMALL, indirect=True)
def test_every_one_byte_edit_is_refused_or_harmless(subject):
    seed = min(subject.seeds, key=len)
    for at in range(len(seed)):
        data = bytearray(seed)
        data[at] ^= 1 << at % 8
        outcome, what = tried(subject, bytes(data))
        assert outcome != "finding", (at, what)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("good", None), ("wrong-error", "KeyError"), ("hang", "hang"), ("crash", "crash"), ("memory", "memory")],
)
def test_what_no_parser_may_do_is_noticed_and_kept(name, kind, tmp_path):
    full = f"tests.fuzz.misbehaving:{name}"
    command = [
        sys.executable,
        "-m",
        "tools.fuzz",
        "--inputs",
        "2",
        "--only",
        full,
        "--folder",
        tmp_path,
        "--json",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=patience())
    state = json.loads(done.stdout)["parsers"][full]
    assert state["inputs"] == 2
    if kind is None:
        assert (done.returncode, state["findings"], state["refused"]) == (0, {}, 2)
        return
    assert done.returncode == 3, done.stderr
    # a busy machine may take more than 2 s to give that much memory, too
    (found,) = [one for one in state["findings"] if one.startswith(kind)]
    (kept,) = (tmp_path / "findings").rglob(f"{found}.bin")
    assert json.loads(kept.with_suffix(".json").read_text())["replay"].endswith(str(kept))


def test_the_same_seed_gives_the_same_inputs():
    seeds = [b'{"a": [1, 2, {"b": null}]}', b"\1\2\3\4" * 9]
    made = [mutated(seeds, 3, number) for number in range(200)]
    assert made == [mutated(seeds, 3, number) for number in range(200)]
    assert len(set(made)) > 150
    assert made != [mutated(seeds, 4, number) for number in range(200)]


# What was found ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("load", [load_chip, load_profile])
@pytest.mark.parametrize("value", ["[" * 5000, "9" * 5000])
def test_toml_that_is_nested_too_deeply_or_has_endless_numbers_is_refused(tmp_path, value, load):
    (tmp_path / "a.toml").write_text(f"a = {value}")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load(str(tmp_path / "a.toml"))


def test_a_recording_whose_directory_lies_about_every_place_is_read_by_its_headers(tmp_path):
    path = tmp_path / "a.npz"
    with Recorder(path) as recorder:
        recorder.begin_segment(segment())
        recorder.add(block(np.ones(4)), Loss(4))
        recorder.end_segment(Loss(4))
    data = bytearray(path.read_bytes())
    at = data.rfind(b"PK\5\6") + 16
    place = int.from_bytes(data[at : at + 4], "little") + 99  # all places are then 99 bytes too low
    data[at : at + 4] = place.to_bytes(4, "little")
    path.write_bytes(data)
    with Recording(path) as recording:
        (only,) = recording.segments[0].blocks()
    assert np.array_equal(only.current_a, np.ones(4))


def test_a_phones_number_beyond_every_float_is_refused():
    hello = {"type": "hello", "protocol": 1, "user_agent": "x", "screen": "1x1@1", "touch_points": 1}
    hello |= {"secure_context": True, "cross_origin_isolated": True, "timer_step_us": 10**400}
    with pytest.raises(RunnerError, match="timer_step_us"):
        read_hello(json.dumps(hello))


@pytest.mark.parametrize("when", ["2026-13-01T00:00:00+00:00", "soon", "2026-01-01T00:00:00"])
def test_a_calibration_that_ends_at_no_time_is_refused(tmp_path, when):
    point = {"range_index": 0, "true_a": 0.02, "true_u_a": 0.0, "shown_a": 0.02, "shown_u_a": 0.0}
    point |= {"made_at": "2026-01-01T00:00:00+00:00", "against": "a resistor"}
    document = {"schema": "edgesnn.calibration/1", "driver": "x", "model": "X", "serial_number": "1"}
    path = tmp_path / "a.json"
    path.write_text(json.dumps({**document, "simulated": True, "expires_at": when, "points": [point]}))
    with pytest.raises(ConfigError, match="is wrong"):
        _load(path)


@pytest.mark.parametrize("wrong", [{"decimate_factor": 0}, {"sample_rate": 0}])
def test_a_joulescope_without_a_rate_is_refused(wrong):
    message = {"sample_id": 0, "sample_rate": 1000, "decimate_factor": 1, "data": np.ones(3, np.float32)}
    with pytest.raises(MeterProtocolError, match="without a rate"):
        Join(("current",)).add("current", {**message, **wrong})


def test_a_tokenizer_with_an_id_beyond_all_is_refused(tmp_path):
    document = json.loads(tiny_tokenizer().to_str())
    document["model"]["vocab"]["zz"] = 2**32 - 1
    (tmp_path / "tokenizer.json").write_text(json.dumps(document))
    with pytest.raises(TextError, match="too many ids"):
        load_tokenizer(tmp_path / "tokenizer.json")


def test_a_tokenizer_on_which_the_package_panics_is_refused(tmp_path):
    document = json.loads(tiny_tokenizer().to_str())
    document["model"]["merges"][3][1] = "<|assistant|>"  # of more bytes than the two make together
    (tmp_path / "tokenizer.json").write_text(json.dumps(document))
    with pytest.raises(TextError, match="is no tokenizer"):
        load_tokenizer(tmp_path / "tokenizer.json")


def test_an_lpm01a_event_of_thousands_of_digits_is_damage(tmp_path):
    subject = HARNESSES["lpm01a-ascii"].open(tmp_path)
    seed = max(subject.seeds, key=len)
    assert seed.count(b"event ") or seed.count(b"TimeStamp")
    middle = seed.index(b"\n", len(seed) // 2)
    outcome, what = tried(subject, seed[:middle] + b"\nevent " + b"1" * 5000 + b" ris" + seed[middle:])
    assert outcome != "finding", what


def test_a_childs_word_on_its_progress_that_is_none_is_passed_over(tmp_path):
    HARNESSES["child"].open(tmp_path).run(b'{"progress": ["loading", 2]}\n{"progress": 3}\n{"result": 1}\n')


def test_a_nir_file_on_which_hdf5_never_ends_or_that_it_blows_up_is_refused(tmp_path, monkeypatch):
    pytest.importorskip("h5py")
    path = tmp_path / "a.nir"
    path.write_bytes(b"x")
    # stands for HDF5's loops, which need a damaged heap: the file is no matter, what the child meets is
    package = tmp_path / "h5py"
    package.mkdir()
    (package / "__init__.py").write_text("def File(*a):\n    while True:\n        pass\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(nir_probe, "WALL_S", 3.0)
    with pytest.raises(NetworkError, match="did not answer in time"):
        nir_probe.probe(path)
    (package / "__init__.py").write_text("def File(*a):\n    import os\n    os.abort()\n")
    monkeypatch.setattr(nir_probe, "WALL_S", patience())
    with pytest.raises(NetworkError, match="SIGABRT"):
        nir_probe.probe(path)
    # what it met at its limits is said by it: this process, without limits, does not open the file
    (package / "__init__.py").write_text("def File(*a):\n    raise OSError('no memory for it')\n")
    with pytest.raises(NetworkError, match="no HDF5 file that can be read: no memory for it"):
        nir_probe.probe(path)


def test_an_array_of_a_nir_file_that_was_refused_at_the_childs_limits_is_not_read_without_them(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "a.nir"
    with h5py.File(path, "w") as file:
        file["node"] = h5py.ExternalLink("elsewhere.h5", "/")  # as any array that the child refuses
    with pytest.raises(NetworkError, match="/node: a link to another file"):
        nir_probe.probe(path)


def test_a_cache_whose_numbers_fit_nothing_is_refused(tmp_path):
    subject = HARNESSES["teacher-cache"].open(tmp_path)
    document = json.loads(subject.seeds[0])
    document["arrays"]["topk_ids"]["shape"] = [4, 2**64]
    with pytest.raises(TrainingError, match="damaged"):
        subject.run(json.dumps(document).encode())


@pytest.mark.parametrize("path", ["cpu/cpu{}/cpufreq/scaling_cur_freq", "class/thermal/thermal_zone{}/temp"])
def test_a_processor_of_thousands_of_digits_is_none(path):
    state = read_device({"/sys/devices/system/" + path.format("6" + "9" * 5000): "1800000"})
    assert not state.frequency_khz and not state.temperatures_c


def test_numbers_that_no_kernel_and_no_shell_writes_are_none(tmp_path):
    huge = "9" * 400
    files = {
        "/sys/class/thermal/thermal_zone0/temp": huge,
        "/sys/class/power_supply/b/type": "Battery",
        "/sys/class/power_supply/b/voltage_now": huge,
    }
    state = read_device(files)
    assert state.temperatures_c == {} and state.battery is not None and state.battery.voltage_v is None
    gauge = parse_gauge(f"POWER_SUPPLY_STATUS=Full\nPOWER_SUPPLY_VOLTAGE_NOW={huge}\n")
    assert gauge is not None and gauge.voltage_v is None
    with pytest.raises(RunnerError, match="did not run a command"):
        HARNESSES["shell-answers"].open(tmp_path).run(b"[@M@[\nx]@M@]" + b"9" * 5000 + b".#|#")


def test_a_cache_whose_manifest_is_nested_too_deeply_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="damaged"):
        HARNESSES["teacher-cache"].open(tmp_path).run(b"[" * 100_000)


@pytest.mark.parametrize("threshold", ["1" + "0" * 400, "NaN", "1e999"])
def test_a_threshold_of_version_1_that_is_no_float_is_refused(tmp_path, threshold):
    subject = HARNESSES["v1-metadata"].open(tmp_path)
    assert b'"spike_threshold": 1.0' in subject.seeds[0]
    with pytest.raises(ArtifactError, match="is unusable"):
        subject.run(
            subject.seeds[0].replace(b'"spike_threshold": 1.0', b'"spike_threshold": ' + threshold.encode())
        )
