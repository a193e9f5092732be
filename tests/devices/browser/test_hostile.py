"""The runner ``browser`` against strangers: no page is trusted, and nothing is left behind."""

import http.client
import json
import socket
import threading
from urllib.parse import urlsplit

import numpy as np
import pytest

from edgesnn.errors import RunnerError, TextError
from edgesnn.profiler.budgets.profile import load_profile
from edgesnn.profiler.latency.session import measure_latency
from edgesnn.runners.base import LoadChip, Sighting
from edgesnn.runners.browser import runner as browser
from edgesnn.runners.browser.phone import PhoneGone
from edgesnn.runners.browser.server import Served
from edgesnn.text.tokenizer import load_tokenizer
from tests.support.devices.phones import PythonPhone, opening
from tests.support.patience import patience, wait_for

IDS = np.arange(40) % 280


@pytest.fixture(autouse=True)
def small_page(monkeypatch):
    """A page without the engine's 14 MB: these tests never run it."""
    files = {"index.html": Served(b"<p>page</p>", "text/html"), "big.wasm": Served(bytes(1 << 26), "x/y")}
    monkeypatch.setattr(browser, "served_files", lambda bundle, engine: files)


@pytest.fixture
def waiting(bundle):
    with opening(bundle) as opened:
        yield opened


@pytest.fixture
def joined(bundle):
    """A runner whose device is a Python phone with the lies that a test names."""
    kept = []

    def join(hello=None, **lies):
        context = opening(bundle)
        runner, url, device = context.__enter__()
        phone = PythonPhone(url, bundle, hello, **lies)
        kept.extend([(context, phone)])
        return runner, phone, device.result(patience())

    yield join
    for context, phone in kept:
        phone.close()
        context.__exit__(None, None, None)


def get(url, path, headers=None):
    """Status, headers and body of a request whose path is sent as it stands."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=patience())
    connection.putrequest("GET", path, skip_accept_encoding=True)
    for name, value in (headers or {}).items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    found = answer.status, dict(answer.getheaders()), answer.read()
    connection.close()
    return found


def test_an_honest_phone_becomes_the_device(joined):
    runner, phone, device = joined()
    assert device.device == "Android 14 Pixel 8, Chrome 156"
    assert device.engine == "native-wasm" and device.clock_hz == 10_000
    assert device.details["timer_step_us"] == 100.0 and device.details["secure_context"] is False
    assert device.details["clock_bound_ms"] >= 0.1
    assert runner.step(np.array([3])).logits.shape == (1, 280)
    assert runner.sequence(IDS[None]).logits.shape == (1, 40, 280)
    runner.play((LoadChip(True, 0.01), LoadChip(False, 0.01)))
    runner.idle(0)
    assert phone.heard[0]["type"] == "welcome"


def test_steps_shorter_than_the_timer_can_tell_are_timed_together_and_the_record_says_so(joined):
    runner, phone, device = joined()
    window = runner.window(IDS, 1, 4)
    (command,) = [heard for heard in phone.heard if heard["type"] == "window"]
    # 20 steps of 0.1 ms over calls of 0.9 ms: three calls, 40 steps in 13 groups, one of them of four.
    assert device.details["calls_per_sample"] == 3
    assert command["sizes"] == [4] + [3] * 12
    assert len(window.latencies_ns) == window.tokens == 40
    assert list(window.latencies_ns[:5]) == [10**6] * 4 + [window.latencies_ns[4]]
    assert "mean of 3 neighbouring steps" in " ".join(runner.seen().marks)


def test_a_page_that_was_hidden_makes_the_measurement_invalid(joined):
    hidden = iter([1, 1, 1, 2])

    def page(sock, command):
        fields = {"type": "reply", "id": command["id"], "bytes": 0, "visible": True}
        sock.send(json.dumps(fields | {"hidden": next(hidden)}))

    runner, _, _ = joined(page=page)
    runner.watch()
    assert runner.seen().invalid is None
    runner.watch()
    assert "hidden" in runner.seen().invalid


def test_a_latency_session_with_a_hidden_page_is_invalid_and_its_marks_are_kept(joined, bundle):
    hidden = iter([0, 1])

    def page(sock, command):
        fields = {"type": "reply", "id": command["id"], "bytes": 0, "visible": True}
        sock.send(json.dumps(fields | {"hidden": next(hidden)}))

    runner, _, _ = joined(page=page)
    workload = load_profile("quick").workload.model_copy(update={"min_window_seconds": 0.0})
    tokenizer = load_tokenizer(bundle.file("tokenizer.json"))
    ids = IDS.astype(np.int32)
    latency = measure_latency(
        runner, workload, tokenizer, ids, context_window=6, on_progress=lambda *what: None
    )
    assert "hidden" in latency.invalid and latency.clock == "device"
    assert any("mean of 3" in mark for mark in latency.marks)


def test_a_page_that_is_still_hidden_is_invalid_too(joined):
    runner, _, _ = joined(page={"visible": False})
    runner.watch()
    assert isinstance(runner.seen(), Sighting) and "hidden" in runner.seen().invalid


@pytest.mark.parametrize(
    "hello",
    [
        "{",
        "[]",
        "[" * 5000,
        b"\x00\x01",
        "{}",
        '{"type": "hello", "protocol": 99}',
        json.dumps({"type": "hello", "protocol": 1}),
        {"timer_step_us": 0},
        {"timer_step_us": float("nan")},
        {"timer_step_us": "5"},
        {"cores": True},
        {"user_agent": "x" * 501},
        {"user_agent": "a\x1b[2Jb"},
        {"secure_context": 1},
        {"screen": None},
    ],
    ids=repr,
)
def test_a_bad_greeting_is_refused_and_the_next_phone_is_taken(waiting, bundle, hello):
    _, url, device = waiting
    code, reason = PythonPhone(url, bundle, hello).closed()
    assert code == 4002 and "no answer" in reason
    phone = PythonPhone(url, bundle)
    assert device.result(patience()).engine == "native-wasm"
    phone.close()


def test_a_second_page_is_told_to_wait_and_the_first_goes_on(joined, bundle):
    runner, _, _ = joined()
    url = runner._server.url
    assert PythonPhone(url, bundle).closed() == (4001, "another phone is being measured")
    assert runner.step(np.array([3])).elapsed_ns == 900_000


def test_a_phone_that_leaves_before_it_is_ready_makes_room_for_another(waiting, bundle, capsys):
    _, url, device = waiting
    PythonPhone(url, bundle, load=lambda sock, command: sock.close()).closed()
    phone = PythonPhone(url, bundle)
    # The first one's place is free once its loss was noticed; a page tries again, as this one does.
    while not device.done():
        phone.thread.join(0.05)
        if not phone.thread.is_alive() and not device.done():
            phone = PythonPhone(url, bundle)
    assert device.result(patience()).engine == "native-wasm"
    assert "waiting for another one" in capsys.readouterr().err
    phone.close()


def frame_of(size):
    return lambda sock, command: sock.send("x" * size)


def several(*frames):
    def send(sock, command):
        for frame in frames:
            text = json.dumps(frame | {"id": command["id"]}) if isinstance(frame, dict) else frame
            sock.send(text)

    return send


LIES = {
    "a frame that is too large": frame_of((1 << 20) + 1),
    "a long text frame": frame_of((1 << 16) + 1),
    "no JSON": several("hello?"),
    "a binary frame": several(b"{}"),
    "an answer to another command": {"id": 99},
    "an unknown frame": {"type": "cookie"},
    "fewer numbers than logits": {"bytes": 4},
    "more numbers than logits": {"bytes": 1 << 39},
    "a negative count": {"bytes": -4},
    "too many bytes at once": several({"type": "reply", "bytes": 1120, "elapsed_ms": 1}, bytes(1121)),
    "text for numbers": several({"type": "reply", "bytes": 1120, "elapsed_ms": 1}, "1120"),
    "an empty piece": several({"type": "reply", "bytes": 1120, "elapsed_ms": 1}, b""),
    "a time before the start": {"elapsed_ms": -1},
    "a time that is no number": {"elapsed_ms": "fast"},
    "an endless time": several('{"type":"reply","id":2,"bytes":0,"elapsed_ms":1e999}'),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_an_answer_that_is_none_is_a_device_error_with_a_remedy(joined, lie):
    runner, _, _ = joined(step=lie)
    with pytest.raises(RunnerError, match="no answer") as caught:
        runner.step(np.array([3]))
    assert caught.value.exit_code == 4 and caught.value.remedy


def test_an_error_in_the_browser_is_told_in_its_words(joined):
    runner, _, _ = joined(step=several({"type": "error", "what": "out of memory"}))
    with pytest.raises(RunnerError, match="'step' failed in the phone's browser: out of memory"):
        runner.step(np.array([3]))


def test_signs_of_life_keep_a_command_waiting(joined):
    answer = {"type": "reply", "bytes": 0}
    runner, _, _ = joined(reset=several({"type": "busy"}, {"type": "busy"}, answer))
    runner.reset()


def test_a_silent_page_is_an_error(joined):
    runner, _, _ = joined(reset=lambda sock, command: None)
    with pytest.raises(RunnerError, match="no sign of life") as caught:
        runner._phone().ask("reset", silence_s=0.05)
    assert "foreground" in caught.value.remedy


def test_a_closed_page_is_an_error(joined):
    runner, phone, _ = joined()
    phone.close()
    with pytest.raises(PhoneGone, match="was closed"):
        runner.step(np.array([3]))


@pytest.mark.parametrize("mean", [0.0, -1.0, float("nan"), float("inf")])
def test_times_that_the_timer_cannot_tell_from_nothing_are_refused(joined, mean):
    runner, _, _ = joined(window=np.full(13, mean).astype("<f8").tobytes())
    with pytest.raises(RunnerError, match="cannot tell from nothing"):
        runner.window(IDS, 1, 0)


def test_a_hash_that_is_none_is_refused(joined):
    runner, _, _ = joined(window={"output_sha256": "<script>"})
    with pytest.raises(RunnerError, match="output_sha256"):
        runner.window(IDS, 1, 0)


def test_another_model_on_the_phone_is_refused(waiting, bundle):
    _, url, device = waiting
    phone = PythonPhone(url, bundle, load={"model_sha256": "00" * 32})
    with pytest.raises(RunnerError, match="another model arrived"):
        device.result(patience())
    phone.close()


def test_threads_over_plain_http_are_refused_with_the_way_out(bundle):
    with opening(bundle, "onnxruntime:127.0.0.1", threads=2) as (_, url, device):
        phone = PythonPhone(url, bundle)
        with pytest.raises(RunnerError, match="no threads") as caught:
            device.result(patience())
        assert "--https" in caught.value.remedy
        phone.close()


def test_threads_of_the_c_engine_are_refused_with_the_way_out(bundle):
    with opening(bundle, threads=2) as (_, url, device):
        phone = PythonPhone(url, bundle)
        with pytest.raises(RunnerError, match="on one thread") as caught:
            device.result(patience())
        assert "onnxruntime" in caught.value.remedy
        phone.close()


def test_nobody_comes(bundle):
    with opening(bundle, wait_s=0.05) as (_, url, device):
        with pytest.raises(RunnerError, match="no phone opened the page") as caught:
            device.result(patience())
        assert caught.value.actual == url


def test_wrong_ids_never_reach_the_phone(joined):
    runner, phone, _ = joined()
    with pytest.raises(TextError, match="outside the vocabulary"):
        runner.step(np.array([280]))
    with pytest.raises(RunnerError, match="one sequence at a time"):
        runner.sequence(np.zeros((2, 5), np.int64))
    with pytest.raises(RunnerError, match="one sequence at a time"):
        runner.reset(2)
    assert "step" not in {heard["type"] for heard in phone.heard}


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/index.html",
        "/wrong-token/",
        "/wrong-token/socket",
        "/{token}/../../../../etc/passwd",
        "/{token}/%2e%2e/%2e%2e/etc/passwd",
        "/{token}/..\\..\\etc\\passwd",
        "/{token}//etc/passwd",
        "/{token}/ort/../browser_server.py",
        "/{token}/\xe9\x00",
        "//{token}/",
        "http://elsewhere/{token}/",
        "/{token}/index.html/..",
    ],
)
def test_no_path_reaches_another_file(waiting, path):
    _, url, _ = waiting
    token = urlsplit(url).path.strip("/")
    with socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), timeout=patience()) as raw:
        raw.sendall(b"GET " + path.format(token=token).encode("latin-1") + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b"".join(iter(lambda: raw.recv(4096), b""))
    assert answer == b"" or answer.split(b" ")[1] in (b"404", b"400")  # or it hung up at once
    assert b"root:" not in answer and b"import" not in answer


def test_the_page_comes_with_headers_that_allow_no_other_host(waiting):
    _, url, _ = waiting
    status, headers, body = get(url, urlsplit(url).path + "?utm=1")
    assert (status, body) == (200, b"<p>page</p>")
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'") and "unsafe-inline" not in policy
    assert headers["Referrer-Policy"] == "no-referrer" and headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    status, headers, _ = get(url, urlsplit(url).path.rstrip("/"))
    assert (status, headers["Location"]) == (308, urlsplit(url).path)


def test_another_page_cannot_use_the_socket(waiting):
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    _, url, _ = waiting
    with pytest.raises(InvalidStatus) as caught:
        connect(url.replace("http", "ws", 1) + "socket", origin="http://elsewhere")
    assert caught.value.response.status_code == 403


def test_two_sessions_have_two_tokens(bundle):
    with opening(bundle) as (_, one, _), opening(bundle) as (_, two, _):
        assert urlsplit(one).path != urlsplit(two).path and len(urlsplit(one).path) >= 18


def test_after_close_nothing_listens_and_no_thread_is_left_even_when_readers_are_slow(bundle):
    before = threading.active_count()
    with opening(bundle) as (_, url, _):
        where = (urlsplit(url).hostname, urlsplit(url).port)
        slow = socket.create_connection(where, timeout=patience())
        slow.sendall(f"GET {urlsplit(url).path}big.wasm HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert slow.recv(4)  # the answer has begun, and is never read to its end
        mute = socket.create_connection(where, timeout=patience())
        phone = PythonPhone(url, bundle)
    phone.close()
    slow.close()
    mute.close()
    with pytest.raises(OSError):
        socket.create_connection(where, timeout=patience())
    wait_for(lambda: threading.active_count() <= before, "the end of the threads")


def test_an_error_is_shown_on_the_phone_before_it_is_let_go(bundle):
    with opening(bundle) as (runner, url, device):
        phone = PythonPhone(url, bundle)
        device.result(patience())
        try:
            with runner:
                raise RunnerError("something broke")
        except RunnerError:
            pass
        phone.closed()
    shown = [heard for heard in phone.heard if heard["type"] == "result"]
    assert shown[0]["verdict"] == "FAILED" and shown[0]["rows"] == [["", "something broke"]]
    assert phone.heard[-1]["type"] == "over"
