"""Prompts out of a file, and the batches in which they are asked."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgesnn.errors import TrainingError
from edgesnn.student.text.reading import JSON_SUFFIXES, read_text


@dataclass(frozen=True, slots=True)
class Prompts:
    """What is asked.

    Attributes:
        texts: In the order of the file, each once.
        repeated: Prompts of the file that stand in it already.
        excluded: Prompts of the file that are left out because they stand in the text for evaluation.
    """

    texts: list[str]
    repeated: int
    excluded: int


def read_prompts(path: Path, exclude: Path | None = None) -> Prompts:
    """Read prompts, one a line, or JSON lines: texts, or records with ``prompt``.

    Args:
        path: The file.
        exclude: A file in one of these forms with the prompts for evaluation, which are not asked.

    Raises:
        TrainingError: A file is missing, malformed or empty, or nothing is left.
    """
    texts = _read(path)
    unique = list(dict.fromkeys(texts))
    barred = set(_read(exclude)) if exclude is not None else set()
    kept = [text for text in unique if text not in barred]
    if not kept:
        raise TrainingError(
            f"'{path}' holds no prompt to ask",
            actual=f"{len(unique)} prompts, all of them in '{exclude}'" if unique else "no text",
            remedy="give one prompt a line, or JSON lines with prompt",
        )
    return Prompts(kept, len(texts) - len(unique), len(unique) - len(kept))


def _read(path: Path) -> list[str]:
    text = read_text(path)
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if path.suffix.lower() not in JSON_SUFFIXES and not (lines and lines[0][1].startswith("{")):
        return [line for _, line in lines]
    prompts = []
    for number, line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise TrainingError(
                f"line {number} of '{path.name}' is no JSON",
                actual=str(error)[:120],
                limit='one text or {"prompt": text} a line',
            ) from None
        prompt = record.get("prompt") if isinstance(record, dict) else record
        if not isinstance(prompt, str) or not prompt.strip():
            raise TrainingError(
                f"line {number} of '{path.name}' has no prompt",
                actual=line[:80],
                limit='one text or {"prompt": text} a line',
            )
        prompts.append(prompt)
    return prompts


def batches(
    lengths: Sequence[int], answers: int, size: int, seed: int, skipped: Collection[int] = ()
) -> list[list[int]]:
    """Batches of prompts of one length, in an order that is the same every time.

    Args:
        lengths: Tokens of each prompt.
        answers: Answers to each prompt.
        size: Answers of a batch at most.
        seed: Seed of the order, so that what is done at any time is a fair sample.
        skipped: Prompts that are not asked.

    Returns:
        Numbers of answers: answer ``a`` to prompt ``p`` is ``p * answers + a``.
    """
    by_length: dict[int, list[int]] = {}
    for prompt, length in enumerate(lengths):
        if prompt not in skipped:
            first = prompt * answers
            by_length.setdefault(length, []).extend(range(first, first + answers))
    cut = []
    rng = np.random.default_rng(seed)
    for length in sorted(by_length):
        numbers = rng.permutation(by_length[length]).tolist()
        cut += [numbers[first : first + size] for first in range(0, len(numbers), size)]
    return [cut[number] for number in rng.permutation(len(cut))]
