"""What a run needs before its first step: tokenizer, corpus and held-out slice."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgesnn.errors import TrainingError
from edgesnn.student.artifact.evaluate import EvalDocuments, make_slice
from edgesnn.student.config import TrainConfig
from edgesnn.student.teacher.rows import JoinedReaders
from edgesnn.student.text.batches import Corpus, encode_documents, make_corpus
from edgesnn.student.text.bpe import learn_cached
from edgesnn.student.text.data import Document, by_hash, split_held_out
from edgesnn.student.text.reading import ReadText, load_documents, read_documents
from edgesnn.text.tokenizer import TextTokenizer


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything that is fixed before training.

    Attributes:
        tokenizer: Learnt on the training text.
        corpus: Training segments.
        held_out: What the student is scored on.
        digest: Hash of the ids of both, which a resuming run must share.
        cache: What the teacher said of the training text, or None.
        sources: What the text was read as.
        teacher_doubt: Why the teacher is no better than token frequencies on held-out text, or None.
    """

    tokenizer: TextTokenizer
    corpus: Corpus
    held_out: EvalDocuments
    digest: str
    cache: JoinedReaders | None = None
    sources: tuple[dict[str, Any], ...] = ()
    teacher_doubt: str | None = None


OnRead = Callable[[ReadText], None]
"""Told what a text was read as."""


def read_split(
    config: TrainConfig, on_read: OnRead | None = None
) -> tuple[list[Document], list[Document], tuple[dict[str, Any], ...]]:
    """Read the text of a run.

    Returns:
        Training documents, held-out ones by hash, and what each file was read as; folders of sampled answers
        are not among them.

    Raises:
        TrainingError: The text is missing, empty, too short or unusable.
    """
    texts = [] if config.sampled_alone else [load_documents(config.dataset, config.dataset_path)]
    if config.eval_path is not None:
        texts.append(read_documents(Path(config.eval_path)))
    for text in texts:
        if on_read is not None:
            on_read(text)
    parts = [text.documents for text in texts]
    if config.sampled_alone:
        parts.insert(0, [])
    if config.eval_path is None:
        parts = [[], []] if config.sampled_alone else list(split_held_out(parts[0]))
    return parts[0], by_hash(parts[1]), tuple(text.as_dict() for text in texts)


def prepare(config: TrainConfig, work: Path, on_read: OnRead | None = None) -> Prepared:
    """Read and split the text, learn the tokenizer, encode.

    Args:
        config: The run.
        work: Directory for the learnt tokenizer, so that a resumed run does not learn it again.
        on_read: Told what the text was read as.

    Raises:
        TrainingError: The text is missing, empty or too short.
    """
    train, held, sources = read_split(config, on_read)
    tokenizer = learn_cached([part for document in train for part in document.plain], config.vocab_size, work)
    corpus = make_corpus(encode_documents(train, tokenizer), config.max_length)
    require_text(corpus, config)
    held_corpus = make_corpus(encode_documents(held, tokenizer), config.max_length)
    held_out = make_slice(held_corpus, tokenizer.byte_lengths(), config.eval_tokens)
    digest = hashlib.sha256(corpus.ids.tobytes() + held_out.ids.tobytes()).hexdigest()
    return Prepared(tokenizer, corpus, held_out, digest, sources=sources)


def require_text(corpus: Corpus, config: TrainConfig) -> None:
    """Refuse a corpus that cannot fill one sequence.

    Raises:
        TrainingError: It is too short.
    """
    if len(corpus.ids) <= config.max_length:
        raise TrainingError(
            "the training text is too short for one sequence",
            actual=f"{len(corpus.ids)} tokens",
            limit=f"more than max-length {config.max_length}",
            remedy="give more text or a smaller --max-length",
        )
