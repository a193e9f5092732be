import sys

import pytest

from edgesnn.errors import BundleError, RunnerError, UsageError
from edgesnn.profiler.counts.memory import probe_memory
from edgesnn.runners.base import RunnerOptions
from edgesnn.system import peak_memory
from tests.support.patience import patience


def test_a_fresh_process_reports_a_peak_above_its_baseline(bundle):
    probe = probe_memory(bundle.path, "golden", RunnerOptions(), tokens=3, timeout_s=patience())
    assert probe.interpreter_bytes < probe.baseline_bytes <= probe.peak_bytes
    assert probe.load_ms > 0
    assert probe.cold_start_ms > probe.load_ms
    assert probe.tokens == 3


def test_the_peak_of_the_parent_is_not_the_child_s(bundle):
    """A parent that once held much memory must not lend its peak to the process it starts."""
    ballast = bytearray(b"x" * 300_000_000)
    probe = probe_memory(bundle.path, "golden", RunnerOptions(), tokens=1, timeout_s=patience())
    assert peak_memory()[0] > 300_000_000
    assert probe.peak_bytes < 250_000_000
    del ballast


def test_an_error_of_the_process_comes_in_its_own_words(tmp_path):
    with pytest.raises(BundleError, match="does not exist"):
        probe_memory(tmp_path / "nothing", "golden", RunnerOptions(), tokens=1, timeout_s=patience())


def test_an_unknown_runner_is_reported(bundle):
    with pytest.raises(UsageError, match="no-such-runner"):
        probe_memory(bundle.path, "no-such-runner", RunnerOptions(), tokens=1, timeout_s=patience())


def _interpreter(tmp_path, body):
    script = tmp_path / "python"
    script.write_text(f"#!/bin/sh\n{body}\n")
    script.chmod(0o755)
    return str(script)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell script as interpreter")
@pytest.mark.parametrize(
    ("body", "words", "timeout_s"),
    [
        ("kill -9 $$", "died with signal SIGKILL", patience()),
        ("echo nonsense", "ended without a result; actual: nonsense", patience()),
        ("true", "ended without a result", patience()),
        ("exec sleep 3000", "did not answer in time", 0.5),
    ],
)
def test_a_process_that_misbehaves_is_reported(tmp_path, bundle, body, words, timeout_s):
    with pytest.raises(RunnerError, match=words):
        probe_memory(
            bundle.path,
            "golden",
            RunnerOptions(),
            tokens=1,
            timeout_s=timeout_s,
            python=_interpreter(tmp_path, body),
        )
