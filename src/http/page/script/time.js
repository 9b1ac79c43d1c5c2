// Moments, told as distances by the daemon's clock and kept up to date by one tick per second for all of them.

let ahead = 0; // of the daemon's clock before ours, in milliseconds

const now = () => Date.now() + ahead;

function setClock(theirs) {
  ahead = Date.parse(theirs) - Date.now();
}

// Seconds in the two largest units.
function span(s) {
  const two = (large, unit, small, rest) => (small ? `${large} ${unit} ${small} ${rest}` : `${large} ${unit}`);
  s = Math.floor(s);
  if (s < 60) return `${s} s`;
  if (s < 3600) return two(Math.floor(s / 60), "min", s % 60, "s");
  if (s < 86400) return two(Math.floor(s / 3600), "h", Math.floor((s % 3600) / 60), "min");
  return two(Math.floor(s / 86400), "d", Math.floor((s % 86400) / 3600), "h");
}

const clock = (at) => new Date(at).toLocaleTimeString("en-GB");

// `how`: "for" how long it has been, how long "ago" it was, or until when it "lasts".
function moment(at, how = "ago") {
  if (at == null) return null;
  const exact = new Date(at).toLocaleString("sv-SE", { timeZoneName: "short" });
  const made = element("time", { datetime: at, title: exact, "data-how": how });
  setText(made, distance(made));
  return made;
}

function distance({ dateTime, dataset }) {
  const s = (now() - Date.parse(dateTime)) / 1000;
  if (dataset.how === "lasts") return s < 0 ? span(-s) : `ended ${span(s)} ago`;
  const text = span(Math.max(0, s));
  return dataset.how === "for" ? text : `${text} ago`;
}

setInterval(() => {
  if (document.hidden) return;
  for (const time of document.querySelectorAll("time[data-how]")) setText(time, distance(time));
}, 1000);
