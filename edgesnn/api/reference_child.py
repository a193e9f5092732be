"""The process of its own in which a reference model runs: its memory is not the student's.

``python -m edgesnn.api.reference_child`` reads one JSON request from stdin and answers as
`edgesnn.children` says.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from edgesnn.children import reply, say
from edgesnn.errors import missing_extra
from edgesnn.system import peak_memory


def main() -> int:
    """Run one request.

    Returns:
        0, or the exit code of the error that was met.
    """
    request = json.load(sys.stdin)

    def work() -> dict[str, Any]:
        try:
            return _measure(request)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] == "edgesnn":
                raise
            raise missing_extra(error.name, "train", "a reference model") from None

    return reply(work)


def _measure(request: dict[str, Any]) -> dict[str, Any]:
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
    checked: CausalModel = model
    student = load_tokenizer(Path(request["tokenizer"]))
    text = student.decode([i for document in request["documents"] for i in document])
    ids = checked.tokenizer.encode(text)
    _progress("timing the reference", 0, 1)
    context = min(request["context"], checked.context - request["steps"] - 8)
    times = time_steps(checked, ids, context=context, steps=request["steps"])
    stepping, how = peak_memory()
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
        "peak_bytes": stepping,
        "how": how,
        "step_ms": times.tolist(),
        "scores": asdict(scores),
    }


def _progress(stage: str, done: int, total: int) -> None:
    say({"progress": [stage, done, total]})


if __name__ == "__main__":
    raise SystemExit(main())
