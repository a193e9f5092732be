"""Learning our own byte-level BPE from the training text."""

from __future__ import annotations

from collections.abc import Iterable

from edgesnn.errors import TrainingError
from edgesnn.text.tokenizer import SPECIAL_TOKENS, TextTokenizer

BYTES = 256


def learn_bpe(texts: Iterable[str], vocab_size: int) -> TextTokenizer:
    """Learn a byte-level BPE with our special tokens first (ids 0, 1, 2), then the bytes, then merges.

    Args:
        texts: Documents without special tokens.
        vocab_size: Wanted number of ids; a small text may give fewer.

    Returns:
        The tokenizer.

    Raises:
        TrainingError: ``vocab_size`` cannot hold the bytes and special tokens.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    least = BYTES + len(SPECIAL_TOKENS)
    if vocab_size < least:
        raise TrainingError(
            "the vocabulary is too small for the byte alphabet", actual=vocab_size, limit=least
        )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return TextTokenizer(tokenizer)
