"""The text of a distillation: the teacher asked once, and its answers joined with the student's ids."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgesnn.errors import TrainingError
from edgesnn.student.artifact.evaluate import EvalDocuments
from edgesnn.student.config import TrainConfig
from edgesnn.student.teacher.align import broken_off
from edgesnn.student.teacher.cache import MANIFEST_FILE, TeacherCache
from edgesnn.student.teacher.loading import Teacher, load_teacher, trim_for
from edgesnn.student.teacher.passes import PassProgress, PassSettings, run_teacher
from edgesnn.student.teacher.retention import eval_arrays
from edgesnn.student.teacher.rows import CacheReader, JoinedReaders
from edgesnn.student.teacher.source import resolve_teacher
from edgesnn.student.text.batches import encode_documents, make_corpus
from edgesnn.student.text.data import Document, documents_digest
from edgesnn.student.training.preparation import OnRead, Prepared, read_split, require_text
from edgesnn.student.training.sampled_text import hold_out, open_sampled
from edgesnn.text.chance import doubt_of_teacher
from edgesnn.text.tokenizer import END_OF_TEXT, SPECIAL_TOKENS, USER, TextTokenizer

CACHE_DIRECTORY = "teacher_cache"
"""In the output directory, where no --teacher-cache is given."""

TRAIN_CACHE, HELD_OUT_CACHE = "train", "heldout"
"""Folders of a teacher cache."""

TOP_K = 64
"""Student tokens whose probability is kept; all others are one bucket."""

OnTeacher = Callable[[str, PassProgress], None]
"""Called with the name of the text and where the teacher stands in it."""

_END, _USER = SPECIAL_TOKENS.index(END_OF_TEXT), SPECIAL_TOKENS.index(USER)


def prepare_distilled(
    config: TrainConfig,
    directory: Path,
    on_teacher: OnTeacher | None = None,
    teacher: Teacher | None = None,
    on_read: OnRead | None = None,
) -> Prepared:
    """Ask the teacher where it was not asked yet, and make corpus and held-out slice of its caches.

    Training text that the teacher was not asked about (``teacher_tokens``) is learnt from the text alone.

    Args:
        config: The run.
        directory: Its output directory.
        on_teacher: Told how far the teacher is.
        teacher: Already loaded; else it is loaded where a cache is not complete.
        on_read: Told what the text was read as.

    Raises:
        TrainingError: Unusable text, or caches that belong to another teacher, text or temperature.
        TextError: The teacher's tokenizer is no byte-level BPE.
        OutputError: The disk is full; what the teacher has answered so far is kept.
    """
    train, held, sources = read_split(config, on_read)
    sampled = [open_sampled(Path(name), config) for name in config.sampled]
    for answers in sampled:
        if on_read is not None:
            on_read(answers.read)
    sources += tuple(answers.read.as_dict() for answers in sampled)
    folder = Path(config.teacher_cache) if config.teacher_cache else directory / CACHE_DIRECTORY
    texts = {name: text for name, text in ((HELD_OUT_CACHE, held), (TRAIN_CACHE, train)) if text}
    caches = {name: _finished(config, folder / name, texts[name], _limit(config, name)) for name in texts}
    if any(cache is None for cache in caches.values()):
        caches.update(_ask(config, folder, texts, on_teacher, teacher))
    opened = [cache or TeacherCache.open(folder / name) for name, cache in caches.items()]
    _same_vocabulary([*opened, *(answers.cache for answers in sampled)])
    if held:
        held_out = EvalDocuments(**eval_arrays(TeacherCache.open(folder / HELD_OUT_CACHE)))
    else:
        held_out = hold_out(sampled, config.eval_tokens)
    encoded: list[list[int]] = []
    readers = []
    if train:
        readers.append(CacheReader(folder / TRAIN_CACHE, config.temperature))
        encoded = _encoded(config, readers[0], train)
    for answers in sampled:
        kept, place = answers.kept(), sum(map(len, encoded))
        readers.append(CacheReader(answers.cache.directory, config.temperature, place, np.concatenate(kept)))
        encoded += [answers.cache.text.ids[places].tolist() for places in kept]
    joined = _join(config, JoinedReaders(readers), held_out, encoded)
    doubt = doubt_of_teacher(joined.held_out, joined.tokenizer.vocab_size)
    return replace(joined, sources=sources, teacher_doubt=doubt)


def _same_vocabulary(caches: Sequence[TeacherCache]) -> None:
    """Refuse rows of different vocabularies, or of different lengths, in one run.

    Raises:
        TrainingError: There are some.
    """
    for name in ("trimming", "k"):
        found = {cache.manifest["key"][name]: cache.directory for cache in caches}
        if len(found) > 1:
            raise TrainingError(
                "the teacher's rows have different "
                + ("vocabularies" if name == "trimming" else "numbers of tokens"),
                actual=", ".join(f"'{folder}'" for folder in found.values()),
                remedy="make them with one --vocab-size and one teacher",
            )


def _limit(config: TrainConfig, name: str) -> int:
    return config.eval_tokens if name == HELD_OUT_CACHE else config.teacher_tokens or 0


def _finished(
    config: TrainConfig, folder: Path, documents: Sequence[Document], limit: int
) -> TeacherCache | None:
    """A complete cache, which needs no teacher any more; None where there is work for one.

    Raises:
        TrainingError: The cache belongs to something else.
    """
    if not (folder / MANIFEST_FILE).is_file():
        return None
    cache = TeacherCache.open(folder, verify=False)
    asked = {
        "teacher": resolve_teacher(config.teacher_model or "").name,
        "text": documents_digest(documents),
        "tau": config.temperature,
        "max_length": config.max_length,
        "limit": limit,
    }
    key = cache.manifest["key"]
    differing = [name for name, value in asked.items() if key[name] != value]
    if cache.manifest["student_vocab"] > config.vocab_size:
        differing.append("vocab_size")
    if differing:
        raise TrainingError(
            f"the teacher cache '{folder}' belongs to another run",
            actual="differing: " + ", ".join(differing),
            limit=f"teacher {key['teacher']}, temperature {key['tau']:g}, max-length {key['max_length']}",
            remedy="give another --teacher-cache, or delete this one",
        )
    return TeacherCache.open(folder) if cache.complete else None


def _ask(
    config: TrainConfig,
    folder: Path,
    texts: dict[str, list[Document]],
    on_teacher: OnTeacher | None,
    teacher: Teacher | None,
) -> dict[str, TeacherCache]:
    """Run the teacher over every text; finished parts are not run again."""
    teacher = teacher or load_teacher(
        config.teacher_model or "", device=_device(), dtype=config.teacher_dtype, system=config.system_prompt
    )
    trimmed = trim_for(teacher, config.vocab_size)
    caches = {}
    for name, documents in texts.items():
        settings = PassSettings(
            k=TOP_K, tau=config.temperature, max_length=config.max_length, limit=_limit(config, name)
        )

        def tell(progress: PassProgress, name: str = name) -> None:
            if on_teacher is not None:
                on_teacher(name, progress)

        caches[name] = run_teacher(teacher, trimmed, documents, folder / name, settings, on_progress=tell)
    return caches


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _encoded(config: TrainConfig, reader: CacheReader, documents: Sequence[Document]) -> list[list[int]]:
    """Ids of a text: as the teacher was asked, then what it was not asked about."""
    text, tokenizer = reader.cache.text, reader.cache.trimmed.tokenizer
    bounds = text.doc_starts.tolist()
    cached = [text.ids[a:b].tolist() for a, b in zip(bounds, bounds[1:], strict=False)]
    return [*cached, *(_unasked(documents, cached, tokenizer) if config.teacher_tokens else [])]


def _join(
    config: TrainConfig, readers: JoinedReaders, held_out: EvalDocuments, encoded: Sequence[Sequence[int]]
) -> Prepared:
    corpus = make_corpus(encoded, config.max_length)
    require_text(corpus, config)
    digest = hashlib.sha256(corpus.ids.tobytes() + held_out.ids.tobytes()).hexdigest()
    return Prepared(readers.trimmed.tokenizer, corpus, held_out, digest, readers)


def _unasked(
    documents: Sequence[Document], cached: Sequence[Sequence[int]], tokenizer: TextTokenizer
) -> list[list[int]]:
    """Ids of the documents behind those of a cache, in the form that the cache gives to its own."""
    rest = []
    at = 0
    for document, encoded in zip(documents, encode_documents(documents, tokenizer), strict=True):
        ids = encoded
        if document.parts[0] != _USER:
            ids = [_END, *ids]
        elif broken_off(document.plain[-1]):
            ids = ids[:-1]
        if at == len(cached):
            rest.append(ids)
        else:
            at = _behind(ids, cached, at)
    return rest


def _behind(ids: Sequence[int], cached: Sequence[Sequence[int]], at: int) -> int:
    """The number of the first segment that is not of the document that segment ``at`` begins."""
    taken = len(cached[at])
    at += 1
    while at < len(cached) and taken < len(ids) and cached[at][0] == _END:
        more = cached[at][1:]
        if list(ids[taken : taken + len(more)]) != more:
            break
        taken += len(more)
        at += 1
    return at
