"""What a run needs before its first step: tokenizer, corpus and held-out slice."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from edgesnn.errors import TrainingError
from edgesnn.student.artifact.evaluate import EvalDocuments, make_slice
from edgesnn.student.config import TrainConfig
from edgesnn.student.teacher.rows import CacheReader
from edgesnn.student.text.batches import Corpus, encode_documents, make_corpus
from edgesnn.student.text.bpe import learn_cached
from edgesnn.student.text.data import by_hash, load_documents, read_documents, split_held_out
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
    """

    tokenizer: TextTokenizer
    corpus: Corpus
    held_out: EvalDocuments
    digest: str
    cache: CacheReader | None = None


def prepare(config: TrainConfig, work: Path) -> Prepared:
    """Read and split the text, learn the tokenizer, encode.

    Args:
        config: The run.
        work: Directory for the learnt tokenizer, so that a resumed run does not learn it again.

    Raises:
        TrainingError: The text is missing, empty or too short.
    """
    documents = load_documents(config.dataset, config.dataset_path)
    if config.eval_path is not None:
        train, held = documents, read_documents(Path(config.eval_path))
    else:
        train, held = split_held_out(documents)
    tokenizer = learn_cached([part for document in train for part in document.plain], config.vocab_size, work)
    corpus = make_corpus(encode_documents(train, tokenizer), config.max_length)
    require_text(corpus, config)
    held_corpus = make_corpus(encode_documents(by_hash(held), tokenizer), config.max_length)
    held_out = make_slice(held_corpus, tokenizer.byte_lengths(), config.eval_tokens)
    digest = hashlib.sha256(corpus.ids.tobytes() + held_out.ids.tobytes()).hexdigest()
    return Prepared(tokenizer, corpus, held_out, digest)


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
