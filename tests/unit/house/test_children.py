"""A child that talks JSON: its errors cross whole, and nothing of it stays, however it or its parent ends."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from edgesnn.children import Child, ending, error_from, last_words, reply
from edgesnn.errors import (
    ConfigError,
    EdgesnnError,
    MeterBusyError,
    MeterError,
    MeterTimeoutError,
    MissingExtraError,
    RunnerError,
    UsageError,
)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

ROOT = Path(__file__).parents[3]
#: What would be waited for in vain is given up then.
LIMIT_S = 600.0
SAYING = "import json, os, sys, time\nfrom edgesnn.children import reply, say\n"


def child_of(body, **options):
    return Child(["-c", SAYING + body], "the child", **options)


def result_of(body, given=b"", seconds=LIMIT_S, **options):
    with child_of(body, given=given, **options) as child:
        return child.expect("result", seconds)


def gone(pid):
    """Whether a process is over and reaped."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_what_is_given_comes_back_as_the_result():
    given = json.dumps({"a": [1, 2.5, None, "ä"]}).encode()
    assert result_of("reply(lambda: json.load(sys.stdin))", given) == json.loads(given)


def test_a_gift_larger_than_a_pipe_blocks_nobody_when_the_child_never_reads_it():
    with pytest.raises(RunnerError, match="died with exit code 7"):
        result_of("sys.exit(7)", b"x" * 5_000_000)


@pytest.mark.parametrize("kind", [UsageError, MissingExtraError, MeterBusyError, RunnerError])
def test_an_error_crosses_whole(kind):
    body = (
        f"from edgesnn.errors import {kind.__name__} as Met\n"
        "def work():\n    raise Met('what', actual='a', limit='l', remedy='r')\nsys.exit(reply(work))"
    )
    with pytest.raises(EdgesnnError) as caught:
        result_of(body)
    assert type(caught.value) is kind
    assert caught.value.as_dict() == kind("what", actual="a", limit="l", remedy="r").as_dict()


def test_the_child_s_exit_code_is_that_of_its_error(capsys):
    def wrong():
        raise ConfigError("wrong")

    assert reply(wrong) == 2
    assert json.loads(capsys.readouterr().out)["error"]["what"] == "wrong"
    assert reply(lambda: [1]) == 0
    assert json.loads(capsys.readouterr().out) == {"result": [1]}


def test_an_error_of_a_class_that_is_not_known_here_keeps_its_branch():
    error = error_from({"code": "of-a-plug-in", "what": "w", "exit_code": 2}, RunnerError)
    assert type(error) is UsageError
    assert type(error_from({"code": "?", "what": "w"}, MeterError)) is MeterError


def test_progress_is_told_until_the_result_and_noise_of_libraries_is_none():
    told = []
    body = (
        "print('a library greets'); print('[1]'); print('{\"broken'); sys.stdout.flush()\n"
        "say({'progress': ['s', 1, 2]}); say({'other': 1}); say({'progress': ['s', 2, 2]})\n"
        "reply(lambda: 5)"
    )
    with child_of(body) as child:
        assert child.expect("result", LIMIT_S, on_progress=lambda *one: told.append(one)) == 5
    assert told == [("s", 1, 2), ("s", 2, 2)]


@pytest.mark.parametrize(
    "after", ["os.kill(os.getpid(), 9)", "print('{}{', flush=True); sys.exit(3)", "say({'error': 5})"]
)
def test_what_follows_the_last_line_is_no_error(after):
    with child_of("say({'result': 1})\n" + after) as child:
        assert child.expect("result", LIMIT_S) == 1
        assert child.failure(LIMIT_S) is None
        child.check()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("os.kill(os.getpid(), 9)", "the child died with signal SIGKILL; actual: it said nothing"),
        ("sys.stderr.write('one\\n two\\n'); sys.exit(9)", r"died with exit code 9; actual: one \| two"),
        ("print('no JSON', flush=True)", "the child ended without a result; actual: no JSON"),
        ("raise ValueError('deep')", "exit code 1; actual: .*ValueError: deep"),
        ("", "ended without a result"),
    ],
)
def test_a_death_without_a_word_quotes_what_was_said_last(body, words):
    with pytest.raises(MeterError, match=words + ".*; remedy: again"):
        result_of(body, died=MeterError, remedy="again")


def test_a_child_that_misses_its_deadline_is_killed_and_reaped():
    with (
        pytest.raises(MeterTimeoutError, match=r"the child did not answer in time.*0.5 s; remedy: wait"),
        child_of("print('{}', flush=True); time.sleep(600)", late=MeterTimeoutError) as child,
    ):
        child.expect("result", 0.5, remedy="wait")
    assert gone(child.pid)


def test_an_interpreter_that_is_not_there_is_an_error():
    with pytest.raises(RunnerError, match="the child cannot be started; actual: No such file"):
        result_of("", python="/no/such/python")


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_no_way_out_leaves_it_running(error):
    with pytest.raises(error), child_of("time.sleep(600)") as child:
        raise error
    assert gone(child.pid)
    child.close()  # again


def test_one_that_reads_commands_is_told_and_ends_with_its_input():
    body = (
        "for line in sys.stdin:\n    say({'heard': line.strip()})\n"
        "say({'result': 'the input ended'}); time.sleep(0.1)"
    )
    with child_of(body, patience_s=LIMIT_S) as child:
        child.tell("one")
        assert child.expect("heard", LIMIT_S) == "one"
        child.tell("two")
        assert child.expect("heard", LIMIT_S) == "two"
    assert child.failure(0.0) is None  # it ended by itself, with its last line
    assert gone(child.pid)


def test_a_command_to_one_that_is_gone_is_explained_by_its_death():
    with child_of("sys.exit(4)") as child:
        assert "exit code 4" in child.failure(LIMIT_S).what
        child.tell("stop")
        with pytest.raises(RunnerError, match="exit code 4"):
            child.expect("anything", LIMIT_S)


def test_a_listener_hears_lines_as_they_come_and_keeps_those_it_takes():
    heard, two = [], threading.Event()

    def hear(message):
        heard.append(message)
        if message == {"live": 2}:
            two.set()
        return "live" in message

    body = "say({'live': 1}); say({'began': 7}); say({'live': 2}); sys.stdin.read()"
    with child_of(body, hear=hear) as child:
        assert two.wait(LIMIT_S)
        assert child.expect("began", LIMIT_S) == 7
    assert heard == [{"live": 1}, {"began": 7}, {"live": 2}]


def test_a_key_that_never_comes_is_an_error_at_the_end():
    with child_of("reply(lambda: 1)") as child, pytest.raises(RunnerError, match="ended without 'began'"):
        child.expect("began", LIMIT_S)


def test_an_interrupted_parent_takes_its_child_with_it():
    host = (
        "from edgesnn.children import Child\n"
        "with Child(['-c', 'import time; time.sleep(600)'], 'c') as child:\n"
        "    print(child.pid, flush=True)\n    child.expect('result', 600)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", host],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    pid = int(parent.stdout.readline())
    os.kill(parent.pid, signal.SIGINT)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + LIMIT_S
    while not gone(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert gone(pid)


def test_the_end_of_a_process_in_words():
    assert ending(3) == "exit code 3"
    assert ending(-signal.SIGSEGV) == "signal SIGSEGV"
    assert ending(-200) == "signal 200"
    assert last_words(b"") == "" and last_words("a\nb\n c \nd\n") == "b | c | d"
    assert len(last_words("x" * 1000)) == 300
