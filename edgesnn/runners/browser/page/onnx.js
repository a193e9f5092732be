// The bundle's graphs in onnxruntime-web, and the care for the state between tokens (docs/onnx.md).

import { download } from "./download.js";
import { Sha256 } from "./sha256.js";

/** The state tensors of one context, all 0 or 1, int8. */
class State {
  constructor(ort, layout) {
    this.layout = layout;
    this.tensors = {};
    for (const { name, shape } of layout) {
      const size = shape.reduce((product, length) => product * length, 1);
      this.tensors[name] = new ort.Tensor("int8", new Int8Array(size), [1, ...shape]);
    }
    this.count = 0;
  }

  clear() {
    for (const { name } of this.layout) this.tensors[name].data.fill(0);
    this.count = 0;
  }

  /** Take in what a step gave: keys [T, heads, dh] into [T, dh, slots], values into [T, slots, dh]. */
  push(results) {
    for (const { name, kind, shape, rings } of this.layout) {
      const past = this.tensors[name].data;
      const part = results[`new.${name}`].data;
      if (kind === "shift") {
        past.set(part);
        continue;
      }
      const [steps, width, slots] = kind === "key" ? shape : [shape[0], shape[2], shape[1]];
      const heads = part.length / (steps * width);
      for (const [head, first, size] of rings) {
        const slot = first + (this.count % size);
        for (let t = 0; t < steps; t++) {
          const from = (t * heads + head) * width;
          if (kind === "value") {
            past.set(part.subarray(from, from + width), (t * slots + slot) * width);
          } else {
            for (let i = 0; i < width; i++) past[(t * width + i) * slots + slot] = part[from + i];
          }
        }
      }
    }
    this.count++;
  }

  /** Replace the whole state by what a prefill gave. */
  load(results) {
    for (const { name } of this.layout) this.tensors[name].data.set(results[`state.${name}`].data);
    this.count = 0;
  }
}

/** Fetch ONNX Runtime and the step graph: the student, and what the computer wants to know. */
export async function open(base, spec, tell) {
  const before = performance.now();
  const wasm = await download(new URL("ort/ort-wasm-simd-threaded.wasm", base).href, tell);
  const ort = await import(new URL("ort/ort.wasm.min.mjs", base).href);
  const download_ms = performance.now() - before;
  ort.env.wasm.wasmPaths = new URL("ort/", base).href;
  ort.env.wasm.wasmBinary = wasm;
  ort.env.wasm.numThreads = spec.threads;
  ort.env.logLevel = "error";
  const student = new OnnxStudent(ort, base, spec);
  const { sha256, took } = await student.load("step", tell);
  const facts = { model_sha256: sha256, load_ms: took, download_ms, wasm_bytes: wasm.length };
  return [student, { ...facts, threads: ort.env.wasm.numThreads, kernels: "onnxruntime" }];
}

class OnnxStudent {
  constructor(ort, base, spec) {
    this.ort = ort;
    this.base = base;
    this.spec = spec;
    this.sessions = {};
    this.state = new State(ort, spec.state);
    this.token = new ort.Tensor("int64", new BigInt64Array(1), [1, 1]);
    this.feed = { input_ids: this.token, ...this.state.tensors };
  }

  /** Fetch and open one graph; its SHA-256 says which one it was. */
  async load(role, tell) {
    const model = await download(new URL(`model/${role}.onnx`, this.base).href, tell);
    const before = performance.now();
    this.sessions[role] = await this.ort.InferenceSession.create(model, {
      executionProviders: ["wasm"],
      graphOptimizationLevel: "all",
      executionMode: "sequential",
    });
    const took = performance.now() - before;
    return { sha256: new Sha256().update(model).hex(), took };
  }

  async ready(role) {
    if (!this.sessions[role]) await this.load(role, () => {});
    return this.sessions[role];
  }

  reset() {
    this.state.clear();
  }

  /** One token; float logits. The step graph must be loaded. */
  async step(id) {
    this.token.data[0] = BigInt(id);
    const results = await this.sessions.step.run(this.feed);
    this.state.push(results);
    return results.logits.data;
  }

  /** A whole sequence; the context is left alone. */
  async sequence(ids) {
    return (await (await this.ready("sequence")).run({ input_ids: this.tensor(ids) })).logits.data;
  }

  /** A whole sequence whose state `step` continues; logits of the last token. */
  async prefill(ids) {
    const results = await (await this.ready("prefill")).run({ input_ids: this.tensor(ids) });
    this.state.load(results);
    return results.logits.data;
  }

  tensor(ids) {
    return new this.ort.Tensor("int64", BigInt64Array.from(ids, BigInt), [1, ids.length]);
  }

  /** Integer logits: the graph multiplied them by a power of two, which loses nothing. */
  integers(logits) {
    const unit = this.spec.logit_unit;
    const whole = new Int32Array(logits.length);
    for (let i = 0; i < logits.length; i++) whole[i] = logits[i] * unit;
    return whole;
  }
}
