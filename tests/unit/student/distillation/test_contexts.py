"""Packed sequences: a context never sees its neighbours, in the float and in the integer forward pass."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the `train` extra")

from edgesnn.student.config import SnnConfig  # noqa: E402
from edgesnn.student.model import registry  # noqa: E402

pytestmark = pytest.mark.torch


@pytest.fixture
def model():
    torch.manual_seed(0)
    options = {"dim": 32, "depth": 2, "num_heads": 4, "mlp_dim": 64, "rank": 16, "windows": (4, 8, 16, 32)}
    made = registry.build("spiking_transformer", options, SnnConfig(surrogate_type="fast_sigmoid"), 300)
    for norm in made._norms():
        norm.running_var.fill_(0.1)
        norm.bias.data.uniform_(-0.3, 0.3)
    return made


@pytest.mark.parametrize("integer", [False, True])
def test_two_texts_in_one_row_give_the_logits_of_each_alone(model, integer):
    model.eval()
    if integer:
        model.set_integer_aware("float32", 8)
    first, second = torch.randint(0, 300, (1, 23)), torch.randint(0, 300, (1, 30))
    with torch.no_grad():
        alone = [model(first), model(second)]
        model.set_segments(torch.tensor([[0] * 23 + [1] * 30 + [-1] * 5]))
        packed = model(torch.cat([first, second, torch.zeros(1, 5, dtype=torch.int64)], 1))
    torch.testing.assert_close(packed[:, :23], alone[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(packed[:, 23:53], alone[1], rtol=0, atol=1e-6)
    assert alone[0].std() > 0.1


def test_gradients_do_not_cross_a_border(model):
    model.train()
    model.freeze_statistics()
    model.set_segments(torch.tensor([[0] * 20 + [1] * 20]))
    ids = torch.cat([torch.arange(20), torch.arange(100, 120)])[None]
    model(ids)[0, 20:].square().sum().backward()
    # the readout is tied, so look at the embedding of the rows through the projection's input only
    model.zero_grad()
    seen = []
    hook = model.embed.project.register_forward_hook(lambda *_: None)
    hook.remove()
    table = torch.nn.functional.embedding(ids, model.embed.weight.detach()).requires_grad_()
    original = torch.nn.functional.embedding
    try:
        torch.nn.functional.embedding = lambda *_: table
        model(ids)[0, 20:].square().sum().backward()
    finally:
        torch.nn.functional.embedding = original
    seen.append(table.grad.abs().sum(-1)[0])
    assert not seen[0][:20].any() and seen[0][20:].any()


def test_checkpointing_gives_the_same_loss_gradients_and_statistics(model):
    import copy

    ids = torch.randint(0, 300, (3, 40))
    results = []
    for enabled in (False, True):
        twin = copy.deepcopy(model).train()
        twin.set_checkpointing(enabled)
        twin.set_rate_target(0.05)
        loss = twin(ids).square().mean() + twin.take_penalty()
        loss.backward()
        gradients = {name: p.grad for name, p in twin.named_parameters()}
        results.append((loss.detach(), gradients, dict(twin.named_buffers())))
    (loss, gradients, buffers), (other_loss, other_gradients, other_buffers) = results
    assert torch.equal(loss, other_loss)
    assert all(torch.equal(gradients[name], other_gradients[name]) for name in gradients)
    assert all(torch.equal(buffers[name], other_buffers[name]) for name in buffers)
