//! Events as sinks get them: whole and valid, numbered within their calls.

use onsip_router::sinks::Parcel;
use serde_json::json;

/// The `number`th event overall, of the call `call`; `padding` bytes longer than usual.
pub fn parcel(call: usize, number: usize, padding: usize) -> Parcel {
    let (id, partition) = (format!("event-{call}-{number:06}"), format!("call-{call}"));
    let display = format!("\"Ann\" Example, 50% of {number} — ☎{}", "x".repeat(padding));
    let body = json!({
        "specversion": "1.0",
        "id": id,
        "source": "xmpp:pubsub.active-calls.xmpp.onsip.com?;node=/acme.test/ann",
        "type": "com.onsip.call.requested",
        "time": "2026-01-01T00:00:00Z",
        "subject": format!("leg-{call}"),
        "datacontenttype": "application/json",
        "dataschema": "https://onsip-router.example/schema/event/v1",
        "sequence": format!("{number:010}"),
        "partitionkey": partition,
        "data": {
            "account": "front-desk", "service": "active-calls", "node": "/acme.test/ann", "collection": null,
            "item_id": format!("item-{call}"), "subids": [], "dialog_state": "requested", "call_id": "c",
            "from_uri": "sip:+12125550111@carrier.test", "to_uri": "sip:ann@acme.test", "to_aor": null,
            "from_tag": "t", "to_tag": null, "branch": null, "call_setup_id": null, "from_display": display,
            "to_display": null, "direction": "inbound", "published_at": null,
            "received_at": "2026-01-01T00:00:00.000001Z", "replayed": false, "answered": null,
            "answered_elsewhere": null, "ring_seconds": null, "talk_seconds": null, "end_reason": null,
        },
    });
    Parcel { id: id.into(), partition: partition.into(), body: body.to_string().into() }
}

/// `count` events from the number `first` on, dealt out over seven calls.
pub fn parcels(first: usize, count: usize) -> Vec<Parcel> {
    (first..first + count).map(|number| parcel(number % 7, number, 0)).collect()
}
