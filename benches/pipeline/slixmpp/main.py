"""The contestant slixmpp: one client per account in one process. It is spoken to as benches/pipeline/tally.rs says."""

import array
import asyncio
import json
import os
import sys
import time
import xml.etree.ElementTree as ET

import slixmpp

ADDRESS, SERVICES, ACCOUNTS, TLS = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "starttls"
HOST, PORT = ADDRESS.rsplit(":", 1)
DOMAIN = "example.onsip.test"
PASSWORD = "secret"
CONCURRENT_LOGINS = 50
STEPS = 3
CALLS = "{onsip:active-calls}"


class Counted:
    def __init__(self, first=0, legs=0, timed=False):
        self.first = first
        self.seen = bytearray(legs * STEPS)
        self.at = array.array("d", bytes(8 * legs * STEPS)) if timed else None
        self.distinct = self.duplicated = self.out_of_order = 0
        self.told = legs == 0

    def tell(self):
        if self.told:
            return
        self.told = True
        print(
            json.dumps(
                {
                    "events": self.distinct,
                    "lost": len(self.seen) - self.distinct,
                    "duplicated": self.duplicated,
                    "out_of_order": self.out_of_order,
                    "at": list(self.at or []),
                }
            ),
            flush=True,
        )

    def event(self, event):
        leg = int(event["item_id"].rsplit("z9hG4bK", 1)[1]) - self.first
        step = {None: 2, "confirmed": 1}.get(event["state"], 0)
        begin = leg * STEPS
        if not 0 <= begin < len(self.seen):
            return
        if self.seen[begin + step]:
            self.duplicated += 1
            return
        self.seen[begin + step] = 1
        if any(self.seen[begin + step + 1 : begin + STEPS]):
            self.out_of_order += 1
        self.distinct += 1
        if self.at is not None:
            self.at[begin + step] = time.time() * 1e6
        if self.distinct == len(self.seen):
            self.tell()


counted = Counted()


class Client(slixmpp.ClientXMPP):
    def __init__(self, number):
        super().__init__(f"user{number}@{DOMAIN}", PASSWORD)
        self.register_plugin("xep_0060")
        self.plugin["feature_mechanisms"].unencrypted_plain = True
        self.enable_direct_tls = False
        self.enable_starttls = TLS
        self.enable_plaintext = not TLS
        if TLS:
            self.ca_certs = os.environ["SSL_CERT_FILE"]
        self.subscribed = asyncio.get_running_loop().create_future()
        self.add_event_handler("session_start", self.start)
        self.add_event_handler("failed_auth", lambda _: sys.exit("refused"))
        self.add_event_handler("pubsub_publish", self.publish)
        self.add_event_handler("pubsub_retract", self.retract)
        self.add_event_handler("pubsub_subscription", self.subscription)

    async def start(self, _):
        self.send_presence(ppriority=1)
        iq = self.make_iq_set(ito=f"commands.auth.{SERVICES}")
        command = ET.SubElement(iq.xml, "{http://jabber.org/protocol/commands}command", node="authorize-plain")
        form = ET.SubElement(command, "{jabber:x:data}x", type="submit")
        for name, value in (
            ("sip-address", self.boundjid.bare),
            ("password", PASSWORD),
            ("auth-for-all", "true"),
        ):
            field = ET.SubElement(form, "{jabber:x:data}field", var=name)
            ET.SubElement(field, "{jabber:x:data}value").text = value
        await iq.send()
        await self.plugin["xep_0060"].subscribe(
            f"pubsub.active-calls.{SERVICES}", f"/me/{self.boundjid.bare}", subscribee=self.boundjid.full
        )

    def subscription(self, message):
        if message["pubsub_event"]["subscription"]["subscription"] == "subscribed" and not self.subscribed.done():
            self.subscribed.set_result(None)

    def publish(self, message):
        items = message["pubsub_event"]["items"]
        # Not `in items`: the library is in the middle of a walk through them, and would begin it anew for ever.
        for item in items["substanzas"]:
            call = item.xml.find(f"{CALLS}active-call")
            counted.event(
                {
                    "node": items["node"],
                    "item_id": item["id"],
                    "publish_time": call.get("publish-time"),
                    "state": call.findtext(f"{CALLS}dialog-state"),
                    "call_id": call.findtext(f"{CALLS}call-id"),
                    "from_uri": call.findtext(f"{CALLS}from-uri"),
                    "to_uri": call.findtext(f"{CALLS}to-uri"),
                }
            )

    def retract(self, message):
        items = message["pubsub_event"]["items"]
        for item in items["substanzas"]:
            counted.event(
                {
                    "node": items["node"],
                    "item_id": item["id"],
                    "publish_time": None,
                    "state": None,
                    "call_id": None,
                    "from_uri": None,
                    "to_uri": None,
                }
            )


async def log_ins(numbers, clients):
    for number in numbers:
        client = Client(number)
        clients.append(client)
        client.connect(HOST, int(PORT))
        await client.subscribed


async def obey():
    global counted
    reader = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        words = line.decode().split()
        if words[0] == "expect":
            counted = Counted(int(words[1]), int(words[2]), words[4] == "1")
            print("expecting", flush=True)
        else:
            counted.tell()


async def main():
    numbers, clients = iter(range(1, ACCOUNTS + 1)), []
    await asyncio.gather(*(log_ins(numbers, clients) for _ in range(CONCURRENT_LOGINS)))
    print("subscribed", flush=True)
    await obey()
    os._exit(0)  # the clients end with their process


asyncio.run(main())
