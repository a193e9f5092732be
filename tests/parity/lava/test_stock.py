"""Lava's own ``Dense`` and ``LIFReset``, driven with exported numbers, give what the program says."""

import json
import subprocess
from pathlib import Path

import numpy as np

from edgesnn.program.golden import lif_membranes
from edgesnn.program.ops import LIF, Linear
from edgesnn.runners.lava import environment as lava_environment
from tests.parity.lava.conftest import bundle_of, needs_lava, stock_program
from tests.support.patience import patience

WORKER = Path(__file__).with_name("stock_worker.py")
TOKENS = 40


@needs_lava
def test_stock_dense_and_lifreset_equal_golden_with_exported_numbers(tmp_path):
    program = stock_program()
    bundle = bundle_of(program, tmp_path)
    document = json.loads(bundle.export_file("lava", "manifest").read_text())
    with np.load(bundle.export_file("lava", "weights")) as stored:
        arrays = dict(stored)
    entries = {entry["name"]: entry for entry in document["processes"]}
    linear = next(op for op in program.all(Linear) if op.name.endswith("qkv"))
    lif = next(op for op in program.all(LIF) if op.input == linear.out)
    dense, neurons = entries[linear.name], entries[lif.name]
    assert (dense["class"], neurons["class"]) == ("Dense", "LIFReset")

    timesteps, inputs = program.timesteps, linear.weight.shape[0]
    rng = np.random.default_rng(0)
    spikes = (rng.random((TOKENS, timesteps, inputs)) < 0.3).astype(np.int32)
    np.savez(
        tmp_path / "job.npz",
        spikes=spikes.reshape(-1, inputs),
        weight=arrays[dense["tensors"]["weight"]],
        **{role: arrays[name] for role, name in neurons["tensors"].items()},
        **{name: neurons["parameters"][name] for name in ("du", "dv", "vth", "reset_interval")},
        # The first Dense of the exported graph and of this one: a token begins at the same phase.
        reset_offset=neurons["parameters"]["reset_offset"],
    )
    command = [*lava_environment.find().command(), str(WORKER)]
    files = [str(tmp_path / name) for name in ("job.npz", "result.npz")]
    subprocess.run([*command, *files], check=True, timeout=patience(), capture_output=True)

    with np.load(tmp_path / "result.npz") as result:
        got = {name: result[name].astype(np.int64) for name in result.files}
    want = spikes.astype(np.int64) @ linear.weight.astype(np.int64)
    fired = lif_membranes(want, lif)[1]
    assert 0.02 < fired.mean() < 0.98  # something happens
    # Dense hands on one timestep later; the last timestep's sum stays inside.
    late = slice(1, None)
    np.testing.assert_array_equal(got["currents"][late], want.reshape(-1, want.shape[-1])[:-1])
    np.testing.assert_array_equal(got["spikes"][late], fired.reshape(-1, want.shape[-1])[:-1])
