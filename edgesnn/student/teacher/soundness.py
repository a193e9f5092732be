"""Whether what was loaded is the model that was meant: its tensors, its numbers, its sight of the future.

transformers fills a tensor that a file lacks with random numbers, leaves out one that the configuration does
not know, and calls some encoders causal. Each of these trains without a word, so each is an error here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgesnn.errors import TrainingError
from edgesnn.text.causality import check_causal, not_causal, not_numbers, probes
from edgesnn.text.tokenizer import TextTokenizer

_CONSTANTS = re.compile(
    r"(^|\.)(inv_freq|masked_bias|causal_mask|position_ids|version|(attn|attention|self_attention)\.bias)$"
)
"""Tensors that older files carry and no training changes: frequencies, masks, places."""

_WRAPPERS = {
    r"lora_|\.base_layer\.|^base_model\.|adapter": "merge the adapter (merge_and_unload) and save again",
    r"(^|\.)_orig_mod\.|^module\.|^_forward_module\.|_fsdp_": "save the model inside, not what "
    "torch.compile or a parallel training wrapped around it",
}
"""Names that tell what went wrong when a file was saved."""

_NAMED = 3
"""Tensors that an error names."""


def check_tensors(name: str, model: nn.Module, info: dict[str, Collection[Any]]) -> None:
    """Compare the tensors of a file with those of its configuration.

    Args:
        name: The teacher.
        model: As it was loaded.
        info: What ``from_pretrained(output_loading_info=True)`` gives; tied embeddings and whatever an
            architecture may leave out are not in it.

    Raises:
        TrainingError: Tensors are missing, unexpected or of another shape.
    """
    buffers = [f".{buffer}" for buffer, _ in model.named_buffers()]
    order = {tensor: place for place, tensor in enumerate(model.state_dict())}

    def trained(names: Iterable[str]) -> list[str]:
        kept = (
            n for n in names if not _CONSTANTS.search(n) and not any(b.endswith(f".{n}") for b in buffers)
        )
        return sorted(kept, key=lambda n: (order.get(n, len(order)), n))

    missing, unexpected = trained(info["missing_keys"]), trained(info["unexpected_keys"])
    shapes = {
        key: f"{key} {tuple(file)}, configured {tuple(asked)}" for key, file, asked in info["mismatched_keys"]
    }
    found = [
        f"{len(names)} {what}, first {', '.join(names[:_NAMED])}"
        for what, names in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of another shape", [shapes[key] for key in sorted(shapes)]),
        )
        if names
    ]
    if not found:
        return
    cures = (
        cure for pattern, cure in _WRAPPERS.items() if any(re.search(pattern, key) for key in unexpected)
    )
    raise misfit(name, "; ".join(found), next(cures, None))


def misfit(name: str, actual: str, remedy: str | None = None) -> TrainingError:
    """The error for weights that are not those of their configuration."""
    return TrainingError(
        f"the weights of the teacher '{name}' do not fit its configuration",
        actual=actual,
        limit="every tensor of the configuration, and no other",
        remedy=remedy or "fetch all of its files again, or save the whole model with save_pretrained",
    )


def check_numbers(name: str, model: nn.Module) -> None:
    """Look for NaN and infinity in the weights.

    Args:
        name: The teacher.
        model: As it was loaded.

    Raises:
        TrainingError: There is one.
    """
    for key, tensor in model.state_dict().items():
        if tensor.is_floating_point() and tensor.numel() and not _finite(tensor):
            raise not_numbers_error(name, tensor.dtype, f"in its weight {key}")


def check_behaviour(
    name: str, model: nn.Module, tokenizer: TextTokenizer, columns: int, context: int
) -> None:
    """Probe a loaded model: its logits are numbers, and a later token changes no earlier one.

    What rounding hides from the comparison of two runs, the gradient shows: what an earlier logit gets from a
    later embedding is exactly 0 behind a mask, in every type.

    Args:
        name: The teacher.
        model: In evaluation mode, on the device where it will run.
        tokenizer: Its tokenizer.
        columns: Rows of its readout.
        context: Longest sequence it was made for.

    Raises:
        TrainingError: Its logits are not numbers.
        UserError: It reads the future.
    """
    dtype, device = next(model.parameters()).dtype, next(model.parameters()).device
    pair = probes(tokenizer, columns, context)
    half = len(pair[0]) // 2

    def run(ids: Iterable[int]) -> Tensor:
        logits: Tensor = model(input_ids=torch.tensor([list(ids)], device=device), use_cache=False).logits[0]
        return logits

    @torch.no_grad()
    def numbers(ids: Iterable[int]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = run(ids).float().cpu().numpy()
        if not_numbers(logits):
            raise not_numbers_error(name, dtype, "in its logits at its first probe")
        return logits

    check_causal(f"the teacher '{name}'", numbers, pair, math.sqrt(torch.finfo(dtype).eps))
    leak = _gradient_of_the_future(model, lambda: run(pair[0]), half)
    if leak:
        raise not_causal(
            f"the teacher '{name}'",
            f"tokens behind place {half} have a gradient of {leak:.2g} in earlier logits",
        )


def _gradient_of_the_future(model: Any, run: Callable[[], Tensor], half: int) -> float | None:
    """Largest gradient of the first logits in the last embeddings; None where it cannot be had."""
    seen: list[Tensor] = []

    def keep(module: nn.Module, arguments: Any, output: Tensor) -> Tensor:
        seen.append(output.detach().requires_grad_())
        return seen[-1] * 1  # some models change their embeddings in place, which a leaf forbids

    hook = None
    try:
        hook = model.get_input_embeddings().register_forward_hook(keep)
        with torch.enable_grad():
            early = run()[:half].float()
            # random signs: a sum of all logits of a normalised state may be constant
            signs = torch.randn(early.shape, generator=torch.Generator().manual_seed(0)).to(early.device)
            torch.where(early.isfinite(), early * signs, 0).sum().backward()  # type: ignore[no-untyped-call]
        gradient = seen[0].grad
    except (RuntimeError, NotImplementedError, AttributeError):
        return None  # an operation without a derivative: the two runs alone must do
    finally:
        if hook is not None:
            hook.remove()
    late = None if gradient is None else gradient.reshape(-1, *gradient.shape[-2:])[:, half:].abs().max()
    return None if late is None or not bool(late.isfinite()) else float(late)


def not_numbers_error(name: str, dtype: torch.dtype, where: str) -> TrainingError:
    """The error for NaN and infinity, wherever they are met.

    Args:
        name: The teacher.
        dtype: Type of its weights.
        where: Continues "NaN or infinity".
    """
    return TrainingError(
        f"the teacher '{name}' does not give numbers in {str(dtype).removeprefix('torch.')}",
        actual=f"NaN or infinity {where}",
        remedy="float16 overflows where float32 and bfloat16 (--teacher-dtype) do not; "
        "what is damaged in the files stays so: fetch them again",
    )


def _finite(tensor: Tensor) -> bool:
    wide = tensor if tensor.element_size() > 1 else tensor.float()
    low, high = wide.aminmax()  # both are NaN where one number is
    return bool(torch.isfinite(low) & torch.isfinite(high))
