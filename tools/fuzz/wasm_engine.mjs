// Feeds the engine's WebAssembly module: on stdin a size (uint32, little endian) and a program.snn, again and again;
// on stdout one line of JSON each. A fresh instance each time, as a page makes one.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [page, module] = process.argv.slice(2);
const { Engine } = await import(pathToFileURL(page));
const wasm = new WebAssembly.Module(readFileSync(module));
const TOKENS = [0, 1, 4294967295, 2, 3, 1]; // one of them is no token of any program

/** Everything that a page calls, with a program that the engine took; the last logits of each form. */
function use(engine) {
  const said = [];
  for (const run of [
    () => engine.prefill(Uint32Array.from(TOKENS)),
    () => engine.prefill(Uint32Array.of(0, 1, 2)),
    () => engine.sequence(Uint32Array.of(0, 1)),
    () => engine.step(1),
    () => engine.restore(engine.save()),
    () => engine.restore(engine.save().slice(1)),
    () => (engine.restore(new Uint8Array(engine.stateBytes).fill(255)), engine.step(0)), // a state of nobody
    () => engine.logitsOf(engine.readout().slice()),
    () => engine.step(4294967295),
  ]) {
    try {
      const made = run();
      said.push(made?.length ?? 0);
    } catch (error) {
      if (error instanceof WebAssembly.RuntimeError) throw error;
      said.push(String(error.message));
    }
  }
  return said;
}

function answer(program) {
  const { exports } = new WebAssembly.Instance(wasm);
  try {
    const engine = new Engine(exports, program);
    return { taken: true, said: use(engine), bytes: exports.memory.buffer.byteLength };
  } catch (error) {
    const trap = error instanceof WebAssembly.RuntimeError;
    return { taken: false, trap, said: [String(error.message)], bytes: exports.memory.buffer.byteLength };
  }
}

let pending = Buffer.alloc(0);
process.stdin.on("data", (more) => {
  pending = Buffer.concat([pending, more]);
  while (pending.length >= 4 && pending.length >= 4 + pending.readUInt32LE(0)) {
    const size = pending.readUInt32LE(0);
    const program = new Uint8Array(pending.subarray(4, 4 + size));
    pending = pending.subarray(4 + size);
    process.stdout.write(`${JSON.stringify(answer(program))}\n`);
  }
});
