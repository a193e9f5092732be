import numpy as np
import pytest

from edgesnn.errors import TextError
from edgesnn.profiler.counts.activity import count_activity
from edgesnn.program.golden import Golden
from edgesnn.program.ops import LIF, Attend, Count, Embed, Linear, Readout, Shift
from edgesnn.program.program import Program
from tests.support.random_program import RandomShape, random_program


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
    assert (first.spikes, first.spike_rate, first.silent_neurons) == (3, 3 / 8, 0)
    assert (second.spikes, second.spike_rate, second.silent_neurons) == (2, 2 / 8, 1)
    ops = {op.name: op for op in activity.ops}
    assert list(ops) == ["embed.projection", "linear", "readout.factor", "readout.table"]
    # lookup row (1) times two nonzero weights for token 0; the row of token 1 is zero
    assert (ops["embed.projection"].dense_total, ops["embed.projection"].effective_total) == (4, 2)
    # 2 tokens * 2 timesteps * 4 weights; 1 * 1 + 2 * 1 nonzero products; three rows of two weights are read
    linear = ops["linear"]
    assert (linear.dense_total, linear.effective_total) == (16, 3)
    assert (linear.weight_bytes_total, linear.accumulates) == (6, True)
    # per token 2 weights of D and 2 of the table; token 0: one nonzero count, a nonzero code, one weight
    assert (ops["readout.factor"].dense_total, ops["readout.factor"].effective_total) == (4, 1)
    table = ops["readout.table"]
    assert (table.dense_total, table.effective_total) == (4, 1)
    assert (table.weight_bytes_total, table.accumulates) == (2, False)
    assert activity.synaptic_operations * 2 == 2 + 3 + 2
    assert activity.synaptic_operations_dense * 2 == 4 + 16 + 8
    assert activity.spike_rate == pytest.approx(5 / 16)
    assert activity.activation_sparsity == pytest.approx(11 / 16)
    # weights: table 1 of 2, projection 2 of 2, D 2 of 2, linear 2 of 4 are nonzero
    assert (activity.zero_weights, activity.weights) == (3, 10)
    assert activity.connection_sparsity == pytest.approx(3 / 10)
    assert activity.membrane_updates_dense == 8
    # the first timestep writes all: 2 neurons * 2 layers * 2 tokens. At the second only token 0 changes any:
    # first.0 from 64 to 0 (it fires at 128), first.1 from 0 to 0 (it fires both times), second.0 likewise
    assert (first.membrane_updates, second.membrane_updates) == (4 + 1, 4)
    assert activity.membrane_updates * 2 == 9
    # 10 int8 weights; thresholds and biases 8, multiplier 2, readout bias and multiplier 2
    assert activity.parameter_bytes == 10 + 4 * 12
    assert activity.state_bytes == 0


def test_the_totals_are_those_of_the_parts():
    program = random_program(RandomShape(), seed=1)
    activity = count_activity(program, np.arange(20))
    work = activity.work
    assert (work.tokens, work.timesteps) == (20, 4)
    assert work.neurons == sum(layer.neurons for layer in activity.layers)
    assert work.spikes == sum(layer.spikes for layer in activity.layers)
    assert work.neuron_steps == pytest.approx(sum(one.spikes / one.spike_rate for one in activity.layers))
    kinds = {"linear": "linear", "attend": "attend", "embed": "multiply", "readout": "multiply"}
    for total in ("effective", "dense"):
        sums = dict.fromkeys(kinds.values(), 0)
        for op in activity.ops:
            sums[kinds[op.kind]] += getattr(op, f"{total}_total")
        assert sums == {kind: getattr(work, f"{kind}_{total}") for kind in sums}
    # 2 blocks of two Adds, 32 channels, 4 timesteps; 16 channels shifted before q, k, v and before the MLP
    assert work.residual_adds == 20 * 4 * 4 * 32
    assert work.shift_bits == sum(shift.steps for shift in activity.shifts) == 20 * 4 * 4 * 16
    assert work.lookup_bytes == 20 * 16
    assert all(type(getattr(work, name)) is int for name in work.__slots__ if name != "stateful")
    assert not work.stateful


def test_q_k_and_v_are_counted_apart_and_add_up_to_their_matrix():
    program = random_program(RandomShape(depth=1), seed=1)
    parts = {op.name: op for op in count_activity(program, np.arange(9)).ops if op.kind == "linear"}
    assert [name.rpartition(".")[2] for name in list(parts)[:3]] == ["q", "k", "v"]
    matrix = next(program.all(Linear)).weight
    dense = sum(op.dense_total for op in parts.values() if op.op == "blocks.0.attn.qkv")
    assert dense == 9 * program.timesteps * matrix.size


def test_a_token_shift_counts_the_spikes_it_keeps():
    """Two of three channels are shifted; all fire at both timesteps of token 0, none at token 1."""
    program = Program(
        timesteps=2,
        ops=(
            Embed("embed", "x", _TABLE, _int8([[2, 2, 2]]), _int32([1, 1, 1]), 0),
            _lif("in", "x", "s", [1, 1, 1]),
            Shift("shift", "s", "s1", _int32([0, 2])),
            Linear("linear", "s1", "i", _int8([[1], [1], [1]])),
            _lif("out", "i", "s2", [1]),
            Count("count", "s2", "c"),
            _readout("c", 1),
        ),
    )
    activity = count_activity(program, np.array([0, 1]))
    (shift,) = activity.shifts
    assert (shift.channels, shift.steps, shift.spikes) == (2, 8, 4)
    # token 0: channel 1 only, at both timesteps; token 1: channels 0 and 2 of token 0
    assert activity.work.linear_effective == 2 + 4
    assert activity.state_bytes == 2 * 2


def test_ids_outside_the_vocabulary_and_no_ids_are_refused():
    for ids in ([0, 2], [-1], []):
        with pytest.raises(TextError):
            count_activity(_feed_forward(), np.array(ids, np.int64))


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
    score, value = (op for op in activity.ops if op.kind == "attend")
    assert (score.name, value.name) == ("attend.score", "attend.value")
    assert score.dense_total == value.dense_total == score.effective_total == value.effective_total == 2 * 5
    assert score.accumulates and value.accumulates
    work = activity.work
    # 10 products of each kind read one bit each; 2 channels of k and v are written per token
    assert (work.attend_bits_read, work.attend_bits_dense, work.attend_bits_written) == (20, 20, 12)


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
    score, value = (op for op in activity.ops if op.kind == "attend")
    assert score.dense_total == value.dense_total == 1 + 2 + 3 + 4 + 4
    assert score.effective_total == value.effective_total == 0
    assert activity.work.attend_bits_read == 0


def test_effective_never_exceeds_dense_and_attention_agrees_with_brute_force():
    program = random_program(RandomShape(), seed=3)
    ids = np.random.default_rng(0).integers(0, 257, 30)
    activity = count_activity(program, ids)
    assert all(0 <= op.effective <= op.dense for op in activity.ops)
    assert 0 < activity.membrane_updates <= activity.membrane_updates_dense
    seen = {}
    Golden(program).sequence(ids[None], tap=lambda name, value: seen.update({name: value[0].copy()}))
    bits = 0
    for op in program.all(Attend):
        qkv = seen[op.input].reshape(30, program.timesteps, 3, len(op.windows), op.head_dim)
        score = value = 0
        for head, window in enumerate(op.windows):
            for i in range(30):
                for j in range(max(0, i - window + 1), i + 1):
                    for t in range(program.timesteps):
                        q, k, v = (qkv[n, t, part, head] for n, part in ((i, 0), (j, 1), (j, 2)))
                        hits = int((q & k).sum())
                        score += hits
                        value += (hits != 0) * int(v.sum())
                        bits += int(q.sum()) + (hits != 0) * op.head_dim
        found = {one.name: one.effective_total for one in activity.ops}
        assert (found[f"{op.name}.score"], found[f"{op.name}.value"]) == (score, value)
    assert activity.work.attend_bits_read == bits
