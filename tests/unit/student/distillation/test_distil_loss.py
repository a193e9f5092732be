"""The fused loss of distillation against its formula under autograd."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the `train` extra")

from edgesnn.student.kernels.library import compiled_library  # noqa: E402
from edgesnn.student.text.batches import IGNORED  # noqa: E402
from edgesnn.student.training import distil_loss as module  # noqa: E402
from edgesnn.student.training.distil_loss import TeacherRows, at_temperature, distil_loss  # noqa: E402

pytestmark = pytest.mark.torch

V, K = 41, 6


@pytest.fixture(params=["compiled", "torch"], autouse=True)
def _rows(request, monkeypatch):
    """Every test runs on both ways to the rows of a loss."""
    if request.param == "torch":
        monkeypatch.setattr(module, "loss_rows", lambda *_, **__: None)
    elif compiled_library() is None:
        pytest.skip("no C compiler on this machine")


def teacher_rows(rows, tau, seed=0):
    """A full teacher distribution, and its k best with the tail at tau."""
    q = torch.log_softmax(
        3 * torch.randn(len(rows), V, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), 1
    )
    top = q.topk(K, dim=1)
    tail = q.scatter(1, top.indices, -torch.inf)
    logp, tail_logp = at_temperature(top.values, torch.logsumexp(tail / tau, dim=1), tau)
    return q, TeacherRows(torch.tensor(rows), top.indices, logp.float(), tail_logp.float())


def formula(logits, targets, full, teacher, *, tau, alpha_ce, alpha_kd):
    """The loss written down: the teacher over k + 1 outcomes at tau."""
    flat = logits.flatten(0, 1)
    mask = targets.flatten() != IGNORED
    ce = torch.nn.functional.cross_entropy(flat, targets.flatten(), ignore_index=IGNORED)
    p = torch.softmax(flat[teacher.rows] / tau, 1)
    q = torch.softmax(full / tau, 1)
    p_k, q_k = p.gather(1, teacher.ids), q.gather(1, teacher.ids)
    p_all = torch.cat([p_k, 1 - p_k.sum(1, keepdim=True)], 1)
    q_all = torch.cat([q_k, 1 - q_k.sum(1, keepdim=True)], 1)
    kl = (q_all * (q_all.log() - p_all.log())).sum()
    return alpha_ce * ce + alpha_kd * tau**2 * kl / mask.sum()


@pytest.mark.parametrize("tau", [1.0, 2.0, 3.5])
@pytest.mark.parametrize(("alpha_ce", "alpha_kd"), [(0.5, 0.5), (0.0, 1.0), (0.3, 0.9)])
def test_loss_and_gradient_are_the_formulas(tau, alpha_ce, alpha_kd):
    random = torch.Generator().manual_seed(5)
    logits = 2 * torch.randn(7, 50, V, generator=random, dtype=torch.float64)
    targets = torch.randint(0, V, (7, 50), generator=random)
    targets[1, 30:] = IGNORED
    rows = [i for i in range(0, 350, 3) if targets.flatten()[i] != IGNORED]
    full, teacher = teacher_rows(rows, tau)
    wanted_in = logits.clone().requires_grad_()
    weights = {"tau": tau, "alpha_ce": alpha_ce, "alpha_kd": alpha_kd}
    wanted = formula(wanted_in, targets, full, teacher, **weights)
    wanted.backward()
    got_in = logits.float().requires_grad_()
    got, ce, kd = distil_loss(got_in, targets, teacher, **weights)
    got.backward()
    assert float(got.detach()) == pytest.approx(float(wanted.detach()), rel=1e-5)
    torch.testing.assert_close(got_in.grad.double(), wanted_in.grad, rtol=1e-4, atol=1e-8)
    share = len(rows) / int((targets != IGNORED).sum())
    assert float(got.detach()) == pytest.approx(
        alpha_ce * float(ce) + alpha_kd * tau**2 * share * float(kd), rel=1e-5
    )


def test_without_teacher_it_is_cross_entropy_and_padding_has_no_gradient():
    logits = torch.randn(2, 9, V, requires_grad=True)
    targets = torch.randint(0, V, (2, 9))
    targets[0, 4:] = IGNORED
    loss, ce, _ = distil_loss(logits, targets, None, tau=2.0, alpha_ce=1.0, alpha_kd=0.0)
    wanted = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
    assert float(loss) == pytest.approx(float(wanted)) == pytest.approx(float(ce))
    loss.backward()
    assert not logits.grad[0, 4:].any() and logits.grad[1].abs().sum() > 0


def test_a_student_equal_to_its_teacher_has_no_divergence_and_no_gradient():
    full, teacher = teacher_rows(list(range(20)), 2.0)
    logits = full.float().reshape(1, 20, V).requires_grad_()
    targets = torch.zeros(1, 20, dtype=torch.int64)
    loss, _, kd = distil_loss(logits, targets, teacher, tau=2.0, alpha_ce=0.0, alpha_kd=1.0)
    loss.backward()
    assert abs(float(kd)) < 1e-6 and float(logits.grad.abs().max()) < 1e-7


def test_tokens_without_probability_and_a_tail_without_mass_stay_finite():
    logp = torch.tensor([[0.0, -60.0, -60.0]])
    logp, tail = at_temperature(logp, torch.tensor([-60.0]), 2.0)
    teacher = TeacherRows(torch.tensor([0]), torch.tensor([[3, 5, 7]]), logp, tail)
    logits = torch.zeros(1, 1, V)
    logits[0, 0, 3] = 200.0
    logits.requires_grad_()
    loss, *_ = distil_loss(logits, torch.tensor([[3]]), teacher, tau=2.0, alpha_ce=0.5, alpha_kd=0.5)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(logits.grad).all()


def test_sixteen_bit_logits_are_summed_in_float32():
    full, teacher = teacher_rows(list(range(200)), 2.0)
    logits = full.float().reshape(1, 200, V).bfloat16()
    targets = torch.zeros(1, 200, dtype=torch.int64)
    weights = {"tau": 2.0, "alpha_ce": 0.5, "alpha_kd": 0.5}
    exact = distil_loss(logits.float(), targets, teacher, **weights)[0]
    assert float(distil_loss(logits, targets, teacher, **weights)[0]) == pytest.approx(float(exact), rel=1e-6)


def test_a_row_may_be_longer_than_what_is_summed_at_a_time_and_any_value_is_finite():
    logits = (40 * torch.randn(1, 70, 2500, generator=torch.Generator().manual_seed(2))).requires_grad_()
    targets = torch.arange(70)[None] * 30
    loss, *_ = distil_loss(logits, targets, None, tau=2.0, alpha_ce=1.0, alpha_kd=0.0)
    loss.backward()
    exact = logits.detach().double().requires_grad_()
    wanted = torch.nn.functional.cross_entropy(exact[0], targets[0])
    wanted.backward()
    assert float(loss.detach()) == pytest.approx(float(wanted.detach()), rel=1e-6)
    torch.testing.assert_close(logits.grad.double(), exact.grad, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_logit_that_is_no_number_makes_the_loss_none(value):
    logits = torch.zeros(1, 3, V)
    logits[0, 1, 20] = value
    loss, *_ = distil_loss(
        logits, torch.zeros(1, 3, dtype=torch.int64), None, tau=1.0, alpha_ce=1.0, alpha_kd=0.0
    )
    assert not torch.isfinite(loss)


def test_the_gradient_of_a_part_of_a_step_is_that_part():
    targets = torch.randint(0, V, (1, 9))
    whole, half = (torch.ones(1, 9, V).requires_grad_() for _ in range(2))
    for logits, parts in ((whole, 1), (half, 2)):
        loss, *_ = distil_loss(logits, targets, None, tau=1.0, alpha_ce=1.0, alpha_kd=0.0)
        (loss / parts).backward()
    assert torch.equal(whole.grad, 2 * half.grad)
