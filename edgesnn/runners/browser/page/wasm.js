// The C engine in the page: program.snn, one context, one thread.

import { download } from "./download.js";
import { Engine, simd } from "./engine/engine.js";
import { Sha256 } from "./sha256.js";

/** Fetch the engine and the program: the student, and what the computer wants to know. */
export async function open(base, spec, tell) {
  const before = performance.now();
  const wasm = await download(new URL(`engine/${simd() ? "engine" : "engine-scalar"}.wasm`, base).href, tell);
  const download_ms = performance.now() - before;
  const program = await download(new URL("model/program.snn", base).href, tell);
  const began = performance.now();
  const engine = await Engine.open(program, wasm);
  const load_ms = performance.now() - began;
  const facts = { model_sha256: new Sha256().update(program).hex(), load_ms, download_ms, wasm_bytes: wasm.length };
  return [new WasmStudent(engine), { ...facts, threads: 1, kernels: engine.kernels }];
}

/** What a step answers with are the codes of its readout: small, and they give its logits again. */
class WasmStudent {
  constructor(engine) {
    this.engine = engine;
  }

  reset() {
    this.engine.reset();
  }

  /** One token; its logits are made, and what gives them again is kept. */
  step(id) {
    this.engine.step(id);
    return this.engine.readout();
  }

  /** Make room for a form: a sequence leaves the context alone, so it is put aside. */
  ready(form) {
    this.kept = form === "sequence" ? this.engine.save() : null;
    this.engine.reset();
  }

  done() {
    if (this.kept) this.engine.restore(this.kept);
  }

  sequence(ids) {
    return this.engine.sequence(ids);
  }

  /** A whole sequence that `step` continues; logits of the last token. */
  prefill(ids) {
    return this.engine.prefill(ids).slice();
  }

  integers(answer) {
    return answer instanceof Int8Array ? this.engine.logitsOf(answer).slice() : answer;
  }
}
