// The student in a thread of its own: the page stays smooth.

import { load } from "./edgesnn.js";

let stop = new AbortController();
const ready = load();
ready.then(
  (student) => self.postMessage({ kind: "ready", name: student.facts.name, kernels: student.engine.kernels }),
  (error) => self.postMessage({ kind: "failed", what: `${error}` }),
);

self.onmessage = async ({ data }) => {
  if (data.kind === "stop") return stop.abort();
  stop = new AbortController();
  try {
    const student = await ready;
    const before = performance.now();
    for await (const text of student.generate(data.prompt, { maxTokens: 128, ...data.options, signal: stop.signal })) {
      self.postMessage({ kind: "text", text });
    }
    self.postMessage({ kind: "done", tokens: student.tokens, seconds: (performance.now() - before) / 1000 });
  } catch (error) {
    self.postMessage({ kind: "failed", what: `${error}` });
  }
};
