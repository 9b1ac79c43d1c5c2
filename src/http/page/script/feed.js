// The live events. They are read as a stream by fetch, because an EventSource cannot show a token.

const SHOWN = 200;
const SILENCE = 25_000; // the daemon says something every ten seconds
const verbs = {
  "com.onsip.call.created": "calls", "com.onsip.call.requested": "rings", "com.onsip.call.confirmed": "answered", "com.onsip.call.ended": "ended",
  "com.onsip.registration.updated": "registered", "com.onsip.registration.removed": "unregistered",
  "com.onsip.item.published": "published", "com.onsip.item.retracted": "retracted", "com.onsip.gap": "gap",
};

const feed = { entries: [], waiting: [], paused: false, lastId: null, stop: null };
const feedList = find("#events ol");
const feedSearch = find("#events input");
const feedType = find("#events select");

function what({ type, data }) {
  const party = (uri) => (uri ?? "?").replace(/^sips?:/, "").replace(/@.*/, ""); // the whole URI stands in the details
  if (type === "com.onsip.gap") return `events may be missing for ${span((Date.parse(data.to) - Date.parse(data.from)) / 1000)}: ${data.reason}`;
  if (!type.startsWith("com.onsip.call.")) return data.contact ?? data.node;
  const parties = `${party(data.from_uri)} → ${party(data.to_uri)}`;
  if (type !== "com.onsip.call.ended") return parties;
  const outcome = data.answered ? `talked ${seconds(data.talk_seconds)}` : data.answered_elsewhere ? "answered elsewhere" : "not answered";
  return `${parties}, ${outcome}`;
}

function entry(event) {
  const words = [clock(event.time), verbs[event.type] ?? event.type, event.data.account, what(event)];
  const mood = event.type === "com.onsip.gap" ? "bad" : null;
  const [time, verb, name, rest] = words;
  const line = element("details", {}, element("summary", {},
    element("span", { title: event.time }, time), element("span", { class: mood }, verb), element("span", { title: name }, name), element("span", { class: "who" }, rest)));
  line.addEventListener("toggle", () => {
    if (line.open && line.childElementCount === 1) line.append(element("pre", {}, JSON.stringify(event, null, 1)));
  });
  return { item: element("li", { class: "new" }, line), text: words.join(" ").toLowerCase() };
}

const lost = (n) => ({ item: element("li", { class: "lost" }, `${plural(n, "event")} not shown: they came too fast`), text: "" });

function showEntries() {
  const wanted = feedSearch.value.trim().toLowerCase();
  if (!feed.paused && feed.waiting.length) {
    const fresh = feed.waiting.splice(0).map((made) => made());
    feed.entries = [...fresh.reverse(), ...feed.entries].slice(0, SHOWN);
    feedList.prepend(...fresh.slice(0, SHOWN).map(({ item }) => item));
    while (feedList.childElementCount > SHOWN) feedList.lastElementChild.remove();
  }
  let matching = 0;
  for (const { item, text } of feed.entries) {
    item.hidden = !text.includes(wanted);
    matching += !item.hidden;
  }
  const shown = wanted ? `${matching} of ${feed.entries.length} shown` : feed.entries.length ? `newest ${feed.entries.length}` : "waiting for the first event";
  setText(find("#feed-state"), feed.trouble ?? (feed.paused ? `paused, ${feed.waiting.length} new` : shown));
}

function take(block) {
  const lines = block.split("\n");
  const of = (name) => lines.filter((line) => line.startsWith(name)).map((line) => line.slice(name.length)).join("\n");
  const [missed, data] = [of(": lost "), of("data: ")];
  if (missed) feed.waiting.push(() => lost(Number(missed)));
  if (!data) return;
  feed.lastId = of("id: ");
  const event = JSON.parse(data);
  feed.waiting.push(() => entry(event));
  feed.waiting.splice(0, feed.waiting.length - SHOWN);
}

// Reads one stream to its end; fails if it ends badly.
async function read(signal, alive) {
  const only = selected ? `&account=${encodeURIComponent(selected)}` : "";
  const headers = feed.lastId ? { "Last-Event-ID": feed.lastId } : {};
  const response = await ask(`/api/v1/events?recent=50&type=${feedType.value}${only}`, { signal, headers });
  if (response.status === 401) refused();
  if (!response.ok) throw new Error((await response.text()).trim());
  feed.trouble = null;
  showEntries();
  let text = "";
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    alive();
    const blocks = (text + part.value).split("\n\n");
    text = blocks.pop();
    blocks.forEach(take);
  }
}

async function follow() {
  const stop = new AbortController();
  feed.stop?.abort();
  feed.stop = stop;
  for (let pause = 1000; !stop.signal.aborted; pause = Math.min(2 * pause, 15_000)) {
    const silence = new AbortController();
    let timer;
    const alive = () => {
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(new Error("silence")), SILENCE);
      pause = 1000;
    };
    timer = setTimeout(() => silence.abort(new Error("silence")), SILENCE);
    const fault = await read(AbortSignal.any([stop.signal, silence.signal]), alive).catch((fault) => fault);
    clearTimeout(timer);
    if (stop.signal.aborted) return;
    feed.trouble = `not connected: ${fault?.message ?? "the stream ended"}; trying again`;
    showEntries();
    await new Promise((done) => setTimeout(done, pause));
  }
}

function restartFeed() {
  Object.assign(feed, { entries: [], waiting: [], lastId: null, trouble: null });
  feedList.replaceChildren();
  follow();
}

feedSearch.addEventListener("input", showEntries);
feedType.addEventListener("change", restartFeed);
find("#pause").addEventListener("click", ({ target }) => {
  feed.paused = !feed.paused;
  target.setAttribute("aria-pressed", feed.paused);
  setText(target, feed.paused ? "Resume" : "Pause");
  showEntries();
});
