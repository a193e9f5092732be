// Fetching what the page runs.

/** Fetch a file, telling how many bytes came. */
export async function download(url, tell) {
  const response = await fetch(url, { cache: "no-store" });
  if (!response.ok) throw new Error(`${url.split("/").pop()}: ${response.status}`);
  const reader = response.body.getReader();
  const parts = [];
  let size = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    size += value.length;
    tell(size);
  }
  const whole = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
