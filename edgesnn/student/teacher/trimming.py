"""A student's vocabulary cut out of its teacher's: special tokens, the bytes and the first merges.

Byte-level BPE applies its merges in the order in which they were learnt, so a text spelt with the first
merges only is its native spelling with some tokens taken apart: every native token starts where a trimmed
token starts. That is what lets a teacher on its native tokens teach a student on trimmed ones.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgesnn.errors import TextError
from edgesnn.text.tokenizer import SPECIAL_TOKENS, TextTokenizer, byte_spelling

NO_TOKEN = -1
"""First piece of a native id that stands for nothing (an unused row of the teacher's readout)."""

_NORMALISERS = (None, "NFC")

_END = 0


@dataclass(frozen=True, slots=True)
class _Native:
    """What is read out of a teacher's ``tokenizer.json``."""

    document: dict[str, Any]
    vocab: dict[str, int]
    merges: list[tuple[str, str]]
    added: dict[int, dict[str, Any]]


class TrimmedVocabulary:
    """Renumbered vocabulary of a student and the spelling of every native token in it.

    Student ids: 0 to 2 are ``SPECIAL_TOKENS``, then the teacher's own special and added tokens, the 256
    bytes, and the products of the teacher's first merges.

    Attributes:
        native_size: Native ids that the tokenizer knows.
        flat: int32, the trimmed spellings one after another.
        offsets: int64 ``[native_size + 1]``, bounds of each native id's spelling in ``flat``.
        first_piece: int32 ``[native_size]``, first student id of each spelling, ``NO_TOKEN`` where there is
            none.
    """

    def __init__(self, tokenizer_json: str, flat: NDArray[np.int32], offsets: NDArray[np.int64]) -> None:
        self._json = tokenizer_json
        self.flat = flat
        self.offsets = offsets
        self.native_size = len(offsets) - 1
        counts = np.diff(offsets)
        padded = np.append(flat, NO_TOKEN).astype(np.int32)
        self.first_piece: NDArray[np.int32] = np.where(counts > 0, padded[offsets[:-1]], NO_TOKEN).astype(
            np.int32
        )

    @classmethod
    def build(
        cls, native_json: str, vocab_size: int, end_tokens: tuple[str, ...] = ("<|endoftext|>",)
    ) -> TrimmedVocabulary:
        """Trim a tokenizer.

        Args:
            native_json: The teacher's ``tokenizer.json``.
            vocab_size: Wanted number of student ids; a teacher with fewer merges gives fewer.
            end_tokens: The teacher's tokens that end a text or a turn; they become ``<|endoftext|>``.

        Returns:
            The trimmed vocabulary.

        Raises:
            TextError: It is no byte-level BPE, an end token is unknown, or ``vocab_size`` cannot hold the
                special tokens and the bytes.
        """
        native = _read_native(native_json)
        names = {token["content"] for token in native.added.values()} | native.vocab.keys()
        unknown = [token for token in end_tokens if token not in names]
        if unknown:
            raise TextError("the teacher's tokenizer has no such end token", actual=", ".join(unknown))
        # a token of one byte character would take that byte's place in the vocabulary; it is spelt instead
        other = {*SPECIAL_TOKENS, *end_tokens, *_alphabet()}
        added = [t for t in native.added.values() if t["content"] not in other]
        trimmed = _trim(native, vocab_size, added)
        return cls(trimmed, *_spell(native, trimmed, end_tokens))

    @property
    def student_size(self) -> int:
        """Number of student ids."""
        return self.tokenizer.vocab_size

    @cached_property
    def tokenizer(self) -> TextTokenizer:
        """The student's tokenizer."""
        from tokenizers import Tokenizer

        return TextTokenizer(Tokenizer.from_str(self._json))

    def tokenizer_json(self) -> str:
        """Content of the student's ``tokenizer.json``."""
        return self._json

    def spell(self, native_ids: NDArray[np.integer]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Student ids of native ids, and the place in them where each native token starts.

        Raises:
            TextError: An id that stands for nothing.
        """
        ids = np.asarray(native_ids, np.int64)
        begins, counts = self.offsets[ids], self.offsets[ids + 1] - self.offsets[ids]
        if (counts == 0).any():
            raise TextError("a native token has no spelling", actual=int(ids[int(np.argmin(counts))]))
        starts = np.cumsum(counts) - counts
        total = int(counts.sum())
        index = np.repeat(begins - starts, counts) + np.arange(total)
        return self.flat[index], starts

    @cached_property
    def sha256(self) -> str:
        """Hash of tokenizer and map."""
        digest = hashlib.sha256(self._json.encode("utf-8"))
        digest.update(self.flat.astype("<i4").tobytes())
        digest.update(self.offsets.astype("<i8").tobytes())
        return digest.hexdigest()

    def to_bytes(self) -> bytes:
        """Content of ``trimming.npz``: ``flat``, ``offsets``, ``first_piece`` and ``tokenizer`` (UTF-8)."""
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            flat=self.flat,
            offsets=self.offsets,
            first_piece=self.first_piece,
            tokenizer=np.frombuffer(self._json.encode("utf-8"), np.uint8),
        )
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> TrimmedVocabulary:
        """Read ``trimming.npz``.

        Raises:
            TextError: It is damaged.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                flat, offsets = arrays["flat"], arrays["offsets"]
                tokenizer = arrays["tokenizer"].tobytes().decode("utf-8")
            if offsets[0] != 0 or offsets[-1] != len(flat) or (np.diff(offsets) < 0).any():
                raise ValueError("offsets do not fit")
        except Exception as error:  # zipfile, zlib and numpy each have their own for a damaged archive
            raise TextError(
                "the vocabulary map is damaged", actual=f"{type(error).__name__}: {error}"
            ) from None
        return cls(tokenizer, flat.astype(np.int32), offsets.astype(np.int64))


def native_tokenizer_json(raw: str) -> str:
    """A teacher's tokenizer as the toolkit runs it.

    No special tokens are put around a text, nothing is cut or padded, and no space is put in front: what is
    encoded is the text itself.

    Raises:
        TextError: It is no byte-level BPE.
    """
    document = _read_native(raw).document
    document.update(post_processor=None, truncation=None, padding=None)
    document["pre_tokenizer"] = _without_prefix_space(document["pre_tokenizer"])
    return json.dumps(document, ensure_ascii=False)


def _read_native(text: str) -> _Native:
    try:
        document = json.loads(text)
        model = document["model"]
        kind = model.get("type", "BPE" if "merges" in model else "unknown")
        steps = _kinds(document.get("pre_tokenizer"))
        normaliser = _kinds(document.get("normalizer"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TextError("this is no tokenizer.json", actual=f"{type(error).__name__}: {error}") from None
    reasons = []
    if kind != "BPE":
        reasons.append(f"its model is {kind}")
    if "ByteLevel" not in steps:
        reasons.append("it does not split text into bytes")
    if model.get("byte_fallback"):
        reasons.append("it falls back to bytes instead of starting from them")
    if any(step not in _NORMALISERS for step in normaliser):
        reasons.append(f"it normalises text ({', '.join(map(str, normaliser))})")
    if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        reasons.append("it marks subwords")
    if reasons:
        raise TextError(
            "the teacher's tokenizer cannot be trimmed",
            actual="; ".join(reasons),
            limit="byte-level BPE, as in GPT-2, Llama 3, Qwen and SmolLM",
            remedy="choose a teacher with a byte-level BPE tokenizer",
        )
    merges = [_pair(merge) for merge in model["merges"]]
    added = {int(token["id"]): token for token in document.get("added_tokens") or []}
    return _Native(document, dict(model["vocab"]), merges, added)


def _pair(merge: str | list[str]) -> tuple[str, str]:
    """A merge, which files write as ``"a b"`` or as ``["a", "b"]``."""
    left, right = merge.split(" ", 1) if isinstance(merge, str) else merge
    return left, right


def _kinds(step: dict[str, Any] | None) -> list[str | None]:
    """Types of a tokenizer step and of the steps inside it."""
    if step is None:
        return []
    for key in ("pretokenizers", "normalizers"):
        if key in step:
            return [kind for inner in step[key] for kind in _kinds(inner)]
    return [step.get("type")]


def _without_prefix_space(step: dict[str, Any]) -> dict[str, Any]:
    if "pretokenizers" in step:
        return {**step, "pretokenizers": [_without_prefix_space(inner) for inner in step["pretokenizers"]]}
    return {**step, "add_prefix_space": False} if "add_prefix_space" in step else step


def _alphabet() -> list[str]:
    from tokenizers import pre_tokenizers

    return sorted(pre_tokenizers.ByteLevel.alphabet())


def _trim(native: _Native, vocab_size: int, added: list[dict[str, Any]]) -> str:
    """The trimmed ``tokenizer.json``."""
    alphabet = _alphabet()
    specials = [*SPECIAL_TOKENS, *(token["content"] for token in added)]
    least = len(specials) + len(alphabet)
    if vocab_size < least:
        raise TextError(
            "the vocabulary is too small for the special tokens and the bytes",
            actual=vocab_size,
            limit=f"at least {least}",
            remedy="raise --vocab-size",
        )
    vocab = {token: i for i, token in enumerate([*specials, *alphabet])}
    # added tokens are text; the same characters as a learnt token would be other bytes
    letters = set(alphabet)
    texts = {c: byte_spelling(c) for t in added if letters.issuperset(c := t["content"]) and not c.isascii()}
    merges: list[tuple[str, str]] = []
    for left, right in native.merges:
        product = left + right
        if left not in vocab or right not in vocab or not texts.keys().isdisjoint((left, right, product)):
            continue
        if product not in vocab:
            if len(vocab) == vocab_size:
                break
            vocab[product] = len(vocab)
        merges.append((left, right))
    described = [
        {"id": vocab[name], "content": name, "single_word": False, "lstrip": False, "rstrip": False}
        | {"normalized": False, "special": True}
        for name in SPECIAL_TOKENS
    ]
    # what is beside a token stays text, or decoding would not give it back
    described += [{**t, "id": vocab[t["content"]], "lstrip": False, "rstrip": False} for t in added]
    decoder = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    if texts:  # for readers other than ours, which takes its own table
        renamed = [
            {"type": "Replace", "pattern": {"Regex": rf"\A{re.escape(text)}\z"}, "content": spelt}
            for text, spelt in texts.items()
        ]
        decoder = {"type": "Sequence", "decoders": [*renamed, decoder]}
    model = {**native.document["model"], "type": "BPE", "vocab": vocab, "merges": merges}
    model.update(dropout=None, unk_token=None, fuse_unk=False, ignore_merges=False)
    document = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": described,
        "normalizer": None,
        "pre_tokenizer": _without_prefix_space(native.document["pre_tokenizer"]),
        "post_processor": None,
        "decoder": decoder,
        "model": model,
    }
    return json.dumps(document, ensure_ascii=False)


def _spell(
    native: _Native, trimmed: str, end_tokens: tuple[str, ...]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Trimmed spelling of every native id."""
    from tokenizers import models

    document = json.loads(trimmed)
    vocab = document["model"]["vocab"]
    bpe = models.BPE(vocab, [tuple(pair) for pair in document["model"]["merges"]])
    ends = {*end_tokens}
    letters = set(_alphabet())
    spelling: dict[int, list[int]] = {}
    for token, number in native.vocab.items():
        if token in ends:
            spelling[number] = [_END]
        elif number not in native.added and letters.issuperset(token):
            spelling[number] = [piece.id for piece in bpe.tokenize(token)]
    for number, entry in native.added.items():
        content = entry["content"]
        if content in ends or content not in letters:
            spelling[number] = [_END if content in ends else vocab[content]]
        else:
            spelt = "" if entry.get("special") else byte_spelling(content)
            spelling[number] = [piece.id for piece in bpe.tokenize(spelt)]
    size = max(spelling) + 1
    pieces = [spelling.get(number, []) for number in range(size)]
    offsets = np.zeros(size + 1, np.int64)
    np.cumsum([len(p) for p in pieces], out=offsets[1:])
    return np.fromiter((i for p in pieces for i in p), np.int32, int(offsets[-1])), offsets
