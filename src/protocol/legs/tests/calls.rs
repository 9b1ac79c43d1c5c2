//! Legs of calls from their first event to their end.

use serde_json::json;

use super::*;

#[test]
fn an_outgoing_call_is_created_confirmed_and_ended_with_its_times() {
    let mut store = Store::default();
    assert_eq!(store.one(1, created("T1", 0)).r#type, EventType::CallCreated);
    assert_eq!(store.one(11, confirmed("T1", 10)).r#type, EventType::CallConfirmed);
    let end = store.one(70, retract("T1"));
    let data = data(&end);
    assert_eq!((end.r#type, end.time), (EventType::CallEnded, utc(70)));
    assert_eq!(data["direction"], "outbound");
    assert_eq!((&data["answered"], &data["answered_elsewhere"]), (&json!(true), &json!(false)));
    assert_eq!((&data["ring_seconds"], &data["talk_seconds"]), (&json!(10.0), &json!(60.0)));
    assert_eq!((&data["end_reason"], &data["dialog_state"]), (&json!("retracted"), &json!(null)));
    assert_eq!((&data["call_id"], &data["from_tag"]), (&json!("C1"), &json!("F")), "remembered from the leg");
}

#[test]
fn of_several_ringing_phones_the_silent_ones_were_answered_elsewhere() {
    let mut store = Store::default();
    for id in ["T1", "T2", "T3"] {
        store.see(0, requested(id, 0));
    }
    store.see(5, confirmed("T2", 5));
    let end = |store: &mut Store, id| {
        let data = data(&store.one(6, retract(id)));
        (data["answered"].clone(), data["answered_elsewhere"].clone(), data["direction"].clone())
    };
    assert_eq!(end(&mut store, "T1"), (json!(false), json!(true), json!("inbound")));
    assert_eq!(end(&mut store, "T3"), (json!(false), json!(true), json!("inbound")));
    assert_eq!(end(&mut store, "T2"), (json!(true), json!(false), json!("inbound")));
}

#[test]
fn within_one_message_an_answer_counts_before_the_ends() {
    let ring = |store: &mut Store| ["T1", "T2", "T3"].map(|id| store.see(0, requested(id, 0)));
    let told = |store: &mut Store, parts: Vec<Part>| {
        let note = Notification { parts, ..Notification::default() };
        let events = store.batch(&[("front", "active-calls", 6, note)]);
        let ends = events.iter().filter(|event| event.r#type == EventType::CallEnded);
        ends.map(|event| data(event)["answered_elsewhere"].clone()).collect::<Vec<_>>()
    };
    let mut store = Store::default();
    ring(&mut store);
    assert_eq!(told(&mut store, vec![retract("T1"), confirmed("T2", 5), retract("T3")]), [json!(true), json!(true)]);
    assert_eq!(told(&mut store, vec![retract("T2")]), [json!(false)], "the one who answered");

    // The answer of another call, or of the leg itself, says nothing.
    let mut store = Store::default();
    ring(&mut store);
    let other = Part::Item {
        node: NODE.into(),
        item: "X1".into(),
        published: None,
        content: Content::Call(DialogState::Confirmed, fields("C2").into()),
    };
    assert_eq!(told(&mut store, vec![retract("T1"), other]), [json!(false)]);
    assert_eq!(told(&mut store, vec![retract("T2"), confirmed("T2", 5)]), [json!(false)]);
}

#[test]
fn a_call_nobody_answered_rings_to_its_end() {
    let mut store = Store::default();
    store.see(0, requested("T1", 0));
    let data = data(&store.one(25, retract("T1")));
    assert_eq!(
        (&data["answered"], &data["ring_seconds"], &data["talk_seconds"]),
        (&json!(false), &json!(25.0), &json!(null))
    );
    assert_eq!(data["answered_elsewhere"], false);
}

#[test]
fn receipt_stands_in_for_a_missing_or_broken_publish_time() {
    for broken in [None, Some("2009-11-23T:328:22Z"), Some("soon"), Some("-009999-01-01T00:00:00Z")] {
        let mut store = Store::default();
        let part = |state| Part::Item {
            node: NODE.into(),
            item: "T1".into(),
            published: broken.map(str::to_owned),
            content: Content::Call(state, fields("C1").into()),
        };
        let event = store.one(3, part(DialogState::Requested));
        assert_eq!(event.time, utc(3));
        assert_eq!(data(&event)["published_at"], json!(broken), "raw");
        store.see(8, part(DialogState::Confirmed));
        let data = data(&store.one(20, retract("T1")));
        assert_eq!((&data["ring_seconds"], &data["talk_seconds"]), (&json!(5.0), &json!(12.0)), "{broken:?}");
    }
}

#[test]
fn clocks_that_go_backwards_make_no_negative_times() {
    let mut store = Store::default();
    store.see(0, requested("T1", 50));
    store.see(1, confirmed("T1", 40));
    let data = data(&store.one(2, retract("T1")));
    assert_eq!((&data["ring_seconds"], &data["talk_seconds"]), (&json!(0.0), &json!(0.0)));
}

#[test]
fn a_retract_of_an_unknown_leg_is_told_once() {
    let mut store = Store::default();
    let event = store.one(0, retract("T9"));
    let data = data(&event);
    assert_eq!(
        (&data["answered"], &data["direction"], &data["ring_seconds"]),
        (&json!(false), &json!("unknown"), &json!(null))
    );
    assert_eq!(event.partitionkey, event.subject, "without a call the leg stands for it");
    assert!(store.see(1, retract("T9")).is_empty());
    assert_eq!(store.duplicates, 1);
}

#[test]
fn a_second_retract_is_a_duplicate() {
    let mut store = Store::default();
    store.see(0, requested("T1", 0));
    store.see(1, retract("T1"));
    assert!(store.see(2, retract("T1")).is_empty());
    assert_eq!(store.duplicates, 1);
}

#[test]
fn a_late_answer_is_told_once_and_does_not_reopen_the_leg() {
    let mut store = Store::default();
    store.see(0, requested("T1", 0));
    store.see(9, retract("T1"));
    assert_eq!(store.see(10, confirmed("T1", 5)).len(), 1);
    assert_eq!(store.see(11, confirmed("T1", 5)).len(), 0);
    assert!(store.see(12, retract("T1")).is_empty(), "it has ended already");
}

#[test]
fn an_old_copy_after_the_end_does_not_reopen_the_leg_and_a_new_call_does() {
    let mut store = Store::default();
    store.see(0, created("T1", 0));
    let first = store.one(100, retract("T1"));
    assert_eq!(store.see(300, requested("T1", 50)).len(), 1, "delayed, from before the end");
    assert!(store.see(301, retract("T1")).is_empty());
    let other = |call, state, at| item("T1", Some(at), Content::Call(state, fields(call).into()));
    for (offset, call, state) in [(0, "C2", DialogState::Requested), (100, "C3", DialogState::Confirmed)] {
        let begin = store.one(400 + offset, other(call, state, 400 + offset));
        let second = store.one(450 + offset, retract("T1"));
        assert_ne!(second.id, first.id, "another life, another end");
        assert_eq!(second.partitionkey, begin.partitionkey);
        assert_ne!(second.partitionkey, first.partitionkey);
        assert_eq!(second.subject, first.subject);
    }
}

#[test]
fn a_purge_ends_every_live_leg_of_its_node_and_no_other() {
    let mut store = Store::default();
    store.see(0, requested("T1", 0));
    store.see(1, requested("T2", 1));
    store.see(2, retract("T2"));
    let elsewhere = Part::Item {
        node: "/acme.test/bob".into(),
        item: "T4".into(),
        published: None,
        content: Content::Call(DialogState::Created, fields("C4").into()),
    };
    store.see(2, elsewhere);
    let parts = vec![requested("T3", 3), Part::Purge { node: NODE.into() }];
    let events = store.batch(&[("front", "active-calls", 4, Notification { parts, ..Notification::default() })]);
    let ended: Vec<_> =
        events[1..].iter().map(|event| (data(event)["item_id"].clone(), data(event)["end_reason"].clone())).collect();
    assert_eq!(ended, [(json!("T1"), json!("purged")), (json!("T3"), json!("purged"))]);
    assert!(store.see(5, retract("T1")).is_empty());
    assert!(store.see(6, Part::Purge { node: NODE.into() }).is_empty());
}

#[test]
fn replayed_means_a_delay_stamp_or_a_publish_time_more_than_a_minute_old() {
    let mut store = Store::default();
    let replayed = |event: &Event| data(event)["replayed"].clone();
    assert_eq!(replayed(&store.one(60, requested("T1", 0))), false);
    assert_eq!(replayed(&store.one(61, requested("T2", 0))), true);
    let delayed = Notification { delayed: true, parts: vec![requested("T3", 0)], ..Notification::default() };
    assert_eq!(replayed(&store.batch(&[("front", "active-calls", 1, delayed)])[0]), true);
}

#[test]
fn several_items_about_one_leg_in_one_message_are_taken_in_their_order() {
    let mut store = Store::default();
    let parts = vec![requested("T1", 0), confirmed("T1", 4), requested("T1", 0), retract("T1"), retract("T1")];
    let events = store.batch(&[("front", "active-calls", 9, Notification { parts, ..Notification::default() })]);
    let types: Vec<_> = events.iter().map(|event| event.r#type).collect();
    assert_eq!(types, [EventType::CallRequested, EventType::CallConfirmed, EventType::CallEnded]);
    assert_eq!(store.duplicates, 2);
    assert_eq!(data(&events[2])["ring_seconds"], 4.0);
}

#[test]
fn what_a_later_state_leaves_out_is_remembered_to_the_end() {
    let mut store = Store::default();
    let named = CallFields { from_display: Some("Ann".into()), ..fields("C1") };
    store.see(0, item("T1", Some(0), Content::Call(DialogState::Requested, named.into())));
    store.see(1, confirmed("T1", 1));
    assert_eq!(data(&store.one(2, retract("T1")))["from_display"], "Ann");
}

#[test]
fn an_answer_whose_beginning_was_missed_is_inbound_where_an_address_was_rung() {
    for (to_aor, direction) in [(Some("ann@acme.test"), Direction::Inbound), (None, Direction::Unknown)] {
        let mut store = Store::default();
        let fields = CallFields { to_aor: to_aor.map(Into::into), ..fields("C1") };
        let event = store.one(0, item("T1", Some(0), Content::Call(DialogState::Confirmed, fields.into())));
        assert_eq!(data(&event)["direction"], json!(direction));
    }
}
