"""A bundle made of a random program, and a runner whose times are written down beforehand."""

import hashlib
import json
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest

from edgesnn.bundle.bundle import Bundle, EvalSlice
from edgesnn.profiler.budgets.profile import Profile
from edgesnn.profiler.results import Absent, AccuracyResult
from edgesnn.profiler.session import run_session
from edgesnn.profiler.setting import Setting, Subject
from edgesnn.program.snn_format import to_bytes
from edgesnn.record.model import Parity
from edgesnn.runners.base import Capability, DeviceInfo, Output, Window
from tests.support.random_program import RandomShape, random_program

DEVICE = DeviceInfo(
    device="paper CPU",
    engine="paper",
    engine_version="1",
    simulated=False,
    clock_hz=1e9,
    load_ms=1.0,
    model_files=("program.snn",),
    model_bytes=5_000_000,
    details={"library": "/opt/somewhere/libpaper.so"},
)


class Words:
    """A tokenizer whose words are numbers."""

    def encode(self, text):
        return [int(word) for word in text.split()]

    def decode(self, ids):
        return " ".join(map(str, ids))


@dataclass
class PaperRunner:
    """Answers always the same, in the time that is written down."""

    step_ns: object = 2_000_000
    answers: list = field(default_factory=lambda: ["a"])
    capabilities: frozenset = frozenset({Capability.STEP, Capability.LOGITS, Capability.EXACT})
    name: str = "paper"
    vocab: int = 257
    windows: int = 0
    contexts: list = field(default_factory=list)
    rng: object = field(default_factory=lambda: np.random.default_rng(0))

    def _times(self, n):
        if callable(self.step_ns):
            return np.asarray(self.step_ns(self.windows, n), np.int64)
        return self.step_ns + self.rng.integers(0, 10_000, n)

    def reset(self, batch=1):
        pass

    def step(self, tokens):
        return Output(np.zeros((1, self.vocab), np.int32), int(self._times(1)[0]))

    def prefill(self, ids):
        return Output(np.zeros((1, self.vocab), np.int32), int(self._times(1)[0]))

    def window(self, ids, repeat, warmup):
        times = self._times(len(ids) * repeat)
        answer = self.answers[min(self.windows, len(self.answers) - 1)]
        self.windows += 1
        self.contexts.append(len(ids))
        digest = hashlib.sha256(answer.encode()).hexdigest()
        return Window(times, 0, int(times.sum()) + 1000 * len(times), digest, len(times))


@pytest.fixture(scope="session")
def program():
    return random_program(RandomShape())


@pytest.fixture(scope="session")
def bundle(tmp_path_factory, program):
    """A real bundle that holds only ``program.snn``."""
    folder = tmp_path_factory.mktemp("bundles") / "paper-student"
    folder.mkdir()
    content = to_bytes(program)
    (folder / "program.snn").write_bytes(content)
    manifest = {
        "schema": "edgesnn.bundle/1",
        "producer": "tests",
        "name": "paper-student",
        "created": "2026-01-01T00:00:00+00:00",
        "program_hash": content[32:64].hex(),
        "files": {"program.snn": {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}},
        "exports": {},
        "state": [],
        "student": {},
        "text": {},
        "bounds": [],
        "quantisation": {},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return Bundle(folder)


@pytest.fixture
def make_profile():
    """A small profile; keyword arguments are budgets, ``workload`` changes what runs."""

    def make(workload=None, **budgets):
        work = {
            "prompt_tokens": 8,
            "windows": 3,
            "min_window_seconds": 0.0,
            "min_window_tokens": 60,
            "warmup_tokens": 4,
            "first_tokens": 100,
            "activity_tokens": 16,
            "memory_probes": 0,
            **(workload or {}),
        }
        return Profile.model_validate(
            {"schema": "edgesnn.profile/1", "name": "test", "workload": work, "budgets": budgets},
            strict=False,
        )

    return make


@pytest.fixture
def parts():
    """What the tests build sessions from."""
    return SimpleNamespace(
        Runner=PaperRunner,
        tokenizer=Words(),
        device=DEVICE,
        accuracy=AccuracyResult(
            2.0, (1.9, 2.1), 0.4, (0.38, 0.42), 20_000, 200, 0.9, (0.88, 0.92), None, "held-out text"
        ),
        parity=Parity(
            target="paper",
            mismatches=0,
            logits_compared=1000,
            tokens=10,
            forms={"step": 0},
            worst_layer=None,
            largest_difference=0,
            text="",
            seconds=None,
        ),
        silent=lambda stage, done, total: None,
        EvalSlice=EvalSlice,
    )


@pytest.fixture
def run_paper(parts, bundle, make_profile):
    """Runs a session of a paper runner; other keyword arguments are those of `Setting`."""

    def go(
        profile=None, runner=None, *, device=DEVICE, target="paper", accuracy=None, parity=None, **setting
    ):
        return run_session(
            Subject(target, bundle, parts.tokenizer, runner or parts.Runner(), device),
            profile or make_profile(),
            Setting(**{"memory_probe": Absent("not here"), **setting}),
            accuracy=accuracy or parts.accuracy,
            parity=parity or parts.parity,
            on_progress=parts.silent,
        )

    return go
