"""Reading a student's ``tokenizer.json`` and turning text into ids and back."""

from __future__ import annotations

from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from edgesnn.errors import TextError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

END_OF_TEXT = "<|endoftext|>"
USER = "<|user|>"
ASSISTANT = "<|assistant|>"
SPECIAL_TOKENS = (END_OF_TEXT, USER, ASSISTANT)
"""Special tokens of our own tokenizers; their ids are their places in this tuple."""

#: Most ids of a tokenizer: a table of them is kept, and the largest known have a quarter of a million.
IDS_MAX = 1 << 22
PROMPT_TEMPLATE = USER + "{prompt}" + ASSISTANT


class TextTokenizer:
    """Byte-level BPE with special tokens.

    Args:
        inner: The tokenizer of the ``tokenizers`` package.
    """

    def __init__(self, inner: Tokenizer) -> None:
        self._inner = inner

    @classmethod
    def from_json(cls, content: str) -> TextTokenizer:
        """A tokenizer out of the content of a ``tokenizer.json``."""
        from tokenizers import Tokenizer

        return cls(Tokenizer.from_str(content))

    @cached_property
    def vocab_size(self) -> int:
        """Number of ids, special tokens and unused ones between them included."""
        return max(self._inner.get_vocab(with_added_tokens=True).values(), default=-1) + 1

    def encode(self, text: str) -> list[int]:
        """Ids of a text; special tokens spelt out in it become their ids."""
        return list(self._inner.encode(text, add_special_tokens=False).ids)

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """Ids of several texts."""
        return [list(e.ids) for e in self._inner.encode_batch(texts, add_special_tokens=False)]

    def encode_prompt(self, prompt: str, template: str = PROMPT_TEMPLATE) -> list[int]:
        """Ids of a prompt set into its template.

        Special tokens that the prompt itself spells out stay plain text, so a prompt cannot play another
        role.

        Raises:
            TextError: The template has no ``{prompt}``.
        """
        if "{prompt}" not in template:
            raise TextError("the prompt template has no {prompt}", actual=template)
        before, after = template.split("{prompt}", 1)
        return [*self.encode(before), *self.encode_plain(prompt), *self.encode(after)]

    def encode_plain(self, text: str) -> list[int]:
        """Ids of a text in which nothing is a special token."""
        ids: list[int] = []
        rest = text
        while rest:
            found = [(rest.find(s), s) for s in self.specials() if s in rest]
            if not found:
                return ids + self.encode(rest)
            at, special = min(found)
            # one character of the special token joins the text before it, which breaks the match
            cut = at + 1
            ids += self.encode(rest[:cut])
            rest = rest[cut:]
            if len(special) == 1:
                raise TextError("a special token of one character cannot be written as text", actual=special)
        return ids

    def decode(self, ids: list[int]) -> str:
        """Text of ids, special tokens left out; bytes that are no UTF-8 become U+FFFD.

        Raises:
            TextError: An id is outside the vocabulary.
        """
        if ids and not 0 <= min(ids) <= max(ids) < self.vocab_size:
            bad = next(i for i in ids if not 0 <= i < self.vocab_size)
            raise TextError("token id outside the vocabulary", actual=bad, limit=f"0..{self.vocab_size - 1}")
        return b"".join([self._bytes[i] for i in ids]).decode("utf-8", "replace")

    def token_id(self, token: str) -> int:
        """Id of one token by its spelling.

        Raises:
            TextError: No such token.
        """
        found = self._inner.token_to_id(token)
        if found is None:
            raise TextError(f"the tokenizer has no token '{token}'")
        return int(found)

    def specials(self) -> tuple[str, ...]:
        """Spellings of the special tokens."""
        added = self._inner.get_added_tokens_decoder()
        return tuple(token.content for token in added.values() if token.special)

    def byte_lengths(self) -> list[int]:
        """UTF-8 bytes that each id stands for, 0 for special tokens."""
        return [len(spelling) for spelling in self._bytes]

    def token_bytes(self) -> list[bytes]:
        """The bytes that each id stands for, none for special tokens and unused ids."""
        return list(self._bytes)

    @cached_property
    def _bytes(self) -> list[bytes]:
        """What the ids mean, for lengths, decoding and ``vocab.bin`` alike.

        A learnt token is spelt in characters that stand for one byte each. An added token is text: "Café" is
        found as it is written, although its characters are byte characters, too.
        """
        added, table = self._inner.get_added_tokens_decoder(), _byte_characters()
        meanings = [_bytes_of(self._inner.id_to_token(i) or "", table) for i in range(self.vocab_size)]
        for number, token in added.items():
            meanings[number] = b"" if token.special else token.content.encode("utf-8")
        return meanings

    def first_pieces_in(self, other: TextTokenizer) -> list[int | None]:
        """The token of another byte-level vocabulary that each spelling begins with; None for special ids.

        A spelling is cut by the other's merges alone, without its rules for cutting text into words.
        """
        model = other._inner.model
        theirs = {t.content: i for i, t in other._inner.get_added_tokens_decoder().items() if not t.special}
        pieces: list[int | None] = []
        for meaning in self._bytes:
            shared = theirs.get(meaning.decode("utf-8", "replace"))
            found = [] if shared is not None else model.tokenize(byte_spelling(meaning))
            pieces.append(shared if shared is not None else int(found[0].id) if found else None)
        return pieces

    def save(self, path: Path) -> None:
        """Write ``tokenizer.json``."""
        path.write_text(self.to_json(), encoding="utf-8")

    def to_json(self) -> str:
        """The content of ``tokenizer.json``."""
        return str(self._inner.to_str(pretty=False))


def byte_spelling(text: str | bytes) -> str:
    """A text as byte-level vocabularies write it: one character a byte."""
    letters = list(_byte_characters())
    return "".join(letters[byte] for byte in (text.encode("utf-8") if isinstance(text, str) else text))


@cache
def _byte_characters() -> dict[str, int]:
    """Byte by the character that byte-level vocabularies write for it, in the order of the bytes."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {b: chr(b) for b in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}
    return {letters[byte]: byte for byte in range(256)}


def _bytes_of(spelling: str, table: dict[str, int]) -> bytes:
    if all(character in table for character in spelling):
        return bytes(table[character] for character in spelling)
    return spelling.encode("utf-8")


def load_tokenizer(path: Path) -> TextTokenizer:
    """Read a ``tokenizer.json``.

    Raises:
        TextError: The file is missing or is no tokenizer.
    """
    from tokenizers import Tokenizer

    if not path.is_file():
        raise TextError(f"no tokenizer at '{path.name}'", actual="missing file")
    try:
        made = TextTokenizer(Tokenizer.from_str(path.read_text(encoding="utf-8")))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a bare Exception, and for some files a panic of Rust, which is none
        raise TextError(f"'{path.name}' is no tokenizer", actual=str(error)[:200]) from None
    if made.vocab_size > IDS_MAX:
        raise TextError(
            f"the tokenizer '{path.name}' has too many ids", actual=made.vocab_size, limit=IDS_MAX
        )
    return made
