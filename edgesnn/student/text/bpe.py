"""Learning our own byte-level BPE from the training text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from edgesnn.errors import TextError, TrainingError
from edgesnn.text.tokenizer import SPECIAL_TOKENS, TextTokenizer, load_tokenizer
from edgesnn.whole_files import write_whole

BYTES = 256

TOKENIZER_FILE = "tokenizer.json"
KEY_FILE = "tokenizer.key"


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


def learn_cached(texts: Sequence[str], vocab_size: int, directory: Path) -> TextTokenizer:
    """Learn a tokenizer, or read the one that an earlier call learnt from the same text.

    Args:
        texts: Documents without special tokens.
        vocab_size: Wanted number of ids.
        directory: Where the tokenizer and the hash of its text are kept.

    Raises:
        OutputError: The directory cannot be written.
        TrainingError: ``vocab_size`` is too small.
    """
    hasher = hashlib.sha256(f"{vocab_size}\n".encode())
    for text in texts:
        hasher.update(text.encode("utf-8", "surrogatepass") + b"\0")
    key = hasher.hexdigest()
    path, key_path = directory / TOKENIZER_FILE, directory / KEY_FILE
    if key_path.is_file() and key_path.read_text(encoding="ascii", errors="replace") == key:
        try:
            return load_tokenizer(path)
        except TextError:
            pass  # a damaged cache is learnt again
    tokenizer = learn_bpe(texts, vocab_size)
    write_whole(path, tokenizer.to_json().encode("utf-8"))
    write_whole(key_path, key.encode("ascii"))
    return tokenizer
