"""The compiled kernels against their definition in torch."""

from __future__ import annotations

from typing import get_args

import pytest

torch = pytest.importorskip("torch", reason="needs the `train` extra")

from edgesnn.student.config import SurrogateName  # noqa: E402
from edgesnn.student.kernels import fused_lif  # noqa: E402
from edgesnn.student.kernels.fused_lif import CompiledKernels, kernels_for  # noqa: E402
from edgesnn.student.kernels.library import build  # noqa: E402
from edgesnn.student.kernels.surrogates import make_surrogate_spec  # noqa: E402
from edgesnn.student.kernels.torch_lif import MEMBRANE_MAX, Neuron, TorchKernels  # noqa: E402

pytestmark = pytest.mark.torch

BF16, F32 = torch.bfloat16, torch.float32
PAIRS = [(F32, F32), (F32, BF16), (BF16, BF16)]
SURROGATES = [(name, power) for name in get_args(SurrogateName) for power in (1, 2)]


@pytest.fixture(scope="module")
def compiled() -> CompiledKernels:
    kernels = fused_lif._compiled()
    if kernels is None:
        pytest.skip("no C compiler on this machine")
    return kernels


def layer(dtype, constant, *, timesteps=5, tokens=(3, 37), channels=19, seed=0):
    random = torch.Generator().manual_seed(seed)
    y = torch.randn((1 if constant else timesteps, *tokens, channels), generator=random).to(dtype)
    gain = torch.rand(channels, generator=random) + 0.05
    offset = torch.randn(channels, generator=random) * 0.3
    grad = torch.randn((timesteps, *tokens, channels), generator=random)
    return y, gain, offset, grad


def close(a, b):
    torch.testing.assert_close(a, b, rtol=2e-6, atol=2e-4)


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize(("y_dtype", "spike_dtype"), PAIRS)
def test_spikes_are_those_of_torch_bit_for_bit(compiled, y_dtype, spike_dtype, constant):
    y, gain, offset, _ = layer(y_dtype, constant)
    neuron = Neuron(5, 230, 0.7, make_surrogate_spec("arctan", 2.0))
    mine = compiled.lif_forward(y, gain, offset, neuron, spike_dtype)
    torchs = TorchKernels().lif_forward(y, gain, offset, neuron, spike_dtype)
    assert mine.dtype == spike_dtype and torch.equal(mine, torchs)
    assert 0.05 < float(mine.float().mean()) < 0.6


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("surrogate", SURROGATES)
def test_gradients_are_those_of_torch_bit_for_bit(compiled, pair, surrogate, constant):
    (y_dtype, spike_dtype), (name, power) = pair, surrogate
    y, gain, offset, grad = layer(y_dtype, constant)
    neuron = Neuron(5, 230, 0.7, make_surrogate_spec(name, 1.7, power))
    mine = compiled.lif_backward(y, gain, offset, grad.to(spike_dtype), neuron)
    torchs = TorchKernels().lif_backward(y, gain, offset, grad.to(spike_dtype), neuron)
    assert mine[0].dtype == y_dtype and torch.equal(mine[0], torchs[0])
    close(mine[1], torchs[1])
    close(mine[2], torchs[2])


@pytest.mark.parametrize("spike_dtype", [F32, BF16])
@pytest.mark.parametrize("constant", [False, True])
def test_integer_neurons_are_those_of_torch_bit_for_bit(compiled, constant, spike_dtype):
    random = torch.Generator().manual_seed(1)
    shape = (1 if constant else 6, 2, 31, 23)
    # the largest currents and biases drive membranes into both limits
    y = torch.randint(-(2**17) + 1, 2**17, shape, generator=random).float()
    y[..., :12] = torch.randint(-400, 400, (*shape[:-1], 12), generator=random).float()
    theta = torch.randint(1, 2**15, (23,), generator=random, dtype=torch.int32)
    theta[-1] = 2**23 - 2
    bias = torch.randint(-(2**12), 2**12, (23,), generator=random, dtype=torch.int32)
    bias[-3:] = torch.tensor([-(2**30), 2**30, 2**30], dtype=torch.int32)
    grad = torch.randn((6, 2, 31, 23), generator=random).to(spike_dtype)
    unit = torch.rand(23, generator=random) / 500
    for decay in (1, 230, 256):
        neuron = Neuron(6, decay, 1.0, make_surrogate_spec("fast_sigmoid", 2.0))
        mine = compiled.integer_forward(y, theta, bias, neuron, spike_dtype)
        assert torch.equal(mine, TorchKernels().integer_forward(y, theta, bias, neuron, spike_dtype))
        _, above = TorchKernels._integer_membranes(y, theta, bias, neuron)
        assert float((above + theta).abs().max()) == MEMBRANE_MAX
        a, b = (
            kernels.integer_backward(y, theta, bias, grad, unit=unit, neuron=neuron)
            for kernels in (compiled, TorchKernels())
        )
        assert torch.equal(a[0], b[0])
        close(a[1], b[1])


@pytest.mark.parametrize("dtype", [F32, BF16])
def test_norm_sums_agree_to_rounding_also_far_from_zero(compiled, dtype):
    y = (torch.randn(4, 50, 33, generator=torch.Generator().manual_seed(2)) + 30.0).to(dtype)
    g = torch.randn(4, 50, 33, generator=torch.Generator().manual_seed(3))
    for a, b in zip(compiled.moments(y), TorchKernels().moments(y), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    for a, b in zip(compiled.products(g, y), TorchKernels().products(g, y), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-3)
    gain, offset, slope = (torch.randn(33, generator=torch.Generator().manual_seed(i)) for i in (4, 5, 6))
    x = torch.randn(1, 50, 33, generator=torch.Generator().manual_seed(7))
    for kernels in (compiled, TorchKernels()):
        close(kernels.add_affine(x, y, gain, offset), x + (y.float() * gain + offset))
        got = kernels.affine_gradient(g, y, gain, at=offset, slope=slope, in_place=False)
        assert torch.equal(got, (g * gain - (y.float() * slope + offset)).to(dtype))


def test_the_number_of_threads_changes_no_spike_and_no_gradient(compiled):
    y, gain, offset, grad = layer(F32, False, tokens=(2, 700))
    neuron = Neuron(5, 230, 0.7, make_surrogate_spec("triangular", 1.0))
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        spikes = compiled.lif_forward(y, gain, offset, neuron, F32)
        results.append((spikes, *compiled.lif_backward(y, gain, offset, grad, neuron)))
    assert all(torch.equal(a, b) for a, b in zip(results[0][:2], results[1][:2], strict=True))
    close(results[0][2], results[1][2])


def test_without_a_compiler_torch_takes_over(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGESNN_CACHE", str(tmp_path))
    for variable in ("CC", "EDGESNN_CC"):
        monkeypatch.setenv(variable, "no-such-compiler")
        assert build() is None
    assert not any(tmp_path.iterdir())
    monkeypatch.setattr(fused_lif, "_compiled", lambda: None)
    assert type(kernels_for(torch.zeros(1))) is TorchKernels


def test_a_compiler_that_fails_leaves_torch(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGESNN_CACHE", str(tmp_path))
    monkeypatch.setenv("EDGESNN_CC", "false")
    assert build() is None
    (tmp_path / "student" / "lock").unlink()
    (tmp_path / "student").rmdir()
    (tmp_path / "student").write_text("a file where the folder should be")
    monkeypatch.delenv("EDGESNN_CC")
    assert build() is None


def test_a_library_is_compiled_once_and_only_float32_and_bfloat16_use_it(compiled, monkeypatch, tmp_path):
    monkeypatch.setenv("EDGESNN_CACHE", str(tmp_path))
    first = build()
    assert first is not None and first.parent == tmp_path / "student"
    stamp = first.stat().st_mtime_ns
    assert build() == first and first.stat().st_mtime_ns == stamp
    assert sorted(path.name for path in first.parent.iterdir()) == sorted([first.name, "lock"])
    assert type(kernels_for(torch.zeros(1))) is CompiledKernels
    assert type(kernels_for(torch.zeros(1, dtype=torch.float64))) is TorchKernels
