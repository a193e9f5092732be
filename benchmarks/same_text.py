"""The same greedy text on every exact engine of this computer, and from twenty threads at once.

    python benchmarks/same_text.py [--prompts 50] [--tokens 200] [--model reference]

Prompts are made of ten questions and five things. Exit code 1 where a text differs.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from edgesnn.api.bundles import bundle_of
from edgesnn.api.runtime.student import OpenStudent

ENGINES = ("golden", "native", "onnxruntime", "litert")
QUESTIONS = (
    "What is {}?",
    "Where can I find {}?",
    "How do I use {}?",
    "Describe {} in one sentence.",
    "Is {} safe?",
    "Tell me a story about {}.",
    "What should I know about {}?",
    "How much does {} cost?",
    "Why do people like {}?",
    "Translate {} into French.",
)
THINGS = ("a red cup", "the bus to the station", "my calendar", "fresh bread", "a dog in the rain")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--prompts", type=int, default=50)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--model", default="reference")
    given = parser.parse_args()
    made = (question.format(thing) for thing, question in itertools.product(THINGS, QUESTIONS))
    prompts = list(itertools.islice(made, given.prompts))
    wanted: list[str] | None = None
    wrong = 0
    with bundle_of(given.model, formats=("onnx", "tflite")) as bundle:
        for engine, threads in [*((name, 1) for name in ENGINES), ("native", 20)]:
            began = time.perf_counter()
            with OpenStudent(bundle, engine) as student, ThreadPoolExecutor(threads) as pool:
                student.end = None  # as many tokens as asked for
                ids = [student.prompt_ids(prompt) for prompt in prompts]
                texts = list(
                    pool.map(lambda one, of=student: of.generate(one, max_tokens=given.tokens).text(), ids)
                )
            wanted = wanted or texts
            differ = sum(text != other for text, other in zip(texts, wanted, strict=True))
            wrong += differ
            seconds = time.perf_counter() - began
            print(
                f"{engine}, {threads} at once: {len(texts)} texts, {differ} differ, {seconds:.0f} s",
                flush=True,
            )
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
