"""The process of its own in which a reference model runs: its memory is not the student's.

``python -m edgesnn.api.reference_child`` reads one JSON request from stdin and prints JSON lines:
``{"progress": [stage, done, total]}``, then ``{"result": {...}}`` or ``{"error": {...}}``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from edgesnn.profiler.counts.memory_probe import peak_resident


def main() -> int:
    """Run one request.

    Returns:
        0, or the exit code of the error that was met.
    """
    from edgesnn.errors import EdgesnnError, missing_extra

    request = json.load(sys.stdin)
    baseline, _ = peak_resident()
    try:
        try:
            _say({"result": _measure(request, baseline)})
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] == "edgesnn":
                raise
            raise missing_extra(error.name, "train", "a reference model") from None
    except EdgesnnError as error:
        _say({"error": error.as_dict()})
        return error.exit_code
    return 0


def _measure(request: dict[str, Any], baseline: int) -> dict[str, Any]:
    from dataclasses import asdict

    from edgesnn.profiler.quality.reference import CausalModel, score_reference, time_steps
    from edgesnn.runners.causal_lm import OnnxCausalModel, find_model
    from edgesnn.text.tokenizer import load_tokenizer

    _progress("loading the reference", 0, 1)
    file = find_model(Path(request["model"]))
    model: Any
    if file is not None:
        model = OnnxCausalModel(file, request["threads"])
    else:
        from edgesnn.student.teacher.causal import HuggingFaceModel

        model = HuggingFaceModel(request["model"], request["threads"])
    libraries, _ = peak_resident()
    checked: CausalModel = model
    student = load_tokenizer(Path(request["tokenizer"]))
    text = student.decode([i for document in request["documents"] for i in document])
    ids = checked.tokenizer.encode(text)
    _progress("timing the reference", 0, 1)
    context = min(request["context"], checked.context - request["steps"] - 8)
    times = time_steps(checked, ids, context=context, steps=request["steps"])
    stepping, how = peak_resident()
    documents = request["documents"]
    scores = score_reference(
        checked, documents, student, lambda done: _progress("scoring the reference", done, len(documents))
    )
    return {
        "name": model.name,
        "engine": model.engine,
        "parameters": model.parameters,
        "model_bytes": model.model_bytes,
        "dtype": model.dtype,
        "cached": model.cached,
        "context": context,
        "baseline_bytes": baseline,
        "loaded_bytes": libraries,
        "peak_bytes": stepping,
        "how": how,
        "step_ms": times.tolist(),
        "scores": asdict(scores),
    }


def _progress(stage: str, done: int, total: int) -> None:
    _say({"progress": [stage, done, total]})


def _say(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
