// The C engine in WebAssembly: one program, one context. Logits are integers; times 2 ** -exponent they are the model's.

const PROBE = "AGFzbQEAAAABBQFgAAF7AwIBAAoKAQgAQQD9D/1iCw=="; // a module with one SIMD instruction
const FACTS = "timesteps vocab rank window exponent chunk tokens logits codes top state stateBytes hash kernels".split(" ");
const TOP_MAX = 64;
const CHUNK = 32;

/** Whether this browser multiplies 16 bytes at once (Chrome 91, Firefox 89, Safari 16.4 and later). */
export function simd() {
  return WebAssembly.validate(Uint8Array.from(atob(PROBE), (c) => c.charCodeAt(0)));
}

/** Bytes of a file, or an error with its name. */
export async function bytes(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${String(url).split("/").pop()}: ${response.status} ${response.statusText}`);
  return new Uint8Array(await response.arrayBuffer());
}

export class Engine {
  /** Open a program. `wasm`: bytes of engine.wasm or engine-scalar.wasm; by default the one that suits, beside this file. */
  static async open(program, wasm) {
    wasm ??= await bytes(new URL(simd() ? "engine.wasm" : "engine-scalar.wasm", import.meta.url));
    const { instance } = await WebAssembly.instantiate(wasm);
    return new Engine(instance.exports, program);
  }

  constructor(wasm, program) {
    this.wasm = wasm;
    const data = wasm.reserve(program.length);
    if (!data) throw new Error("the browser gives no memory for the program");
    new Uint8Array(wasm.memory.buffer).set(program, data);
    this.check(wasm.open(data, program.length, CHUNK));
    const facts = new Uint32Array(wasm.memory.buffer, wasm.facts(), FACTS.length);
    FACTS.forEach((name, i) => (this[name] = facts[i]));
    this.exponent |= 0;
    this.kernels = this.text(this.kernels);
    this.hash = Array.from(this.view(Uint8Array, this.hash, 32), (b) => b.toString(16).padStart(2, "0")).join("");
  }

  view(Type, address, length) {
    return new Type(this.wasm.memory.buffer, address, length);
  }

  text(address) {
    const all = new Uint8Array(this.wasm.memory.buffer);
    return new TextDecoder().decode(all.slice(address, all.indexOf(0, address)));
  }

  check(status) {
    if (status) throw new Error(`the engine refused: ${this.text(this.wasm.status_name(status))}`);
  }

  /** Forget everything: a new sequence. */
  reset() {
    this.wasm.reset();
  }

  /** One token; logits int32 [vocab], valid until the next call. */
  step(token) {
    this.check(this.wasm.step(token));
    return this.view(Int32Array, this.logits, this.vocab);
  }

  /** Some tokens; logits of the last one, valid until the next call. */
  prefill(ids) {
    if (!ids.length) throw new Error("no tokens");
    for (let at = 0; at < ids.length; at += CHUNK) {
      const part = ids.slice(at, at + CHUNK);
      this.view(Uint32Array, this.tokens, CHUNK).set(part);
      this.check(this.wasm.prefill(part.length, at + CHUNK >= ids.length));
    }
    return this.view(Int32Array, this.logits, this.vocab);
  }

  /** Some tokens; logits int32 [ids.length * vocab] of all of them. */
  sequence(ids) {
    const all = new Int32Array(ids.length * this.vocab);
    for (let at = 0; at < ids.length; at += CHUNK) {
      const part = ids.slice(at, at + CHUNK);
      this.view(Uint32Array, this.tokens, CHUNK).set(part);
      this.check(this.wasm.sequence(part.length));
      all.set(this.view(Int32Array, this.logits, part.length * this.vocab), at * this.vocab);
    }
    return all;
  }

  /** What the readout makes logits of: int8 [rank] of the last token, a copy. */
  readout() {
    return this.view(Int8Array, this.codes, this.rank).slice();
  }

  /** Logits of codes that were kept, valid until the next call. */
  logitsOf(codes) {
    this.view(Int8Array, this.codes, this.rank).set(codes);
    this.check(this.wasm.logits_of());
    return this.view(Int32Array, this.logits, this.vocab);
  }

  /** The k best tokens after the last one, best first: { ids, logits }. */
  best(k) {
    this.check(this.wasm.top(k));
    return {
      ids: this.view(Uint32Array, this.top, k).slice(),
      logits: this.view(Int32Array, this.top + 4 * TOP_MAX, k).slice(),
    };
  }

  /** The context as bytes, for `restore` of any engine that opened the same program. */
  save() {
    this.check(this.wasm.save());
    return this.view(Uint8Array, this.state, this.stateBytes).slice();
  }

  restore(state) {
    if (state.length !== this.stateBytes) throw new Error("the state is another program's");
    this.view(Uint8Array, this.state, this.stateBytes).set(state);
    this.check(this.wasm.restore());
  }
}
