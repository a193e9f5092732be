// Byte-level BPE as tokenizer.json describes it, and sampling as numpy draws: the same ids as `edgesnn generate`.

const printable = (b) => (b > 0x20 && b < 0x7f) || (b > 0xa0 && b < 0xad) || b > 0xad;
const LETTERS = Array.from({ length: 256 }, (_, b) => b);
for (let b = 0, next = 256; b < 256; b++) LETTERS[b] = String.fromCharCode(printable(b) ? b : next++);
const BYTES = new Map(LETTERS.map((letter, b) => [letter, b]));
const WORDS = pattern(String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`);
const ALIKE = { s: "sS\u017f", k: "kK\u212a" };

/** A pattern of tokenizer.json for this language, whose \s is no Unicode property and whose (?i:...) is new. */
function pattern(text) {
  const spaces = text.replace(/\\s/g, "\\p{White_Space}").replace(/\\S/g, "\\P{White_Space}");
  const plain = spaces.replace(/\(\?i:((?:[^()\\[\]])*)\)/g, (_, inside) =>
    `(?:${inside.replace(/[a-z]/gi, (c) => `[${ALIKE[c.toLowerCase()] ?? c.toLowerCase() + c.toUpperCase()}]`)})`);
  return new RegExp(plain, "gu");
}

/** Cut every piece; what stands between two matches is a piece, too. */
function cut(pieces, regex) {
  return pieces.flatMap((piece) => {
    const found = [];
    let at = 0;
    for (const match of piece.matchAll(regex)) {
      if (!match[0]) continue;
      if (match.index > at) found.push(piece.slice(at, match.index));
      found.push(match[0]);
      at = match.index + match[0].length;
    }
    return at < piece.length ? [...found, piece.slice(at)] : found;
  });
}

function cutter(step) {
  const one = (s) => {
    if (s.type === "ByteLevel" && !s.add_prefix_space) return s.use_regex === false ? (p) => p : (p) => cut(p, WORDS);
    if (s.type === "Digits") return (p) => cut(p, s.individual_digits ? /\p{N}/gu : /\p{N}+/gu);
    if (s.type === "Split" && s.behavior === "Isolated" && !s.invert && s.pattern.Regex) {
      const regex = pattern(s.pattern.Regex);
      return (p) => cut(p, regex);
    }
    throw new Error(`this tokenizer cuts words by '${s.type}', which a page cannot`);
  };
  return (step.type === "Sequence" ? step.pretokenizers : [step]).map(one);
}

export class Tokenizer {
  /** Take the content of tokenizer.json. */
  constructor({ model, normalizer, pre_tokenizer, added_tokens }) {
    if (model.type !== "BPE") throw new Error(`this tokenizer is '${model.type}', not BPE`);
    this.forms = (normalizer?.type === "Sequence" ? normalizer.normalizers : [normalizer]).filter(Boolean).map((n) => n.type);
    if (!this.forms.every((f) => /^NFK?[CD]$/.test(f))) throw new Error(`this tokenizer normalises by '${this.forms}'`);
    this.cutters = cutter(pre_tokenizer);
    this.vocab = new Map(Object.entries(model.vocab));
    this.ranks = new Map(model.merges.map((m, i) => [Array.isArray(m) ? m.join(" ") : m, i]));
    this.whole = model.ignore_merges;
    this.added = new Map(added_tokens.map((t) => [t.content, t.id]));
    this.specials = added_tokens.filter((t) => t.special).map((t) => t.content);
    this.meanings = [];
    for (const [spelling, id] of this.vocab) {
      const letters = [...spelling];
      this.meanings[id] = letters.every((c) => BYTES.has(c)) ? letters.map((c) => BYTES.get(c)) : new TextEncoder().encode(spelling);
    }
    for (const t of added_tokens) this.meanings[t.id] = t.special ? [] : new TextEncoder().encode(t.content);
    this.known = new Map();
  }

  merged(word) {
    const known = this.known.get(word);
    if (known) return known;
    let parts = this.whole && this.vocab.has(word) ? [word] : [...word];
    for (;;) {
      let best = Infinity;
      let where = -1;
      for (let i = 0; i + 1 < parts.length; i++) {
        const rank = this.ranks.get(`${parts[i]} ${parts[i + 1]}`);
        if (rank < best) [best, where] = [rank, i];
      }
      if (where < 0) break;
      parts.splice(where, 2, parts[where] + parts[where + 1]);
    }
    const ids = parts.map((p) => this.vocab.get(p)).filter((id) => id !== undefined);
    if (this.known.size < 1e4) this.known.set(word, ids);
    return ids;
  }

  /** Ids of a text; added tokens that it spells out become their ids. */
  encode(text) {
    const ids = [];
    for (let rest = text; rest; ) {
      let [at, token] = [rest.length, ""];
      for (const content of this.added.keys()) {
        const found = rest.indexOf(content);
        if (found >= 0 && (found < at || (found === at && content.length > token.length))) [at, token] = [found, content];
      }
      let part = rest.slice(0, at);
      for (const form of this.forms) part = part.normalize(form);
      for (const word of this.cutters.reduce((pieces, step) => step(pieces), part ? [part] : [])) {
        ids.push(...this.merged(Array.from(new TextEncoder().encode(word), (b) => LETTERS[b]).join("")));
      }
      if (token) ids.push(this.added.get(token));
      rest = rest.slice(at + token.length);
    }
    return ids;
  }

  /** Ids of a prompt in its template; special tokens that the prompt spells out stay text. */
  encodePrompt(prompt, template) {
    const [before, after] = [template.slice(0, template.indexOf("{prompt}")), template.slice(template.indexOf("{prompt}") + 8)];
    const ids = this.encode(before);
    let rest = prompt;
    for (;;) {
      const at = Math.min(...this.specials.map((s) => rest.indexOf(s)).filter((i) => i >= 0));
      if (at === Infinity) break;
      ids.push(...this.encode(rest.slice(0, at + 1)));
      rest = rest.slice(at + 1);
    }
    return [...ids, ...this.encode(rest), ...this.encode(after)];
  }

  /** Bytes of ids, special tokens left out. */
  bytes(ids) {
    return Uint8Array.from([...ids].flatMap((id) => [...(this.meanings[id] ?? [])]));
  }

  decode(ids) {
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(this.bytes(ids));
  }
}

const M64 = (1n << 64n) - 1n;
const M128 = (1n << 128n) - 1n;

/** numpy's default_rng(seed).random(): PCG64 (O'Neill, XSL RR 128/64) seeded by SeedSequence. */
export function generator(seed) {
  let constant = 0x43b0d7e5;
  const hash = (value, factor) => {
    value = (value ^ constant) >>> 0;
    constant = Math.imul(constant, factor) >>> 0;
    value = Math.imul(value, constant) >>> 0;
    return (value ^ (value >>> 16)) >>> 0;
  };
  const mix = (x, y) => {
    const value = (Math.imul(0xca01f9dd, x) - Math.imul(0x4973f715, y)) >>> 0;
    return (value ^ (value >>> 16)) >>> 0;
  };
  const entropy = [];
  for (let rest = BigInt(seed); rest > 0n || !entropy.length; rest >>= 32n) entropy.push(Number(rest & 0xffffffffn));
  const pool = [0, 1, 2, 3].map((i) => hash(entropy[i] ?? 0, 0x931e8875));
  for (let s = 0; s < 4; s++) for (let d = 0; d < 4; d++) if (s !== d) pool[d] = mix(pool[d], hash(pool[s], 0x931e8875));
  for (let s = 4; s < entropy.length; s++) for (let d = 0; d < 4; d++) pool[d] = mix(pool[d], hash(entropy[s], 0x931e8875));
  constant = 0x8b51f9dd;
  const words = Array.from({ length: 8 }, (_, i) => BigInt(hash(pool[i % 4], 0x58f38ded)));
  const wide = (i) => (words[i + 1] << 96n) | (words[i] << 64n) | (words[i + 3] << 32n) | words[i + 2];
  const increment = ((wide(4) << 1n) | 1n) & M128;
  const advance = (state) => (state * 0x2360ed051fc65da44385df649fccf645n + increment) & M128;
  let state = advance((advance(0n) + wide(0)) & M128);
  return () => {
    state = advance(state);
    const [value, turn] = [((state >> 64n) ^ state) & M64, state >> 122n];
    const word = ((value >> turn) | (value << (64n - turn))) & M64;
    return Number(word >> 11n) / 2 ** 53;
  };
}

/** Chooses the next of float logits as `edgesnn generate` does: { temperature, topK, topP, seed }. */
export function sampler({ temperature = 0, topK = 0, topP = 1, seed = 0 } = {}) {
  if (!(temperature >= 0 && temperature < Infinity)) throw new RangeError("temperature: 0 or more");
  if (!(topK >= 0) || !(topP > 0 && topP <= 1)) throw new RangeError("topK: 0 or more; topP: above 0, at most 1");
  const random = generator(seed);
  return (logits) => {
    const best = logits.reduce((a, b) => Math.max(a, b), -Infinity);
    if (!temperature) return logits.indexOf(best);
    const scaled = Float64Array.from(logits, (x) => (x - best) / temperature);
    let order = Array.from(scaled.keys()).sort((a, b) => scaled[b] - scaled[a] || a - b);
    if (topK) order = order.slice(0, topK);
    const draw = (weights) => {
      const total = weights.reduce((a, b) => a + b, 0);
      let sum = 0;
      return weights.map((w) => (sum += w / total));
    };
    let weights = order.map((i) => Math.exp(scaled[i]));
    let sums = draw(weights);
    if (topP < 1) {
      const kept = sums.findIndex((s) => s >= topP) + 1 || sums.length;
      sums = draw(weights.slice(0, kept));
    }
    const drawn = random();
    const place = sums.findIndex((s) => s > drawn);
    return order[place < 0 ? sums.length - 1 : place];
  };
}
