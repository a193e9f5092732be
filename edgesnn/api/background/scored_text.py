"""What a student is scored on, in every form in which users have it: files, texts, records, token ids."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from edgesnn.bundle.bundle import TOKENIZER_NAME, Bundle, EvalSlice, read_eval_slice
from edgesnn.errors import TextError
from edgesnn.program.program import check_ids
from edgesnn.text.tokenizer import TextTokenizer, load_tokenizer

#: A path (text, JSON lines, CSV, ``eval.npz``); texts, or mappings with ``prompt`` and ``response``; the
#: token ids of one document ``[length]`` or of several.
ScoredText: TypeAlias = "str | os.PathLike[str] | Sequence[Any] | npt.NDArray[np.integer]"

_Ids: TypeAlias = npt.NDArray[np.int32]
FORMS = "a path, texts, mappings with 'prompt' and 'response', or token ids"


def scored_slice(data: ScoredText, bundle: Bundle) -> tuple[EvalSlice, str]:
    """Token ids of what is to be scored.

    Args:
        data: What it is.
        bundle: Whose tokenizer and template say what it is in token ids.

    Returns:
        The documents, and a description of them.

    Raises:
        TextError: There is nothing to predict, or it is none of these forms.
        TrainingError: The file is missing or malformed.
        BundleError: The ``.npz`` is no held-out slice of this student.
    """
    tokenizer = load_tokenizer(bundle.file(TOKENIZER_NAME))
    if isinstance(data, (str, os.PathLike)):
        path = Path(data)
        if isinstance(data, str) and not path.exists():
            raise TextError(
                f"there is no file '{data[:60]}'",
                limit=FORMS,
                remedy="a text comes in a list: profile_accuracy([text])",
            )
        if path.suffix == ".npz":
            return read_eval_slice(path, bundle.vocab_size), path.name
        from edgesnn.student.text.reading import read_documents

        read = read_documents(path)
        texts = [_of_parts(document.plain) for document in read.documents]
        return _joined(tokenizer, _encoded(tokenizer, bundle, texts)), f"{path.name}, read as {read.form}"
    if isinstance(data, Mapping):
        raise TextError("records come as a sequence", actual="one mapping", remedy="wrap it in a list")
    given = data.tolist() if hasattr(data, "tolist") else list(data)
    if not given:
        raise TextError("there is no text to score")
    if isinstance(given[0], (int, np.integer)) and not isinstance(given[0], bool):
        given = [given]
    if isinstance(given[0], (str, Mapping)):
        documents = _encoded(tokenizer, bundle, given)
        return _joined(tokenizer, documents), f"{len(documents)} texts given"
    documents = [_token_ids(bundle, number, one) for number, one in enumerate(given, start=1)]
    return _joined(tokenizer, documents), f"{len(documents)} documents of token ids given"


def _of_parts(plain: tuple[str, ...]) -> str | dict[str, str]:
    """A document of a file: a text, or prompt and response."""
    return plain[0] if len(plain) == 1 else {"prompt": plain[0], "response": plain[1]}


def _encoded(tokenizer: TextTokenizer, bundle: Bundle, texts: Iterable[Any]) -> list[_Ids]:
    facts = bundle.manifest.text
    template, end = facts.get("prompt_template") or "{prompt}", facts.get("end_of_text")
    ending = [tokenizer.token_id(end)] if end else []
    documents = []
    for number, text in enumerate(texts, start=1):
        if isinstance(text, str):
            ids = tokenizer.encode_plain(text)
        elif isinstance(text, Mapping) and {"prompt", "response"} <= set(text):
            ids = tokenizer.encode_prompt(text["prompt"], template)
            ids += tokenizer.encode_plain(text["response"])
        else:
            raise TextError(
                f"text {number} is neither a string nor a mapping with 'prompt' and 'response'",
                actual=type(text).__name__,
            )
        _require_bytes(tokenizer, ids, f"text {number}")
        documents.append(np.array([*ids, *ending], np.int32))
    return documents


def _token_ids(bundle: Bundle, number: int, given: Any) -> _Ids:
    """Token ids of a document, checked.

    Raises:
        TextError: They are no token ids of this student, or too few to predict one.
    """
    ids = np.asarray(given)
    if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer):
        raise TextError(
            f"document {number} is no text and no token ids", actual=repr(given)[:60], limit=FORMS
        )
    checked: _Ids = check_ids(ids[None], bundle.vocab_size)[0].astype(np.int32)
    if len(checked) < 2:
        raise TextError(f"document {number} is too short", actual="1 token", limit="2 or more")
    return checked


def _require_bytes(tokenizer: TextTokenizer, ids: Sequence[int], what: str) -> None:
    lengths = tokenizer.byte_lengths()
    if not sum(lengths[i] for i in ids[1:]):
        raise TextError(f"{what} is too short", actual=f"{len(ids)} tokens", limit="2 or more")


def _joined(tokenizer: TextTokenizer, documents: list[_Ids]) -> EvalSlice:
    lengths = np.array(tokenizer.byte_lengths(), np.int64)
    sizes = np.array([lengths[document[1:]].sum() for document in documents], np.int64)
    if not sizes.any():
        raise TextError("the token ids spell no text: nothing but special tokens")
    starts = np.zeros(len(documents) + 1, np.int64)
    np.cumsum([len(document) for document in documents], out=starts[1:])
    return EvalSlice(ids=np.concatenate(documents), doc_starts=starts, doc_bytes=sizes)
