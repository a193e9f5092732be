"""The integer program as one TorchScript file: `torch.jit.load` runs it without edgesnn.

One small module per op, each the equation of `edgesnn.program.ops`. Matrix products run in floating point
over integers that the format holds exactly, as golden's do: below 2**24 in float32 by the compiler's bounds
(a current is below 2**17, a rank at most 1,040), the readout's in float64. So no order of summation can
change a bit; it was tried on CPUs. TorchScript reads annotations when a class is made, hence none are
postponed in this file.
"""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgesnn.errors import ExportError, OutputError

if TYPE_CHECKING:
    from edgesnn.program.ops import Op

MEMBRANE_SCALE = 64
MEMBRANE_MAX = 2**23 - 1
CURRENT_MAX = 2**17 - 1
DECAY_DENOMINATOR = 256
INFORMATION = "edgesnn.json"
"""Name of the extra file: model, hash of the program, exponent of the logits."""


def _tensor(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array).copy())


class _Step(nn.Module):
    """One op; its inputs, and what is let go behind it, by name.

    Numbers are attributes because TorchScript reads no globals; it finds annotations of attributes in the
    nearest class that has any, so those of all ops stand here.
    """

    left: str
    right: str
    out: str
    drop: list[str]
    windows: list[int]
    bias: Tensor
    channels: Tensor
    multiplier: Tensor
    projection: Tensor
    table: Tensor
    threshold: Tensor
    weight: Tensor

    def __init__(self, left: str, out: str, right: str = "") -> None:
        super().__init__()
        self.left, self.right, self.out = left, right, out
        self.drop = []


class _Embed(_Step):
    def __init__(self, op: Any, timesteps: int) -> None:
        super().__init__("", op.out)
        self.timesteps = timesteps
        self.divisor = 2**op.shift
        self.register_buffer("table", _tensor(op.table))
        self.register_buffer("projection", _tensor(op.projection))
        self.register_buffer("multiplier", _tensor(op.multiplier.astype(np.int64)))

    def forward(self, ids: Tensor, values: dict[str, Tensor]) -> Tensor:
        # index_select refuses negative ids, which brackets would count from the end
        rows = self.table.index_select(0, ids.reshape(-1)).to(torch.float32)
        rows = rows.reshape(ids.shape[0], ids.shape[1], -1)
        codes = torch.matmul(rows, self.projection.to(torch.float32)).to(torch.int64)
        current = torch.div(codes * self.multiplier, self.divisor, rounding_mode="trunc").to(torch.int32)
        return current.unsqueeze(2).expand(-1, -1, self.timesteps, -1)


class _Linear(_Step):
    def __init__(self, op: Any) -> None:
        super().__init__(op.input, op.out)
        self.register_buffer("weight", _tensor(op.weight))

    def forward(self, ids: Tensor, values: dict[str, Tensor]) -> Tensor:
        spikes = values[self.left].to(torch.float32)
        return torch.matmul(spikes, self.weight.to(torch.float32)).to(torch.int32)


class _Lif(_Step):
    def __init__(self, op: Any) -> None:
        super().__init__(op.input, op.out)
        self.decay, self.denominator = int(op.decay), DECAY_DENOMINATOR
        self.scale, self.limit = MEMBRANE_SCALE, MEMBRANE_MAX
        self.register_buffer("threshold", _tensor(op.threshold))
        self.register_buffer("bias", _tensor(op.bias))

    def forward(self, ids: Tensor, values: dict[str, Tensor]) -> Tensor:
        drive = values[self.left] * self.scale + self.bias
        membrane = torch.zeros_like(drive[:, :, 0])
        spikes: list[Tensor] = []
        for t in range(drive.shape[2]):
            kept = torch.div(membrane * self.decay, self.denominator, rounding_mode="trunc")
            membrane = torch.clamp(kept + drive[:, :, t], -self.limit, self.limit)
            fired = membrane > self.threshold
            membrane = membrane.masked_fill(fired, 0)
            spikes.append(fired)
        return torch.stack(spikes, dim=2)


class _Shift(_Step):
    def __init__(self, op: Any) -> None:
        super().__init__(op.input, op.out)
        self.register_buffer("channels", _tensor(op.channels.astype(np.int64)))

    def forward(self, ids: Tensor, values: dict[str, Tensor]) -> Tensor:
        spikes = values[self.left]
        moved = spikes.index_select(3, self.channels)
        before = torch.cat([torch.zeros_like(moved[:, :1]), moved[:, :-1]], dim=1)
        return spikes.index_copy(3, self.channels, before)


class _Attend(_Step):
    def __init__(self, op: Any) -> None:
        super().__init__(op.input, op.out)
        self.head_dim = int(op.head_dim)
        self.windows = [int(window) for window in op.windows]

    def forward(self, ids: Tensor, values: dict[str, Tensor]) -> Tensor:
        qkv = values[self.left].to(torch.float32).transpose(1, 2)  # [B, T, L, 3 d]
        width = self.head_dim * len(self.windows)
        place = torch.arange(qkv.shape[2], device=qkv.device)
        age = place.unsqueeze(1) - place.unsqueeze(0)
        heads: list[Tensor] = []
        for head, window in enumerate(self.windows):
            first = head * self.head_dim
            q = qkv[..., first : first + self.head_dim]
            k = qkv[..., width + first : width + first + self.head_dim]
            v = qkv[..., 2 * width + first : 2 * width + first + self.head_dim]
            seen = torch.logical_and(age >= 0, age < window)
            scores = torch.matmul(q, k.transpose(2, 3)).masked_fill(torch.logical_not(seen), 0.0)
            heads.append(torch.matmul(scores, v))
        return torch.cat(heads, dim=3).transpose(1, 2).to(torch.int32)


class _Add(_Step):
    def __init__(self, op: Any) -> None:
        super().__init__(op.left, op.out, op.right)

    def forward(self, ids: Tensor, values: dict[str, Tensor]) -> Tensor:
        return values[self.left] + values[self.right]


class _Saturate(_Step):
    def __init__(self, op: Any) -> None:
        super().__init__(op.input, op.out)
        self.limit = CURRENT_MAX

    def forward(self, ids: Tensor, values: dict[str, Tensor]) -> Tensor:
        return torch.clamp(values[self.left], -self.limit, self.limit)


class _Count(_Step):
    def __init__(self, op: Any) -> None:
        super().__init__(op.input, op.out)

    def forward(self, ids: Tensor, values: dict[str, Tensor]) -> Tensor:
        return values[self.left].sum(dim=2)


class _Readout(_Step):
    def __init__(self, op: Any) -> None:
        super().__init__(op.input, op.out)
        self.divisor = 2**op.shift
        self.scale = float(2.0**-op.exponent)
        self.register_buffer("weight", _tensor(op.weight))
        self.register_buffer("bias", _tensor(op.bias.astype(np.int64)))
        self.register_buffer("multiplier", _tensor(op.multiplier.astype(np.int64)))
        self.register_buffer("table", _tensor(op.table))

    def forward(self, ids: Tensor, values: dict[str, Tensor]) -> Tensor:
        counts = values[self.left].to(torch.float64)
        z = torch.matmul(counts, self.weight.to(torch.float64)).to(torch.int64) + self.bias
        codes = torch.div(z * self.multiplier, self.divisor, rounding_mode="trunc").clamp(-127, 127)
        table = self.table.to(torch.float32)
        return torch.matmul(codes.to(torch.float32), table.transpose(0, 1)) * self.scale


_STEPS = {
    "Linear": _Linear, "LIF": _Lif, "Shift": _Shift, "Attend": _Attend, "Add": _Add, "Saturate": _Saturate,
    "Count": _Count, "Readout": _Readout,
}  # fmt: skip
"""By the name of the op's class: this room is handed ops, and knows none by import."""


class ScriptedStudent(nn.Module):
    """An integer program as a torch module; `script_program` makes it and scripts it.

    Args:
        timesteps: T.
        ops: The ops of the program, in order.

    Raises:
        ExportError: An op is unknown.
    """

    def __init__(self, timesteps: int, ops: "Sequence[Op]") -> None:
        super().__init__()
        steps: list[_Step] = []
        for op in ops:
            kind = type(op).__name__
            if kind != "Embed" and kind not in _STEPS:
                raise ExportError(f"TorchScript cannot carry the op {kind}", limit=", ".join(_STEPS))
            steps.append(_Embed(op, timesteps) if kind == "Embed" else _STEPS[kind](op))
        last = {name: step for step in steps for name in (step.left, step.right) if name}
        for name, step in last.items():
            step.drop.append(name)
        self.steps = nn.ModuleList(steps)
        self.result = steps[-1].out

    def forward(self, input_ids: Tensor) -> Tensor:
        """Logits of the next token.

        Args:
            input_ids: int64 ``[B, L]``; every row starts a new context.

        Returns:
            float32 ``[B, L, V]``, golden's integer logits times their power of two.
        """
        values: dict[str, Tensor] = {}
        for step in self.steps:
            values[step.out] = step(input_ids, values)  # type: ignore[index]
            for name in step.drop:  # type: ignore[union-attr]
                values.pop(name)
        return values[self.result]


def script_program(timesteps: int, ops: "Sequence[Op]") -> torch.jit.ScriptModule:
    """An integer program as a scripted module: ``input_ids`` int64 ``[B, L]`` to logits ``[B, L, V]``.

    Args:
        timesteps: T.
        ops: The ops of the program, in order.

    Raises:
        ExportError: An op is unknown.
    """
    with warnings.catch_warnings():  # torch calls TorchScript deprecated; those who ask for it know
        warnings.simplefilter("ignore", DeprecationWarning)
        made: torch.jit.ScriptModule = torch.jit.script(ScriptedStudent(timesteps, ops).eval())
    return made


def write_torchscript(timesteps: int, ops: "Sequence[Op]", path: Path, facts: dict[str, str]) -> None:
    """Write an integer program as one file for ``torch.jit.load``.

    Args:
        timesteps: T.
        ops: The ops of the program, in order.
        path: The file.
        facts: What is known of the model; the extra file `INFORMATION`.

    Raises:
        ExportError: An op is unknown.
        OutputError: The file cannot be written.
    """
    module = script_program(timesteps, ops)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            torch.jit.save(module, str(path), _extra_files={INFORMATION: json.dumps(facts)})
    except (OSError, RuntimeError) as error:
        raise OutputError(f"cannot write '{path}'", actual=str(error).split("\n", 1)[0]) from None
