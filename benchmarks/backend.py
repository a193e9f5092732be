"""What a token through an open student costs beside the bare engine: the reference student, greedy.

    python benchmarks/backend.py [--tokens 200] [--rounds 15]

The bare engine runs a step and takes the best token, called from Python for each token, or all tokens in one
call; the open student (`SNNLLMBackend`, `edgesnn serve`) also decodes and looks for stop strings. In
turns; least times. Then tokens per second of one answer and of eight at once, from threads, with a runner
a core; medians.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from edgesnn.api.runtime.student import OpenStudent
from edgesnn.bundle.bundle import PROGRAM_NAME
from edgesnn.runners.native.engine import Engine

STREAMS = 8


def least(call: Callable[[], object], best: float) -> float:
    """The shorter of a call's time and what was seen before, seconds."""
    started = time.perf_counter()
    call()
    return min(best, time.perf_counter() - started)


def together(student: OpenStudent, ids: list[int], tokens: int, streams: int) -> float:
    """Tokens per second of so many answers at once, each in a thread."""
    began = time.perf_counter()
    with ThreadPoolExecutor(streams) as threads:
        made = [threads.submit(student.generate(ids, max_tokens=tokens).text) for _ in range(streams)]
        for one in made:
            one.result()
    return streams * tokens / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    with OpenStudent("reference", "native", runners=1) as student:
        student.end = None  # as many tokens as asked for
        ids = student.prompt_ids("What is on my desk?")
        engine = Engine(student.bundle.file(PROGRAM_NAME).read_bytes())

        def bare() -> None:
            engine.reset(1)
            engine.prefill(np.array([ids], np.uint32))
            for _ in range(given.tokens - 1):
                engine.step(int(engine.top(1)[0][0]), 0)

        def in_c() -> None:
            engine.reset(1)
            engine.run(np.array([ids], np.uint32))
            engine.greedy(int(engine.top(1)[0][0]), given.tokens - 1, engine.info.vocab)

        def through() -> None:
            student.generate(ids, max_tokens=given.tokens).text()

        alone = whole = inner = float("inf")
        for _ in range(given.rounds):
            alone, whole, inner = least(bare, alone), least(through, whole), least(in_c, inner)
    us = 1e6 / given.tokens
    print(f"bare, from Python {alone * us:.1f} us a token, in C {inner * us:.1f} us;", end=" ")
    print(f"open student {whole * us:.1f} us: {whole / alone:.2f} and {whole / inner:.2f} times")
    with OpenStudent("reference", "native") as student:
        student.end = None
        pairs = [
            [together(student, ids, 10 * given.tokens, n) for n in (1, STREAMS)] for _ in range(given.rounds)
        ]
        one, eight = np.median(pairs, axis=0)
        ratio = np.median([many / alone for alone, many in pairs])
        print(
            f"one answer {one:,.0f} tokens/s, {STREAMS} on {student.runners} runners {eight:,.0f}:",
            f"{ratio:.2f} times",
        )


if __name__ == "__main__":
    main()
