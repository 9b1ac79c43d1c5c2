// Accounts, subscriptions and sinks. Of a long list only one page is asked for and shown, however many there are.

const PAGE = 25;
let selected = null; // the account that subscriptions and events are limited to

// One row in the place of another: only what changed is touched, so focus and selection stay.
function setRows(body, rows) {
  rows.forEach((cells, at) => {
    const row = body.rows[at] ?? body.insertRow();
    row.className = cells.kind ?? "";
    cells.forEach(([label, content, kind], column) => {
      const cell = row.cells[column] ?? row.insertCell();
      cell.className = kind ?? "";
      if (cell.dataset.label !== label) cell.dataset.label = label;
      cell.colSpan = cells.kind === "fault" ? 5 : 1;
      setCell(cell, [content].flat().filter((part) => part != null && part !== ""));
    });
    while (row.cells.length > cells.length) row.deleteCell(-1);
  });
  while (body.rows.length > rows.length) body.deleteRow(-1);
}

// The words of a time change every second: it is compared by its moment.
function setCell(cell, content) {
  const same = (node, part) =>
    typeof part === "string" ? node.nodeType === 3 && node.data === part
      : part.nodeName === "TIME" ? node.dateTime === part.dateTime
        : node.nodeType === 1 && node.outerHTML === part.outerHTML;
  const nodes = [...cell.childNodes];
  if (nodes.length === content.length && content.every((part, i) => same(nodes[i], part))) return;
  cell.replaceChildren(...content);
}

const account = (name) =>
  element("button", { class: "link", "data-account": name, title: `Show only what belongs to ${name}` }, name);

const sentence = (...texts) => texts.filter(Boolean).join("; ");

function accountRow({ name, state, since, blind, why, authorized_until, last_event }) {
  const blindness = blind && [
    element("b", { class: "bad" }, "blind"), " for ", moment(blind.since, "for"), `: ${sentence(blind.reason, why)}`,
  ];
  return [
    ["Account", account(name)],
    ["State", tag(state)],
    ["Since", moment(since, "for")],
    ["Authorized", moment(authorized_until, "lasts")],
    ["Newest event", moment(last_event)],
    ["Why", blindness ?? why, "text"],
  ];
}

function subscriptionRow({ account: name, service, node, state, since, lease_until, why }) {
  return [
    ["Account", account(name)],
    ["Node", [element("code", {}, node), ` ${service}`], "text"],
    ["State", tag(state)],
    ["Since", moment(since, "for")],
    ["Lease", moment(lease_until, "lasts")],
    ["Why", why, "text"],
  ];
}

const droppedOf = ({ full, age }) =>
  [full && `${number(full)} dropped: full`, age && `${number(age)} dropped: too old`].filter(Boolean).map((text) => `, ${text}`);

function sinkRows({ name, type, state, up, blocking, last_error, next_try, held, queued, bytes, oldest, dead, dropped }) {
  const soon = (at) => (at && Date.parse(at) > now() ? [", next try in ", moment(at, "lasts")] : []);
  const row = [
    ["Sink", [element("b", {}, name), ` ${type}`]],
    ["State", [tag(state), ...(blocking ? [" ", tag("full, blocking")] : [])]],
    ["Queue", [number(queued), ...(queued ? [`, ${size(bytes)}`] : []), ...(held ? [`, ${plural(held, "call")} held`] : []), ...soon(next_try)]],
    ["Oldest", moment(oldest)],
    ["Dead", [dead ? element("b", { class: "bad" }, number(dead)) : "0", ...droppedOf(dropped)]],
  ];
  const fault = last_error && (!up || held || dead) ? [["Newest failure", [last_error], "text"]] : null;
  if (!fault) return [row];
  fault.kind = "fault";
  return [row, fault];
}

function list(id, { path, row, follows, states }) {
  const section = find(`#${id}`);
  const [search, choice] = [find("input", section), find("select", section)];
  const [previous, next] = section.querySelectorAll(".pager button");
  let [offset, round] = [0, 0];

  const query = (state) => (state === "blind" ? "&blind=true" : `&state=${state}`);
  choice.append(...states.map((state) => element("option", { value: query(state) }, state)));

  async function show() {
    const mine = ++round;
    const text = encodeURIComponent(search.value.trim());
    const only = follows && selected ? `&account=${encodeURIComponent(selected)}` : "";
    const response = await get(`${path}?order=worst&q=${text}${choice.value}${only}&offset=${offset}&limit=${PAGE}`);
    const rows = await response.json();
    if (mine !== round) return; // something else was asked for meanwhile
    const total = Number(response.headers.get("x-total-count"));
    if (!rows.length && offset) return move(-offset);
    setRows(find("tbody", section), rows.map(row));
    find(".none", section).hidden = total > 0;
    const place = `${number(offset + 1)}–${number(offset + rows.length)} of ${number(total)}`;
    setText(find(".pager span", section), total ? place : "");
    find(".pager", section).hidden = total <= PAGE;
    [previous.disabled, next.disabled] = [offset === 0, offset + rows.length >= total];
  }
  function move(by) {
    offset = Math.max(0, offset + by);
    return show().catch(() => {});
  }
  search.addEventListener("input", () => move(-offset));
  choice.addEventListener("change", () => move(-offset));
  previous.addEventListener("click", () => move(-PAGE));
  next.addEventListener("click", () => move(PAGE));
  return { show, restart: () => move(-offset) };
}

const accounts = list("accounts", {
  path: "/api/v1/accounts", row: accountRow,
  states: ["blind", "online", "connecting", "authorizing", "waiting", "refused", "disabled"],
});
const subscriptions = list("subscriptions", {
  path: "/api/v1/subscriptions", row: subscriptionRow, follows: true,
  states: ["blind", "active", "renewing", "listing", "subscribing", "pending", "denied", "lost"],
});

async function showSinks() {
  const sinks = await (await get("/api/v1/sinks")).json();
  const rank = ({ blocking, configured, up }) => (blocking ? 0 : up ? 3 : configured ? 1 : 2);
  sinks.sort((a, b) => rank(a) - rank(b));
  setRows(find("#sinks tbody"), sinks.flatMap(sinkRows));
}
