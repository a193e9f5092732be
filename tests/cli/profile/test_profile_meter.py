"""``edgesnn profile --meter`` with simulated instruments, as a user meets it."""

import glob
import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgesnn.cli.main import run
from edgesnn.cli.profile.live import band
from edgesnn.locks import locked
from edgesnn.record.files import read_run
from tests.support.bundles import shared_bundle
from tests.support.patience import patience, wait_for

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="twins need pseudo-terminals")

ROOT = Path(__file__).parents[3]
PROFILE = """
schema = "edgesnn.profile/1"
name = "short"
[workload]
prompt_tokens = 4
generated_tokens = 4
context = 1
windows = 3
min_window_seconds = 0.0
metered_window_seconds = 0.1
idle_seconds = 0.1
min_window_tokens = 8
warmup_tokens = 1
first_tokens = 0
activity_tokens = 0
memory_probes = 0
parity_tokens = 1
accuracy_tokens = 0
[budgets]
power_mw = { limit = 100.0, required = true }
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    (tmp_path / "short.toml").write_text(PROFILE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGESNN_LOCKS", str(tmp_path / "locks"))
    monkeypatch.setenv("COLUMNS", "200")


def words(meter, *more):
    shared = ["profile", str(shared_bundle()), "--target", "golden", "--profile", "short.toml"]
    return [*shared, "--meter", meter, "-o", "run.json", *more]


@pytest.fixture
def host():
    """Starts ``edgesnn`` in a process of its own; one that is still there at the end is ended."""
    started = []

    def start(*arguments, **options):
        command = [sys.executable, "-m", "edgesnn.cli.main", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"}
        started.append(subprocess.Popen(command, env=environment, **options))
        return started[-1]

    yield start
    for one in started:
        if one.poll() is None:
            one.kill()
        one.wait()
        for stream in (one.stdout, one.stderr):
            if stream is not None:
                stream.close()


def wait_for_windows(process, count):
    def there():
        assert process.poll() is None, process.returncode
        return len(glob.glob("run.json.session/window-*.npz")) >= count

    wait_for(there, "the window")


def test_a_simulated_ppk2_gives_a_record_that_says_simulated(capsys):
    code = run(words("sim:ppk2?voltage=3.3", "--json"))
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert captured.err == "" and code == 6
    record = read_run(Path("run.json"))
    power = record.record.power
    assert document["power"]["kind"] == power.kind == "SIMULATED"
    assert power.meter["meter"]["model"] and len(power.windows) == 3
    budget = next(one for one in record.record.budgets if one.name == "power_mw")
    assert budget.verdict == "UNDECIDED"
    mean = record.record.quantities["power.mean"]
    valid = [window for window in power.windows if window.invalid is None]
    if valid:  # a machine that is late loses samples of 100,000 a second, and then says so
        assert mean.kind == "SIMULATED" and mean.value == pytest.approx(80, rel=0.02)
    else:
        assert mean.value is None and "no good sample" in mean.reason
    low, middle, high = (record.arrays[f"power_{name}_w"] for name in ("min", "mean", "max"))
    assert len(low) == len(high) == len(record.arrays["power_time_s"])
    assert (low <= middle * (1 + 1e-6)).all() and (middle <= high * (1 + 1e-6)).all()
    assert not Path("run.json.session").exists()


def test_a_terminal_shows_progress_power_and_verdict_and_then_the_uncertainty_by_component(host):
    master, slave = os.openpty()
    process = host(*words("sim:ina228", "--details"), stdout=subprocess.PIPE, stderr=slave)
    os.close(slave)
    shown = b""
    streams = {master, process.stdout.fileno()}
    printed = b""
    while streams:
        for one in select.select(list(streams), [], [], 60)[0]:
            try:
                data = os.read(one, 65536)
            except OSError:  # the other end is closed
                data = b""
            if not data:
                streams.discard(one)
            elif one == master:
                shown += data
            else:
                printed += data
    os.close(master)
    assert process.wait() == 6
    live, result = shown.decode(), printed.decode()
    assert "latency windows" in live and "power " in live and "mW" in live and "SIMULATED" in live
    assert any(0x2800 < ord(letter) <= 0x28FF for letter in live)  # the trace
    assert "mean power of continuous generation" in live and "so far" in live
    assert "standard uncertainty by component, each alone, SIMULATED" in result
    assert "repeatability" in result and "metered windows" in result


def test_an_interrupted_command_goes_on_when_it_is_repeated(host, capsys):
    process = host(*words("sim:ina228"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for_windows(process, 1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=patience())
    assert process.returncode == 130
    assert "kept in run.json.session; the same command goes on from there" in " ".join(said.split())
    assert not Path("run.json").exists()
    assert run(words("sim:ina228?active=0.05")) == 2
    assert "differs in the meter" in capsys.readouterr().err
    assert run(words("sim:ina228")) == 6
    assert "windows are from before" in " ".join(capsys.readouterr().out.split())
    assert len(read_run(Path("run.json")).record.power.windows) == 3
    assert not Path("run.json.session").exists()


@pytest.mark.parametrize(
    ("meter", "code", "words_of_it"),
    [
        ("ina228:/dev/no-such-port", 4, "no-such-port"),
        ("sim:ppk3", 2, "ppk3"),
        ("sim:ppk2?voltage=99", 2, "99 V"),
    ],
)
def test_a_meter_that_is_missing_is_told_before_anything_is_measured(
    capsys, monkeypatch, meter, code, words_of_it
):
    def measured(*_, **__):
        raise AssertionError("something was measured before the meter was there")

    monkeypatch.setattr("edgesnn.api.profiling.verify_open", measured)
    assert run(words(meter)) == code
    captured = capsys.readouterr()
    assert words_of_it in captured.err and captured.out == ""
    assert not Path("run.json.session").exists()


def test_a_session_that_another_process_runs_is_left_alone(capsys):
    with locked(f"session {Path('run.json.session').absolute()}", "it"):
        assert run(words("sim:ina228")) == 4
    assert "in use by another process" in capsys.readouterr().err


def test_a_session_at_the_limit_of_the_meter_shows_why_its_budget_is_undecided(capsys):
    assert run(words("sim:ina228?active=5000", "--details")) == 6
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "INVALID" in text and "UNDECIDED" in text
    assert "at the limit of the instrument" in text and "no valid window" in text
    power = read_run(Path("run.json")).record.power
    assert all("at the limit of the instrument" in window.invalid for window in power.windows)


def test_a_meter_that_was_asked_for_and_gave_nothing_is_no_pass(capsys):
    Path("short.toml").write_text(PROFILE.partition("[budgets]")[0])
    for more in ((), ("--allow-unmeasured",)):
        assert run(words("sim:ina228?active=5000", "--no-resume", *more)) == 6
        text = " ".join(capsys.readouterr().out.split())
        assert "verdict: UNDECIDED (exit code 6), budgets: 0 judged" in text
        assert "the meter was asked for and gave no power" in text


def test_the_trace_keeps_a_spike_that_is_shorter_than_a_reading():
    readings = [(0.01, 0.01)] * 20
    flat, spiked = band(readings, 3), band([*readings[:9], (0.01, 0.1), *readings[10:]], 3)
    assert (flat[0], spiked[0]) == (pytest.approx(0.01), pytest.approx(0.1))
    assert len(spiked[1]) == 3 and len(spiked[1][0]) == 10
    assert [letter != "\u2800" for letter in spiked[1][0]] == [False] * 4 + [True] + [False] * 5
