"""``edgesnn meter`` as users meet it: a twin in one process, the tool in another."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from edgesnn.cli import main
from edgesnn.meters.base import Loss
from edgesnn.meters.files.recording import Recorder, Recording
from tests.support.csv_traces import JOULESCOPE, rows
from tests.support.instruments.meter_blocks import block, segment
from tests.support.patience import patience, wait_for

pytestmark = pytest.mark.realtime

ROOT = Path(__file__).parents[2]
#: Instrument: what the twin draws, how long, and the option that its driver needs.
SESSIONS = {
    "ppk2": ("square:low=10m,high=80m,period=0.1", 2.0, "?voltage=3.7"),
    "lpm01a": ("square:low=10m,high=80m,period=0.1", 2.0, "?voltage=3.3"),
    "ina228": ("square:low=10m,high=80m,period=0.1", 2.0, ""),
    "scpi": ("constant:50m", 2.0, "?voltage=3.7"),
}
HIGHEST_W = 0.09


def start(folder, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "edgesnn.cli.main", "meter", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "EDGESNN_CONFIG_DIR": str(folder), "COLUMNS": "100"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    out, err = process.communicate(timeout=patience())
    return process.returncode, out, err


class Twin:
    """``edgesnn meter simulate`` while a test needs it."""

    def __init__(self, folder, instrument, *options):
        self.port = folder / f"port-{instrument}"
        self.process = start(folder, "simulate", instrument, "--link", self.port, "--json", *options)

    def wait(self):
        wait_for(lambda: self.port.exists() or self.process.poll() is not None, "the twin")
        assert self.process.poll() is None, self.process.stderr.read()

    def end(self):
        """End it by Ctrl-C; its document."""
        self.process.send_signal(signal.SIGINT)
        code, out, err = finish(self.process)
        assert code == 0, err
        return json.loads(out)


@pytest.fixture
def twin(tmp_path):
    """Starts a twin and ends it whatever happens."""
    made = []

    def make(instrument, *options):
        made.append(Twin(tmp_path, instrument, *options))
        made[-1].wait()
        return made[-1]

    yield make
    for one in made:
        if one.process.poll() is None:
            one.process.terminate()
            one.process.communicate()


@pytest.fixture
def here(tmp_path, monkeypatch, capsys):
    """Runs ``edgesnn meter ... --json`` in this process and gives its document."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGESNN_CONFIG_DIR", str(tmp_path / "config"))

    def run(*arguments, code=0):
        assert main.run(["meter", *arguments, "--json"]) == code
        return json.loads(capsys.readouterr().out)

    return run


@dataclass(frozen=True)
class Session:
    """What one instrument's recording and its twin said."""

    folder: Path
    truth: dict
    recorded: dict
    path: Path


@pytest.fixture(scope="module")
def sessions(tmp_path_factory):
    """A recording from a twin of every instrument, all at the same time."""
    folder = tmp_path_factory.mktemp("sessions")
    names = [name for name in SESSIONS if name != "scpi" or find_spec("pyvisa_py")]
    twins = {name: Twin(folder, name, "--load", SESSIONS[name][0]) for name in names}
    try:
        for one in twins.values():
            one.wait()
        records = {
            name: start(
                folder,
                "record",
                f"{name}:{twins[name].port}{SESSIONS[name][2]}",
                "-o",
                f"{name}.npz",
                "--duration",
                SESSIONS[name][1],
                "--json",
            )  # fmt: skip
            for name in names
        }
        found = {}
        for name, process in records.items():
            code, out, err = finish(process)
            assert code == 0, out + err
            found[name] = Session(folder, twins[name].end()["truth"], json.loads(out), folder / f"{name}.npz")
        return found
    finally:
        for one in twins.values():
            if one.process.poll() is None:
                one.process.terminate()
                one.process.communicate()


@pytest.mark.parametrize("name", SESSIONS)
def test_charge_and_energy_are_within_a_thousandth_of_the_truth(sessions, name):
    if name not in sessions:
        pytest.skip("PyVISA is not installed: pip install 'edgesnn[scpi]'")
    session = sessions[name]
    (segment,) = session.recorded["segments"]
    truth = session.truth
    # what a busy machine really lost may be missing, but not silently
    gone_s = segment["missing_s"] + segment["suspect_s"]
    assert segment["measured_s"] >= 0.9 * SESSIONS[name][1] - gone_s
    share = 1.0
    if name == "scpi":  # polled: its time is the host's, from the request for the first reading on
        share = segment["measured_s"] / truth["seconds"]
    wrong_j = abs(segment["energy_j"] - share * truth["energy_j"])
    wrong_c = abs(segment["charge_c"] - share * truth["charge_c"])
    assert wrong_j <= 1e-3 * truth["energy_j"] + gone_s * HIGHEST_W
    assert wrong_c <= 1e-3 * truth["charge_c"] + gone_s * HIGHEST_W / 3.3
    assert segment["meter"]["simulated"]
    assert session.recorded["simulated"]


@pytest.mark.parametrize("name", SESSIONS)
def test_the_file_holds_what_was_reported(sessions, name):
    if name not in sessions:
        pytest.skip("PyVISA is not installed: pip install 'edgesnn[scpi]'")
    session = sessions[name]
    (segment,) = session.recorded["segments"]
    with Recording(session.path) as recording:
        assert recording.simulated
        assert recording.segments[0].samples >= segment["samples"] > 0
    with np.load(session.path) as arrays:
        assert "s000/c00000/current_a" in arrays
    assert segment["uncertainty"]["energy_j"] > 0


def test_a_recording_played_again_gives_the_same_result(sessions, edgesnn_here):
    session = sessions["ina228"]
    again = edgesnn_here("meter", "record", f"replay:{session.path}?speed=max", "-o", "again.npz", "--json")
    assert again.exit_code == 0
    (first,), (second,) = session.recorded["segments"], again.document["segments"]
    for key in ("samples", "energy_j", "charge_c", "missing_s", "peak_1ms_power_w", "loss", "calibration"):
        assert (
            second[key] == pytest.approx(first[key])
            if isinstance(first[key], float)
            else second[key] == first[key]
        )
    assert second["meter"]["simulated"]


def test_without_json_everything_says_simulated(sessions, edgesnn_here):
    finished = edgesnn_here("meter", "monitor", f"replay:{sessions['ina228'].path}?speed=max")
    assert finished.exit_code == 0
    assert "SIMULATED" in finished.stdout
    assert "energy" in finished.stdout


def test_ctrl_c_keeps_what_was_recorded(twin, tmp_path):
    port = twin("ina228").port
    record = start(tmp_path, "record", f"ina228:{port}", "-o", "a.npz", "--json")
    part = tmp_path / "a.npz.part"
    wait_for(lambda: part.exists() and part.stat().st_size, "the segment")
    # some samples: it may not be none, and nothing outside tells when the first is there
    time.sleep(patience(0.5))
    record.send_signal(signal.SIGINT)
    code, out, err = finish(record)
    assert code == 0, err
    assert json.loads(out)["segments"][0]["samples"] > 0
    assert (tmp_path / "a.npz").is_file()
    assert not part.exists()


def test_after_an_unplug_a_recording_goes_on_with_a_new_segment(edgesnn_here, tmp_path):
    meter = "sim:ina228?fault=unplug@1:0.2"
    finished = edgesnn_here("meter", "record", meter, "-o", "a.npz", "-d", "1.5", "--reconnect", "--json")
    assert finished.exit_code == 0, finished.stderr
    segments = finished.document["segments"]
    assert len(segments) == 2
    assert sum(one["measured_s"] for one in segments) == pytest.approx(1.5, abs=0.3)
    with Recording(tmp_path / "a.npz") as recording:
        assert [one.complete for one in recording.segments] == [True, True]


def test_without_reconnect_an_unplug_is_a_device_fault_that_keeps_what_there_is(edgesnn_here, tmp_path):
    meter = "sim:ina228?fault=unplug@1:0"
    finished = edgesnn_here("meter", "record", meter, "-o", "a.npz", "-d", "30", "--json")
    assert finished.exit_code == 4
    assert finished.document["error"]["code"] == "meter-unplugged"
    assert finished.document["segments"][0]["samples"] > 0
    assert (tmp_path / "a.npz").is_file()


def test_lost_samples_are_reported_and_not_filled_in(edgesnn_here):
    finished = edgesnn_here(
        "meter",
        "record",
        "sim:ina228?load=constant:50m&fault=drop-samples@0.5:200",
        "-o",
        "a.npz",
        "-d",
        "1",
        "--json",
    )
    assert finished.exit_code == 0
    (segment,) = finished.document["segments"]
    assert segment["loss"]["missing"] >= 200
    assert segment["missing_s"] > 0
    assert segment["mean_power_w"] == pytest.approx(0.05, rel=1e-3)


def test_a_calibration_takes_a_gain_error_away_and_is_shown(here):
    meter = "sim:ina228?load=constant:74m&supply=3.7&gain=0.02"  # 20 mA, shown as 20.4 mA
    flowing = ("--current", "0.02", "--current-limit", "0.01", "--seconds", "0.5")
    made = here("calibrate", meter, *flowing)
    factor = next(iter(made["corrections"].values()))["scale"]
    assert factor == pytest.approx(1 / 1.02, rel=1e-3)
    (segment,) = here("record", meter, "-o", "a.npz", "-d", "0.2")["segments"]
    assert segment["charge_c"] / segment["measured_s"] == pytest.approx(0.02, rel=1e-3)
    assert "0.02 A" in segment["calibration"]
    (segment,) = here("record", meter + "&calibration=no", "-o", "b.npz", "-d", "0.2")["segments"]
    assert segment["charge_c"] / segment["measured_s"] == pytest.approx(0.0204, rel=1e-3)
    assert "0.02 A" in here("info", meter)["accuracy"]["calibration"]
    assert here("calibrate", meter, "--forget")["forgotten"] is True
    assert here("info", meter)["calibration"] is None


def test_a_better_meter_calibrates_another(here):
    better = "sim:ina228?load=constant:74m"
    made = here(
        "calibrate", "sim:ina228?load=constant:74m&gain=-0.03", "--reference", better, "--seconds", "0.5"
    )
    assert next(iter(made["corrections"].values()))["scale"] == pytest.approx(1 / 0.97, rel=1e-3)
    made = here(
        "calibrate",
        "sim:ina228?load=constant:37m&gain=-0.03",
        "--reference",
        "sim:ina228?load=constant:37m",
        "--add",
        "--seconds",
        "0.5",
    )
    assert len(made["calibration"]["points"]) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "what"),
    [
        (("record", "ina228:/dev/nothing", "-o", "a.npz"), 4, "no port"),
        (("record", "replay:none.npz", "-o", "a.npz"), 1, "cannot read"),
        (("record", "sim:ina228", "-o", "no/a.npz"), 2, "no folder"),
        (("record", "sim:ina228", "-o", "a.npz", "-d", "0"), 2, "above 0"),
        (("simulate", "ppk3"), 2, "no twin"),
        (("simulate", "ppk2", "--fault", "x@1:2"), 2, "no fault"),
        (("calibrate", "sim:ina228"), 2, "name one thing"),
        (("info", "ppk2?voltage"), 2, "no value"),
    ],
)
def test_what_is_wrong_is_said_with_its_exit_code(here, arguments, code, what):
    assert what in here(*arguments, code=code)["error"]["what"]


def test_a_failed_start_leaves_no_file_and_an_older_one_as_it_was(edgesnn_here, tmp_path):
    (tmp_path / "a.npz").write_bytes(b"precious")
    finished = edgesnn_here("meter", "record", "ina228:/dev/nothing", "-o", "a.npz", "--force")
    assert finished.exit_code == 4
    assert (tmp_path / "a.npz").read_bytes() == b"precious"
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize("command", [("record", "-o", "a.npz"), ("monitor",)], ids=lambda words: words[0])
def test_samples_that_are_no_numbers_are_lost_and_the_document_is_whole(here, tmp_path, command):
    name, *more = command
    cells = {3: "nan", 4: "OVER", 5: "9.91E37"}
    (tmp_path / "a.csv").write_text(JOULESCOPE + rows(20, change=cells))
    for meter in ("csv:a.csv?speed=max", "replay:old.npz?speed=max"):
        if meter.startswith("replay"):  # a recording that an older version made of such a trace
            current = np.full(20, 0.027)
            current[3:6] = np.nan, np.inf, 9.91e37
            with Recorder(tmp_path / "old.npz") as recorder:
                recorder.begin_segment(segment(voltage_v=3.7))
                recorder.add(block(current), Loss(20))
                recorder.end_segment(Loss(20))
        found = here(name, meter, *more, *(["--force"] if more else []))
        (one,) = found.get("segments", [found])
        assert (one["loss"]["received"], one["loss"]["missing"]) == (17, 3)
        assert one["energy_j"] == pytest.approx(17e-3 * 0.027 * 3.7, rel=1e-6)
        assert one["missing_s"] == pytest.approx(3e-3)


def test_a_rate_in_the_address_reaches_a_trace(here, tmp_path):
    (tmp_path / "a.csv").write_text("Current (mA)\n27\n27\n27\n")
    (segment,) = here("record", "csv:a.csv?rate=1000&voltage=3.7&speed=max", "-o", "a.npz")["segments"]
    assert segment["charge_c"] == pytest.approx(81e-6)
    assert segment["rate_hz"] == 1000
    assert here("monitor", "csv:a.csv?rate=1000&voltage=3.7&speed=max")["samples"] == 3


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("Timestamp(ms),Current(uA)\n", 1, "no sample came"),
        (JOULESCOPE + "0.0,nan,3.7\n0.1,nan,3.7\n", 1, "no sample came"),
        (JOULESCOPE + "0,000,0,027,3,7\n", 1, "more fields"),
    ],
)
def test_where_nothing_was_measured_that_is_said_and_no_file_left(edgesnn_here, tmp_path, text, code, said):
    (tmp_path / "a.csv").write_text(text)
    for command in (("record", "-o", "a.npz"), ("monitor",)):
        finished = edgesnn_here("meter", command[0], "csv:a.csv?voltage=3&speed=max", *command[1:])
        assert finished.exit_code == code
        assert said in finished.stderr
        assert "name the voltage" not in finished.stdout + finished.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_a_missing_voltage_is_asked_for_only_where_it_is_missing(edgesnn_here, tmp_path):
    (tmp_path / "a.csv").write_text("Timestamp(ms),Current(uA)\n0,1\n1,1\n")
    finished = edgesnn_here("meter", "record", "csv:a.csv?speed=max", "-o", "a.npz")
    assert finished.exit_code == 0
    assert "name it, ...?voltage=3.7" in finished.stdout


def test_a_damaged_recording_is_a_users_error_that_names_the_part(edgesnn_here, tmp_path):
    with Recorder(tmp_path / "a.npz") as recorder:
        recorder.begin_segment(segment())
        recorder.add(block([0.01] * 50), Loss(50))
        recorder.end_segment(Loss(50))
    data = bytearray((tmp_path / "a.npz").read_bytes())
    data[data.rindex(b"s000/c00000/chunk.json") + len("s000/c00000/c")] ^= 2
    (tmp_path / "a.npz").write_bytes(data)
    finished = edgesnn_here("meter", "record", "replay:a.npz?speed=max", "-o", "b.npz", "--json")
    assert finished.exit_code == 1
    assert "'s000/c00000/cjunk.json' is not where it belongs" in finished.document["error"]["what"]
    assert not (tmp_path / "b.npz").exists()


def test_the_help_of_the_group_names_its_commands(edgesnn_here):
    finished = edgesnn_here("meter", "--help")
    assert all(name in finished.stdout for name in ("info", "monitor", "record", "simulate", "calibrate"))
