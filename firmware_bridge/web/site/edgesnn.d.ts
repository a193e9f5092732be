export interface GenerateOptions {
  /** At most so many tokens; 64. */
  maxTokens?: number;
  /** Divides the logits; 0, the default, takes the best token. */
  temperature?: number;
  /** Only the best k tokens can be drawn; 0 for all. */
  topK?: number;
  /** Only the fewest best tokens that reach this probability can be drawn; 1 for all. */
  topP?: number;
  /** Seed of the draws, as in `edgesnn generate --seed`. */
  seed?: number | bigint;
  /** Text around the prompt, with `{prompt}`; the student's own by default. */
  template?: string;
  /** Stops after the next token. */
  signal?: AbortSignal;
}

export interface Facts {
  name: string;
  program_hash: string;
  prompt_template: string | null;
  end_of_text: string | null;
}

/** The C engine: integer logits, one context. Views are valid until the next call. */
export class Engine {
  static open(program: Uint8Array, wasm?: BufferSource): Promise<Engine>;
  readonly vocab: number;
  readonly timesteps: number;
  readonly window: number;
  /** Float logits are integer logits times 2 ** -exponent. */
  readonly exponent: number;
  readonly kernels: string;
  /** SHA-256 of the program, hex. */
  readonly hash: string;
  reset(): void;
  step(token: number): Int32Array;
  prefill(ids: ArrayLike<number> & { slice(from: number, to: number): ArrayLike<number> }): Int32Array;
  sequence(ids: number[]): Int32Array;
  best(k: number): { ids: Uint32Array; logits: Int32Array };
  save(): Uint8Array;
  restore(state: Uint8Array): void;
}

/** Byte-level BPE. */
export class Tokenizer {
  constructor(json: object);
  encode(text: string): number[];
  encodePrompt(prompt: string, template: string): number[];
  decode(ids: Iterable<number>): string;
}

export class Student {
  readonly engine: Engine;
  readonly tokenizer: Tokenizer;
  readonly facts: Facts;
  /** Tokens of the last answer so far. */
  readonly tokens: number;
  /** One token id; float logits of what follows. */
  step(token: number): Float32Array;
  /** Text after a prompt, piece by piece. */
  generate(prompt: string, options?: GenerateOptions): AsyncGenerator<string, void>;
}

/** Load a student from the folder of the export; by default the folder of this module. */
export function load(folder?: string | URL): Promise<Student>;
/** Whether this browser has WebAssembly SIMD. */
export function simd(): boolean;
/** numpy's `default_rng(seed).random`. */
export function generator(seed: number | bigint): () => number;
/** Chooses the next token of float logits. */
export function sampler(options?: GenerateOptions): (logits: Float32Array) => number;
