"""The best tokens by two passes over the table are those of all logits, whatever the numbers."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgesnn.program.ops import Embed, Readout
from edgesnn.program.snn_format import to_bytes
from edgesnn.runners.native import build as native_build
from edgesnn.runners.native.engine import Engine, kernel_sets
from tests.support.random_program import RandomShape, random_program

SETS = [name for name in (kernel_sets() if native_build.missing() is None else ()) if name.startswith("avx")]
pytestmark = pytest.mark.skipif(not SETS, reason="this processor has no kernels with two passes")


def with_table(program, table):
    shares = (Embed, Readout)  # one table
    ops = [replace(op, table=table) if isinstance(op, shares) else op for op in program.ops]
    return replace(program, ops=tuple(ops))


def check(engine, codes, ks):
    logits = np.empty(engine.info.vocab, np.int32)
    engine.logits_of(codes, logits)
    order = np.lexsort((np.arange(len(logits)), -logits.astype(np.int64)))
    for k in ks:
        ids, values = engine.top(k)
        np.testing.assert_array_equal(ids, order[:k])
        np.testing.assert_array_equal(values, logits[order[:k]])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    vocab=st.sampled_from([64, 65, 127, 640, 1000, 4096, 5001]),
    rank=st.sampled_from([4, 7, 8, 16, 33, 64, 100]),
    kind=st.sampled_from(["wide", "narrow", "few rows", "extremes", "zeros"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_two_passes_find_what_all_logits_say(vocab, rank, kind, seed):
    rng = np.random.default_rng(seed)
    program = random_program(RandomShape(vocab=vocab, rank=rank, depth=1, windows=(1, 3)), 1)
    table = {
        "wide": lambda: rng.integers(-127, 128, (vocab, rank)),
        "narrow": lambda: rng.integers(-3, 4, (vocab, rank)),
        "few rows": lambda: rng.integers(-127, 128, (3, rank))[rng.integers(0, 3, vocab)],
        "extremes": lambda: rng.choice([-127, 127], (vocab, rank)),
        "zeros": lambda: np.zeros((vocab, rank)),
    }[kind]().astype(np.int8)
    data = to_bytes(with_table(program, table))
    for kernels in SETS:
        engine = Engine(data, kernels)
        assert engine.two_pass(True)
        for codes in (
            rng.integers(-127, 128, rank),
            rng.integers(-2, 3, rank),
            np.full(rank, 127),
            np.zeros(rank),
        ):
            check(engine, codes.astype(np.int8), [k for k in (1, 2, 5, 40, 64) if k <= vocab])
        engine.close()


def test_the_other_kernels_have_no_second_pass_and_say_so():
    engine = Engine(to_bytes(random_program()), "reference")
    assert engine.two_pass(True) is False
    engine.close()


def test_a_small_table_is_left_alone_unless_asked_for():
    engine = Engine(to_bytes(random_program()), SETS[0])
    assert engine.two_pass() is False
    assert engine.two_pass(True) is True
    assert engine.two_pass(False) is False
    engine.close()
