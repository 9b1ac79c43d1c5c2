// Making elements. Text is only ever set as text, so nothing the service says can become markup.

const find = (selector, within = document) => within.querySelector(selector);

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) if (value != null) made.setAttribute(key, value);
  made.append(...children.filter((child) => child != null));
  return made;
}

// Leaves alone what is already so: a screen reader and a selection notice every change.
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function setChildren(node, children) {
  const fresh = element("div", {}, ...children);
  if (node.innerHTML !== fresh.innerHTML) node.replaceChildren(...fresh.childNodes);
}

const moods = {
  online: "good", active: "good", renewing: "good", up: "good", ready: "good",
  connecting: "busy", authorizing: "busy", listing: "busy", subscribing: "busy", pending: "busy", stopping: "busy",
  disabled: "off",
};

const tag = (state, mood = moods[state] ?? "bad") => element("span", { class: `tag ${mood}` }, state);

const number = (n) => n.toLocaleString("en");
const plural = (n, word) => `${number(n)} ${word}${n === 1 ? "" : "s"}`;

const size = (bytes) => (bytes < 1024 ? `${bytes} B` : bytes < 1 << 20 ? `${number(Math.round(bytes / 1024))} KiB` : `${number(Math.round(bytes / (1 << 20)))} MiB`);

// Two digits are enough below a hundred: 0.03, 4.2, 31, 310.
const rate = (n) => (n == null ? "–" : n >= 100 ? number(Math.round(n)) : String(+n.toPrecision(2)));

function seconds(s) {
  if (s == null) return "–";
  if (s < 1) return `${+(s * 1000).toPrecision(2)} ms`;
  return s < 60 ? `${+s.toPrecision(2)} s` : span(s);
}
