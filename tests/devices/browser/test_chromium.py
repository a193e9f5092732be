"""The page in a real browser: headless Chromium with a phone's screen, on this computer."""

import json
import os
import re
import socket
import ssl
import subprocess
import sys
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

from edgesnn.api.verification import verify_open
from edgesnn.bundle.bundle import Bundle
from edgesnn.profiler.budgets.profile import load_profile
from edgesnn.profiler.latency.steps import measure_windows
from edgesnn.profiler.latency.warmup import warm_up
from edgesnn.program.golden import Golden
from edgesnn.runners.base import LoadChip
from edgesnn.runners.browser import server as browser_server
from tests.support.devices.chromium import PLAIN_HOST
from tests.support.devices.phones import opening
from tests.support.patience import patience

ROOT = Path(__file__).parents[3]
IDS = np.random.default_rng(1).integers(0, 280, 60)


@contextmanager
def on_phone(chrome, bundle, address="127.0.0.1", threads=1, scheme="light"):
    """A runner whose device is a tab of Chromium: yields runner, tab and device."""
    with opening(bundle, address, threads) as (runner, url, device):
        tab = chrome.phone(url, scheme=scheme)
        try:
            yield runner, tab, device.result(patience())
        finally:
            tab.close()


@pytest.fixture(scope="module")
def phone(chrome, bundle):
    """One phone that several tests use in turn, each from a new context."""
    with on_phone(chrome, bundle) as opened:
        yield opened


@pytest.fixture
def plain(monkeypatch):
    """Serve under a name that browsers do not take for this computer, as a phone in a network sees it."""
    bound = browser_server._bound

    def on_loopback(place):
        assert place.host == PLAIN_HOST
        return bound(browser_server.Place("127.0.0.1", place.port, place.tls))

    monkeypatch.setattr(browser_server, "_bound", on_loopback)
    return PLAIN_HOST


@contextmanager
def command(chrome, tmp_path, *arguments):
    """``edgesnn ARGUMENTS`` in a process of its own with a tab as its phone; yields process and tab."""
    process = subprocess.Popen(
        [sys.executable, "-m", "edgesnn.cli.main", *map(str, arguments)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stderr.readline()
        url = re.fullmatch(r"open on the phone: (\S+)\n", line)
        assert url, line + process.stderr.read()
        tab = chrome.phone(url[1], scheme="dark")
        yield process, tab, url[1]
        tab.close()
    finally:
        process.kill()
        process.communicate()


def test_a_profile_ends_with_every_bit_equal_and_the_verdict_on_the_phone(chrome, bundle, tmp_path):
    arguments = ("profile", bundle.path, "--target", "browser:127.0.0.1", "--profile", "quick")
    with command(chrome, tmp_path, *arguments, "-o", "run.json", "--json") as (process, tab, url):
        said = tab.wait_for("PASS")
        stdout, stderr = process.communicate(timeout=patience())
        assert (process.returncode, stderr) == (0, "")
        assert "mismatches with golden" in said and "You can close this page" in said
        hosts = tab.run("performance.getEntriesByType('resource').map(e => new URL(e.name).origin)")
        assert set(hosts) == {url.rsplit("/", 2)[0]}
    record = json.loads(stdout)
    written = json.loads((tmp_path / "run.json").read_text("utf-8"))
    assert record["schema"] == written["schema"] and record["device"] == written["device"]
    assert record["parity"]["mismatches"] == 0
    assert record["parity"]["logits_compared"] > 10**4
    assert set(record["parity"]["forms"]) == {"step", "sequence", "prefill"}
    assert record["verdict"]["verdict"] == "PASS"
    assert record["latency"]["clock"] == "device"
    device = record["device"]
    assert (device["engine"], device["runner"]) == ("native-wasm", "browser")
    details = device["details"]
    assert details["secure_context"] is True and details["cross_origin_isolated"] is True
    assert details["timer_step_us"] > 0 and details["clock_bound_ms"] > 0
    assert details["same_address"] is True and any("its own address" in mark for mark in record["marks"])
    assert record["quantities"]["memory.peak"]["reason"] == "the device is not this computer"
    with pytest.raises(OSError):
        socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), timeout=patience())


@pytest.mark.parametrize("engine", ["", "onnxruntime:"])
def test_verify_says_exact_here_and_on_the_phone(chrome, bundle, tmp_path, engine, request):
    if engine:
        request.getfixturevalue("engine_files")
    arguments = ("verify", bundle.path, "--target", f"browser:{engine}127.0.0.1", "--tokens", "1", "--json")
    with command(chrome, tmp_path, *arguments) as (process, tab, _):
        said = tab.wait_for("EXACT")
        stdout, _ = process.communicate(timeout=patience())
    (result,) = json.loads(stdout)["targets"]
    assert (process.returncode, result["mismatches"]) == (0, 0)
    assert f"{result['logits_compared']:,}" in said


def test_plain_http_has_a_coarse_timer_and_one_thread_and_the_same_bits(chrome, bundle, plain):
    golden = Golden(bundle.program()).sequence(IDS[None])[0]
    with on_phone(chrome, bundle, plain) as (runner, tab, device):
        details = device.details
        assert details["secure_context"] is False and details["cross_origin_isolated"] is False
        assert details["timer_step_us"] >= 99 and device.clock_hz <= 10_101
        assert details["wake_lock"] is False
        assert "plain connection" in tab.text()
        runner.watch()
        windows = [runner.window(IDS, 2, 3) for _ in range(2)]
        # on a busy computer one call may be long enough for this timer
        together = details["calls_per_sample"] > 1
        assert ("neighbouring steps" in " ".join(runner.seen().marks)) is together
        assert runner.seen().invalid is None
    wanted = sha256(np.concatenate([golden, golden]).astype("<i4").tobytes()).hexdigest()
    assert [window.output_sha256 for window in windows] == [wanted, wanted]
    assert all((window.latencies_ns > 0).all() and window.tokens == 120 for window in windows)
    assert all(window.started_ns < window.ended_ns for window in windows)


@pytest.mark.usefixtures("engine_files")
def test_https_allows_threads_and_the_certificate_is_the_announced_one(chrome, bundle, plain):
    with on_phone(chrome, bundle, f"onnxruntime:https://{plain}", threads=2) as (runner, _, device):
        assert device.details["cross_origin_isolated"] is True and device.details["threads"] == 2
        assert device.details["timer_step_us"] < 100
        port = runner._server.place.port
        shown = ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", port)))
        assert sha256(shown).hexdigest().upper() == runner.fingerprint.replace(":", "")
        result = verify_open(runner, "browser", bundle, tokens=1)
        assert result.mismatches == 0 and result.logits_compared > 0


def test_a_page_that_is_hidden_in_between_makes_the_run_invalid(phone):
    runner, tab, _ = phone
    runner.watch()
    runner.window(IDS, 1, 0)
    assert runner.seen().invalid is None
    for state in ("hidden", "visible"):
        changed = f"{{value: '{state}', configurable: true}}"
        tab.run(
            f"Object.defineProperty(document, 'visibilityState', {changed});"
            "document.dispatchEvent(new Event('visibilitychange'))"
        )
    runner.window(IDS, 1, 0)
    assert "hidden" in runner.seen().invalid
    runner.watch()
    assert runner.seen().invalid is None


def test_a_second_tab_is_told_to_wait_and_the_first_goes_on(chrome, bundle):
    with opening(bundle) as (runner, url, device):
        first = chrome.phone(url)
        device.result(patience())
        second = chrome.phone(url)
        second.wait_for("Please wait")
        runner.reset()
        first.close()
        second.close()


def test_a_closed_tab_ends_the_command_with_a_device_error(chrome, bundle, tmp_path):
    arguments = ("profile", bundle.path, "--target", "browser:127.0.0.1", "--profile", "quick", "--json")
    with command(chrome, tmp_path, *arguments) as (process, tab, _):
        tab.wait_for("Checking every bit")
        tab.browser.ask("Target.closeTarget", targetId=tab.target)
        tab.close = lambda: None
        stdout, _ = process.communicate(timeout=patience())
    error = json.loads(stdout)["error"]
    assert process.returncode == 4 and "was closed" in error["what"]


def test_a_wrong_address_and_a_session_that_is_over_say_so(chrome, bundle):
    with opening(bundle) as (runner, url, device):
        wrong = chrome.phone(url[:-3] + "/")
        wrong.wait_for("Scan the code again")
        wrong.close()
        tab = chrome.phone(url)
        device.result(patience())
        runner.close()
        tab.wait_for("You can close this page")
        tab.close()


def test_the_page_is_light_or_dark_and_fits_a_phone(chrome, bundle):
    brightness = {}
    with on_phone(chrome, bundle) as (runner, tab, _):
        runner.show_progress("latency windows", 1, 5)
        tab.wait_for("Measuring")
        runner.show_result("FAIL", [("per generated token, median", "61.3 ms"), ("first token", "1.2 s")])
        tab.wait_for("61.3 ms")
        for scheme in ("light", "dark"):
            preference = {"name": "prefers-color-scheme", "value": scheme}
            tab.ask("Emulation.setEmulatedMedia", features=[preference])
            ground = tab.run("getComputedStyle(document.body).backgroundColor")
            brightness[scheme] = sum(map(int, re.findall(r"\d+", ground)))
        assert tab.run("document.documentElement.scrollWidth") <= 412
        assert tab.run("parseFloat(getComputedStyle(document.querySelector('#facts')).fontSize)") >= 16
    assert brightness["light"] > 600 and brightness["dark"] < 150


def test_a_model_that_the_browser_refuses_is_told_on_both_sides(chrome, bundle, monkeypatch):
    from edgesnn.runners.browser import device as browser_device
    from edgesnn.runners.browser import runner as browser

    def spoilt(given, engine):
        files = browser_device.served_files(given, engine)
        return files | {
            f"model/{engine.model_file(given)}": browser_server.Served(
                b"no model", "application/octet-stream"
            )
        }

    monkeypatch.setattr(browser, "served_files", spoilt)
    with opening(bundle) as (_, url, device):
        tab = chrome.phone(url)
        error = device.exception(patience())
        assert error.exit_code == 4 and "'load' failed in the phone's browser" in error.what
        tab.wait_for("This browser cannot run it")
        tab.close()


def test_a_load_pattern_is_played_and_leaves_a_new_context(phone):
    runner, _, _ = phone
    runner.reset()
    fresh = runner.step(IDS[:1]).logits
    runner.play((LoadChip(True, 0.02), LoadChip(False, 0.02), LoadChip(True, 0.02)))
    np.testing.assert_array_equal(runner.step(IDS[:1]).logits, fresh)


def test_the_profiler_measures_a_phone_like_any_other_device(phone):
    runner, _, _ = phone
    workload = load_profile("quick").workload.model_copy(update={"min_window_seconds": 0.05})
    ids = IDS.astype(np.int32)
    warm = warm_up(runner, ids, 4)
    windows = measure_windows(runner, workload, ids, context=6, warm=warm, on_progress=lambda *what: None)
    assert len({window.output_sha256 for window in windows}) == 1
    assert all(window.outside_ms_per_token > 0 for window in windows)


def test_the_clock_of_the_phone_runs_with_this_computers_within_its_bound(phone):
    runner, _, device = phone
    first, bound = runner._phone().host_offset_ns(10)
    readings = [runner.clock() for _ in range(5)]
    second, later_bound = runner._phone().host_offset_ns(10)
    step_ns = 1e9 / device.clock_hz
    assert abs(first - second) <= bound + later_bound + 2 * step_ns + 1e6  # clocks may drift a little
    ticks = [reading.device_ticks for reading in readings]
    assert ticks == sorted(ticks) and ticks[0] > 0


def test_a_browser_without_simd_runs_the_other_module_to_the_same_bits(chrome, bundle):
    golden = Golden(bundle.program()).sequence(IDS[None, :20])[0]
    with opening(bundle) as (runner, url, device):
        page = runner._server._files["engine/engine.js"]
        spoilt = page.content.replace(
            b"return WebAssembly.validate(", b"return false && WebAssembly.validate("
        )
        assert spoilt != page.content
        runner._server._files["engine/engine.js"] = browser_server.Served(spoilt, page.kind)
        tab = chrome.phone(url)
        assert device.result(patience()).details["kernels"] == "swar"
        np.testing.assert_array_equal(runner.sequence(IDS[None, :20]).logits[0], golden)
        tab.close()


def test_bundles_without_onnx_files_are_named(bundle, tmp_path):
    from tests.support.bundles import copied_bundle, manifest_of, write_manifest

    folder = copied_bundle(tmp_path / "bundle")
    manifest = manifest_of(folder)
    del manifest["exports"]["onnx"]
    write_manifest(folder, manifest)
    address = "onnxruntime:127.0.0.1"
    with pytest.raises(Exception, match="format 'onnx'") as caught, opening(Bundle(folder), address):
        pass
    assert caught.value.exit_code == 1
