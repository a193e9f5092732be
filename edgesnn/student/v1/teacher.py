"""A student of version 1.0 as a teacher: asked prefix by prefix, because its attention sees the future.

Its logits at a place depend on the tokens behind it, so a whole text cannot be put to it at once: it would
answer with what it is to predict. It is asked as it generates: for every place one run over the tokens up to
it. A causal mask would be cheaper and is another function; docs/decisions/v1_teacher.md has the figures.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from edgesnn.errors import UsageError
from edgesnn.student.teacher.chat import ChatFormat
from edgesnn.student.teacher.loading import Teacher
from edgesnn.student.teacher.trimming import native_tokenizer_json
from edgesnn.student.v1.model import V1StudentModel
from edgesnn.text.tokenizer import TextTokenizer

#: It has no positions, so nothing limits its context.
_ENDLESS = 1 << 30


@dataclass(frozen=True, slots=True)
class PrefixAnswer:
    """What `PrefixTeacher` answers.

    Attributes:
        logits: float32 ``[B, L, V]``, or of the places that a hook of the readout chose.
    """

    logits: Tensor


class PrefixTeacher(nn.Module):
    """The interface of a causal language model over a student of version 1.0.

    Args:
        student: The student.
    """

    def __init__(self, student: V1StudentModel) -> None:
        super().__init__()
        self.student = student

    def get_output_embeddings(self) -> nn.Module:
        """The readout."""
        return self.student.head

    def set_output_embeddings(self, head: nn.Linear) -> None:
        """Put another readout in the place of this one."""
        self.student.head = head

    @torch.no_grad()
    def forward(self, input_ids: Tensor, use_cache: bool = False) -> PrefixAnswer:
        """Logits of every place of int64 ids ``[B, L]``, each from the ids up to it."""
        del use_cache  # there is no state to keep
        places = [self.student.hidden(input_ids[:, : end + 1])[:, -1] for end in range(input_ids.shape[1])]
        return PrefixAnswer(self.student.head(torch.stack(places, dim=1)))


def v1_teacher(
    student: V1StudentModel, tokenizer: TextTokenizer, end: str | None, name: str, files: list[Path]
) -> Teacher:
    """A student of version 1.0 as whoever trains expects a teacher.

    Plain texts and records are put to it in plain lines, the token that ends a text in front: its first place
    has to be predicted from something.

    Args:
        student: The student.
        tokenizer: Its tokenizer.
        end: Spelling of the token that ends a text, or None.
        name: As it is recorded.
        files: What makes it what it is, for the key of its cached answers.

    Raises:
        UsageError: The tokenizer has no token that ends a text.
        TextError: The tokenizer is no byte-level BPE.
    """
    if end is None:
        raise UsageError(
            "the tokenizer of the student names no end of text, which its distillation needs",
            limit="<|endoftext|>, </s> or the like among its special tokens",
            remedy="add one to tokenizer.json, or give its teacher's own",
        )
    native_json = native_tokenizer_json(tokenizer.to_json())
    native = TextTokenizer.from_json(native_json)
    stop = native.token_id(end)
    return Teacher(
        name=name,
        model=PrefixTeacher(student).eval().requires_grad_(False),
        tokenizer=native,
        tokenizer_json=native_json,
        chat=ChatFormat(
            before=(stop,),
            between=tuple(native.encode("\n")),
            text_start=(stop,),
            turn_end=stop,
            text_end=stop,
            turn_closes=False,
        ),
        files={file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files},
        vocab_size=int(student.head.out_features),
        context=_ENDLESS,
    )
