"""The tokenizer and the text of a student of version 1.0, which brings neither."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np

from edgesnn.bundle.bundle import TOKENIZER_NAME, EvalSlice
from edgesnn.errors import ArtifactError, TextError, UsageError
from edgesnn.program.v1_student import V1Student
from edgesnn.text.tokenizer import END_OF_TEXT, TextTokenizer, load_tokenizer

#: Tokens of a text that a bundle keeps to score and to calibrate on.
TEXT_TOKENS = 20_000
#: Spellings of the token that ends a text, the first that a tokenizer has.
_ENDS = (END_OF_TEXT, "</s>", "<eos>", "<|end_of_text|>", "<|im_end|>")


def find_tokenizer(
    student: V1Student, folder: Path, given: str | os.PathLike[str] | None
) -> tuple[Path, TextTokenizer] | None:
    """The tokenizer of a student: what was given, else the ``tokenizer.json`` beside its weights, else None.

    Args:
        student: The student.
        folder: Its folder.
        given: A ``tokenizer.json`` or a folder with one.

    Raises:
        UsageError: What was given is none.
        TextError: The file is no tokenizer.
        ArtifactError: It has more ids than the student.
    """
    path = folder / TOKENIZER_NAME if given is None else Path(given)
    if path.is_dir():
        path = path / TOKENIZER_NAME
    if not path.is_file():
        if given is None:
            return None
        raise UsageError(
            "no tokenizer at that path", actual=path.name, limit=f"a {TOKENIZER_NAME}, or a folder with one"
        )
    tokenizer = load_tokenizer(path)
    if tokenizer.vocab_size > student.vocab_size:
        raise ArtifactError(
            f"the tokenizer '{path.name}' has more ids than the student, so it is another model's",
            actual=f"{tokenizer.vocab_size} ids",
            limit=f"{student.vocab_size} ids",
            remedy=f"give the tokenizer of its teacher{hint(student)}",
        )
    return path, tokenizer


def need_tokenizer(
    student: V1Student, folder: Path, given: str | os.PathLike[str] | None, what: str
) -> tuple[Path, TextTokenizer]:
    """`find_tokenizer` where there has to be one.

    Args:
        student: See there.
        folder: See there.
        given: See there.
        what: What needs it, as the subject of a sentence.

    Raises:
        UsageError: There is none.
    """
    found = find_tokenizer(student, folder, given)
    if found is None:
        raise UsageError(
            f"{what} needs a tokenizer, and a student of version 1.0 brings none",
            remedy=f"give --tokenizer FILE, the tokenizer.json of its teacher{hint(student)}",
        )
    return found


def hint(student: V1Student) -> str:
    """The name of the teacher in brackets, as far as the metadata knows it."""
    return "" if student.teacher is None else f" ({student.teacher}, as its metadata says)"


def end_of_text(tokenizer: TextTokenizer) -> str | None:
    """Spelling of the token that ends a text, or None."""
    for spelling in _ENDS:
        try:
            tokenizer.token_id(spelling)
        except TextError:
            continue
        return spelling
    return None


def text_slice(path: Path, tokenizer: TextTokenizer, length: int) -> EvalSlice:
    """The begin of a text as sequences no longer than those of the training.

    Args:
        path: Plain text, or JSON or a table of prompts and responses.
        tokenizer: The student's.
        length: Tokens of a sequence at most.

    Raises:
        TrainingError: The file is missing, damaged or empty.
        TextError: Nothing in it can be predicted.
    """
    from edgesnn.student.text.reading import read_documents

    sizes = np.array(tokenizer.byte_lengths(), np.int64)
    pieces: list[np.ndarray[tuple[int], np.dtype[np.int32]]] = []
    for document in read_documents(path).documents:
        ids = np.array(tokenizer.encode_plain("\n".join(document.plain)), np.int32)
        cut = [ids[start : start + length] for start in range(0, len(ids), length)]
        pieces += [piece for piece in cut if len(piece) > 1 and sizes[piece[1:]].any()]
        if sum(map(len, pieces)) >= TEXT_TOKENS:
            break
    if not pieces:
        raise TextError(f"the text '{path.name}' has nothing to predict", limit="two tokens in a document")
    starts = np.zeros(len(pieces) + 1, np.int64)
    np.cumsum([len(piece) for piece in pieces], out=starts[1:])
    return EvalSlice(
        ids=np.concatenate(pieces),
        doc_starts=starts,
        doc_bytes=np.array([sizes[piece[1:]].sum() for piece in pieces], np.int64),
    )


def slice_bytes(held_out: EvalSlice) -> bytes:
    """A text as the content of ``eval.npz``."""
    stream = io.BytesIO()
    np.savez(
        stream,
        allow_pickle=False,
        ids=held_out.ids,
        doc_starts=held_out.doc_starts,
        doc_bytes=held_out.doc_bytes,
    )
    return stream.getvalue()
