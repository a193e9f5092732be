"""The runner `adb` on a phone of the tests, through the real adb client: the good way and every fault."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from edgesnn.errors import RunnerError, TextError, UsageError
from edgesnn.program.golden import Golden
from edgesnn.runners.base import LoadChip, RunnerOptions
from edgesnn.runners.remote import adb_client
from edgesnn.runners.remote import build as remote_build
from edgesnn.runners.remote import state as remote_state
from edgesnn.runners.remote.adb import AdbRunner
from tests.conftest import ROOT
from tests.support.bundles import shared_bundle
from tests.support.devices.adb_server import free_port
from tests.support.devices.adbd import CPU, SUPPLY, THERMAL
from tests.support.patience import wait_for

IDS = np.random.default_rng(0).integers(0, 280, (1, 60))
HOLD = """
import sys
from pathlib import Path
from edgesnn import open_bundle
from edgesnn.runners.remote.adb import AdbRunner
from edgesnn.runners.base import RunnerOptions
runner = AdbRunner()
runner.open(open_bundle(Path(sys.argv[1])), RunnerOptions(address=sys.argv[2]))
print("open", flush=True)
sys.stdin.read()
"""


def opened(bundle, address):
    runner = AdbRunner()
    runner.open(bundle, RunnerOptions(address=address))
    return runner


def details_of(bundle, phone, options=""):
    with AdbRunner() as runner:
        return runner.open(bundle, RunnerOptions(address=phone.serial + options))


@pytest.fixture
def host(phone):
    """A process that holds a session on the phone."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, shared_bundle(), phone.serial],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout.readline() == b"open\n"
    yield process
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def test_every_form_equals_golden_and_nothing_is_left(phone, bundle):
    want = Golden(bundle.program()).sequence(IDS)
    with opened(bundle, phone.serial) as runner:
        assert len(phone.left()) == 1
        for i in range(20):
            np.testing.assert_array_equal(runner.step(IDS[:, i]).logits, want[:, i])
        np.testing.assert_array_equal(runner.sequence(IDS).logits, want)
        np.testing.assert_array_equal(runner.step(IDS[:, 20]).logits, want[:, 20])  # the context is its own
        np.testing.assert_array_equal(runner.prefill(IDS[:, :41]).logits, want[:, 40])
        output = runner.step(IDS[:, 41])
        np.testing.assert_array_equal(output.logits, want[:, 41])
        assert output.elapsed_ns > 0 and output.logits.dtype == np.int32
        runner.reset()
        np.testing.assert_array_equal(runner.step(IDS[:, 0]).logits, want[:, 0])
    assert phone.left() == [] and not phone.running


def test_a_window_times_every_step_on_the_phone_and_hashes_all_logits(phone, bundle):
    logits = Golden(bundle.program()).sequence(IDS)[0]
    digest = hashlib.sha256(b"".join(row.tobytes() for _ in range(3) for row in logits))
    with opened(bundle, phone.serial) as runner:
        window = runner.window(IDS[0], repeat=3, warmup=4)
        assert window.output_sha256 == digest.hexdigest()
        assert window.tokens == 180 == len(window.latencies_ns) and (window.latencies_ns > 0).all()
        assert window.latencies_ns.sum() <= window.ended_ns - window.started_ns
        with pytest.raises(RunnerError, match="at least one token"):
            runner.window(IDS[0], 0, 0)
        runner.play((LoadChip(True, 0.02), LoadChip(False, 0.01)))
        reading = runner.clock()
        assert reading.host_before_ns < reading.host_after_ns and reading.device_ticks > 0


def test_the_record_says_what_the_phone_is_and_that_this_one_is_emulated(phone, bundle):
    info = details_of(bundle, phone, "?cpus=big&kernels=swar")
    assert info.simulated and info.device == "Test Folder 1, Android 14 (emulated by qemu-aarch64-static)"
    details = info.details
    assert details["emulated_by"] == "qemu-aarch64-static" and details["kernels"] == "swar"
    assert details["phone"]["soc"] == "T1000" and details["phone"]["android"] == "14"
    assert [(c["name"], c["cpus"]) for c in details["clusters"]] == [("little", [0]), ("big", [1])]
    assert details["cpus"] == [1] and details["before"]["temperatures_c"] == {"cpu-big": 41.25}
    assert details["before"]["battery"]["level_percent"] == 81
    json.dumps(details, allow_nan=False)


def test_a_phone_that_says_it_is_androids_emulator_is_simulated(make_phone, bundle):
    phone = make_phone(properties={"ro.hardware": "ranchu"}.items())
    link = adb_client.AdbLink(adb_client.choose_phone(phone.serial))
    assert AdbRunner().identify(link).emulated == "the Android emulator"


def test_a_phone_that_holds_its_clock_down_is_marked_or_refused(phone, bundle):
    with opened(bundle, f"{phone.serial}?cpus=big&throttled=refuse") as runner:
        runner.watch()
        runner.window(IDS[0], 1, 0)
        phone.write(f"{CPU}/cpu1/cpufreq/scaling_max_freq", "1400000")
        sighting = runner.seen()
        assert "cpu1 is held at 1400 of 2800 MHz" in sighting.invalid
    with pytest.raises(RunnerError, match="holds its clock down"):
        opened(bundle, f"{phone.serial}?throttled=refuse")
    with opened(bundle, phone.serial) as runner:
        phone.write(f"{THERMAL}/cooling_device0/cur_state", "2")
        phone.write("dumpsys-thermalservice", "IsStatusOverride: false\nThermal Status: 2")
        runner.watch()
        phone.write(f"{THERMAL}/thermal_zone0/temp", "66000")
        sighting = runner.seen()
    assert sighting.invalid is None
    said = " ".join(sighting.marks)
    assert "cooling 'cpufreq-cpu0 (0)' is at step 2" in said and "'moderate'" in said
    assert "25 degrees hotter, to 66 C" in said
    assert phone.left() == []


def test_the_gauge_is_coarse_on_battery_and_invalid_on_a_charger(phone, bundle, monkeypatch):
    with opened(bundle, phone.serial) as runner:
        runner.watch()
        assert runner._details["gauge"]["label"] == "INVALID"
        phone.write(f"{SUPPLY}/usb/online", "0")
        phone.write(f"{SUPPLY}/battery/status", "Discharging")
        phone.write(f"{SUPPLY}/battery/current_now", "-350000")
        stop = threading.Event()

        def flow():
            value = 350000
            while not stop.wait(0.05):
                value += 100
                phone.write(f"{SUPPLY}/battery/current_now", f"-{value}")

        thread = threading.Thread(target=flow)
        thread.start()
        runner.watch()
        stop.set()
        thread.join()
        gauge = runner._details["gauge"]
        assert gauge["label"] == "COARSE" and gauge["sign"].startswith("negative while it discharges")
        assert 0.02 < gauge["update_period_s"] < 3
        monkeypatch.setattr(remote_state, "GAUGE_S", 0.05)
        runner.watch()
        gauge = runner._details["gauge"]
        assert gauge["update_period_s"] is None and "fewer than two" in gauge["update_period_reason"]
        phone.write(f"{SUPPLY}/usb/online", "1")
        runner.seen()
        assert runner._details["gauge"]["label"] == "INVALID"


def test_bad_calls_are_errors_and_the_session_goes_on(phone, bundle):
    with opened(bundle, phone.serial) as runner:
        for bad in ([280], [-1]):
            with pytest.raises(TextError, match="vocabulary"):
                runner.step(np.array(bad))
        for bad in (np.zeros((1, 0), int), np.zeros(3, int), np.zeros((1, 2))):
            with pytest.raises(TextError):
                runner.sequence(bad)
        with pytest.raises(RunnerError, match="one sequence"):
            runner.sequence(np.zeros((2, 3), int))
        with pytest.raises(RunnerError, match="refused"):
            runner._call(99, b"")
        assert runner.step(IDS[:, 0]).logits.shape == (1, 280)
    with pytest.raises(RunnerError, match="holds no bundle"):
        runner.step(IDS[:, 0])
    with pytest.raises(UsageError, match="one thread"):
        AdbRunner().open(bundle, RunnerOptions(threads=2, address=phone.serial))


def test_without_a_name_the_only_phone_is_taken_and_several_must_be_named(make_phone, bundle):
    with pytest.raises(RunnerError, match="no phone is attached"):
        opened(bundle, None)
    first = make_phone()
    with opened(bundle, None) as runner:
        assert runner.step(IDS[:, 0]).logits.size
    second = make_phone()
    with pytest.raises(UsageError, match="several phones") as caught:
        opened(bundle, None)
    assert first.serial in caught.value.actual and second.serial in caught.value.actual
    with pytest.raises(RunnerError, match="not attached") as caught:
        opened(bundle, "127.0.0.1:1")
    assert caught.value.remedy == "adb connect 127.0.0.1:1"


def test_an_unauthorized_and_an_offline_phone_are_different_errors(make_phone, bundle, edgesnn_here):
    stranger = make_phone(authorized=False)
    silent = make_phone(silent=True, connect=False)
    waits = subprocess.Popen(["adb", "connect", silent.serial], stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: any(p.serial == silent.serial for p in adb_client.phones()))
        with pytest.raises(RunnerError, match="is unauthorized; remedy: unlock the phone"):
            opened(bundle, stranger.serial)
        with pytest.raises(RunnerError, match="is offline; remedy: unplug"):
            opened(bundle, silent.serial)
        ready = make_phone()
        listed = edgesnn_here("list", "devices", "--json").document["items"]
    finally:
        waits.kill()
        waits.wait()
    states = {item["name"]: item["missing"] for item in listed}
    assert states[f"adb:{ready.serial}"] is None
    assert states[f"adb:{stranger.serial}"].startswith("unauthorized: unlock")
    assert states[f"adb:{silent.serial}"].startswith("offline:")


def test_a_full_phone_and_a_push_that_arrives_changed_are_errors_that_leave_nothing(phone, bundle):
    phone.free_bytes = 100_000
    with pytest.raises(RunnerError, match="is full"):
        opened(bundle, phone.serial)
    assert phone.left() == []
    phone.free_bytes, phone.damage = None, True
    with pytest.raises(RunnerError, match="arrived changed"):
        opened(bundle, phone.serial)
    assert phone.left() == []


def test_a_binary_of_another_processor_is_refused_here_or_there(make_phone, bundle, tmp_path, monkeypatch):
    phone = make_phone(emulator=None)
    with pytest.raises(RunnerError, match="cannot be started") as caught:
        opened(bundle, phone.serial)
    assert "another processor" in caught.value.remedy
    assert phone.left() == []
    other = remote_build.find_binary(os.uname().machine)
    monkeypatch.setenv(remote_build.BINARY_VARIABLE, str(other.path))
    with pytest.raises(RunnerError, match="is no program for this device") as caught:
        opened(bundle, phone.serial)
    assert caught.value.actual == os.uname().machine and caught.value.limit == "aarch64"
    (tmp_path / "text").write_text("#!/bin/sh")
    monkeypatch.setenv(remote_build.BINARY_VARIABLE, str(tmp_path / "text"))
    with pytest.raises(RunnerError, match="is no program"):
        opened(bundle, phone.serial)
    old = make_phone(properties={"ro.product.cpu.abi": "mips"}.items())
    with pytest.raises(RunnerError, match="not built for this processor"):
        opened(bundle, old.serial)


def test_a_phone_unplugged_in_the_middle_is_an_error_and_cleans_itself(phone, bundle):
    with pytest.raises(RunnerError, match="went away in the middle"), opened(bundle, phone.serial) as runner:
        timer = threading.Timer(0.3, phone.unplug)
        timer.start()
        while True:
            runner.window(IDS[0], 20, 0)
    wait_for(lambda: phone.left() == [])
    wait_for(lambda: not phone.running)


def test_a_killed_engine_is_an_error_and_the_folder_is_removed(phone, bundle):
    with pytest.raises(RunnerError, match="died"), opened(bundle, phone.serial) as runner:
        runner.step(IDS[:, 0])
        phone.kill_programs()
        while True:
            runner.step(IDS[:, 0])
    assert phone.left() == []


def test_a_changed_byte_in_the_stream_is_found_and_the_folder_is_removed(phone, bundle):
    with pytest.raises(RunnerError, match="no frame of the engine"), opened(bundle, phone.serial) as runner:
        runner.step(IDS[:, 0])
        phone.garble = True
        runner.step(IDS[:, 0])
    phone.garble = False
    wait_for(lambda: phone.left() == [])


def test_a_host_that_is_killed_leaves_nothing(phone, host):
    assert len(phone.left()) == 1
    host.send_signal(signal.SIGKILL)
    wait_for(lambda: phone.left() == [])
    wait_for(lambda: not phone.running)


def test_what_a_killed_host_and_a_killed_engine_leave_is_removed_by_the_next_session(phone, host, bundle):
    (dead,) = phone.left()
    phone.kill_programs()
    wait_for(lambda: not phone.running)
    host.send_signal(signal.SIGKILL)
    host.wait()
    folder = phone.path("/data/local/tmp")
    stranger, fresh = folder / "someone-elses", folder / "edgesnn-being-pushed"
    stranger.mkdir()
    fresh.mkdir()
    assert dead in phone.left()
    os.utime(folder / dead / "lock", (1, 1))
    with opened(bundle, phone.serial) as living:
        assert dead not in phone.left()
        for name in phone.left():
            if (folder / name / "lock").exists():
                os.utime(folder / name / "lock", (1, 1))
        with opened(bundle, phone.serial) as second:
            np.testing.assert_array_equal(second.step(IDS[:, 0]).logits, living.step(IDS[:, 0]).logits)
    assert phone.left() == ["edgesnn-being-pushed", "someone-elses"]
    os.utime(fresh, (1, 1))
    with opened(bundle, phone.serial) as runner:
        assert runner._details["stale_folders_removed"] == 1
    assert phone.left() == ["someone-elses"]


def sessions(bundle, phone, count, side_by_side):
    """Run sessions side by side; the logits that they gave."""

    def one(number):
        with opened(bundle, phone.serial) as runner:
            runner.prefill(IDS[:, : 1 + number % 7])
            return runner.sequence(IDS[:, :5]).logits

    with ThreadPoolExecutor(side_by_side) as pool:
        return list(pool.map(one, range(count)))


def test_sessions_side_by_side_disturb_nobody_and_leave_nothing(phone, bundle):
    want = Golden(bundle.program()).sequence(IDS[:, :5])
    for logits in sessions(bundle, phone, 12, 4):
        np.testing.assert_array_equal(logits, want)
    assert phone.left() == [] and not phone.running


def test_the_command_line_verifies_and_profiles_a_phone(phone, edgesnn_here, tmp_path):
    target = f"adb:{phone.serial}?cpus=little"
    verified = edgesnn_here("verify", shared_bundle(), "--target", target, "--tokens", "50", "--json")
    assert verified.exit_code == 0, verified.stderr
    assert verified.document["targets"][0]["mismatches"] == 0
    run = tmp_path / "run.json"
    profiled = edgesnn_here(
        "profile", shared_bundle(), "--target", target, "--profile", "quick", "--window-seconds", "0.05",
        "-o", run, "--json",
    )  # fmt: skip
    assert profiled.exit_code == 0, profiled.stderr
    record = json.loads(run.read_text())
    assert record["device"]["simulated"] and record["latency"]["clock"] == "device"
    assert record["quantities"]["latency.p50"]["kind"] == "SIMULATED"
    assert record["quantities"]["parity.mismatches"]["value"] == 0
    assert any("emulated" in mark for mark in record["marks"])
    assert record["device"]["details"]["gauge"]["label"] == "INVALID"
    assert record["device"]["details"]["during"] and record["device"]["details"]["after"]
    assert phone.left() == []


def test_a_phone_is_compared_only_when_it_is_named(phone, edgesnn_here):
    verified = edgesnn_here("verify", shared_bundle(), "--tokens", "5", "--json")
    assert "adb" in verified.document["skipped"]


def test_a_server_that_was_started_to_find_no_phone_is_stopped_again(adb, monkeypatch):
    monkeypatch.setenv(adb_client.SERVER_PORT_VARIABLE, str(free_port()))
    assert not adb_client.server_runs()
    assert adb_client.list_phones() == []
    wait_for(lambda: not adb_client.server_runs())


#: What login shells print of themselves: before the command, on which streams, and after it.
NOISE = {
    "greeting": ("echo Magisk su; echo error: no su >&2; echo Permission denied >&2", ""),
    "title without a newline": ("printf '\\033]0;phone\\007'", ""),
    "the command itself": ("echo $LINE; echo $LINE >&2", ""),
    "farewell and a code": ("", "; echo bye; exit 9"),
}


@pytest.mark.parametrize("noise", NOISE.values(), ids=NOISE)
def test_what_a_shell_prints_of_its_own_changes_nothing(phone, bundle, noise):
    phone.before, phone.after = noise
    with opened(bundle, phone.serial) as runner:
        want = Golden(bundle.program()).sequence(IDS)
        np.testing.assert_array_equal(runner.sequence(IDS).logits, want)
    assert phone.left() == []
    with pytest.raises(RunnerError, match="cannot make a folder"):
        opened(bundle, f"{phone.serial}?folder=/no/such/folder")


@pytest.mark.parametrize("when", ["mkdir", "exec"], ids=["before anything", "when the engine starts"])
def test_a_shell_that_runs_nothing_is_no_fault_of_the_phone(phone, bundle, when):
    phone.before = f'case "$LINE" in *{when}*) printf "\\033[1mno shell for\\033[0m you\\n"; exit 1;; esac'
    with pytest.raises(RunnerError, match=r"the shell of .* did not run a command") as caught:
        opened(bundle, phone.serial)
    assert "it printed: no shell for you" in caught.value.actual and "start-up files" in caught.value.remedy
    phone.before = ""
    wait_for(lambda: phone.left() == [])


STAND_IN = """#!/bin/sh
case "$1" in
devices) printf 'List of devices attached\\n'; cat "$0.phones";;
-t|-s) [ "$1 $2" = "-t 2" ] || { echo "error: more than one device" >&2; exit 1; }
       shift 4; sh -c "$*";;
esac
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """An adb that lists the phones of a file, of which only transport 2 answers."""
    path = tmp_path / "adb"
    path.write_text(STAND_IN)
    path.chmod(0o755)
    monkeypatch.setenv("EDGESNN_ADB", str(path))

    def attach(*lines):
        (tmp_path / "adb.phones").write_text("\n".join(lines) + "\n\n")

    return attach


def test_two_phones_of_one_serial_number_are_told_apart_by_transport(stand_in, edgesnn_here):
    stand_in("0123 device model:A transport_id:1", "0123 device model:B transport_id:2", "7 device")
    with pytest.raises(UsageError, match="2 phones have the serial number '0123'") as caught:
        adb_client.choose_phone("0123")
    assert "--target 'adb:0123?transport=1'" in caught.value.remedy
    phone = adb_client.choose_phone("0123", "2")
    assert phone.model == "B"
    assert adb_client.AdbLink(phone).shell("echo here").out == "here\n"
    with pytest.raises(RunnerError, match="'0123.transport=3' is not attached"):
        adb_client.choose_phone("0123", "3")
    listed = edgesnn_here("list", "devices", "--json").document["items"]
    names = [item["name"] for item in listed if item["name"].startswith("adb:")]
    assert names == ["adb:0123?transport=1", "adb:0123?transport=2", "adb:7"]
    stand_in("0123 device model:B transport_id:2")
    assert adb_client.AdbLink(phone).gone() is None


def test_a_phone_without_a_serial_number_is_named_by_its_transport(stand_in):
    stand_in("(no serial number)     device usb:1-1 transport_id:2")
    phone = adb_client.choose_phone(None)
    assert phone.name.endswith("?transport=2") and phone.selection == ("-t", "2")
    assert adb_client.choose_phone(None, "2") == phone


def test_an_adb_that_is_missing_or_hangs_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGESNN_ADB", "no-such-adb")
    assert "no-such-adb" in AdbRunner.missing() and "apt install adb" in AdbRunner.missing()
    with pytest.raises(RunnerError, match="no-such-adb"):
        adb_client.run(["devices"], seconds=1)
    hangs = tmp_path / "adb"
    hangs.write_text("#!/bin/sh\nexec sleep 60\n")
    hangs.chmod(0o755)
    monkeypatch.setenv("EDGESNN_ADB", str(hangs))
    with pytest.raises(RunnerError, match="adb did not answer"):
        adb_client.run(["devices"], seconds=0.2)
