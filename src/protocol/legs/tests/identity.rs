//! Ids, sources, partitions and sequences.

use serde_json::json;

use super::*;

#[test]
fn the_id_depends_on_nothing_but_what_the_publisher_said() {
    let first = Store::default().one(0, requested("T1", 0));
    let note = Notification {
        parts: vec![requested("T1", 0)],
        collection: Some("/me/x".into()),
        subids: vec!["9".into()],
        delayed: true,
        ..Notification::default()
    };
    let other = Store::default().batch(&[("back", "active-calls", 500, note)]).remove(0);
    assert_eq!(first.id, other.id, "other account, subid, time of receipt, after a restart without memory");
}

#[test]
fn every_published_field_makes_another_id() {
    let mut ids = HashSet::new();
    let mut add = |part: Part| assert!(ids.insert(Store::default().one(0, part.clone()).id), "{part:?}");
    add(requested("T1", 0));
    add(requested("T2", 0));
    add(requested("T1", 1));
    add(confirmed("T1", 0));
    let some = || Some("x".to_owned());
    let empty = CallFields::default;
    for fields in [
        CallFields { call_id: some(), ..empty() },
        CallFields { from_uri: some(), ..empty() },
        CallFields { to_uri: some(), ..empty() },
        CallFields { to_aor: some(), ..empty() },
        CallFields { from_tag: some(), ..empty() },
        CallFields { to_tag: some(), ..empty() },
        CallFields { branch: some(), ..empty() },
        CallFields { call_setup_id: some(), ..empty() },
        CallFields { from_display: some(), ..empty() },
        CallFields { to_display: some(), ..empty() },
    ] {
        add(item("T1", Some(0), Content::Call(DialogState::Requested, fields.into())));
    }
    let node = Part::Item {
        node: "/acme.test/bob".into(),
        item: "T1".into(),
        published: Some(utc(0).to_string()),
        content: Content::Call(DialogState::Requested, fields("C1").into()),
    };
    add(node);
}

#[test]
fn two_accounts_in_one_batch_make_one_event_of_the_first() {
    let note = || Notification { parts: vec![requested("T1", 0)], ..Notification::default() };
    let mut store = Store::default();
    let events = store.batch(&[("back", "active-calls", 0, note()), ("front", "active-calls", 0, note())]);
    assert_eq!(events.len(), 1);
    assert_eq!(data(&events[0])["account"], "back");
    assert_eq!(store.duplicates, 1);
}

#[test]
fn a_copy_after_a_restart_is_known() {
    let mut store = Store::default();
    store.see(0, requested("T1", 0));
    assert!(store.see(1000, requested("T1", 0)).is_empty());
}

#[test]
fn a_call_is_its_call_id_and_from_tag_within_the_sip_domain() {
    let key = |node: &str, call_id: Option<&str>, from_tag: &str| {
        let fields =
            CallFields { call_id: call_id.map(Into::into), from_tag: Some(from_tag.into()), ..CallFields::default() };
        let content = Content::Call(DialogState::Requested, fields.into());
        Store::default()
            .one(0, Part::Item { node: node.into(), item: "T".into(), published: None, content })
            .partitionkey
    };
    let call = key("/acme.test/ann", Some("C"), "F");
    assert_eq!(call, key("/acme.test/bob", Some("C"), "F"));
    assert_ne!(call, key("/other.test/ann", Some("C"), "F"));
    assert_ne!(call, key("/acme.test/ann", Some("C"), "G"));
    assert_ne!(key("/acme.test/ann", None, "F"), key("/acme.test/bob", None, "F"), "without one, the leg");
}

#[test]
fn the_first_event_of_a_leg_fixes_its_call() {
    let mut store = Store::default();
    let first = store.one(0, item("T1", None, Content::Call(DialogState::Created, CallFields::default().into())));
    let second = store.one(1, confirmed("T1", 1));
    assert_eq!(first.partitionkey, second.partitionkey);
    assert!(first.sequence < second.sequence);
}

#[test]
fn the_sequence_goes_on_over_legs_batches_and_restarts() {
    let mut store = Store::default();
    let mut sequences = Vec::new();
    for part in [requested("T1", 0), requested("T2", 0), confirmed("T2", 1), retract("T1"), retract("T2")] {
        sequences.push(store.one(2, part).sequence);
    }
    assert_eq!(sequences, (1..=5).map(|n| format!("{n:010}")).collect::<Vec<_>>());
    assert!(sequences.is_sorted());
}

#[test]
fn subids_come_from_the_headers_or_are_the_subscriptions_own() {
    let mut reception = reception("front");
    let service = reception.services[0].clone();
    reception.subids.push((service.clone(), "/me/ann".into(), "OWN".into()));
    let subids = |note: &Notification| {
        let sighting =
            Sighting { reception: &reception, service: &service, note, part: &note.parts[0], received: utc(0) };
        let Verdict::New(events) = Legs::default().see(sighting, None) else { unreachable!() };
        data(&events[0])["subids"].clone()
    };
    let note = Notification { parts: vec![requested("T1", 0)], ..Notification::default() };
    assert_eq!(subids(&note), json!(["OWN"]));
    assert_eq!(subids(&Notification { subids: vec!["A".into(), "B".into()], ..note }), json!(["A", "B"]));
}

#[test]
fn every_key_stands_in_every_call_event() {
    let mut store = Store::default();
    let call_keys = [
        "account",
        "service",
        "node",
        "collection",
        "item_id",
        "subids",
        "dialog_state",
        "call_id",
        "from_uri",
        "to_uri",
        "to_aor",
        "from_tag",
        "to_tag",
        "branch",
        "call_setup_id",
        "from_display",
        "to_display",
        "direction",
        "purpose",
        "published_at",
        "received_at",
        "replayed",
        "answered",
        "answered_elsewhere",
        "ring_seconds",
        "talk_seconds",
        "end_reason",
    ];
    let bare = Content::Call(DialogState::Created, CallFields::default().into());
    for event in [store.one(0, item("T1", None, bare)), store.one(0, retract("T1")), store.one(0, retract("T9"))] {
        let data = data(&event);
        let keys: Vec<_> = data.as_object().unwrap().keys().map(String::as_str).collect();
        let missing: Vec<_> = call_keys.iter().filter(|key| !keys.contains(key)).collect();
        assert!(missing.is_empty() && keys.len() == call_keys.len(), "{missing:?} {keys:?}");
        assert_eq!(data["service"], "active-calls");
    }
}

#[test]
fn only_what_a_query_may_not_hold_is_escaped_in_the_source() {
    let part = Part::Retract { node: "/acme.test/a b#%ü<>\"@:?=&;+~".into(), item: "T".into() };
    let source = Store::default().one(0, part).source;
    assert_eq!(source, "xmpp:pubsub.active-calls.xmpp.test?;node=/acme.test/a%20b%23%25%C3%BC%3C%3E%22@:?=&;+~");
}
