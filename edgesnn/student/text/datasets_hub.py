"""Named data sets of the hub as documents: ``wikitext-2``, ``openwebtext`` and ``cc_news``."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from edgesnn.errors import ConfigError, TrainingError, missing_extra
from edgesnn.student.hub import hub_access
from edgesnn.student.text.data import Document, split_text, text_document

MAX_DOCUMENTS = 50_000
"""Documents taken of a set that is streamed; a student of a few million parameters needs no more."""


@dataclass(frozen=True, slots=True)
class HubDataset:
    """Where a named data set lies.

    Attributes:
        repository: Id on the hub.
        configuration: Its configuration, or None.
        lines: Whether a record is a line of a longer text and not a document.
        streamed: Whether it is too large to be fetched whole.
    """

    repository: str
    configuration: str | None
    lines: bool
    streamed: bool


HUB_DATASETS: dict[str, HubDataset] = {
    "wikitext-2": HubDataset("Salesforce/wikitext", "wikitext-2-raw-v1", lines=True, streamed=False),
    "openwebtext": HubDataset("Skylion007/openwebtext", None, lines=False, streamed=True),
    "cc_news": HubDataset("vblagoje/cc_news", None, lines=False, streamed=True),
}
"""Names of the training guide, and what they stand for."""


def load_hub_documents(name: str, split: str = "train", limit: int = MAX_DOCUMENTS) -> list[Document]:
    """Fetch a data set, or read it from the cache of the ``datasets`` package.

    Args:
        name: One of ``HUB_DATASETS``.
        split: ``train``; wikitext-2 also has ``validation`` and ``test``.
        limit: Documents at most, of a streamed set.

    Returns:
        Its documents.

    Raises:
        ConfigError: Unknown name.
        MissingExtraError: The ``datasets`` package is not installed.
        TrainingError: It is out of reach, or holds no text.
    """
    if name not in HUB_DATASETS:
        raise ConfigError(f"unknown data set '{name}'", limit=", ".join(HUB_DATASETS))
    try:
        import datasets
    except ImportError:
        raise missing_extra("datasets", "train", f"the data set '{name}'") from None
    entry = HUB_DATASETS[name]
    try:
        with hub_access(wanted=True):
            # the user names it; text is read, no code
            records = datasets.load_dataset(  # nosec B615
                entry.repository, entry.configuration, split=split, streaming=entry.streamed
            )
            taken = islice(records, limit) if entry.streamed else records
            texts = [str(record["text"]) for record in taken]
    except Exception as error:  # the hub, its cache and its file readers each raise their own
        raise _unreachable(name, entry, error) from error
    pieces = split_text("".join(texts)) if entry.lines else [text.strip() for text in texts]
    documents = [text_document(piece) for piece in pieces if piece]
    if not documents:
        raise TrainingError(f"the data set '{name}' holds no text", actual=f"{len(texts)} records")
    return documents


def _unreachable(name: str, entry: HubDataset, error: BaseException) -> TrainingError:
    text = f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"
    return TrainingError(
        f"the data set '{name}' ({_where(entry)}) cannot be read",
        actual=text,
        remedy="connect to the hub once, or give its text with --dataset-path FILE",
    )


def _where(entry: HubDataset) -> str:
    return entry.repository if entry.configuration is None else f"{entry.repository}, {entry.configuration}"
