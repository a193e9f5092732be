"""What a file does not say: rules that contradict it or their source are errors."""

import numpy as np
import pytest

from edgesnn.errors import UsageError
from edgesnn.nir.nodes import Node
from edgesnn.nir.sources import dynamics, rules_for


def lif(tau, r=1.0, leak=0.0, reset=0.0):
    one = np.ones(2)
    return Node(
        "n",
        "LIF",
        {"tau": one * tau, "r": one * r, "v_leak": one * leak, "v_reset": one * reset, "v_threshold": one},
    )


def made(node, *rules, **more):
    found, problems = dynamics(node, (2,), rules_for(*rules, **more))
    assert problems == []
    return found


def reasons(node, *rules, **more):
    found, problems = dynamics(node, (2,), rules_for(*rules, **more))
    assert found is None
    return problems


def test_each_source_reads_its_own_time_constant():
    assert made(lif(1e-3, 10.0), "snntorch").beta[0] == pytest.approx(0.9)
    norse = made(lif(1e-5), "norse")  # dt / tau_mem_inv with tau_mem_inv 100: dt once too often
    assert (norse.beta[0], norse.gain[0]) == (pytest.approx(0.9), pytest.approx(0.1))
    sinabs = made(lif(10.0), "sinabs")
    assert (sinabs.beta[0], sinabs.gain[0]) == (pytest.approx(np.exp(-0.1)), pytest.approx(1 - np.exp(-0.1)))
    assert made(lif(10.0), "sinabs", norm_input=False).gain[0] == 1.0
    jelly = made(lif(2e-4, 1.0), "spikingjelly")
    assert (jelly.beta[0], jelly.gain[0]) == (pytest.approx(0.5), pytest.approx(0.5))


@pytest.mark.parametrize(
    ("node", "source", "dt", "reason"),
    [
        (lif(1e-3, 10.0), "snntorch", 1e-3, "snnTorch writes r = tau / dt"),
        (lif(1e-3, 10.0), "snntorch", 1e-2, "dt 0.01 s contradicts its tau 0.001: the membrane would swing"),
        (lif(2e-4), "spikingjelly", 1e-3, "dt 0.001 s contradicts its tau 0.0002: the membrane would swing"),
        (lif(1e-5), "norse", 1e-2, "dt * dt / tau = -9"),
        (lif(10.0), "sinabs", 1e-3, "dt 0.001 contradicts its tau, which Sinabs writes in steps"),
        (lif(-1.0), "sinabs", None, "tau -1 is not positive"),
        (lif(1e-3, -10.0), "spikingjelly", None, "a gain of -1 is not positive"),
        (lif(1e-5, leak=0.1), "norse", None, "its membrane begins at 0.1, which is not what it is reset to"),
        (lif(1e-3, 10.0, reset=0.2), "snntorch", None, "its v_reset 0.2 is of no use to reset subtract"),
        (lif(1e-3, reset=2.0, leak=2.0), "spikingjelly", None, "its threshold 1 is not above"),
        (lif(10.0, 2.0), "sinabs", None, "r is 2; sinabs writes 1"),
    ],
)
def test_a_rule_that_contradicts_the_file_is_named(node, source, dt, reason):
    assert any(reason in one for one in reasons(node, source, dt))


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (("rockpool",), "there is no source 'rockpool'"),
        (("snntorch", 0.0), "positive number of seconds"),
        (("snntorch", float("nan")), "positive number of seconds"),
        (("spikingjelly", None, "subtract"), "spikingjelly has no reset 'subtract'"),
        (("norse", None, "none"), "norse has no reset 'none'"),
        (("norse", None, None, "many"), "fire once in a frame at most"),
        (("norse", None, None, "two"), "one or many, not 'two'"),
        (("norse", None, None, None, True), "say themselves how neurons scale"),
    ],
)
def test_what_a_source_does_not_have_is_a_usage_error(asked, reason):
    with pytest.raises(UsageError, match=reason):
        rules_for(*asked)
