"""What the Lava tests share: small programs as bundles with a Lava export, and one running Lava per form."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgesnn.bundle.bundle import Bundle
from edgesnn.bundle.export import BundleSource, write_bundle
from edgesnn.exporters.lava.exporter import LavaExporter
from edgesnn.program.bounds import prove
from edgesnn.program.compile import Compiled
from edgesnn.program.float_program import FloatProgram
from edgesnn.program.ops import LIF
from edgesnn.program.program import Program
from edgesnn.runners.base import RunnerOptions
from edgesnn.runners.lava import environment as lava_environment
from edgesnn.runners.lava.child import Deadlines
from edgesnn.runners.lava.runner import LavaRunner
from tests.support.artifacts import tiny_tokenizer
from tests.support.patience import patience
from tests.support.programs import scattered
from tests.support.random_program import RandomShape, random_program

WITHOUT_LAVA = str(lava_environment.missing())
#: For tests that run Lava.
needs_lava = pytest.mark.skipif(lava_environment.missing() is not None, reason=WITHOUT_LAVA)

#: Every head has another window, one of them 1; the shifted channels are scattered.
SHAPE = RandomShape(vocab=101, dim=24, windows=(1, 3, 9), mlp=31, rank=7, timesteps=3, shifted=10)


def bundle_of(program: Program, folder: Path) -> Bundle:
    """A bundle of a program without a student, with the format lava alone."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = folder / "tokenizer.json"
    tokenizer.write_text(tiny_tokenizer().to_str(), encoding="utf-8")
    compiled = Compiled(program, prove(program), (), (), {}, None)
    nothing = FloatProgram(program.timesteps, ())
    source = BundleSource("random", compiled, nothing, tokenizer, None, {}, {})
    return write_bundle(source, {"lava": LavaExporter()}, folder / "bundle", overwrite=False)


def stock_program(seed: int = 2) -> Program:
    """A program some of whose populations a stock ``LIFReset`` serves: one threshold, bias mant << exp."""
    program = random_program(replace(SHAPE, depth=1), seed)
    rng = np.random.default_rng(seed)

    def uniform(op):
        if not isinstance(op, LIF) or not op.name.endswith(("qkv_lif", "up_lif", "mlp.in", "readout.lif")):
            return op
        theta = np.full_like(op.threshold, 64 * max(1, int(np.median(op.threshold)) // 64))
        bias = (rng.integers(-4095, 4096, len(theta)) << rng.integers(0, 3, len(theta))).astype(np.int32)
        return replace(op, threshold=theta, bias=bias)

    return Program(program.timesteps, tuple(uniform(op) for op in program.ops))


def ids_of(program: Program, *shape: int, seed: int = 0):
    return np.random.default_rng(seed).integers(0, program.vocab_size, shape)


def session_of(leader: int) -> list[int]:
    """Living processes of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            stat = (entry / "stat").read_text()
        except OSError:
            continue
        state, _, _, session = stat.rpartition(")")[2].split()[:4]
        if int(session) == leader and state not in "ZX":
            found.append(int(entry.name))
    return found


def shared_memory_of(leader: int) -> set[Path]:
    """The files of shared memory that a session has mapped, as far as they have a name."""
    found = set()
    for pid in session_of(leader):
        try:
            maps = Path(f"/proc/{pid}/maps").read_text()
        except OSError:
            continue
        found |= {Path(name) for name in re.findall(r"(/dev/shm/\S+)$", maps, re.M)}
    return {path for path in found if path.exists()}


@pytest.fixture(scope="session")
def program():
    return scattered(random_program(SHAPE, 5), 5)


@pytest.fixture(scope="session")
def bundle(program, tmp_path_factory):
    """The bundle of `program`, read only."""
    return bundle_of(program, tmp_path_factory.mktemp("lava"))


def opened(bundle, form):
    limits = Deadlines(start_s=patience(), job_s=patience(), stop_s=patience())
    runner = LavaRunner(limits)
    runner.info = runner.open(bundle, RunnerOptions(address=form))
    return runner


@pytest.fixture(scope="module")
def single(bundle):
    """Lava with `bundle` in the single-process form."""
    with opened(bundle, "single") as runner:
        yield runner


@pytest.fixture(scope="module")
def graph(bundle):
    """Lava with `bundle` as a graph of processes."""
    with opened(bundle, "graph") as runner:
        yield runner
