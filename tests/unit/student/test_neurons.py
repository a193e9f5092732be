from __future__ import annotations

import math
from typing import get_args

import pytest

torch = pytest.importorskip("torch", reason="needs the `train` extra")

from edgesnn.errors import ConfigError  # noqa: E402
from edgesnn.student.config import SnnConfig, SurrogateName  # noqa: E402
from edgesnn.student.kernels.surrogates import make_surrogate  # noqa: E402
from edgesnn.student.model.neurons import Lif, shift_spikes  # noqa: E402

pytestmark = pytest.mark.torch

BETA = 230 / 256


def formula(name: str, u: float, k: float, power: int) -> float:
    if name == "sigmoid":
        s = 1 / (1 + math.exp(-k * u))
        return k * s * (1 - s)
    if name == "fast_sigmoid":
        return 1 / (1 + k * abs(u)) ** power
    if name == "triangular":
        return max(0.0, 1 - k * abs(u))
    return 1 / (1 + (math.pi * k * u / 2) ** 2)


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("slope", [0.5, 2.0, 7.0])
@pytest.mark.parametrize("name", get_args(SurrogateName))
def test_surrogates_equal_their_formulas(name, slope, power):
    u = torch.linspace(-3, 3, 61, dtype=torch.float64)
    got = make_surrogate(name, slope, power)(u.clone())
    want = torch.tensor([formula(name, x, slope, power) for x in u.tolist()], dtype=torch.float64)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


def test_an_unknown_surrogate_or_slope_is_refused():
    with pytest.raises(ConfigError, match="unknown surrogate 'step'"):
        make_surrogate("step", 1.0)
    with pytest.raises(ConfigError, match="positive"):
        make_surrogate("sigmoid", 0.0)


class Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx, u, surrogate):
        ctx.save_for_backward(u)
        ctx.surrogate = surrogate
        return (u >= 0).to(u)

    @staticmethod
    def backward(ctx, grad):
        (u,) = ctx.saved_tensors
        return grad * ctx.surrogate(u.clone()), None


def plain_lif(currents, timesteps, threshold, surrogate):
    membrane = torch.zeros_like(currents[0])
    spikes = []
    for t in range(timesteps):
        membrane = BETA * membrane + currents[t if currents.shape[0] > 1 else 0]
        spike = Spike.apply(membrane - threshold, surrogate)
        membrane = membrane * (1 - spike.detach())
        spikes.append(spike)
    return torch.stack(spikes)


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("name", get_args(SurrogateName))
def test_the_fused_neuron_equals_a_plain_autograd_loop(name, constant):
    random = torch.Generator().manual_seed(3)
    currents = torch.randn((1 if constant else 5, 3, 7, 4), generator=random, dtype=torch.float64)
    weight = torch.randn((5, 3, 7, 4), generator=random, dtype=torch.float64)
    lif = Lif(SnnConfig(num_timesteps=5, surrogate_type=name, spike_threshold=0.7))
    fused_in = currents.clone().requires_grad_()
    plain_in = currents.clone().requires_grad_()
    fused = lif(fused_in)
    plain = plain_lif(plain_in, 5, 0.7, make_surrogate(name, 2.0))
    assert torch.equal(fused, plain)
    assert 0 < float(fused.detach().mean()) < 1
    (fused * weight).sum().backward()
    (plain * weight).sum().backward()
    torch.testing.assert_close(fused_in.grad, plain_in.grad, rtol=1e-10, atol=1e-12)


def test_a_membrane_at_the_threshold_fires_and_is_reset():
    lif = Lif(SnnConfig(num_timesteps=3, spike_threshold=1.0))
    below = float(torch.nextafter(torch.tensor(1.0), torch.tensor(0.0)))
    currents = torch.tensor([[1.0, below], [0.5, 0.0], [0.5, 0.0]]).unsqueeze(1).unsqueeze(1)
    # 1.0 fires at once; from 0 again, 0.5 and 0.5 * beta + 0.5 < 1 stay silent
    assert lif(currents)[:, 0, 0].tolist() == [[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]


def test_shift_replaces_the_first_channels_by_the_previous_token():
    spikes = torch.arange(24.0).view(1, 1, 4, 6)
    shifted = shift_spikes(spikes, 2)
    assert torch.equal(shifted[..., 2:], spikes[..., 2:])
    assert torch.equal(shifted[0, 0, 1:, :2], spikes[0, 0, :-1, :2])
    assert float(shifted[0, 0, 0, :2].abs().sum()) == 0
    assert shift_spikes(spikes, 0) is spikes
    assert torch.equal(shift_spikes(spikes, 6)[0, 0, 1:], spikes[0, 0, :-1])
