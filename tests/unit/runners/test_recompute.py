"""Steps on a runner of whole sequences: what each runs, what it gives, what it takes."""

import numpy as np
import pytest

from edgesnn.errors import RunnerError
from edgesnn.runners.base import Capability, Output, Runner, RunnerOptions
from edgesnn.runners.recompute import Recomputing, prefix_logits, stepping

VOCAB = 7


class Sequences(Runner):
    """Logits of a place: the sum of all ids of the sequence, before and behind it, and its length."""

    name = "sequences"
    summary = "for tests"
    capabilities = frozenset({Capability.SEQUENCE, Capability.BATCH, Capability.LOGITS})

    def __init__(self):
        self.ran = []

    def sequence(self, ids):
        self.ran.append(np.array(ids))
        logits = np.zeros((*np.shape(ids), VOCAB), np.float32)
        logits[..., 0] = np.sum(ids, axis=1, keepdims=True)
        logits[..., 1] = np.shape(ids)[1]
        logits[..., VOCAB - 1] = 99
        return Output(logits, 1000 * np.shape(ids)[1])


@pytest.fixture
def inner():
    return Sequences()


def test_a_step_runs_the_whole_text_and_gives_the_last_logits(inner):
    runner = stepping(inner)
    assert runner.capabilities == inner.capabilities | {Capability.STEP, Capability.PREFILL}
    runner.reset(2)
    for length, tokens in enumerate(([1, 2], [3, 4], [5, 6]), start=1):
        output = runner.step(np.array(tokens))
        assert output.logits.shape == (2, VOCAB) and output.elapsed_ns == 1000 * length
    assert inner.ran[-1].tolist() == [[1, 3, 5], [2, 4, 6]]
    assert output.logits[:, :2].tolist() == [[9, 3], [12, 3]]


def test_a_prompt_is_one_sequence_and_steps_go_on_behind_it(inner):
    runner = stepping(inner)
    assert runner.prefill(np.array([[1, 2, 3]])).logits[0, 0] == 6
    assert runner.extend(np.array([[4, 5]])).logits[0, 0] == 15
    assert runner.step(np.array([6])).logits[0, 0] == 21
    assert [ids.shape[1] for ids in inner.ran] == [3, 5, 6]
    runner.reset()
    assert runner.step(np.array([6])).logits[0, 0] == 6


def test_a_context_is_the_last_tokens_and_every_step_of_a_window_runs_as_many(inner):
    window = stepping(inner, context=4).window(np.arange(9), repeat=2, warmup=3)
    assert window.tokens == 18 and (window.latencies_ns > 0).all()
    assert [ids.shape[1] for ids in inner.ran] == [1, 2, 3] + [1, 2, 3, 4, 4, 4, 4, 4, 4] * 2
    assert inner.ran[-1].tolist() == [[5, 6, 7, 8]]


def test_logits_of_ids_without_text_are_left_out(inner):
    runner = stepping(inner, ids=VOCAB - 1)
    assert runner.prefill(np.array([[1]])).logits.shape == (1, VOCAB - 1)
    assert stepping(inner).prefill(np.array([[1]])).logits.argmax() == VOCAB - 1


def test_another_number_of_sequences_is_refused(inner):
    runner = stepping(inner)
    runner.reset(2)
    with pytest.raises(RunnerError, match="another number of sequences"):
        runner.step(np.array([1]))


def test_a_runner_that_steps_is_left_as_it_is(inner):
    class Steps(Sequences):
        capabilities = Sequences.capabilities | {Capability.STEP}

    own = Steps()
    assert stepping(own) is own


def test_it_opens_nothing(inner):
    with pytest.raises(RunnerError, match="open already"):
        Recomputing(inner).open(None, RunnerOptions())


def test_prefixes_never_run_what_is_behind_a_place(inner):
    ids = np.array([[1, 2, 3], [4, 5, 0]])
    assert prefix_logits(inner, ids)[..., 0].tolist() == [[1, 3, 6], [4, 9, 9]]
