// What a person sees. It paints seldom and never moves by itself: the model runs on the same processor.

const SPIKES = 36;
const BUSY = 4001;
const REFUSED = 4002;
const AGAIN_MS = 5000;
const TONES = { PASS: "good", EXACT: "good", REPORTED: "good", FAIL: "bad", INVALID: "bad", DIFFERS: "bad", FAILED: "bad" };
const SIGNS = { good: "✓", bad: "✕", unsure: "?" };

const part = (id) => document.getElementById(id);
const spikes = Array.from({ length: SPIKES }, () => part("spikes").appendChild(document.createElement("i")));

let worker;
let ended = false;
let hidden = 0;
let attempts = 0;
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "hidden") hidden++;
  else keepAwake();
});

/** Only secure pages may; without it the person is asked to keep the screen on. */
async function keepAwake() {
  try {
    await navigator.wakeLock?.request("screen");
  } catch {
    return; // the system may refuse, for example when the battery is low
  }
}

async function facts() {
  let model = null;
  let system = null;
  try {
    const values = await navigator.userAgentData?.getHighEntropyValues(["model", "platformVersion"]);
    model = values?.model || null;
    system = values ? `${values.platform} ${values.platformVersion}`.trim() || null : null;
  } catch {
    model = null;
  }
  return {
    user_agent: navigator.userAgent,
    model,
    system,
    cores: navigator.hardwareConcurrency ?? null,
    memory_gb: navigator.deviceMemory ?? null,
    screen: `${screen.width}x${screen.height}@${Math.round(devicePixelRatio * 1000) / 1000}`,
    touch_points: navigator.maxTouchPoints ?? 0,
    wake_lock: "wakeLock" in navigator,
    visible: document.visibilityState === "visible",
  };
}

function say(headline, detail = "") {
  part("headline").textContent = headline;
  part("detail").textContent = detail;
}

function progress(share) {
  const fired = Math.round(Math.min(1, Math.max(0, share)) * SPIKES);
  spikes.forEach((spike, i) => spike.classList.toggle("fired", i < fired));
  part("spikes").setAttribute("aria-valuenow", Math.round(100 * share));
}

function figure(value, unit) {
  part("figure").hidden = value === null;
  part("figure-value").textContent = value ?? "";
  part("figure-unit").textContent = unit ?? "";
}

function short(ms) {
  return ms >= 100 ? ms.toFixed(0) : ms >= 10 ? ms.toFixed(1) : ms.toFixed(2);
}

function stop(headline, detail) {
  document.body.dataset.state = "stopped";
  figure(null);
  say(headline, detail);
  part("hint").textContent = "";
}

const STAGES = [
  [/^golden/, "Working out the right answers"],
  [/ (step|sequence|prefill)$/, "Checking every bit"],
  [/^latency windows/, "Measuring"],
  [/^first token/, "Timing the first token"],
  [/^activity/, "Counting spikes"],
  [/^accuracy/, "Scoring the model"],
];

const SHOW = {
  connected({ step_us, secure }) {
    const clock = `clock steps of ${Number(step_us.toPrecision(3))} µs`;
    part("facts").textContent = `${secure ? "secure connection" : "plain connection"}, ${clock}`;
    say("Connected", "waiting for the computer");
  },
  welcome({ model, engine, threads }) {
    part("model").textContent = model;
    part("facts").textContent = `${engine}, ${threads} thread${threads > 1 ? "s" : ""}, ${part("facts").textContent}`;
    say("Loading", engine);
  },
  loaded() {
    progress(0);
    figure(null);
    say("Ready", "the model is loaded");
  },
  figure({ done, total, mean_ms, loaded }) {
    if (mean_ms !== undefined) figure(short(mean_ms), "ms per token");
    if (loaded !== undefined) say("Loading", `${(loaded / 1e6).toFixed(1)} MB`);
    else if (total) progress(done / total);
  },
  progress({ stage, done, total }) {
    const found = STAGES.find(([pattern]) => pattern.test(stage));
    const many = total > 1 ? `${Math.min(done + 1, total)} of ${total}` : "";
    const form = / (step|sequence|prefill)$/.exec(stage)?.[1] ?? "";
    say(found ? found[1] : stage, [form, many].filter(Boolean).join(", "));
    if (!/^latency windows/.test(stage)) {
      figure(null);
      progress(total ? done / total : 0);
    }
  },
  result({ verdict, rows }) {
    ended = true;
    const tone = TONES[verdict] ?? "unsure";
    document.body.dataset.state = "ended";
    part("work").hidden = true;
    part("outcome").hidden = false;
    part("outcome").dataset.tone = tone;
    part("sign").textContent = SIGNS[tone];
    part("word").textContent = verdict;
    part("rows").replaceChildren(
      ...rows.map(([name, value], index) => {
        const row = document.createElement("div");
        if (!name) row.className = "sentence";
        else if (index === 0) row.className = "figure";
        row.appendChild(document.createElement("dt")).textContent = name;
        row.appendChild(document.createElement("dd")).textContent = value;
        return row;
      }),
    );
    part("hint").textContent = "The record is on the computer. You can close this page.";
  },
  over() {
    if (!ended) stop("Done", "The computer has what it needs. You can close this page.");
    ended = true;
  },
  failed({ what }) {
    stop("This browser cannot run it", what);
    ended = true;
  },
  closed({ code, reason }) {
    worker.terminate();
    if (ended) return;
    if (code === BUSY) {
      say("Please wait", "Another phone, or another tab, is being measured. This page joins when it is free.");
      setTimeout(connect, AGAIN_MS);
    } else if (code === REFUSED) {
      stop("Refused", reason);
    } else {
      stop("Connection lost", "The session is over, or the network is gone. Start it again on the computer.");
    }
  },
  ask({ number }) {
    worker.postMessage({ kind: "page", number, hidden, visible: document.visibilityState === "visible" });
  },
};

async function connect() {
  attempts++;
  worker = new Worker(new URL("worker.js", location.href), { type: "module" });
  worker.onmessage = ({ data }) => SHOW[data.kind]?.(data);
  worker.onerror = ({ message }) => {
    if (attempts > 1) SHOW.closed({});
    else SHOW.failed({ what: message || "its worker does not start" });
  };
  worker.postMessage({ kind: "start", url: new URL(".", location.href).href, facts: await facts() });
}

keepAwake();
connect();
