from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="needs the `train` extra")

from edgesnn.errors import ConfigError, TrainingError  # noqa: E402
from edgesnn.student.config import SnnConfig  # noqa: E402
from edgesnn.student.model import registry  # noqa: E402
from edgesnn.student.model.attention import attend  # noqa: E402
from edgesnn.student.model.norm import MIN_GAIN, FoldableNorm  # noqa: E402

pytestmark = pytest.mark.torch


def brute_force(qkv, windows):
    timesteps, batch, length, width = qkv.shape
    d = width // 3
    dh = d // len(windows)
    rows = []
    for i in range(length):
        heads = []
        for h, window in enumerate(windows):
            cut = slice(h * dh, (h + 1) * dh)
            q, k, v = (qkv[..., part * d : (part + 1) * d][..., cut] for part in range(3))
            total = torch.zeros(timesteps, batch, dh, dtype=qkv.dtype)
            for j in range(max(0, i - window + 1), i + 1):
                total = total + (q[:, :, i] * k[:, :, j]).sum(-1, keepdim=True) * v[:, :, j]
            heads.append(total)
        rows.append(torch.cat(heads, -1))
    return torch.stack(rows, 2)


@pytest.mark.parametrize("length", [1, 5, 16, 33, 50])
@pytest.mark.parametrize("windows", [(1, 2, 3), (4, 16, 17), (20, 33, 256)])
def test_attention_equals_the_definition_in_values_and_gradients(length, windows):
    random = torch.Generator().manual_seed(length)
    spikes = (torch.rand((2, 2, length, 9 * 4), generator=random) < 0.4).double()
    weight = torch.randn((2, 2, length, 12), generator=random, dtype=torch.float64)
    fast, slow = spikes.clone().requires_grad_(), spikes.clone().requires_grad_()
    got, want = attend(fast, windows), brute_force(slow, windows)
    assert torch.equal(got, want)
    (got * weight).sum().backward()
    (want * weight).sum().backward()
    torch.testing.assert_close(fast.grad, slow.grad)


def test_a_later_token_changes_no_earlier_logit(make_model):
    model = make_model(depth=2).eval()
    ids = torch.randint(0, 64, (2, 40))
    changed = ids.clone()
    changed[:, 25] = (changed[:, 25] + 1) % 64
    with torch.no_grad():
        a, b = model(ids), model(changed)
    assert torch.equal(a[:, :25], b[:, :25])
    assert not torch.equal(a[:, 25:], b[:, 25:])


def test_the_state_dict_holds_the_contracts_keys_and_shapes(make_model):
    norms = ("weight", "bias", "running_mean", "running_var")
    want = {"embed.weight": (64, 16), "embed.project.weight": (32, 16)}
    want |= {"readout.weight": (16, 32), "readout.bias": (16,)}
    want |= {f"readout.norm.{n}": (32,) for n in norms}
    for i in range(2):
        want[f"blocks.{i}.attn.qkv.weight"] = (96, 32)
        want[f"blocks.{i}.attn.out.weight"] = (32, 32)
        want[f"blocks.{i}.mlp.up.weight"] = (64, 32)
        want[f"blocks.{i}.mlp.down.weight"] = (32, 64)
        for name, size in {
            "attn.norm_in": 32,
            "attn.norm_qkv": 96,
            "attn.norm_out": 32,
            "attn.norm_res": 32,
            "mlp.norm_in": 32,
            "mlp.norm_up": 64,
            "mlp.norm_res": 32,
        }.items():
            want |= {f"blocks.{i}.{name}.{n}": (size,) for n in norms}
    got = {name: tuple(tensor.shape) for name, tensor in make_model(depth=2).state_dict().items()}
    assert got == want


def test_a_frozen_norm_is_the_affine_of_its_running_statistics():
    norm = FoldableNorm(3, gain=0.7)
    y = torch.randn(4, 2, 5, 3) * 3 + 1
    for _ in range(100):
        out = norm(y)
    flat = y.reshape(-1, 3)
    torch.testing.assert_close(norm.running_mean, flat.mean(0), rtol=1e-3, atol=1e-3)
    norm.frozen = True
    torch.testing.assert_close(norm(y), out, rtol=1e-2, atol=1e-2)
    before = norm.running_mean.clone()
    norm(y + 5)
    assert torch.equal(norm.running_mean, before)
    scale = 0.7 / torch.sqrt(norm.running_var + norm.eps)
    torch.testing.assert_close(norm(y), (y - norm.running_mean) * scale)


def test_freezing_and_constraining_reach_every_norm(make_model):
    model = make_model()
    norms = [m for m in model.modules() if isinstance(m, FoldableNorm)]
    assert len(norms) == 8
    with torch.no_grad():
        for norm in norms:
            norm.weight.fill_(-1.0)
    model.constrain_()
    model.freeze_statistics()
    assert all(float(norm.weight.detach().min()) == pytest.approx(MIN_GAIN) for norm in norms)
    assert all(norm.frozen for norm in norms)


def test_the_initial_loss_is_near_the_unigram_loss(make_model):
    frequencies = torch.softmax(torch.randn(256) * 2, 0)
    model = make_model(256, frequencies.log(), dim=64, rank=32)
    ids = torch.multinomial(frequencies, 16 * 33, replacement=True).view(16, 33)
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
    unigram = -frequencies.log()[ids[:, 1:]].mean()
    uniform = math.log(256)
    assert abs(float(loss - unigram)) < 0.4 < (uniform - float(unigram)) / 3


def test_spike_rates_are_measured_only_when_asked(make_model):
    model = make_model()
    ids = torch.randint(0, 64, (4, 32))
    model(ids)
    assert model.spike_rates() == {}
    model.record_spike_rates(True)
    model(ids)
    rates = model.spike_rates()
    assert set(rates) == {
        *(f"blocks.0.{part}" for part in ("attn.in", "attn.qkv", "attn.out", "mlp.in", "mlp.up")),
        "readout",
    }
    assert all(0.02 < rate < 0.5 for rate in rates.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 30}, "not a multiple"),
        ({"windows": (8, 16)}, "one per head"),
        ({"windows": (0, 1, 2, 3)}, "at least 1"),
        ({"windows": (8, 8, 8, 2**17)}, "integer range"),
        ({"shift_channels": 999}, "exceeds dim"),
        ({"width": 3}, "width"),
    ],
)
def test_impossible_sizes_are_refused(make_model, options, message):
    with pytest.raises(ConfigError, match=message):
        make_model(**options)


def test_an_unknown_architecture_names_the_known_ones():
    with pytest.raises(ConfigError, match="spiking_transformer"):
        registry.build("rwkv", {}, SnnConfig(), 64)


def test_a_student_converted_to_another_dtype_is_refused_not_misread(make_model):
    with pytest.raises(TrainingError, match="must stay float32"):
        make_model(depth=1).double()(torch.zeros((1, 4), dtype=torch.int64))
