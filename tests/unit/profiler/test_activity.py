import numpy as np
import pytest

from edgesnn.profiler.activity import count_activity
from edgesnn.program.ops import LIF, Attend, Count, Embed, Linear, Readout
from edgesnn.program.program import Program
from edgesnn.program.random_program import RandomShape, random_program


def _int8(rows):
    return np.array(rows, np.int8)


def _int32(values):
    return np.array(values, np.int32)


def _lif(name, source, out, thresholds, decay=256):
    return LIF(name, source, out, decay, _int32(thresholds), np.zeros(len(thresholds), np.int32), True)


def _readout(source, width):
    return Readout(
        "readout", source, "logits", np.ones((width, 1), np.int8), _int32([0]), _int32([1]), 0, _TABLE, 0
    )


_TABLE = _int8([[1], [0]])


def _feed_forward():
    """Token 0 gives currents (1, 2), token 1 gives none; T = 2; three zero weights out of nine."""
    return Program(
        timesteps=2,
        ops=(
            Embed("embed", "x", _TABLE, _int8([[1, 2]]), _int32([1, 1]), 0),
            _lif("first", "x", "s", [100, 100]),
            Linear("linear", "s", "i", _int8([[1, 0], [3, 0]])),
            _lif("second", "i", "s2", [1, 1]),
            Count("count", "s2", "c"),
            _readout("c", 2),
        ),
    )


def test_a_tiny_network_counts_as_by_hand():
    """Token 0: membranes 64, 128 at t = 0 (channel 1 fires), 128, 128 at t = 1 (both fire).

    Token 1 is silent. So three spikes over two tokens; `linear` sees channel 0 once and channel 1 twice.
    Its first output is then positive at both timesteps, its second never: two spikes of `second`.
    """
    activity = count_activity(_feed_forward(), np.array([0, 1]))
    first, second = activity.layers
    assert first.spikes_per_token * 2 == 3
    assert first.spike_rate == pytest.approx(3 / 8)
    assert first.silent_neurons == 0
    assert second.spikes_per_token * 2 == 2
    assert second.silent_neurons == 1
    ops = {op.name: op for op in activity.ops}
    # lookup row (1) times two nonzero weights for token 0; the row of token 1 is zero
    assert (ops["embed"].dense * 2, ops["embed"].effective * 2) == (4, 2)
    # 2 tokens * 2 timesteps * 4 weights; 1 * 1 + 2 * 1 nonzero products
    assert (ops["linear"].dense * 2, ops["linear"].effective * 2) == (16, 3)
    assert ops["linear"].accumulates
    # per token 2 weights of D and 2 of the table; token 0: one nonzero count, a nonzero code, one weight
    assert (ops["readout"].dense * 2, ops["readout"].effective * 2) == (8, 2)
    assert activity.synaptic_operations * 2 == 2 + 3 + 2
    assert activity.synaptic_operations_dense * 2 == 4 + 16 + 8
    assert activity.spike_rate == pytest.approx(5 / 16)
    assert activity.activation_sparsity == pytest.approx(11 / 16)
    # weights: table 1 of 2, projection 2 of 2, D 2 of 2, linear 2 of 4 are nonzero
    assert activity.connection_sparsity == pytest.approx(3 / 10)
    assert activity.membrane_updates_dense == 8
    # first: both channels at both timesteps of token 0; second: its first channel at both, token 0 only
    assert activity.membrane_updates * 2 == 6
    # 10 int8 weights; thresholds and biases 8, multiplier 2, readout bias and multiplier 2
    assert activity.parameter_bytes == 10 + 4 * 12
    assert activity.state_bytes == 0


def test_attention_counts_products_inside_the_window_only():
    """One head of two channels, window 2, all spikes on: tokens see 1, 2, 2 tokens."""
    program = Program(
        timesteps=1,
        ops=(
            Embed("embed", "x", _int8([[1]]), _int8([[1] * 6]), _int32([1] * 6), 0),
            _lif("qkv", "x", "s", [1] * 6),
            Attend("attend", "s", "o", 2, (2,)),
            _lif("out", "o", "s2", [1, 1]),
            Count("count", "s2", "c"),
            Readout("r", "c", "l", np.ones((2, 1), np.int8), _int32([0]), _int32([1]), 0, _int8([[1]]), 0),
        ),
    )
    activity = count_activity(program, np.array([0, 0, 0]))
    attend = next(op for op in activity.ops if op.kind == "attend")
    assert attend.dense * 3 == pytest.approx(2 * 2 * 5)
    assert attend.effective * 3 == pytest.approx(2 * 2 * 5)
    assert attend.accumulates


def test_a_zero_score_makes_applying_it_ineffective():
    """q fires nowhere: no product of a score with v counts as effective."""
    program = Program(
        timesteps=1,
        ops=(
            Embed("embed", "x", _int8([[1]]), _int8([[0, 1, 1]]), _int32([1] * 3), 0),
            _lif("qkv", "x", "s", [1] * 3),
            Attend("attend", "s", "o", 1, (4,)),
            _lif("out", "o", "s2", [1]),
            Count("count", "s2", "c"),
            Readout("r", "c", "l", np.ones((1, 1), np.int8), _int32([0]), _int32([1]), 0, _int8([[1]]), 0),
        ),
    )
    activity = count_activity(program, np.array([0, 0, 0, 0, 0]))
    attend = next(op for op in activity.ops if op.kind == "attend")
    assert attend.dense > 0
    assert attend.effective == 0


def test_effective_never_exceeds_dense_and_attention_agrees_with_brute_force():
    program = random_program(RandomShape(), seed=3)
    ids = np.random.default_rng(0).integers(0, 257, 30)
    activity = count_activity(program, ids)
    assert all(0 <= op.effective <= op.dense for op in activity.ops)
    assert 0 < activity.membrane_updates <= activity.membrane_updates_dense
    op = next(program.all(Attend))
    seen = {}

    def keep(name, value):
        if name == op.input:
            seen[name] = value[0]

    from edgesnn.program.golden import Golden

    Golden(program).sequence(ids[None], tap=keep)
    qkv = seen[op.input].reshape(30, program.timesteps, 3, len(op.windows), op.head_dim)
    effective = 0
    for head, window in enumerate(op.windows):
        for i in range(30):
            for j in range(max(0, i - window + 1), i + 1):
                for t in range(program.timesteps):
                    score = int((qkv[i, t, 0, head] & qkv[j, t, 1, head]).sum())
                    effective += score + (score != 0) * int(qkv[j, t, 2, head].sum())
    found = next(one for one in activity.ops if one.name == op.name)
    assert found.effective * 30 == pytest.approx(effective)
