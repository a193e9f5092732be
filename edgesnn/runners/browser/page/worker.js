// The device: a socket to the computer and the model, in a thread that the screen does not disturb.

import { Sha256 } from "./sha256.js";
import { callTime, nextTask, timerStep } from "./timing.js";

const FRAME_BYTES = 1 << 19;
const BUSY_MS = 1000;
const PAINT_MS = 250;

let socket;
let base;
let student;
let step;
let spec;
const asked = new Map();
let questions = 0;

self.onmessage = ({ data }) => {
  if (data.kind === "start") start(data);
  else if (data.kind === "page") {
    asked.get(data.number)?.(data);
    asked.delete(data.number);
  }
};

function show(kind, fields = {}) {
  self.postMessage({ kind, ...fields });
}

/** What the page knows and a worker cannot: whether it is visible, and how often it was hidden. */
function page() {
  const number = questions++;
  return new Promise((resolve) => {
    asked.set(number, resolve);
    show("ask", { number });
  });
}

function start({ url, facts }) {
  base = url;
  step = timerStep();
  socket = new WebSocket(new URL("socket", base).href.replace("http", "ws"));
  socket.binaryType = "arraybuffer";
  socket.onopen = () => {
    const hello = {
      ...facts,
      timer_step_us: step * 1000,
      secure_context: self.isSecureContext,
      cross_origin_isolated: self.crossOriginIsolated === true,
    };
    socket.send(JSON.stringify({ type: "hello", protocol: 1, ...hello }));
    show("connected", { step_us: step * 1000, secure: self.isSecureContext });
  };
  let turn = Promise.resolve();
  socket.onmessage = ({ data }) => {
    turn = turn.then(() => obey(JSON.parse(data)));
  };
  socket.onclose = ({ code, reason }) => turn.then(() => show("closed", { code, reason }));
}

async function obey(command) {
  if (command.type === "welcome") spec = command;
  if (command.id === undefined) return show(command.type, command);
  try {
    const [fields, numbers] = await COMMANDS[command.type](command);
    reply(command.id, fields, numbers);
  } catch (error) {
    const what = `${error}`.replace(/[^\x20-\x7e]+/g, " ").slice(0, 300);
    socket.send(JSON.stringify({ type: "error", id: command.id, what }));
    show("failed", { what });
  }
}

function reply(id, fields, numbers) {
  socket.send(JSON.stringify({ type: "reply", id, bytes: numbers?.byteLength ?? 0, ...fields }));
  if (!numbers) return;
  const bytes = new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength);
  for (let at = 0; at < bytes.length; at += FRAME_BYTES) {
    socket.send(bytes.subarray(at, at + FRAME_BYTES));
  }
}

/** Signs of life to the computer and, less often than a screen paints, to the page. */
function pulse(id, total) {
  let sent = performance.now();
  let painted = sent;
  return (done, figure) => {
    const now = performance.now();
    if (now - sent >= BUSY_MS) {
      socket.send(JSON.stringify({ type: "busy", id, done, total }));
      sent = now;
    }
    if (now - painted >= PAINT_MS) {
      show("figure", { done, total, ...figure });
      painted = now;
    }
  };
}

async function timed(call) {
  const before = performance.now();
  const logits = await call();
  const elapsed_ms = performance.now() - before;
  return [{ elapsed_ms }, student.integers(logits)];
}

/** A form that takes all ids at once; what it needs before and after is not timed. */
async function whole(form, ids) {
  await student.ready(form);
  const answer = await timed(() => student[form](ids));
  student.done?.();
  return answer;
}

const COMMANDS = {
  async load({ id }) {
    const beat = pulse(id, 0);
    const { open } = await import(spec.runs === "wasm" ? "./wasm.js" : "./onnx.js");
    let facts;
    [student, facts] = await open(base, spec, (size) => beat(size, { loaded: size }));
    show("loaded");
    return [facts];
  },

  async reset() {
    student.reset();
    return [{}];
  },

  step: ({ ids }) => timed(() => student.step(ids[0])),

  sequence: ({ ids }) => whole("sequence", ids),

  prefill: ({ ids }) => whole("prefill", ids),

  async calibrate({ ids }) {
    student.reset();
    const call_ms = await callTime((i) => student.step(ids[i % ids.length]), step);
    student.reset();
    return [{ call_ms }];
  },

  async window({ id, ids, repeat, warmup, sizes }) {
    const beat = pulse(id, ids.length * repeat);
    const digest = new Sha256();
    const means = new Float64Array(sizes.length * repeat);
    student.reset();
    for (let i = 0; i < warmup; i++) await student.step(ids[i % ids.length]);
    await nextTask();
    const started_ms = performance.now();
    for (let pass = 0, sample = 0, done = 0; pass < repeat; pass++) {
      student.reset();
      let at = 0;
      for (const size of sizes) {
        await nextTask();
        const answers = new Array(size);
        const before = performance.now();
        for (let i = 0; i < size; i++) answers[i] = await student.step(ids[at++]);
        const mean = (performance.now() - before) / size;
        means[sample++] = mean;
        for (const logits of answers) digest.update(student.integers(logits));
        beat((done += size), { mean_ms: mean });
      }
    }
    const ended_ms = performance.now();
    student.reset();
    return [{ started_ms, ended_ms, output_sha256: digest.hex() }, means];
  },

  async play({ id, chips }) {
    const beat = pulse(id, chips.length);
    let deadline = performance.now();
    for (const [done, [busy, seconds]] of chips.entries()) {
      deadline += 1000 * seconds;
      student.reset();
      while (performance.now() < deadline) {
        if (busy) await student.step(0);
        else await new Promise((resolve) => setTimeout(resolve, Math.min(500, deadline - performance.now())));
        beat(done, {});
      }
    }
    student.reset();
    return [{}];
  },

  async now() {
    return [{ now_ms: performance.now() }];
  },

  async page() {
    const { hidden, visible } = await page();
    return [{ hidden, visible }];
  },
};
