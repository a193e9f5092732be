// A spiking student in a page: load, generate, step. No server, no other package.

import { bytes, Engine, simd } from "./engine.js";
import { generator, sampler, Tokenizer } from "./tokenizer.js";

export { Engine, generator, sampler, simd, Tokenizer };

/** Load a student from the folder that `edgesnn export --format web` wrote, by default this file's own. */
export async function load(folder = new URL(".", import.meta.url)) {
  const base = new URL(folder, globalThis.location?.href ?? import.meta.url);
  const file = (name) => bytes(new URL(name, base));
  const json = async (name) => JSON.parse(new TextDecoder().decode(await file(name)));
  const [facts, tokenizer, program] = await Promise.all([json("student.json"), json("tokenizer.json"), file("program.snn")]);
  return new Student(await Engine.open(program, await file(simd() ? "engine.wasm" : "engine-scalar.wasm")), new Tokenizer(tokenizer), facts);
}

export class Student {
  constructor(engine, tokenizer, facts) {
    Object.assign(this, { engine, tokenizer, facts });
    this.tokens = 0;
    this.end = tokenizer.added.get(facts.end_of_text) ?? -1;
  }

  /** Integer logits as the model's: float32, as numpy makes them. */
  floats(logits) {
    const unit = 2 ** -this.engine.exponent;
    return Float32Array.from(logits, (x) => Math.fround(x) * unit);
  }

  /** One token id; float logits [vocab] of what follows. */
  step(token) {
    return this.floats(this.engine.step(token));
  }

  /** Text after a prompt, piece by piece: for await (const text of student.generate("Hello")) ...
   *
   * Options: maxTokens, temperature, topK, topP, seed, template ("{prompt}" for the bare text), signal (an AbortSignal).
   */
  async *generate(prompt, { maxTokens = 64, template, signal, ...options } = {}) {
    const choose = sampler(options);
    const ids = this.tokenizer.encodePrompt(prompt, template ?? this.facts.prompt_template ?? "{prompt}");
    if (!ids.length) throw new Error("the prompt has no tokens");
    const text = new TextDecoder("utf-8", { ignoreBOM: true });
    this.engine.reset();
    let logits = this.floats(this.engine.prefill(ids));
    let drawn = performance.now();
    this.tokens = 0;
    for (let i = 0; i < maxTokens && !signal?.aborted; i++) {
      const token = choose(logits);
      if (token === this.end) break;
      this.tokens++;
      const piece = text.decode(this.tokenizer.bytes([token]), { stream: true });
      if (piece) yield piece;
      if (i + 1 < maxTokens) logits = this.step(token);
      if (performance.now() - drawn > 12) {
        await new Promise((resolve) => setTimeout(resolve)); // let the page paint
        drawn = performance.now();
      }
    }
    const rest = text.decode();
    if (rest) yield rest;
  }
}
