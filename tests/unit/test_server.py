"""`edgesnn serve`: the interface, its limits, and a server in a process of its own."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

pytest.importorskip("starlette", reason="starlette is not installed: pip install 'edgesnn[serve]'")
httpx = pytest.importorskip("httpx")

from starlette.testclient import TestClient  # noqa: E402

from edgesnn import generate_text  # noqa: E402
from edgesnn.api.runtime.student import OpenStudent  # noqa: E402
from edgesnn.errors import EdgesnnError, MeterError, RunnerError, UsageError  # noqa: E402
from edgesnn.runners.native.runner import NativeRunner  # noqa: E402
from edgesnn.server.app import StudentApp  # noqa: E402
from edgesnn.server.power import ServerPower  # noqa: E402
from edgesnn.server.requests import ServerLimits  # noqa: E402
from edgesnn.server.running import is_loopback, listening  # noqa: E402
from tests.conftest import ROOT  # noqa: E402
from tests.support.bundles import shared_bundle  # noqa: E402
from tests.support.patience import patience, wait_for  # noqa: E402

OPENAI = ROOT / ".foreign/openai/bin/python"


@pytest.fixture(scope="module")
def folder():
    return shared_bundle()


@pytest.fixture(scope="module")
def student(folder):
    with OpenStudent(folder, runners=2) as opened:
        yield opened


def client_of(student, token=None, **limits):
    return TestClient(StudentApp(student, ServerLimits(**limits), token).app)


@pytest.fixture(scope="module")
def client(student):
    return client_of(student)


def ask(client, path="completions", **body):
    body = {"prompt": "Once upon"} | body if path == "completions" else body
    return client.post(f"/v1/{path}", json=body)


def events(response):
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_a_completion_is_the_text_of_generate(client, folder):
    wanted = str(generate_text(folder, "Once upon", max_tokens=20, raw=True))
    answer = ask(client, max_tokens=20, model="anything")
    document = answer.json()
    assert answer.status_code == 200 and document["object"] == "text_completion"
    (choice,) = document["choices"]
    assert choice == {"index": 0, "text": wanted, "logprobs": None, "finish_reason": "length"}
    assert document["usage"]["completion_tokens"] == 20
    parts = events(ask(client, max_tokens=20, stream=True, stream_options={"include_usage": True}))
    assert "".join(part["choices"][0]["text"] for part in parts if part["choices"]) == wanted
    assert parts[-1]["usage"] == document["usage"] and parts[-2]["choices"][0]["finish_reason"] == "length"


def test_a_chat_is_answered_in_the_students_template(client, folder, student):
    wanted = str(generate_text(folder, "Hello", max_tokens=15))
    messages = [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}]
    document = ask(client, "chat/completions", messages=messages, max_completion_tokens=15).json()
    assert document["choices"][0]["message"] == {"role": "assistant", "content": wanted}
    parts = events(ask(client, "chat/completions", messages=messages, max_tokens=15, stream=True))
    deltas = [part["choices"][0]["delta"] for part in parts]
    assert deltas[0]["role"] == "assistant" and deltas[-1] == {}
    assert "".join(delta.get("content", "") for delta in deltas) == wanted
    more = [
        {"role": "system", "content": "Be short."},
        *messages,
        {"role": "assistant", "content": wanted},
        {"role": "user", "content": "And you?"},
    ]
    ids = student.prompt_ids("Be short.\n\nHello") + student.prompt_ids(wanted, None)
    ids += student.prompt_ids("And you?")
    second = ask(client, "chat/completions", messages=more, max_tokens=15).json()
    assert second["choices"][0]["message"]["content"] == student.generate(ids, max_tokens=15).text()


def test_stop_strings_seed_and_sampling_are_heard(client):
    whole = ask(client, max_tokens=30).json()["choices"][0]["text"]
    stopped = ask(client, max_tokens=30, stop=whole[5:9]).json()["choices"][0]
    assert stopped["text"] == whole[: whole.index(whole[5:9])] and stopped["finish_reason"] == "stop"
    drawn = [
        ask(client, max_tokens=20, temperature=0.9, seed=s).json()["choices"][0]["text"] for s in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        ({"prompt": ""}, 400, "no tokens"),
        ({"prompt": ["a"]}, 400, "prompt"),
        ({"max_tokens": -1}, 400, "max_tokens"),
        ({"max_tokens": 101}, 400, "at most 100"),
        ({"temperature": 1e9}, 400, "temperature"),
        ({"top_p": 0}, 400, "top_p"),
        ({"n": 2}, 400, "n:"),
        ({"logprobs": 5}, 400, "logprobs"),
        ({"stop": ""}, 400, "stop string is empty"),
        ({"prompt": "word " * 300}, 400, "at most 200"),
        ({"prompt": "\ud83d"}, 400, "no UTF-8"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_document(student, body, status, word):
    answer = client_of(student, max_tokens=100, prompt_tokens=200).post(
        "/v1/completions", content=json.dumps({"prompt": "Hello"} | body)
    )
    assert answer.status_code == status and word in answer.json()["error"]["message"]
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("messages", "word"),
    [
        ([], "messages"),
        ([{"role": "user"}], "content"),
        ([{"role": "robot", "content": "x"}], "role"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "content"),
        ([{"role": "assistant", "content": "x"}], "the last one"),
    ],
)
def test_a_chat_that_makes_no_sense_is_refused(client, messages, word):
    answer = ask(client, "chat/completions", messages=messages)
    assert answer.status_code == 400 and word in answer.json()["error"]["message"]


def test_bodies_that_are_no_json_or_too_long_are_refused(student):
    client = client_of(student, body_bytes=1000)
    for content in (b"", b"{", b"[" * 900, b"\xff\xfe"):
        assert client.post("/v1/completions", content=content).status_code == 400
    assert client.post("/v1/completions", content=b"x" * 1001).status_code == 413


def test_without_its_token_a_client_gets_nothing(student):
    client = client_of(student, token="secret")
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer sécret".encode()}):
        for path in ("/v1/models", "/metrics"):
            assert client.get(path, headers=headers).status_code == 401
    assert client.get("/healthz").status_code == 200
    (model,) = client.get("/v1/models", headers={"Authorization": "Bearer secret"}).json()["data"]
    assert model["id"] == "tiny"


def test_the_metrics_count_tokens_requests_and_times(student):
    client = client_of(student)
    ask(client, max_tokens=7)
    ask(client, max_tokens=-1)
    text = client.get("/metrics").text
    assert "edgesnn_completion_tokens_total 7.0" in text
    assert 'edgesnn_requests_total{endpoint="/v1/completions",status="200"} 1.0' in text
    assert 'edgesnn_requests_total{endpoint="/v1/completions",status="400"} 1.0' in text
    assert "edgesnn_first_token_seconds_count 1.0" in text and "edgesnn_waiting_requests 0.0" in text


def test_an_answer_that_takes_too_long_ends_with_length(student):
    answer = ask(client_of(student, seconds=1e-9, max_tokens=100_000), max_tokens=100_000).json()
    assert answer["choices"][0]["finish_reason"] == "length"
    assert 0 < answer["usage"]["completion_tokens"] < 100_000


def test_a_device_that_fails_is_said_and_the_next_request_is_answered(student, monkeypatch):
    client = client_of(student)

    def fails(self, ids, k, *, new):
        raise RunnerError("the cable was pulled")

    with monkeypatch.context() as patch:
        patch.setattr(NativeRunner, "best", fails)
        assert ask(client, max_tokens=5).status_code == 503
        streamed = ask(client, max_tokens=5, stream=True).text
        assert "the cable was pulled" in streamed and "[DONE]" not in streamed
    assert ask(client, max_tokens=5).status_code == 200


def test_who_comes_when_too_many_wait_is_told_so(folder):
    with OpenStudent(folder, runners=1) as student:
        app = StudentApp(student, ServerLimits(waiting=0))
        answer = TestClient(app.app).post("/v1/completions", json={"prompt": "Hello"})
        assert answer.status_code == 429


@contextmanager
def served(folder, *arguments):
    """`edgesnn serve` in a process of its own: yields its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "edgesnn.cli.main", "serve", str(folder), "--port", "0", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if found := re.search(r"at (http://\S+)/v1", line):
                break
        else:
            raise AssertionError("".join(lines))
        yield found[1], process, "".join(lines)
    finally:
        process.kill()
        process.communicate()


def test_two_hundred_requests_at_once_are_answered_or_told_to_wait(folder):
    with served(folder, "--waiting", "300") as (address, _, _):
        body = {"prompt": "Once upon", "max_tokens": 10}

        with httpx.Client(timeout=patience()) as together, ThreadPoolExecutor(50) as threads:

            def answer(_):
                return together.post(f"{address}/v1/completions", json=body)

            wanted = answer(0).json()["choices"]
            answers = list(threads.map(answer, range(200)))
    assert all(answer.json()["choices"] == wanted for answer in answers)


def test_a_server_stops_in_order_and_frees_its_port(folder):
    with served(folder) as (address, process, _):
        assert httpx.get(f"{address}/healthz", timeout=patience()).json() == {"status": "ok"}
        process.send_signal(signal.SIGTERM)
        process.wait(patience())
        port = int(address.rsplit(":", 1)[1])
        with listening("127.0.0.1", port):
            pass


def test_a_client_that_leaves_ends_its_answer(folder):
    with served(folder, "--runners", "1", "--max-tokens", "100000") as (address, _, _):
        body = {"prompt": "Once upon", "max_tokens": 100_000, "stream": True}
        for _ in range(3):  # with one runner a second answer would wait for the whole of the first
            with httpx.stream("POST", f"{address}/v1/completions", json=body, timeout=patience()) as response:
                next(response.iter_lines())

        def counted():
            text = httpx.get(f"{address}/metrics", timeout=patience()).text
            return float(re.search(r"edgesnn_answer_seconds_count (\S+)", text)[1]) == 3

        wait_for(counted, "the end of three answers", 0.05)
        answer = httpx.post(
            f"{address}/v1/completions", json={"prompt": "Hello", "max_tokens": 5}, timeout=patience()
        )
        assert answer.json()["usage"]["completion_tokens"] == 5


def test_on_an_address_that_others_reach_a_key_is_asked_for(folder):
    with served(folder, "--host", "0.0.0.0") as (everywhere, _, said):
        key = re.search(r"API key (\S+)", said)[1]
        address = everywhere.replace("0.0.0.0", "127.0.0.1")
        assert httpx.get(f"{address}/v1/models", timeout=patience()).status_code == 401
        headers = {"Authorization": f"Bearer {key}"}
        assert httpx.get(f"{address}/v1/models", headers=headers, timeout=patience()).status_code == 200


def test_a_slow_client_holds_nobody_up(folder):
    with served(folder, "--runners", "1") as (address, _, _):
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as slow:
            slow.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            body = {"prompt": "Hello", "max_tokens": 5}
            assert httpx.post(f"{address}/v1/completions", json=body, timeout=patience()).status_code == 200


def test_addresses():
    assert is_loopback("127.0.0.1") and is_loopback("localhost") and is_loopback("::1")
    assert not is_loopback("0.0.0.0") and not is_loopback("example.org")
    with pytest.raises(UsageError, match="cannot listen"):
        listening("192.0.2.1", 0)


OPENAI_SCRIPT = """
import json, sys
from openai import OpenAI, BadRequestError
client = OpenAI(base_url=sys.argv[1] + "/v1", api_key="none", max_retries=0)
chat = [{"role": "user", "content": "Hello"}]
whole = client.chat.completions.create(model="reference", messages=chat, max_tokens=15)
parts = client.chat.completions.create(model="reference", messages=chat, max_tokens=15, stream=True)
streamed = "".join(part.choices[0].delta.content or "" for part in parts)
plain = client.completions.create(model="reference", prompt="Once upon", max_tokens=15)
try:
    client.completions.create(model="reference", prompt="x", max_tokens=10**9)
    refused = None
except BadRequestError as error:
    refused = error.code
print(json.dumps([whole.choices[0].message.content, streamed, plain.choices[0].text,
                  whole.usage.completion_tokens, [m.id for m in client.models.list()], refused]))
"""


@pytest.mark.skipif(not OPENAI.exists(), reason="the openai client is not installed: make setup-test")
def test_the_client_of_openai_works_against_it(folder):
    hello = str(generate_text(folder, "Hello", max_tokens=15))
    once = str(generate_text(folder, "Once upon", max_tokens=15, raw=True))
    with served(folder) as (address, _, _):
        done = subprocess.run(
            [OPENAI, "-c", OPENAI_SCRIPT, address],
            capture_output=True,
            text=True,
            timeout=patience(),
            check=True,
        )
    assert json.loads(done.stdout) == [hello, hello, once, 15, ["tiny"], "invalid_value"]


def test_a_conversation_in_the_terminal_remembers(folder):
    done = subprocess.run(
        [sys.executable, "-m", "edgesnn.cli.main", "chat", str(folder), "--max-tokens", "12"],
        input="Hello\nAnd you?\n\n",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=patience(),
        check=True,
    )
    with OpenStudent(folder) as student:
        ids = student.prompt_ids("Hello")
        first = student.generate(ids, max_tokens=12)
        wanted = first.text() + "\n"
        wanted += student.generate(ids + first.tokens + student.prompt_ids("And you?"), max_tokens=12).text()
    assert done.stdout == wanted + "\n"


# A power meter ----------------------------------------------------------------------------------------------


def readings(app):
    from prometheus_client.parser import text_string_to_metric_families

    text = TestClient(app.app).get("/metrics").text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {sample.name: sample for sample in samples if "meter" in sample.labels}


def test_a_meter_shows_power_and_energy_per_token_labelled_as_simulated(student):
    app, warned = StudentApp(student, ServerLimits()), []
    with ServerPower("sim:ppk2?voltage=3.7", lambda: student.usage.tokens, warned.append) as power:
        app.registry.register(power)
        assert ask(TestClient(app.app), max_tokens=20).status_code == 200
        wait_for(lambda: readings(app)["edgesnn_energy_joules_total"].value > 0)
        found = readings(app)
        assert {sample.labels["source"] for sample in found.values()} == {"SIMULATED"}
        joules, seconds = (
            found[f"edgesnn_{name}_total"].value for name in ("energy_joules", "metered_seconds")
        )
        assert found["edgesnn_meter_up"].value == 1
        assert found["edgesnn_power_watts"].value > 0 < seconds
        assert found["edgesnn_energy_uncertainty_joules"].value > 0
        assert found["edgesnn_joules_per_token"].value == pytest.approx(joules / 20, rel=0.5)
    assert readings(app)["edgesnn_meter_up"].value == 0 and not warned


@pytest.mark.parametrize(
    ("address", "says"), [("nonsense", "nonsense"), ("sim:ppk2?voltage=99", "volt"), ("sim:none", "none")]
)
def test_a_meter_that_cannot_be_used_is_an_error_before_anything_is_served(address, says):
    with pytest.raises(EdgesnnError, match=says):
        ServerPower(address, lambda: 0, lambda text: None)
    assert not any(thread.name == "edgesnn-meter" for thread in threading.enumerate())


def test_a_meter_that_fails_is_told_once_and_answers_go_on(student, monkeypatch):
    from edgesnn.meters.calibration.calibrated import CalibratedMeter

    app, warned, broken = StudentApp(student, ServerLimits()), [], threading.Event()
    read = CalibratedMeter.read

    def fails(self, timeout_s):
        if broken.is_set():
            raise MeterError("the meter burnt")
        return read(self, timeout_s)

    monkeypatch.setattr(CalibratedMeter, "read", fails)
    with ServerPower("sim:ppk2?voltage=3.7", lambda: student.usage.tokens, warned.append) as power:
        app.registry.register(power)
        before = readings(app)["edgesnn_energy_joules_total"].value
        broken.set()
        wait_for(lambda: warned)
        assert readings(app)["edgesnn_meter_up"].value == 0
        assert readings(app)["edgesnn_energy_joules_total"].value >= before
        assert "edgesnn_power_watts" not in readings(app)
        before = student.usage.tokens
        assert ask(TestClient(app.app), max_tokens=2).status_code == 200
        # nobody measured what these tokens took: they do not make the others look cheaper
        assert student.usage.tokens > before
        assert "edgesnn_joules_per_token" not in readings(app)
    assert len(warned) == 1 and "the meter burnt" in warned[0]
