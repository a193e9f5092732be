"""Training speed: this student against the same one built from SpikingJelly's and snnTorch's modules.

    python -m venv bench && bench/bin/pip install torch spikingjelly snntorch -e .
    bench/bin/python benchmarks/training.py

All students have the same sizes, neurons, norms and loss, and run one after the other in one process, round
by round, on one thread. The others' attention is the plain masked product, their loss torch's cross-entropy;
they run in float32 and under torch's bfloat16 autocast. A package that is not installed is left out and
named. Tokens per CPU second, best round and median.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from edgesnn.student.config import SnnConfig
from edgesnn.student.kernels.fused_lif import available
from edgesnn.student.model import registry
from edgesnn.student.training.distil_loss import distil_loss

BETA = 230 / 256
Layer = Callable[[], nn.Module]


def spikingjelly_lif(timesteps: int) -> nn.Module:
    """SpikingJelly's multi-step LIF: hard reset to 0, detached, inverse tangent surrogate."""
    from spikingjelly.activation_based import functional, neuron, surrogate

    node = neuron.LIFNode(
        tau=1 / (1 - BETA), decay_input=False, v_threshold=1.0, v_reset=0.0, detach_reset=True,
        surrogate_function=surrogate.ATan(), step_mode="m",
    )  # fmt: skip

    class Reset(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.node = node

        def forward(self, x: Tensor) -> Tensor:
            functional.reset_net(self.node)
            return self.node(x)

    return Reset()


def snntorch_lif(timesteps: int) -> nn.Module:
    """The Leaky of snnTorch, called once per timestep."""
    import snntorch
    from snntorch import surrogate

    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.leaky = snntorch.Leaky(
                beta=BETA, threshold=1.0, reset_mechanism="zero", spike_grad=surrogate.atan()
            )

        def forward(self, x: Tensor) -> Tensor:
            membrane = self.leaky.reset_mem()
            spikes = []
            for t in range(timesteps):
                spike, membrane = self.leaky(x[t], membrane)
                spikes.append(spike)
            return torch.stack(spikes)

    return Loop()


class Norm(nn.Module):
    """BatchNorm over time, batch and position."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``[T, B, L, C]``."""
        return self.norm(x.flatten(0, -2)).view_as(x)


class Plain(nn.Module):
    """The student from modules that every framework has, with its LIF."""

    def __init__(
        self, sizes: dict[str, Any], vocab: int, timesteps: int, lif: Callable[[int], nn.Module]
    ) -> None:
        super().__init__()
        d, m, r = sizes["dim"], sizes["mlp_dim"], sizes["rank"]
        self.sizes, self.timesteps = sizes, timesteps
        self.table = nn.Embedding(vocab, r)
        self.project = nn.Linear(r, d, bias=False)
        self.blocks = nn.ModuleList()
        for _ in range(sizes["depth"]):
            widths = {"in": d, "qkv": 3 * d, "out": d, "mlp": d, "up": m}
            block = nn.ModuleDict({f"norm_{k}": Norm(w) for k, w in widths.items()})
            block.update({f"lif_{k}": lif(timesteps) for k in widths})
            block.update({"norm_res1": Norm(d), "norm_res2": Norm(d)})
            shapes = {"qkv": (d, 3 * d), "wo": (d, d), "w1": (d, m), "w2": (m, d)}
            block.update({k: nn.Linear(*s, bias=False) for k, s in shapes.items()})
            self.blocks.append(block)
        self.norm, self.lif, self.head = Norm(d), lif(timesteps), nn.Linear(d, r)

    def shift(self, s: Tensor) -> Tensor:
        """The token shift."""
        half = s.shape[-1] // 2
        previous = nn.functional.pad(s[:, :, :-1, :half], (0, 0, 1, 0))
        return torch.cat((previous, s[..., half:]), -1)

    def attend(self, qkv: Tensor) -> Tensor:
        """Masked attention of all heads."""
        t, b, length, _ = qkv.shape
        heads = self.sizes["num_heads"]
        q, k, v = qkv.view(t, b, length, 3, heads, -1).permute(3, 0, 1, 4, 2, 5)
        age = torch.arange(length)[:, None] - torch.arange(length)[None, :]
        windows = torch.tensor(self.sizes["windows"])[:, None, None]
        mask = ((age >= 0) & (age < windows)).to(qkv.dtype)
        out = (q @ k.transpose(-1, -2) * mask) @ v
        return out.permute(0, 1, 3, 2, 4).reshape(t, b, length, -1)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits of ids ``[B, L]``."""
        x = self.project(self.table(ids)).unsqueeze(0).repeat(self.timesteps, 1, 1, 1)
        for b in self.blocks:
            s = self.shift(b["lif_in"](b["norm_in"](x)))
            qkv = b["lif_qkv"](b["norm_qkv"](b["qkv"](s)))
            a = b["lif_out"](b["norm_out"](self.attend(qkv)))
            x = x + b["norm_res1"](b["wo"](a))
            s = self.shift(b["lif_mlp"](b["norm_mlp"](x)))
            x = x + b["norm_res2"](b["w2"](b["lif_up"](b["norm_up"](b["w1"](s)))))
        count = self.lif(self.norm(x)).sum(0)
        return self.head(count) @ self.table.weight.t()


class Autocast(nn.Module):
    """A model under torch's bfloat16 autocast."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        """Logits of ids ``[B, L]``."""
        with torch.autocast("cpu", torch.bfloat16):
            return self.model(ids)


def edgesnn_student(sizes: dict[str, Any], vocab: int, timesteps: int, dtype: torch.dtype) -> nn.Module:
    snn = SnnConfig(num_timesteps=timesteps, surrogate_type="arctan", surrogate_slope=2.0)
    model = registry.build("spiking_transformer", sizes, snn, vocab)
    assert isinstance(model, registry.Tunable)
    model.set_precision(dtype)
    return model


def own_loss(logits: Tensor, targets: Tensor) -> Tensor:
    return distil_loss(logits, targets, None, tau=1.0, alpha_ce=1.0, alpha_kd=0.0)[0]


def torch_loss(logits: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


def cpu_seconds(model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], ids: Tensor, steps: int) -> float:
    """CPU seconds per training step."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model.train()
    started = 0.0
    for step in range(steps + 1):
        if step == 1:  # the first step allocates
            started = time.process_time()
        optimizer.zero_grad(set_to_none=True)
        loss(model(ids), ids.roll(-1, 1)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return (time.process_time() - started) / steps


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--depth", type=int, default=2)
    parser.add_argument("--timesteps", type=int, default=4)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--vocab", type=int, default=4096)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    sizes = {
        "dim": given.dim, "depth": given.depth, "num_heads": 4, "mlp_dim": 2 * given.dim, "rank": 64,
        "windows": (8, 16, 64, 128),
    }  # fmt: skip
    students: dict[str, tuple[nn.Module, Callable[[Tensor, Tensor], Tensor]]] = {}
    for name, dtype in (("edgesnn bfloat16", torch.bfloat16), ("edgesnn float32", torch.float32)):
        students[name] = (edgesnn_student(sizes, given.vocab, given.timesteps, dtype), own_loss)
    missing = []
    for name, lif in (("SpikingJelly", spikingjelly_lif), ("snnTorch", snntorch_lif)):
        try:
            students[f"{name} float32"] = (Plain(sizes, given.vocab, given.timesteps, lif), torch_loss)
            cast = Autocast(Plain(sizes, given.vocab, given.timesteps, lif))
            students[f"{name} autocast bfloat16"] = (cast, torch_loss)
        except ImportError as error:
            missing.append(f"{name}: {error}")
    ids = torch.randint(0, given.vocab, (given.batch, given.length))
    seconds: dict[str, list[float]] = {name: [] for name in students}
    for _ in range(given.rounds):
        for name, (model, loss) in students.items():
            seconds[name].append(cpu_seconds(model, loss, ids, given.steps))
    tokens = given.batch * given.length
    result = {
        name: {
            "parameters": sum(p.numel() for p in students[name][0].parameters()),
            "tokens_per_cpu_second_best": round(tokens / min(values)),
            "tokens_per_cpu_second_median": round(tokens / statistics.median(values)),
        }
        for name, values in seconds.items()
    }
    if given.json:
        print(json.dumps({"torch": torch.__version__, "kernels": available(), "missing": missing, **result}))
        return
    print(f"torch {torch.__version__}, compiled kernels: {available()}, {vars(given)}")
    for name, row in result.items():
        best, median = row["tokens_per_cpu_second_best"], row["tokens_per_cpu_second_median"]
        print(f"{name:30} best {best:,} (median {median:,}) tokens per CPU second")
    for line in missing:
        print("left out:", line)


if __name__ == "__main__":
    main()
