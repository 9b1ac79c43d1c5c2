// Two charts of the last hour, drawn into an SVG that is stretched to its place; their words are HTML beside it.

// Of a young daemon only the last ten minutes are drawn.
const HOUR = 360;
const BEGINNING = 60;

function plot(figureId, { name, scale, ticks, text }) {
  const figure = find(`#${figureId}`);
  const output = find("output", figure);
  const box = element("div", { class: "plot" });
  figure.append(box);
  let shown;
  let width = BEGINNING; // in steps

  const svg = (kind, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", kind);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  // A missing value interrupts the line.
  const path = (values, top) => {
    let pen = "M";
    return values.map((value, i) => {
      if (value == null) { pen = "M"; return ""; }
      const step = `${pen}${width - values.length + i + 0.5} ${(100 - 100 * scale(value, top)).toFixed(1)}`;
      pen = "L";
      return values[i - 1] == null && values[i + 1] == null ? `${step}h.9` : step;
    }).join("");
  };
  const label = (at, words, place) => {
    const made = element("span", { class: place }, words);
    made.style.setProperty(place.startsWith("y") ? "top" : "left", `${at}%`);
    return made;
  };
  const tell = (i) => {
    const { one, two, until, step } = shown;
    const at = Date.parse(until) - (one.length - i) * step * 1000;
    setText(output, `${clock(at)}: ${text(one[i])}, ${text(two[i])}`);
  };
  box.addEventListener("pointermove", (event) => {
    if (!shown?.one.length) return;
    const place = box.getBoundingClientRect();
    const column = Math.min(width - 1, Math.max(0, Math.floor(((event.clientX - place.left) / place.width) * width)));
    const i = column - (width - shown.one.length);
    find(".at", box)?.setAttribute("d", i < 0 ? "" : `M${column + 0.5} 0V100`);
    i < 0 ? setText(output, "") : tell(i);
  });
  box.addEventListener("pointerleave", () => {
    find(".at", box)?.setAttribute("d", "");
    setText(output, "");
  });

  return (one, two, until, step) => {
    shown = { one, two, until, step };
    width = one.length > BEGINNING ? HOUR : BEGINNING;
    const values = [...one, ...two].filter((value) => value != null);
    const marks = ticks(values.length ? Math.max(...values) : 0);
    const top = marks.at(-1);
    const last = one.findLast((value) => value != null);
    const drawing = svg("svg", {
      viewBox: `0 0 ${width} 100`, preserveAspectRatio: "none", role: "img",
      "aria-label": `${name}, last hour: now ${text(last)}, at most ${text(values.length ? Math.max(...values) : null)}`,
    });
    for (const mark of marks) drawing.append(svg("path", { class: "grid", d: `M0 ${100 - 100 * scale(mark, top)}H${width}` }));
    drawing.append(
      svg("path", { class: "two", d: path(two, top) }), svg("path", { class: "one", d: path(one, top) }), svg("path", { class: "at" }));
    const minutes = (width * step) / 60;
    const times = [[`${minutes} min ago`, 0, "x first"], [`${minutes / 2} min ago`, 50, "x"], ["now", 100, "x"]];
    box.replaceChildren(drawing,
      ...marks.map((mark) => label(100 - 100 * scale(mark, top), text(mark), "y")), ...times.map(([words, at, place]) => label(at, words, place)));
  };
}

// 0, half and whole of the next 1, 2 or 5 times a power of ten.
function linear(most) {
  const power = 10 ** Math.floor(Math.log10(Math.max(most, 0.1)));
  const top = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= most * 0.999);
  return [0, top / 2, top];
}

// Powers of ten from a millisecond, at least two of them.
function decades(most) {
  const marks = [0.001, 0.01];
  while (marks.at(-1) < most && marks.length < 8) marks.push(marks.at(-1) * 10);
  return marks.map((mark) => +mark.toPrecision(1));
}

const drawRate = plot("rate", { name: "Events received per second", ticks: linear, text: rate, scale: (value, top) => value / top });
const drawLatency = plot("latency", {
  name: "Time from receipt to delivery, 99 of 100", ticks: decades, text: seconds,
  scale: (value, top) => Math.max(0, Math.log10(value / 0.001) / Math.log10(top / 0.001)),
});

async function showHistory() {
  const hour = await (await get("/api/v1/history")).json();
  const each = (counts) => counts.map((n) => n && n / hour.step_seconds);
  drawRate(each(hour.received), each(hour.delivered), hour.until, hour.step_seconds);
  drawLatency(hour.delivery_p99_seconds, hour.delivery_p50_seconds, hour.until, hour.step_seconds);
}
