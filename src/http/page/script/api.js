// Asking the daemon, with the token if it wants one. The token is kept for this tab only.

const KEY = "onsip-router token";
let refused = () => {};

function ask(path, more = {}) {
  const token = sessionStorage.getItem(KEY);
  const headers = { ...more.headers, ...(token && { Authorization: `Bearer ${token}` }) };
  return fetch(path, { ...more, headers, cache: "no-store" });
}

async function get(path) {
  const response = await ask(path, { signal: AbortSignal.timeout(10_000) });
  if (response.status === 401) {
    refused();
    throw new Error("a token is needed");
  }
  if (!response.ok) throw new Error(`${response.status} for ${path}`);
  return response;
}

// Calls `task` now and again `pause` after each time it is done, while somebody looks.
function repeat(pause, task) {
  let timer;
  const round = async () => {
    clearTimeout(timer);
    if (!document.hidden) await task().catch(() => {});
    clearTimeout(timer);
    timer = setTimeout(round, pause);
  };
  document.addEventListener("visibilitychange", () => document.hidden || round());
  round();
  return round;
}
