"""Two synthetic tasks that text cannot tell apart at a small budget: order and binding."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from edgesnn.student.config import SnnConfig
from edgesnn.student.model import registry

IGNORED = -100
Task = Callable[[int, torch.Generator], tuple[Tensor, Tensor]]


def copy_two_back(batch: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random tokens; the answer at each place is the token two places before it."""
    ids = torch.randint(0, 16, (batch, 24), generator=random)
    targets = torch.full_like(ids, IGNORED)
    targets[:, 2:] = ids[:, :-2]
    return ids, targets


def recall_pairs(batch: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Four (key, value) pairs, then the four keys in another order; the answer at each is its value."""
    keys = torch.rand((batch, 8), generator=random).argsort(1)[:, :4]
    values = torch.randint(8, 16, (batch, 4), generator=random)
    order = torch.rand((batch, 4), generator=random).argsort(1)
    ids = torch.cat((torch.stack((keys, values), 2).flatten(1), keys.gather(1, order)), 1)
    targets = torch.full_like(ids, IGNORED)
    targets[:, 8:] = values.gather(1, order)
    return ids, targets


def solve(task: Task, steps: int, **options: object) -> float:
    """Train a small student on a task and give its accuracy on new examples."""
    torch.manual_seed(0)
    random = torch.Generator().manual_seed(1)
    snn = SnnConfig(surrogate_type="fast_sigmoid", num_timesteps=2)
    sizes = {"dim": 64, "depth": 2, "num_heads": 4, "mlp_dim": 128, "rank": 16, "windows": (32,) * 4}
    model = registry.build("spiking_transformer", {**sizes, **options}, snn, 16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, betas=(0.9, 0.98), weight_decay=0.0)
    for step in range(steps):
        if step == int(0.85 * steps):
            model.freeze_statistics()
        for group in optimizer.param_groups:
            group["lr"] = 4e-3 * min(1.0, (step + 1) / 20) * (1 - step / steps)
        ids, targets = task(32, random)
        loss = torch.nn.functional.cross_entropy(
            model(ids).flatten(0, 1), targets.flatten(), ignore_index=IGNORED
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.constrain_()
    model.eval()
    ids, targets = task(256, random)
    with torch.no_grad():
        right = (model(ids).argmax(-1) == targets)[targets != IGNORED]
    return float(right.float().mean())
