"""Runs TFLite files in whatever runtime its Python has, as a host that knows nothing of edgesnn.

Reads one JSON job per line from stdin and answers each with a line: ``ok`` or ``error: why``. It keeps the
state by the rules of the files' own metadata, so it is also the proof that those rules are enough.
"""

import json
import os
import sys

import numpy as np

try:
    from tflite_runtime.interpreter import Interpreter, OpResolverType
except ImportError:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType


def interpreter(path, xnnpack, threads=1):
    chosen = OpResolverType.AUTO if xnnpack else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    return Interpreter(model_path=path, num_threads=threads, experimental_op_resolver_type=chosen)


def call(job):
    """One call of the only signature of a file."""
    model = interpreter(job["model"], job["xnnpack"])
    with np.load(job["inputs"]) as arrays:
        inputs = dict(arrays)
    (signature,) = model.get_signature_list()
    np.savez(job["outputs"], **model.get_signature_runner(signature)(**inputs))


class State:
    """The state tensors, kept by the rules in the metadata of the step file."""

    def __init__(self, rules, batch):
        self.rules = rules
        self.arrays = {r["name"]: np.zeros((batch, *r["shape"][1:]), np.int8) for r in rules}
        self.count = 0

    def push(self, out):
        for rule in self.rules:
            array, new = self.arrays[rule["name"]], out["new." + rule["name"]]
            if rule["kind"] == "shift":
                array[...] = new
                continue
            for head, (first, size) in enumerate(rule["rings"]):
                if size > 0:
                    slot = [slice(None)] * 4
                    slot[rule["slot_axis"]] = first + self.count % size
                    array[tuple(slot)] = new[:, :, head]
        self.count += 1

    def load(self, out):
        self.arrays = {r["name"]: out["state." + r["name"]].copy() for r in self.rules}
        self.count = 0


def forms(job):
    """Every form of a student on a batch of sequences; prefill of a part has step after it."""
    folder, xnnpack = job["folder"], job["xnnpack"]
    threads = job.get("threads", 1)
    ids = np.load(job["ids"]).astype(np.int32)
    files = ("student", "student.step", "student.prefill")
    models = [interpreter(os.path.join(folder, f + ".tflite"), xnnpack, threads) for f in files]
    sequence, step, prefill = (m.get_signature_runner(m.get_signature_list().popitem()[0]) for m in models)
    results = {"sequence": sequence(input_ids=ids)["logits"]}
    state = State(job["rules"], len(ids))

    def steps(start):
        logits = []
        for i in range(start, ids.shape[1]):
            out = step(input_ids=ids[:, i : i + 1], **state.arrays)
            state.push(out)
            logits.append(out["logits"])
        return logits

    results["step"] = np.stack(steps(0), 1)
    cut = job["cut"]
    out = prefill(input_ids=ids[:, :cut])
    state.load(out)
    results["prefill"] = np.stack([out["logits"], *steps(cut)], 1)
    results["short"] = sequence(input_ids=ids[:1, :cut])["logits"]
    np.savez(job["outputs"], **results)


def main():
    for line in sys.stdin:
        job = json.loads(line)
        try:
            {"call": call, "forms": forms}[job["kind"]](job)
            answer = "ok"
        except Exception as error:
            answer = "error: " + " ".join(repr(error).split())
        print(answer, flush=True)


if __name__ == "__main__":
    main()
