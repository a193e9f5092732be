"""``vocab.bin``: the bytes of every token, so that a program in C prints text without a tokenizer."""

from __future__ import annotations

import struct
from itertools import accumulate

MAGIC = b"SNNV"
#: In the place of a token id that does not exist.
NO_TOKEN = 0xFFFFFFFF


def vocab_bytes(tokens: list[bytes], end: int = NO_TOKEN) -> bytes:
    """The file: magic, number of tokens n, id that ends a text, n + 1 offsets, then the bytes; little-endian.

    Args:
        tokens: Bytes of every token by id; empty for special tokens, which are no text.
        end: Token id that ends a text, or `NO_TOKEN`.
    """
    offsets = [0, *accumulate(map(len, tokens))]
    head = struct.pack(f"<4s2I{len(offsets)}I", MAGIC, len(tokens), end, *offsets)
    return head + b"".join(tokens)
