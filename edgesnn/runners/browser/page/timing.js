// What the browser's clock can tell, and waiting for it.

const channel = new MessageChannel();
const waiting = [];
channel.port1.onmessage = () => waiting.shift()();

/** Let everything that waits for this thread run first: frames of the socket, news of the page. */
export function nextTask() {
  return new Promise((resolve) => {
    waiting.push(resolve);
    channel.port2.postMessage(null);
  });
}

/** The smallest step of performance.now(), milliseconds: browsers coarsen it. */
export function timerStep() {
  let least = Infinity;
  let last = performance.now();
  for (let changes = 0; changes < 50; ) {
    const now = performance.now();
    if (now > last) {
      // Times are doubles of milliseconds; nanoseconds are beyond what any browser tells.
      least = Math.min(least, Math.round((now - last) * 1e6) / 1e6 || least);
      last = now;
      changes++;
    }
  }
  return least;
}

/** The shortest time of one call, milliseconds, from blocks that last at least 20 steps of the timer. */
export async function callTime(call, step) {
  let count = 1;
  let least = Infinity;
  for (let blocks = 0; blocks < 8; ) {
    await nextTask();
    const before = performance.now();
    for (let i = 0; i < count; i++) await call(i);
    const took = performance.now() - before;
    if (took < 20 * step) {
      count *= 2;
    } else {
      least = Math.min(least, took / count);
      blocks++;
    }
  }
  return least;
}
