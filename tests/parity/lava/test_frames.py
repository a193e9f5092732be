"""Networks that read frames as a graph of Lava processes, and what Loihi's fixed point has not."""

import json

import numpy as np
import pytest

from edgesnn import resources
from edgesnn.api.verification import verify_bundle
from edgesnn.bundle.frames import FramesBundleSource, write_frames_bundle
from edgesnn.errors import ExportError, RunnerError, UsageError
from edgesnn.exporters.lava.arrays import LavaArrays
from edgesnn.exporters.lava.exporter import LavaExporter
from edgesnn.exporters.lava.frames import lower_frames
from edgesnn.program.golden import Golden
from edgesnn.program.ops import Add, Linear, Saturate
from edgesnn.program.ops_frames import Conv, FrameOutput, Frames, Reset, StatefulLIF, SumPool
from edgesnn.program.program import Program
from edgesnn.runners.base import RunnerOptions
from edgesnn.runners.lava.child import Deadlines
from edgesnn.runners.lava.runner import LavaRunner
from tests.parity.lava.conftest import needs_lava
from tests.support.frame_programs import random_frames, smallest_frames, weights
from tests.support.patience import patience


def population(name, source, channels, rng, decays):
    return StatefulLIF(
        name,
        source,
        name,
        rng.choice(decays, channels).astype(np.int32),
        np.rint(64 * 200 * rng.uniform(0.5, 2, channels)).astype(np.int32),
        np.rint(64 * 200 * rng.normal(0, 0.2, channels)).astype(np.int32),
        Reset.ZERO,
    )


def network(seed, *, summed=True, kernel=(2, 2)):
    """Maps, a pool, a way around them, and neurons that leak and that do not."""
    rng = np.random.default_rng(seed)
    pool = SumPool("pool", "lif", "pool", (4, 8, 8), kernel, (2, 2))
    return Program(
        1,
        (
            Frames("frames", "frames", (2, 8, 8)),
            Conv("conv", "frames", "conv", weights(rng, 4, 1, 3, 3), (2, 8, 8), (1, 1), (1, 1), groups=2),
            population("lif", "conv", 4, rng, [0, 1, 77, 230, 256]),
            pool,
            Linear("linear", "pool", "linear", weights(rng, pool.channels, 10)),
            Linear("skip", "frames", "skip", weights(rng, 128, 10)),
            Add("add", "linear", "skip", "add"),
            Saturate("saturate", "add", "saturate"),
            population("last", "saturate", 10, rng, [256]),
            FrameOutput("output", "last", "output", summed),
        ),
    )


def bundle_of(program, folder):
    source = FramesBundleSource("wake", program, {}, {})
    return write_frames_bundle(source, folder, {"lava": LavaExporter()}, overwrite=False)


def test_the_graph_is_stock_weights_between_neurons_that_remember(tmp_path):
    bundle = bundle_of(network(0), tmp_path / "x")
    entry = bundle.manifest.exports["lava"]
    document = json.loads(bundle.file(entry.files["manifest"]).read_text("utf-8"))
    kinds = [process["class"] for process in document["processes"]]
    assert kinds.count("Dense") == 3 and kinds.count("PersistentLIF") == 2
    assert kinds[0] == "FrameSource" and kinds[-1] == "FrameSink"
    assert document["latency"] == 2 and "vocab" not in document
    assert entry.signatures["graph"]["latency_timesteps"] == 2
    with np.load(bundle.file(entry.files["weights"])) as stored:
        assert stored["linear.weight"].shape == (256, 10)  # the pool is in it
    assert len(document["example"]["frames"]) == 12


def test_what_lava_cannot_is_named_op_by_op():
    with pytest.raises(ExportError, match="Lava's fixed point cannot carry") as error:
        lower_frames(smallest_frames(), LavaArrays())
    told = str(error.value)
    for part in ("frames: samples -3..4", "delay: a delay", "lif: reset many", "last: reset late"):
        assert part in told
    with pytest.raises(ExportError, match="linear: weights up to .* behind a pool whose windows overlap"):
        lower_frames(network(1, kernel=(4, 4)), LavaArrays())


def opened(bundle):
    limits = Deadlines(start_s=patience(), job_s=patience(), stop_s=patience())
    runner = LavaRunner(limits)
    runner.open(bundle, RunnerOptions())
    return runner


@needs_lava
@pytest.mark.parametrize(("seed", "summed"), [(2, True), (3, False)])
def test_lava_gives_the_outputs_of_golden_sequence_after_sequence(tmp_path, seed, summed):
    program = network(seed, summed=summed)
    bundle = bundle_of(program, tmp_path / "x")
    with opened(bundle) as runner:
        for density in (0.02, 0.3, 1.0):  # membranes of the sequence before are gone
            frames = random_frames(program, np.random.default_rng(seed), 2, 11, density)
            wanted = Golden(program).sequence(frames)
            np.testing.assert_array_equal(runner.sequence(frames).logits, wanted)
        with pytest.raises(RunnerError, match="whole sequences"):
            runner.step(frames[:, 0])


@needs_lava
def test_verify_takes_the_graph_and_there_is_no_other_form(tmp_path):
    bundle = bundle_of(network(4), tmp_path / "x")
    [result] = verify_bundle(bundle, ["lava"], tokens=60)
    assert result.mismatches == 0 and set(result.forms) == {"sequence"}
    with pytest.raises(UsageError, match="no form 'single'"):
        LavaRunner().open(bundle, RunnerOptions(address="single"))


def test_the_package_of_an_export_is_the_one_that_ships(tmp_path):
    folder = bundle_of(network(5), tmp_path / "x").path / "lava" / "snn_lava"
    shipped = resources.folder("lava") / "export" / "snn_lava"
    assert (folder / "frames.py").read_bytes() == (shipped / "frames.py").read_bytes()
