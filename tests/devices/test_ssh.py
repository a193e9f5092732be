"""The runner `ssh` on this computer behind its own sshd, by the system's ssh."""

import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from edgesnn.api.verification import verify_bundle
from edgesnn.bundle.frames import FramesBundleSource, write_frames_bundle
from edgesnn.errors import FramesError, RunnerError, UsageError
from edgesnn.program.golden import Golden
from edgesnn.runners.base import LoadChip, RunnerOptions
from edgesnn.runners.golden import GoldenRunner
from edgesnn.runners.remote import ssh_client
from edgesnn.runners.remote.ssh import SshRunner
from tests.conftest import ROOT
from tests.support.bundles import shared_bundle
from tests.support.devices.adb_server import free_port
from tests.support.frame_programs import random_frames, random_frames_program
from tests.support.patience import wait_for

IDS = np.random.default_rng(0).integers(0, 280, (1, 30))
HOLD = """
import sys
from pathlib import Path
from edgesnn import open_bundle
from edgesnn.runners.base import RunnerOptions
from edgesnn.runners.remote.ssh import SshRunner
runner = SshRunner()
runner.open(open_bundle(Path(sys.argv[1])), RunnerOptions(address=sys.argv[2]))
print(runner._link._private, flush=True)
sys.stdin.read()
"""


def opened(bundle, address):
    runner = SshRunner()
    runner.open(bundle, RunnerOptions(address=address))
    return runner


def test_every_form_equals_golden_and_nothing_is_left(board, bundle):
    want = Golden(bundle.program()).sequence(IDS)
    with SshRunner() as runner:
        info = runner.open(bundle, RunnerOptions(address=board.target()))
        assert not info.simulated and info.details["board"]["model"] and info.details["emulated_by"] is None
        np.testing.assert_array_equal(runner.sequence(IDS).logits, want)
        for i in range(10):
            np.testing.assert_array_equal(runner.step(IDS[:, i]).logits, want[:, i])
        np.testing.assert_array_equal(runner.prefill(IDS[:, :21]).logits, want[:, 20])
        saved = runner.save()  # nine more tokens, behind a context that was put aside and taken up again
        runner.reset()
        runner.restore(saved)
        np.testing.assert_array_equal(runner.extend(IDS[:, 21:]).logits, want[:, 29])
        with GoldenRunner() as golden:  # and here behind what the device saved
            golden.open(bundle, RunnerOptions())
            golden.restore(saved)
            np.testing.assert_array_equal(golden.extend(IDS[:, 21:]).logits, want[:, 29])
        window = runner.window(IDS[0], 2, 3)
        assert window.tokens == 60 and (window.latencies_ns > 0).all()
        assert len(board.left()) == 1
        private = runner._link._private
        assert os.path.isdir(private)
    assert board.left() == [] and not os.path.exists(private)


def test_the_command_line_verifies_a_board(board, edgesnn_here):
    verified = edgesnn_here(
        "verify", shared_bundle(), "--target", f"ssh:{board.target()}", "--tokens", "20", "--json"
    )
    assert verified.exit_code == 0, verified.stderr
    assert verified.document["targets"][0]["mismatches"] == 0
    assert board.left() == []


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"user": "stranger"}, "refuses every key"),
        ({"known": "nobody"}, "is not known"),
        ({"port": str(free_port())}, "takes no ssh connections"),
    ],
)
def test_a_board_that_does_not_let_us_in_is_an_error_with_a_remedy(board, bundle, options, match):
    with pytest.raises(RunnerError, match=match) as caught:
        opened(bundle, board.target(**options))
    assert caught.value.remedy
    assert board.left() == []


def test_a_folder_that_cannot_be_written_is_an_error(board, bundle):
    address = board.target().replace(f"folder={board.sessions}", "folder=/proc")
    with pytest.raises(RunnerError, match="cannot make a folder"):
        opened(bundle, address)


def test_a_lost_connection_is_an_error_and_the_engine_removes_its_folder(board, bundle):
    with pytest.raises(RunnerError, match="died|went away"), opened(bundle, board.target()) as runner:
        runner.step(IDS[:, 0])
        link = runner._link
        subprocess.run(["ssh", *link._options, "-O", "exit", "--", "board"], capture_output=True, check=True)
        while True:
            runner.step(IDS[:, 0])
    wait_for(lambda: board.left() == [])


def test_a_host_that_is_killed_leaves_nothing_on_the_board(board):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, shared_bundle(), board.target()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        private = process.stdout.readline().decode().strip()
        assert len(board.left()) == 1
        process.send_signal(signal.SIGKILL)
        wait_for(lambda: board.left() == [])
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
    # the shared connection would end itself after a minute
    end = ["ssh", "-o", f"ControlPath={private}/c", "-O", "exit", "board"]
    subprocess.run(end, capture_output=True, check=True)
    wait_for(lambda: os.listdir(private) == [])  # it answers before it has removed its socket
    os.rmdir(private)


def test_no_host_is_a_usage_error_and_a_host_is_never_an_option(bundle, monkeypatch):
    with pytest.raises(UsageError, match="which board"):
        opened(bundle, None)
    command = ssh_client.SshLink.__new__(ssh_client.SshLink)
    command._host, command._options = "-oProxyCommand=touch x", []
    assert command._command("true") == ["ssh", "--", "-oProxyCommand=touch x", "true"]
    monkeypatch.setenv("PATH", "")
    assert "apt install openssh-client" in SshRunner.missing()


#: Login shells that print of their own, or read no POSIX.
SHELLS = {
    "a greeting": 'echo Welcome to lab board 7; echo error: rc >&2; exec bash -c "$SSH_ORIGINAL_COMMAND"',
    "a title without a newline": "printf '\\033]0;b\\007'; exec bash -c \"$SSH_ORIGINAL_COMMAND\"",
    "a farewell and code 255": 'bash -c "$SSH_ORIGINAL_COMMAND"; echo Permission denied; exit 255',
    **{
        name: f'exec {path} -c "$SSH_ORIGINAL_COMMAND"'
        for name in ("tcsh", "csh", "fish", "zsh")
        if (path := shutil.which(name))
    },
}
REFUSING = {
    "nologin": ("echo This account is not available; exit 1", "did not run a command"),
    "a menu": ("printf '1) reboot\\n2) exit\\n> '", "did not run a command"),
    "reads": ('read stolen; exec bash -c "$SSH_ORIGINAL_COMMAND"', "reads what is meant for a command"),
}


def shelled(make_board, folder, script):
    path = folder / "shell"
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)
    return make_board(path)


@pytest.mark.parametrize("script", SHELLS.values(), ids=SHELLS)
def test_a_login_shell_of_another_kind_changes_nothing(make_board, bundle, tmp_path, script):
    board = shelled(make_board, tmp_path, script)
    with opened(bundle, board.target()) as runner:
        want = Golden(bundle.program()).sequence(IDS)
        np.testing.assert_array_equal(runner.sequence(IDS).logits, want)
    assert board.left() == []


@pytest.mark.parametrize(("script", "words"), REFUSING.values(), ids=REFUSING)
def test_a_login_shell_that_runs_no_commands_is_named_as_such(make_board, bundle, tmp_path, script, words):
    board = shelled(make_board, tmp_path, script)
    with pytest.raises(RunnerError, match=rf"the shell of board 'board' {words}") as caught:
        opened(bundle, board.target())
    assert "start-up files" in caught.value.remedy


@pytest.mark.parametrize("seed", [1, 3])
def test_a_network_that_reads_frames_equals_golden_in_every_form(board, tmp_path, seed):
    program = random_frames_program(seed)
    source = FramesBundleSource("wake", program, {}, {})
    wake = write_frames_bundle(source, tmp_path / "wake", overwrite=False)
    frames = random_frames(program, np.random.default_rng(seed), 1, 11, 0.4)
    wanted = Golden(program).sequence(frames)
    with opened(wake, board.target()) as runner, GoldenRunner() as golden:
        golden.open(wake, RunnerOptions())
        np.testing.assert_array_equal(runner.sequence(frames).logits, wanted)
        np.testing.assert_array_equal(runner.prefill(frames[:, :4]).logits, wanted[:, 3])
        np.testing.assert_array_equal(runner.extend(frames[:, 4:6]).logits, wanted[:, 5])
        saved = runner.save()
        runner.sequence(frames[:, :3])  # leaves the context alone
        np.testing.assert_array_equal(runner.step(frames[:, 6]).logits, wanted[:, 6])
        golden.restore(saved)
        np.testing.assert_array_equal(golden.step(frames[:, 6]).logits, wanted[:, 6])
        runner.reset()
        runner.restore(golden.save())
        np.testing.assert_array_equal(runner.step(frames[:, 7]).logits, wanted[:, 7])
        window = runner.window(frames[0], 3, 2)
        assert window.output_sha256 == golden.window(frames[0], 3, 2).output_sha256
        assert len(window.latencies_ns) == 33
        runner.play((LoadChip(busy=True, seconds=0.05), LoadChip(busy=False, seconds=0.05)))
        with pytest.raises(FramesError, match="out of range"):
            runner.step(np.full((1, program.frames.channels), 100))
    assert board.left() == []
    [result] = verify_bundle(wake, [f"ssh:{board.target()}"], tokens=100)
    assert result.mismatches == 0 and set(result.forms) == {"sequence", "step", "prefill"}
