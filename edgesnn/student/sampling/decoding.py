"""Prompts of one length answered side by side, and what the teacher said at every position on the way.

Nothing is padded and nothing masked, so every architecture that generates can be asked, recurrent ones too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgesnn.errors import TrainingError
from edgesnn.student.sampling.draw import DrawSettings, draw
from edgesnn.student.teacher.aggregate import Aggregator, Targets
from edgesnn.student.teacher.loading import Teacher
from edgesnn.student.teacher.prefix import SharedPrefix
from edgesnn.student.teacher.readout import ChosenReadout, model_state
from edgesnn.student.teacher.soundness import not_numbers_error
from edgesnn.student.teacher.trimming import NO_TOKEN, TrimmedVocabulary
from edgesnn.text.tokenizer import ASSISTANT, SPECIAL_TOKENS

_ASSISTANT = SPECIAL_TOKENS.index(ASSISTANT)

_DROP = 8
"""Finished answers leave a batch once they are an eighth of it: to move the states costs a step or so."""


@dataclass(frozen=True, slots=True, eq=False)
class SampledAnswer:
    """One answer.

    Attributes:
        native: int32 ``[n]``, all native ids: chat format, prompt and answer, with the id that ended it.
        tokens: Ids of the answer alone, without that one.
        ended: Whether the teacher ended it; else it met the limit.
        places: int64 ``[m]``, the places in ``native`` that the teacher was asked to predict.
        targets: What it said there, ``m`` rows.
    """

    native: NDArray[np.int32]
    tokens: list[int]
    ended: bool
    places: NDArray[np.int64]
    targets: Targets


class Answering:
    """A teacher made ready for answering; as a context it leaves the teacher as it was.

    Args:
        teacher: The teacher.
        trimmed: The student's vocabulary.
        k: Student tokens kept of a distribution.
        tau: Temperature of the distillation.
        settings: How tokens are drawn.
        limit: Tokens of an answer at most.
    """

    def __init__(
        self,
        teacher: Teacher,
        trimmed: TrimmedVocabulary,
        *,
        k: int,
        tau: float,
        settings: DrawSettings,
        limit: int,
    ) -> None:
        self._teacher, self._settings, self._limit = teacher, settings, limit
        device = teacher.device
        self._piece = np.full(teacher.vocab_size, NO_TOKEN, np.int64)
        self._piece[: len(trimmed.first_piece)] = trimmed.first_piece
        self._ends = np.array(teacher.chat.end_ids(), np.int64)
        special = {teacher.tokenizer.token_id(token) for token in teacher.tokenizer.specials()}
        banned = self._piece == NO_TOKEN
        banned[sorted(special - {*teacher.chat.end_ids()})] = (
            True  # the chat format's own belong in no answer
        )
        banned[self._ends] = False
        self._banned = torch.from_numpy(banned).to(device)
        self._prefix = SharedPrefix(teacher)
        self._readout = ChosenReadout(teacher)
        self._aggregate = Aggregator(
            trimmed.first_piece,
            teacher.vocab_size,
            trimmed.student_size,
            k=k,
            tau=tau,
            turn_end=teacher.chat.turn_end,
            prompt_end=_ASSISTANT,
            device=device,
        )

    def __enter__(self) -> Answering:
        self._readout.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._readout.__exit__(*exception)

    @torch.no_grad()
    def __call__(self, prompts: NDArray[np.int32], u: NDArray[np.float64]) -> list[SampledAnswer]:
        """Answer a batch.

        Args:
            prompts: int32 ``[B, L]``, native ids of prompts of one length.
            u: float64 ``[B, limit]``, the draws of each answer.

        Raises:
            TrainingError: Memory ran out, or the teacher does not answer with numbers.
        """
        try:
            return self._answer(prompts, u)
        except (MemoryError, torch.OutOfMemoryError) as error:
            raise TrainingError(
                "out of memory while the teacher answers",
                actual=f"{len(prompts)} answers at a time: {str(error)[:120]}",
                remedy="lower --batch-size, or give a smaller teacher",
            ) from None

    def _answer(self, prompts: NDArray[np.int32], u: NDArray[np.float64]) -> list[SampledAnswer]:
        chat, count, device = self._teacher.chat, len(prompts), self._teacher.device
        before, between = np.array(chat.before, np.int32), np.array(chat.between, np.int32)
        native = np.concatenate([np.tile(before, (count, 1)), prompts, np.tile(between, (count, 1))], axis=1)
        # what stands at these places the teacher is asked to predict: the prompt, and that it ends
        places = np.arange(len(before), len(before) + prompts.shape[1] + int(chat.turn_closes))
        logits, past = self._begin(native, places)
        asked = len(places)
        prompt_rows = self._targets(
            logits[: count * asked],
            native[:, places].reshape(-1),
            np.tile(np.arange(asked) == prompts.shape[1], count),
        )
        logits = logits[count * asked :]
        tokens: list[list[int]] = [[] for _ in range(count)]
        rows: list[list[Targets]] = [[] for _ in range(count)]
        context = torch.from_numpy(native.astype(np.int64)).to(device)
        alive = np.arange(count)  # the answer of each row of the batch
        open_rows = np.ones(count, bool)  # those that are not finished
        for step in range(self._limit):
            chosen = draw(logits, context, self._banned, u[alive, step], self._settings)
            said = self._targets(logits, chosen, np.zeros(len(alive), bool))
            for row in np.flatnonzero(open_rows).tolist():
                tokens[alive[row]].append(int(chosen[row]))
                rows[alive[row]].append(said.slice(row, row + 1))
            open_rows &= ~np.isin(chosen, self._ends)
            if not open_rows.any() or step + 1 == self._limit:
                break
            following = torch.from_numpy(chosen).to(device)
            context = torch.cat([context, following[:, None]], 1)
            if self._prefix.usable and len(alive) - open_rows.sum() >= len(alive) / _DROP:
                kept = torch.from_numpy(np.flatnonzero(open_rows)).to(device)
                past["past_key_values"].batch_select_indices(kept)
                context, following, alive = context[kept], following[kept], alive[open_rows]
                open_rows = open_rows[open_rows]
            logits, past = self._go_on(following[:, None], context, past)
        return [
            self._joined(native[i], places, prompt_rows.slice(i * asked, (i + 1) * asked), tokens[i], rows[i])
            for i in range(count)
        ]

    def _begin(self, native: NDArray[np.int32], places: NDArray[np.int64]) -> tuple[Tensor, dict[str, Any]]:
        """Run the prompts: logits at the places, answer by answer, then those behind every prompt."""
        device, count = self._teacher.device, len(native)
        shared = self._prefix.begin if self._prefix.usable else native[0, :0]
        state = self._prefix.states(shared, count) if len(shared) else {"use_cache": True}
        width = native.shape[1] - len(shared)
        ids = torch.from_numpy(native[:, len(shared) :].astype(np.int64)).to(device)
        first = np.arange(count) * width
        index = np.concatenate(
            [(first[:, None] + places[None] - 1 - len(shared)).reshape(-1), first + width - 1]
        )
        logits, output = self._readout(ids, torch.from_numpy(index).to(device), **state)
        return logits, model_state(output)

    def _go_on(
        self, following: Tensor, context: Tensor, past: dict[str, Any]
    ) -> tuple[Tensor, dict[str, Any]]:
        """Logits behind one more token; a teacher that keeps nothing reads all of it again."""
        rows, width = context.shape
        if past:
            logits, output = self._readout(following, None, use_cache=True, **past)
            if len(logits) == rows:
                return logits, model_state(output)
            # transformers' RWKV mixes the rows of a batch when it steps: it reads all of it again
        last = torch.arange(rows, device=context.device) * width + width - 1
        return self._readout(context, last, use_cache=False)[0], {}

    def _targets(
        self, logits: Tensor, native: NDArray[np.integer], at_prompt_end: NDArray[np.bool_]
    ) -> Targets:
        student = np.where(at_prompt_end, _ASSISTANT, np.maximum(self._piece[native], 0))
        device = self._teacher.device
        targets = self._aggregate(
            logits,
            torch.from_numpy(native.astype(np.int64)).to(device),
            torch.from_numpy(student).to(device),
            torch.from_numpy(at_prompt_end).to(device),
        )
        if np.isnan(targets.native_logp).any():
            raise not_numbers_error(self._teacher.name, self._teacher.dtype, f"in a batch of {len(native)}")
        return targets

    def _joined(
        self,
        native: NDArray[np.int32],
        places: NDArray[np.int64],
        prompt: Targets,
        tokens: list[int],
        rows: list[Targets],
    ) -> SampledAnswer:
        ended = tokens[-1] in self._ends
        return SampledAnswer(
            native=np.concatenate([native, np.array(tokens, np.int32)]),
            tokens=tokens[:-1] if ended else tokens,
            ended=bool(ended),
            places=np.concatenate([places, len(native) + np.arange(len(tokens))]),
            targets=Targets.join([prompt, *rows]),
        )
