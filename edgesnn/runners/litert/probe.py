"""A child process that opens a TFLite file before anyone else does, so that a crash is only its own.

Run by path, not as a module: it needs numpy and ai-edge-litert and nothing of edgesnn. The model comes on
stdin, its name on the command line. It answers as `edgesnn.children` says: a result when the model loaded and
ran once on zeros, an error when the runtime refused it, nothing when it crashed.
"""

from __future__ import annotations

import json
import sys

#: Length that an unknown dimension gets, apart from the first.
LENGTH = 3


def probe(content: bytes) -> None:
    """Load a model, allocate it and run it once on zeros.

    Args:
        content: The model.

    Raises:
        Exception: The runtime refuses it; its errors share no base class.
    """
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=1)
    for item in interpreter.get_input_details():
        if item["name"] == "input_ids":
            shape = [1, *(LENGTH if size < 0 else size for size in item["shape_signature"][1:])]
            interpreter.resize_tensor_input(item["index"], shape)
    interpreter.allocate_tensors()
    for item in interpreter.get_input_details():
        interpreter.set_tensor(item["index"], np.zeros(item["shape"], item["dtype"]))
    interpreter.invoke()
    for item in interpreter.get_output_details():
        interpreter.get_tensor(item["index"])


if __name__ == "__main__":
    try:
        probe(sys.stdin.buffer.read())
        answer: dict[str, object] = {"result": None}
    except Exception as error:
        what = f"LiteRT refused '{sys.argv[1]}': {' '.join(str(error).split())[:300]}"
        answer = {"error": {"code": "runner", "what": what, "remedy": "export the student again"}}
    print(json.dumps(answer))
