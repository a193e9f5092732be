"""The parts of the runner ``browser`` that need neither a page nor a socket."""

import gzip
import io
import json
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesnn import parity_targets
from edgesnn.errors import RunnerError, UsageError
from edgesnn.runners.browser import assets as browser_assets
from edgesnn.runners.browser.address import Place, lan_address, parse_place, qr_lines, with_https
from edgesnn.runners.browser.protocol import (
    PhoneFacts,
    calls_per_sample,
    group_sizes,
    read_frame,
    read_hello,
)
from tests.support.devices.phones import HELLO


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("127.0.0.1", Place("127.0.0.1", 0, False)),
        ("127.0.0.1:8080", Place("127.0.0.1", 8080, False)),
        ("http://192.168.1.7:80/", Place("192.168.1.7", 80, False)),
        ("https://lab.local:8443", Place("lab.local", 8443, True)),
        ("[::1]:8080", Place("::1", 8080, False)),
        ("::1", Place("::1", 0, False)),
    ],
)
def test_an_address_is_host_and_port_with_or_without_a_scheme(address, place):
    assert parse_place(address) == place


@pytest.mark.parametrize(
    "address",
    ["0.0.0.0", "[::]:80", "a b", "host:port", "host:70000", "host:-1", ":80", "host/path", "[::1]x", "h:1:"],
)
def test_an_address_that_is_none_or_means_every_interface_is_a_usage_error(address):
    with pytest.raises(UsageError):
        parse_place(address)


def test_without_an_address_the_routing_table_is_asked(monkeypatch):
    monkeypatch.setattr("edgesnn.runners.browser.address.lan_address", lambda: "192.168.1.7")
    assert parse_place(None) == Place("192.168.1.7", 0, False)
    assert parse_place("https") == Place("192.168.1.7", 0, True)


def test_a_computer_without_a_network_is_told_to_name_an_address(monkeypatch):
    def unreachable(self, address):
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr("socket.socket.connect", unreachable)
    with pytest.raises(RunnerError, match="unreachable") as caught:
        lan_address()
    assert "browser:HOST" in caught.value.remedy


def test_origins_are_written_as_browsers_write_them():
    assert Place("::1", 80, False).origin == "http://[::1]:80"
    assert Place("10.0.0.1", 8443, True).origin == "https://10.0.0.1:8443"


def test_https_is_a_flag_of_this_target_only():
    assert with_https("browser") == "browser:https"
    assert with_https("browser:h:8") == with_https("browser:https://h:8") == "browser:https://h:8"
    with pytest.raises(UsageError, match="--https"):
        with_https("native")


def test_the_qr_code_shows_every_module_and_is_black_on_white_where_colours_are():
    segno = pytest.importorskip("segno", reason="segno is not installed: pip install 'edgesnn[phone]'")
    url = "http://192.168.1.7:40001/abcdefghijklmnop/"
    shown = []
    for line in qr_lines(url, colour=False):
        shown += [[int(c in "▀█") for c in line], [int(c in "▄█") for c in line]]
    modules = [
        [int(bool(cell)) for cell in row] for row in segno.make(url, micro=False).matrix_iter(border=2)
    ]
    assert shown[: len(modules)] == modules and not any(map(any, shown[len(modules) :]))
    assert all(line.startswith("\x1b[30;107m") for line in qr_lines("x", colour=True))


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(HELLO)), inner),
    max_leaves=8,
)


@given(st.text() | st.binary())
def test_no_frame_crashes_the_reader(frame):
    for reader in (read_frame, read_hello):
        with pytest.raises(RunnerError):
            reader(frame)


@given(st.dictionaries(st.sampled_from(sorted(HELLO)), JSON))
def test_a_greeting_with_odd_fields_is_read_or_refused(changes):
    try:
        facts = read_hello(json.dumps(HELLO | changes))
    except RunnerError as error:
        assert "no answer" in error.what
    else:
        assert facts.timer_step_us > 0 and facts.device.isprintable()


@pytest.mark.parametrize(
    ("agent", "device"),
    [
        (HELLO["user_agent"], "Android 14 Pixel 8, Chrome 156"),
        (
            "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 Chrome/156.0 Mobile",
            "Android 10, Chrome 156",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) Version/18.1 Mobile Safari/6",
            "iPhone CPU iPhone OS 18_1 like Mac OS X, Safari 18",
        ),
        (
            "Mozilla/5.0 (Android 15; rv:140.0) Firefox/140.0",
            "Android 15 rv:140.0, Firefox 140",
        ),
        ("curl", "unknown browser"),
    ],
)
def test_a_phone_is_named_by_what_its_browser_tells(agent, device):
    assert read_hello(json.dumps(HELLO | {"user_agent": agent})).device == device


def test_the_model_is_named_where_the_browser_tells_it():
    facts = read_hello(json.dumps(HELLO | {"model": "Pixel 8", "system": "Android 14.0.0"}))
    assert isinstance(facts, PhoneFacts) and facts.device == "Pixel 8, Android 14.0.0, Chrome 156"


@given(st.integers(1, 500), st.integers(1, 60))
def test_groups_hold_every_step_once_and_none_is_shorter_than_asked(steps, calls):
    sizes = group_sizes(steps, calls)
    assert sum(sizes) == steps and max(sizes) - min(sizes) <= 1
    assert min(sizes) >= min(calls, steps)


def test_a_sample_lasts_twenty_steps_of_the_timer():
    assert calls_per_sample(0.1, 0.9) == 3
    assert calls_per_sample(0.005, 0.9) == 1
    assert calls_per_sample(0.1, 0.09) == 23


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, a pinned package of three small files, and its folder."""
    import hashlib

    monkeypatch.setenv("EDGESNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(browser_assets.OWN_FOLDER, raising=False)
    folder = tmp_path / "dist"
    folder.mkdir()
    pinned = {}
    for name in browser_assets.FILES:
        (folder / name).write_bytes(f"content of {name}".encode())
        pinned[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    monkeypatch.setattr(browser_assets, "FILES", pinned)
    return folder


def fake_npm(monkeypatch, tmp_path, script):
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir()
    npm.write_text(f"#!/bin/sh\n{script}\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(npm.parent), prepend=":")


def test_files_from_a_folder_are_checked_and_kept(cache, capsys):
    assert browser_assets.main(["--from", str(cache)]) == 0
    assert "is in" in capsys.readouterr().out
    found = browser_assets.assets()
    assert set(found) == {*browser_assets.FILES, f"{browser_assets.LARGEST}.gz"}
    packed = found[f"{browser_assets.LARGEST}.gz"].read_bytes()
    assert gzip.decompress(packed) == found[browser_assets.LARGEST].read_bytes()


def test_a_packed_file_that_was_changed_is_left_out(cache):
    packed = browser_assets.fetch(cache) / f"{browser_assets.LARGEST}.gz"
    packed.write_bytes(gzip.compress(b"other"))
    assert packed.name not in browser_assets.assets()


def test_an_own_folder_is_used_as_it_stands(cache, monkeypatch):
    monkeypatch.setenv(browser_assets.OWN_FOLDER, str(cache))
    assert browser_assets.missing() is None
    assert browser_assets.assets()[browser_assets.LARGEST].parent == cache
    (cache / browser_assets.LARGEST).unlink()
    assert browser_assets.LARGEST in browser_assets.missing()


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_a_file_that_is_not_the_pinned_one_is_refused(cache, capsys, damage):
    file = cache / browser_assets.LARGEST
    file.write_bytes(b"other") if damage == "changed" else file.unlink()
    assert browser_assets.main(["--from", str(cache)]) == 4
    assert browser_assets.LARGEST in capsys.readouterr().err
    assert not browser_assets._folder().exists()


def test_npm_fetches_the_package_by_its_own_configuration(cache, monkeypatch, tmp_path):
    archive = tmp_path / "package.tgz"
    with tarfile.open(archive, "w:gz") as packed:
        for name in browser_assets.FILES:
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = (cache / name).stat().st_size
            packed.addfile(member, io.BytesIO((cache / name).read_bytes()))
    fake_npm(
        monkeypatch, tmp_path, f'[ "$2" = onnxruntime-web@{browser_assets.VERSION} ] && cp {archive} "$5"'
    )
    assert browser_assets.missing() is None
    assert browser_assets.LARGEST in browser_assets.assets()


@pytest.mark.parametrize(
    ("script", "what"),
    [("echo no such host >&2; exit 1", "no such host"), ('echo junk > "$5/x.tgz"', "is not onnxruntime-web")],
)
def test_npm_that_fails_is_an_error_with_the_way_without_it(cache, monkeypatch, tmp_path, script, what):
    fake_npm(monkeypatch, tmp_path, script)
    with pytest.raises(RunnerError, match=what) as caught:
        browser_assets.assets()
    assert "--from FOLDER" in caught.value.remedy


def test_without_npm_and_cache_the_runner_says_what_is_missing(cache, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert "no npm" in browser_assets.missing()
    with pytest.raises(RunnerError, match="no npm"):
        browser_assets.assets()


def test_a_phone_is_compared_only_when_it_is_named(bundle, cache):
    browser_assets.fetch(cache)
    reason = parity_targets(bundle).get("browser", "")
    assert "--target browser" in reason or "not installed" in reason
