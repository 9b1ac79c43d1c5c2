// The contestant xmpp.js: one client per account in one process. It is spoken to as benches/pipeline/tally.rs says.
import { createInterface } from "node:readline";
import { client, xml } from "@xmpp/client";

const [address, services, accounts] = [process.argv[2], process.argv[3], Number(process.argv[4])];
const domain = "example.onsip.test";
const password = "secret";
const concurrentLogins = 50;
const steps = 3;

let counted = { first: 0, seen: new Uint8Array(0), at: null, distinct: 0, duplicated: 0, outOfOrder: 0, told: true };
let latest = null;

function tell() {
  if (counted.told) return;
  counted.told = true;
  const { distinct: events, duplicated, outOfOrder: out_of_order, at } = counted;
  const lost = counted.seen.length - events;
  console.log(JSON.stringify({ events, lost, duplicated, out_of_order, at: at ? Array.from(at) : [] }));
}

function count(event) {
  latest = event;
  const leg = Number(event.itemId.slice(event.itemId.lastIndexOf("z9hG4bK") + 7)) - counted.first;
  const step = event.state === null ? 2 : event.state === "confirmed" ? 1 : 0;
  const begin = leg * steps;
  if (!(begin >= 0 && begin < counted.seen.length)) return;
  if (counted.seen[begin + step]) {
    counted.duplicated += 1;
    return;
  }
  counted.seen[begin + step] = 1;
  for (let later = step + 1; later < steps; later += 1) {
    if (counted.seen[begin + later]) {
      counted.outOfOrder += 1;
      break;
    }
  }
  counted.distinct += 1;
  if (counted.at) counted.at[begin + step] = Math.round((performance.timeOrigin + performance.now()) * 1000);
  if (counted.distinct === counted.seen.length) tell();
}

function take(message) {
  const event = message.getChild("event", "http://jabber.org/protocol/pubsub#event");
  if (!event) return;
  const items = event.getChild("items");
  if (!items) return;
  const node = items.attrs.node;
  for (const entry of items.getChildElements()) {
    const call = entry.getChild("active-call", "onsip:active-calls");
    count({
      node,
      itemId: entry.attrs.id,
      publishTime: call ? call.attrs["publish-time"] : null,
      state: call ? call.getChildText("dialog-state") : null,
      callId: call ? call.getChildText("call-id") : null,
      fromUri: call ? call.getChildText("from-uri") : null,
      toUri: call ? call.getChildText("to-uri") : null,
    });
  }
}

function isApproval(message) {
  const children = message.getChildElements().flatMap((child) => child.getChildElements());
  return children.some((child) => child.name === "subscription" && child.attrs.subscription === "subscribed");
}

async function subscribe(number) {
  const username = `user${number}`;
  const xmpp = client({
    service: `xmpp://${address}`,
    domain,
    // The mechanism is named because without TLS the library takes no other way to PLAIN.
    credentials: (authenticate) => authenticate({ username, password }, "PLAIN"),
  });
  xmpp.on("error", (error) => {
    console.error(username, error);
    process.exit(1);
  });
  const approved = new Promise((resolve) => {
    const first = (stanza) => {
      if (!stanza.is("message") || !isApproval(stanza)) return;
      xmpp.off("stanza", first);
      resolve();
    };
    xmpp.on("stanza", first);
  });
  xmpp.on("stanza", (stanza) => {
    if (stanza.is("message")) take(stanza);
  });
  const jid = await xmpp.start();
  await xmpp.send(xml("presence", {}, xml("priority", {}, "1")));
  const field = (name, value) => xml("field", { var: name }, xml("value", {}, value));
  await xmpp.iqCaller.request(
    xml(
      "iq",
      { type: "set", to: `commands.auth.${services}` },
      xml(
        "command",
        { xmlns: "http://jabber.org/protocol/commands", node: "authorize-plain" },
        xml(
          "x",
          { xmlns: "jabber:x:data", type: "submit" },
          field("sip-address", `${username}@${domain}`),
          field("password", password),
          field("auth-for-all", "true"),
        ),
      ),
    ),
  );
  await xmpp.iqCaller.request(
    xml(
      "iq",
      { type: "set", to: `pubsub.active-calls.${services}` },
      xml(
        "pubsub",
        { xmlns: "http://jabber.org/protocol/pubsub" },
        xml("subscribe", { node: `/me/${username}@${domain}`, jid: jid.toString() }),
      ),
    ),
  );
  await approved;
}

createInterface({ input: process.stdin })
  .on("line", (line) => {
    const [word, first, legs, , times] = line.split(" ");
    if (word === "expect") {
      const events = Number(legs) * steps;
      counted = {
        first: Number(first),
        seen: new Uint8Array(events),
        at: times === "1" ? new Float64Array(events) : null,
        distinct: 0,
        duplicated: 0,
        outOfOrder: 0,
        told: false,
      };
      console.log("expecting");
    } else {
      tell();
    }
  })
  .on("close", () => process.exit(latest === undefined ? 1 : 0));

let next = 1;
async function logIns() {
  while (next <= accounts) {
    const number = next;
    next += 1;
    await subscribe(number);
  }
}
await Promise.all(Array.from({ length: concurrentLogins }, logIns));
console.log("subscribed");
