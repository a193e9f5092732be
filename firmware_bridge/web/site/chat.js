// The page: what is typed goes to the worker, what it says comes back piece by piece.

const part = (id) => document.getElementById(id);
const worker = new Worker(new URL("chat-worker.js", import.meta.url), { type: "module" });
let answer = null;

function busy(on) {
  part("prompt").disabled = on;
  part("send").textContent = on ? "Stop" : "Send";
  part("send").disabled = false;
  if (!on) part("prompt").focus();
}

function line(text, mine) {
  const p = document.createElement("p");
  p.className = mine ? "mine" : "";
  p.textContent = text;
  part("talk").append(p);
  p.scrollIntoView({ block: "end" });
  return p;
}

const HEAR = {
  ready({ name, kernels }) {
    part("name").textContent = document.title = name;
    part("state").textContent = `runs on this device (${kernels})`;
    busy(false);
  },
  text({ text }) {
    answer.textContent += text;
    answer.scrollIntoView({ block: "end" });
  },
  done({ tokens, seconds }) {
    part("state").textContent = `${tokens} tokens, ${Math.round(tokens / seconds).toLocaleString("en")} a second`;
    busy(false);
  },
  failed({ what }) {
    part("state").textContent = what;
    busy(false);
  },
};

worker.onmessage = ({ data }) => HEAR[data.kind](data);
worker.onerror = ({ message }) => HEAR.failed({ what: message || "the worker does not start" });

part("ask").onsubmit = (event) => {
  event.preventDefault();
  if (part("prompt").disabled) return worker.postMessage({ kind: "stop" });
  const prompt = part("prompt").value.trim();
  if (!prompt) return undefined;
  line(prompt, true);
  answer = line("", false);
  part("prompt").value = "";
  busy(true);
  return worker.postMessage({ kind: "ask", prompt });
};
