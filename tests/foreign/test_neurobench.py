"""Our counts against the package neurobench, which runs in an environment of its own."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edgesnn.profiler.counts.activity import count_activity
from edgesnn.program.golden import Golden
from edgesnn.program.ops import LIF, Count, Embed, Linear, Readout
from edgesnn.program.program import Program
from edgesnn.program.state import state_tensors
from tests.support.patience import patience

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".foreign" / "neurobench" / "bin" / "python"
CLIENT = Path(__file__).with_name("neurobench_client.py")
IDS = np.array([3, 0, 7, 7, 2, 9, 1])

if not PYTHON.is_file():
    REASON = "tools/foreign_env.sh --on-venv neurobench neurobench==2.3.0 snntorch==1.0.0 was not run"
    pytest.skip(f"neurobench has no environment: {REASON}", allow_module_level=True)


@pytest.fixture(scope="module")
def program():
    """Three layers of nn.Linear and LIF; three timesteps halve a membrane without a remainder."""
    rng = np.random.default_rng(5)

    def weight(*shape):
        return rng.integers(-3, 4, shape).astype(np.int8)

    def lif(name, source, channels):
        theta = rng.integers(60, 260, channels).astype(np.int32)
        bias = 4 * rng.integers(-8, 9, channels).astype(np.int32)
        return LIF(name, source, f"{name}.s", 128, theta, bias, True)

    table, widths = weight(10, 6), (12, 16, 8)
    return Program(
        timesteps=3,
        ops=(
            Embed("embed", "x", table, weight(6, widths[0]), np.full(12, 3, np.int32), 2),
            lif("a", "x", widths[0]),
            Linear("ab", "a.s", "b.i", weight(widths[0], widths[1])),
            lif("b", "b.i", widths[1]),
            Linear("bc", "b.s", "c.i", weight(widths[1], widths[2])),
            lif("c", "c.i", widths[2]),
            Count("count", "c.s", "c"),
            Readout(
                "readout",
                "c",
                "logits",
                weight(widths[2], 6),
                rng.integers(-9, 9, 6).astype(np.int32),
                np.full(6, 5, np.int32),
                1,
                table,
                0,
            ),
        ),
    )


@pytest.fixture(scope="module")
def ours(program):
    return count_activity(program, IDS)


@pytest.fixture(scope="module")
def theirs(program, tmp_path_factory):
    lifs, linears = list(program.all(LIF)), list(program.all(Linear))
    embed, readout = program.embed, program.readout
    arrays = {
        "timesteps": program.timesteps,
        "decay": lifs[0].decay,
        "codes": embed.table[IDS],
        "projection": embed.projection,
        "multiplier": embed.multiplier,
        "shift": embed.shift,
        "factor": readout.weight,
        "factor_bias": readout.bias,
        "readout_multiplier": readout.multiplier,
        "readout_shift": readout.shift,
        "table": readout.table,
        **{f"threshold{i}": op.threshold for i, op in enumerate(lifs)},
        **{f"bias{i}": op.bias for i, op in enumerate(lifs)},
        **{f"weight{i}": op.weight for i, op in enumerate(linears, start=1)},
    }
    stored = {
        "table": embed.table,
        "projection": embed.projection,
        "multiplier": embed.multiplier,
        "factor": readout.weight,
        "readout_bias": readout.bias,
        "readout_multiplier": readout.multiplier,
        **{op.name: op.weight for op in linears},
        **{f"theta_{op.name}": op.threshold for op in lifs},
        **{f"bias_{op.name}": op.bias for op in lifs},
        **{f"state_{t.name}": np.zeros(t.shape, np.int8) for t in state_tensors(program)},
    }
    path = tmp_path_factory.mktemp("neurobench") / "network.npz"
    np.savez(path, **arrays, **{f"stored.{name}": array for name, array in stored.items()})
    done = subprocess.run([PYTHON, CLIENT, path], capture_output=True, text=True, timeout=patience())
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_both_run_the_same_network(program, theirs):
    assert theirs["logits"] == Golden(program).sequence(IDS[None])[0].tolist()


def test_synaptic_operations_agree(ours, theirs):
    found = theirs["counted"]["SynapticOperations"]
    assert ours.work.linear_effective / len(IDS) == pytest.approx(found["Effective_ACs"], rel=1e-12)
    assert ours.work.multiply_effective / len(IDS) == pytest.approx(found["Effective_MACs"], rel=1e-12)
    assert ours.synaptic_operations_dense == pytest.approx(found["Dense"], rel=1e-12)
    assert 0 < ours.work.linear_effective < ours.work.linear_dense


def test_membrane_updates_agree(ours, theirs):
    assert ours.membrane_updates == pytest.approx(theirs["counted"]["MembraneUpdates"], rel=1e-12)
    assert 0 < ours.membrane_updates < ours.membrane_updates_dense


def test_sparsities_agree(ours, theirs):
    assert ours.activation_sparsity == pytest.approx(theirs["counted"]["ActivationSparsity"], rel=1e-12)
    assert 0.1 < ours.activation_sparsity < 0.95
    assert round(ours.connection_sparsity, 4) == pytest.approx(theirs["static"]["connection_sparsity"])


def test_footprint_is_the_bytes_of_parameters_and_buffers(ours, theirs):
    assert ours.footprint_bytes == theirs["static"]["footprint"]


def test_neurobench_sees_no_embedding_and_no_attention(theirs):
    assert theirs["unseen"]["SynapticOperations"] == {"Effective_MACs": 0, "Effective_ACs": 0, "Dense": 0}


def test_neurobench_records_a_failed_metric_as_zero(theirs):
    assert theirs["failed"] == {"Broken": 0.0}
