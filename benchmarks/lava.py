"""Tokens per second of both Lava forms: the reference student, and a random program (d 256, 4 blocks).

    python benchmarks/lava.py [--repeat 5]

Every number is wall time of Lava's CPU simulation on this computer, start and stop left out unless said: the
best of some repetitions, because other work on the machine only ever adds. All logits are compared with
golden's; exit code 3 when one differs.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from edgesnn import resources
from edgesnn.api.students import compile_student
from edgesnn.bundle.bundle import TOKENIZER_NAME, Bundle
from edgesnn.bundle.export import BundleSource, write_bundle
from edgesnn.exporters.lava.exporter import LavaExporter
from edgesnn.program.bounds import prove
from edgesnn.program.compile import Compiled
from edgesnn.program.float_program import FloatProgram
from edgesnn.program.golden import Golden
from edgesnn.program.program import Program
from edgesnn.runners.base import RunnerOptions
from edgesnn.runners.host import cpu_name
from edgesnn.runners.lava.runner import LavaRunner
from tests.support.random_program import RandomShape, random_program

#: The shape of the prototype that the aims were set by; the vocabulary is that of a trimmed tokenizer.
D256 = RandomShape(
    vocab=8192, dim=256, depth=4, windows=(8, 32, 128, 256), mlp=512, rank=64, shifted=128, clip=False
)
SEED = 3
SEQUENCE, STEPS, GRAPH = 512, 300, 100


def bundle_of(program: Program, folder: Path) -> Bundle:
    """A bundle of a program, in the format lava alone."""
    source = BundleSource(
        name="benchmark",
        compiled=Compiled(program, prove(program), (), (), {}, None),
        folded=FloatProgram(program.timesteps, ()),
        tokenizer=resources.folder("reference") / TOKENIZER_NAME,
        eval_slice=None,
        student={},
        text={},
    )
    return write_bundle(source, {"lava": LavaExporter()}, folder / "bundle", overwrite=False)


def measure(title: str, program: Program, repeat: int) -> int:
    """Run both forms of one program; the number of logits that differ from golden's."""
    ids = np.random.default_rng(SEED).integers(0, program.vocab_size, (1, SEQUENCE))
    want = Golden(program).sequence(ids)
    wrong = 0
    with TemporaryDirectory(prefix="edgesnn-") as folder:
        bundle = bundle_of(program, Path(folder))
        print(
            f"{title}: d {program.embed.projection.shape[1]}, T {program.timesteps}, V {program.vocab_size:,}"
        )
        with LavaRunner() as runner:
            info = runner.open(bundle, RunnerOptions())
            outputs = [runner.sequence(ids) for _ in range(repeat)]
            wrong += sum(int(np.count_nonzero(output.logits != want)) for output in outputs)
            best = min(output.elapsed_ns for output in outputs) / 1e9
            times = []
            for _ in range(repeat):
                runner.reset()
                steps = [runner.step(ids[0, i : i + 1]) for i in range(STEPS)]
                times.append(sum(step.elapsed_ns for step in steps) / 1e9)
                wrong += sum(int(np.count_nonzero(s.logits[0] != want[0, i])) for i, s in enumerate(steps))
            print(
                f"  single   1 process     {SEQUENCE / best:8,.0f} tokens/s streamed"
                f"  {STEPS / min(times):8,.0f} tokens/s step by step   start {info.load_ms / 1e3:.2f} s"
            )
        with LavaRunner() as runner:
            info = runner.open(bundle, RunnerOptions(address="graph"))
            outputs = [runner.sequence(ids[:, :GRAPH]) for _ in range(max(2, repeat // 2))]
            wrong += sum(int(np.count_nonzero(output.logits != want[:, :GRAPH])) for output in outputs)
            best = min(output.elapsed_ns for output in outputs) / 1e9
            started = time.perf_counter()
            runner.close()
            print(
                f"  graph   {info.details['processes']:2} processes   {GRAPH / best:8,.1f} tokens/s"
                f"   start {info.load_ms / 1e3:.2f} s   stop {time.perf_counter() - started:.2f} s"
            )
    print(f"  logits that differ from golden: {wrong:,}")
    return wrong


def main() -> int:
    """Measure and print; the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeat", type=int, default=5)
    repeat = parser.parse_args().repeat
    if LavaRunner.missing() is not None:
        print(LavaRunner.missing())
        return 4
    load = os.getloadavg()[0]
    print(f"{cpu_name()}, {os.cpu_count()} cores, load {load:.1f}; {LavaRunner.present()}; SIMULATED")
    reference = compile_student(resources.folder("reference"))[2].program
    wrong = measure("reference student", reference, repeat)
    wrong += measure("random program, 4 blocks", random_program(D256, SEED), repeat)
    return 3 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
