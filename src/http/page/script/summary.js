// The head of the page: whether all is well, since when, and how many of what.

let answered = 0; // when the daemon last answered, by our clock

const parts = (states) =>
  Object.entries(states).filter(([, n]) => n > 0).map(([state, n]) => [n, state, moods[state] ?? "bad"]);

// What is amiss comes first and in its colour; what is well is said quietly.
function figure(title, value, unit, details) {
  const rank = { bad: 0, busy: 1, off: 2, good: 3 };
  const sorted = details.filter(([n]) => n !== 0).sort((a, b) => (rank[a[2]] ?? 4) - (rank[b[2]] ?? 4));
  const items = sorted.map(([n, word, mood]) => {
    const text = `${typeof n === "number" ? number(n) : n} ${word}`;
    return element("li", {}, mood && mood !== "good" ? tag(text, mood) : text);
  });
  return element("div", {}, element("h2", {}, title),
    element("p", {}, value, unit && element("small", {}, ` ${unit}`)), element("ul", {}, ...items));
}

function figures({ accounts, subscriptions, sinks, totals, last_minute: minute }) {
  const active = subscriptions.states.active + subscriptions.states.renewing;
  return [
    figure("Accounts", number(accounts.states.online), `of ${number(accounts.total)} online`,
      [[accounts.blind, "blind", "bad"], ...parts({ ...accounts.states, online: 0 })]),
    figure("Subscriptions", number(active), `of ${number(subscriptions.total)} active`,
      parts({ ...subscriptions.states, active: 0, renewing: 0 })),
    figure("Sinks", number(sinks.up), `of ${number(sinks.total)} up`,
      [[sinks.total - sinks.up, "down", "bad"], [sinks.unconfigured, "not configured", "bad"], [sinks.blocking, "blocking", "bad"], [sinks.dead, "dead", "bad"],
        [number(sinks.queued), "queued"]]),
    figure("Events received", rate(minute.received_per_second), "per second",
      [[totals.dropped, "dropped", "bad"], [number(totals.received), "since the start"],
        [totals.gaps, totals.gaps === 1 ? "gap" : "gaps"], [totals.rejected, "rejected"],
        [totals.duplicate, "received twice"]]),
    figure("Delivery time, p99", seconds(minute.delivery_p99_seconds), "",
      [[seconds(minute.delivery_p50_seconds), "median"], [totals.retried, "retried"], [totals.dead, "given up"],
        [totals.revived, "owed again by an operator"], [totals.purged + totals.purged_dead, "purged by an operator"]]),
  ];
}

async function showSummary() {
  const summary = await (await get("/api/v1/summary")).json();
  answered = Date.now();
  setClock(summary.now);
  const health = summary.draining ? "stopping" : summary.ready ? "ready" : "not ready";
  const blind = summary.accounts.blind;
  setChildren(find("#health"), blind ? [tag(health), tag(`${plural(blind, "account")} blind`, "bad")] : [tag(health)]);
  setText(find("#build"), `version ${summary.version}, up ${span(summary.uptime_seconds)}`);
  find("#build").title = `commit ${summary.commit}`;
  const alarm = blind ? `(${number(blind)} blind) ` : summary.ready ? "" : `(${health}) `;
  document.title = `${alarm}onsip-router`;
  const reasons = summary.reasons.slice(0, 4);
  if (summary.reasons.length > 4) reasons.push(`and ${summary.reasons.length - 4} more reasons`);
  find("#reasons").hidden = !reasons.length;
  setChildren(find("#reasons"), reasons.map((reason) => element("li", {}, reason)));
  setChildren(find("#figures"), figures(summary));
}

// Says how old all of this is, once that is worth saying.
function showFreshness() {
  const age = (Date.now() - answered) / 1000;
  const stale = answered > 0 && age > 8;
  document.body.classList.toggle("stale", stale);
  setChildren(find("#fresh"), stale ? [tag(`no answer for ${span(age)}`, "bad")] : [`as of ${clock(now())}`]);
}
