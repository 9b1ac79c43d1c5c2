//! Ends that nobody told of: legs missing from what is there, and legs that grew too old. Also what a leg is for.

use serde_json::json;

use super::*;

fn rest(present: &[&str]) -> Part {
    Part::Rest { node: NODE.into(), present: present.iter().map(|id| (*id).into()).collect(), told_by: None }
}

/// The answer to a request for items that was sent at a second of the hour.
fn answer(asked: i64, parts: Vec<Part>) -> Notification {
    Notification { asked: Some(utc(asked)), collection: Some("/me/ann".into()), parts, ..Notification::default() }
}

impl Store {
    fn shows(&mut self, asked: i64, received: i64, parts: Vec<Part>) -> Vec<Event> {
        self.batch(&[("front", "active-calls", received, answer(asked, parts))])
    }

    fn ages(&mut self, now: i64, ringing: u64, answered: u64) -> Vec<Event> {
        let service = reception("front").services[0].clone();
        let ages = Ages { ringing: Duration::from_secs(ringing), answered: Duration::from_secs(answered) };
        let mut all: Vec<Token> = self.legs.keys().cloned().collect();
        all.sort();
        let mut legs = self.recall(Wanted { legs: all.clone(), ..Wanted::default() });
        let events: Vec<Event> = all.iter().filter_map(|leg| legs.expire(leg, &service, ages, utc(now))).collect();
        self.keep(&events, legs);
        events
    }

    fn live(&self) -> usize {
        self.legs.values().filter(|leg| leg.ended.is_none()).count()
    }
}

fn ends(events: &[Event]) -> Vec<(String, String)> {
    let text = |value: serde_json::Value| value.as_str().unwrap().to_owned();
    let end = |event| (text(data(event)["item_id"].clone()), text(data(event)["end_reason"].clone()));
    events.iter().map(end).collect()
}

fn gap(id: &str) -> (String, String) {
    (id.to_owned(), "gap".to_owned())
}

#[test]
fn what_is_missing_from_an_answer_is_over_and_what_is_there_lives() {
    let mut store = Store::default();
    store.see(0, requested("T1", 0));
    store.see(1, requested("T2", 1));
    store.see(2, confirmed("T3", 2));
    let events = store.shows(100, 101, vec![requested("T2", 1), rest(&["T2"])]);
    assert_eq!(ends(&events), [gap("T1"), gap("T3")]);
    assert_eq!((events[0].time, data(&events[0])["collection"].clone()), (utc(101), json!("/me/ann")));
    assert_eq!(store.live(), 1);
    assert_eq!(ends(&store.see(110, retract("T2"))), [("T2".to_owned(), "retracted".to_owned())]);
}

#[test]
fn an_end_nobody_saw_has_no_length() {
    let mut store = Store::default();
    store.see(0, requested("T1", 0));
    store.see(0, requested("T2", 0));
    store.see(8, confirmed("T2", 8));
    let events = store.shows(3600, 3601, vec![rest(&[])]);
    let told = |n: usize| {
        let data = data(&events[n]);
        (data["answered"].clone(), data["ring_seconds"].clone(), data["talk_seconds"].clone())
    };
    assert_eq!(told(0), (json!(false), json!(null), json!(null)));
    assert_eq!(told(1), (json!(true), json!(8.0), json!(null)));
}

#[test]
fn a_leg_has_one_end_however_often_it_is_missing_and_whatever_is_told_later() {
    let mut store = Store::default();
    store.see(0, requested("T1", 0));
    assert_eq!(store.shows(10, 11, vec![rest(&[])]).len(), 1);
    assert!(store.shows(20, 21, vec![rest(&[])]).is_empty());
    assert!(store.see(22, retract("T1")).is_empty());
    assert!(store.shows(30, 31, vec![requested("T1", 0), rest(&["T1"])]).is_empty(), "and it is not opened again");
    assert!(store.ages(90_000, 1, 1).is_empty());
    assert_eq!(store.live(), 0);
}

#[test]
fn the_end_has_the_same_id_by_whichever_way_it_is_known() {
    let end = |known: &dyn Fn(&mut Store) -> Vec<Event>| {
        let mut store = Store::default();
        store.see(0, requested("T1", 0));
        known(&mut store)[0].id.clone()
    };
    let told = end(&|store| store.see(5, retract("T1")));
    assert_eq!(told, end(&|store| store.shows(10, 11, vec![rest(&[])])));
    assert_eq!(told, end(&|store| store.ages(900, 60, 600)));
}

#[test]
fn what_happened_since_the_question_was_sent_is_newer_than_the_answer() {
    let mut store = Store::default();
    store.see(10, requested("T1", 10));
    assert!(store.shows(10, 12, vec![rest(&[])]).is_empty(), "it began after the question");
    store.see(0, requested("T2", 0));
    store.see(21, confirmed("T2", 21));
    assert_eq!(ends(&store.shows(20, 22, vec![rest(&[])])), [gap("T1")], "T2 was answered after the question");
    assert_eq!(store.live(), 1);
}

#[test]
fn an_answer_overtaken_by_a_retract_opens_nothing() {
    let mut store = Store::default();
    store.see(11, retract("T1"));
    let late = store.shows(10, 12, vec![requested("T1", 9), rest(&["T1"])]);
    assert_eq!((late.len(), data(&late[0])["replayed"].clone()), (1, json!(true)), "told as a replay");
    assert_eq!(store.live(), 0);
    assert!(store.see(13, retract("T1")).is_empty());
}

#[test]
fn a_call_that_began_in_the_gap_is_a_live_event_and_an_old_one_a_replay() {
    let mut store = Store::default();
    let events = store.shows(100, 101, vec![requested("T1", 81), confirmed("T2", 5), rest(&["T1", "T2"])]);
    let told: Vec<_> = events.iter().map(|event| (event.r#type, data(event)["replayed"].clone())).collect();
    assert_eq!(told, [(EventType::CallRequested, json!(false)), (EventType::CallConfirmed, json!(true))]);
    assert_eq!(store.live(), 2);
}

#[test]
fn only_the_account_that_told_of_a_leg_ends_what_its_collection_leaves_out() {
    let mut store = Store::default();
    store.see(0, requested("T1", 0));
    let silent = |account: &str| {
        let told_by = Some(account.parse().unwrap());
        vec![Part::Rest { node: NODE.into(), present: Vec::new(), told_by }]
    };
    assert!(store.shows(10, 11, silent("back")).is_empty());
    assert_eq!(ends(&store.shows(10, 11, silent("front"))), [gap("T1")]);
}

#[test]
fn only_legs_of_the_shown_leaf_and_service_end() {
    let mut store = Store::default();
    store.see(0, requested("T1", 0));
    store.see_from("user-agents", 0, item("C1", None, Content::Registration(RegistrationFields::default())));
    let elsewhere = Part::Rest { node: "/acme.test/bob".into(), present: Vec::new(), told_by: None };
    assert!(store.shows(10, 11, vec![elsewhere]).is_empty());
    let gone = store.batch(&[("front", "user-agents", 11, answer(10, vec![rest(&[])]))]);
    assert_eq!(gone.iter().map(|event| event.r#type).collect::<Vec<_>>(), [EventType::RegistrationRemoved]);
    assert_eq!(store.live(), 1);
}

#[test]
fn an_answer_after_an_end_by_gap_is_told_and_does_not_reopen_the_leg() {
    let mut store = Store::default();
    store.see(0, requested("T1", 0));
    store.shows(10, 11, vec![rest(&[])]);
    assert_eq!(store.one(12, confirmed("T1", 12)).r#type, EventType::CallConfirmed);
    assert_eq!(store.live(), 0);
}

#[test]
fn of_forked_phones_the_one_a_gap_ended_was_answered_elsewhere_only_if_another_was_answered() {
    for answered in [false, true] {
        let mut store = Store::default();
        store.see(0, requested("T1", 0));
        store.see(0, requested("T2", 0));
        if answered {
            store.see(1, confirmed("T2", 1));
        }
        let events = store.shows(10, 11, vec![requested("T2", 0), rest(&["T2"])]);
        assert_eq!(data(&events[0])["answered_elsewhere"], answered);
    }
    let mut store = Store::default();
    store.see(0, requested("T1", 0));
    let events = store.shows(10, 11, vec![confirmed("T2", 9), rest(&["T2"])]);
    assert_eq!(data(&events[1])["answered_elsewhere"], true, "answered during the gap");
}

#[test]
fn a_leg_that_rings_for_too_long_is_stale_and_one_that_talks_may_take_longer() {
    let mut store = Store::default();
    store.see(0, requested("T1", 0));
    store.see(0, requested("T2", 0));
    store.see(5, confirmed("T2", 5));
    assert!(store.ages(600, 600, 3600).is_empty());
    let events = store.ages(601, 600, 3600);
    assert_eq!(ends(&events), [("T1".to_owned(), "stale".to_owned())]);
    let told = data(&events[0]);
    assert_eq!((&told["account"], &told["subids"]), (&json!("front"), &json!([])));
    assert_eq!((&told["answered"], &told["ring_seconds"]), (&json!(false), &json!(null)));
    assert_eq!((&told["replayed"], events[0].time), (&json!(false), utc(601)));
    assert_eq!(ends(&store.ages(3606, 600, 3600)), [("T2".to_owned(), "stale".to_owned())]);
    assert!(store.see(3607, retract("T1")).is_empty(), "one end");
}

#[test]
fn any_sign_of_life_keeps_a_leg_from_growing_old() {
    let mut store = Store::default();
    store.see(0, confirmed("T1", 0));
    store.see(500, confirmed("T1", 500));
    store.shows(900, 901, vec![confirmed("T1", 500), rest(&["T1"])]);
    assert!(store.ages(1500, 600, 600).is_empty());
    assert_eq!(store.ages(1502, 600, 600).len(), 1);
}

#[test]
fn a_self_call_is_two_legs_of_one_call_each_with_its_direction() {
    let mut store = Store::default();
    let events = [store.one(0, created("T1", 0)), store.one(0, requested("T2", 0))];
    assert_eq!(
        (events[0].partitionkey == events[1].partitionkey, events[0].subject == events[1].subject),
        (true, false)
    );
    let directions: Vec<_> = events.iter().map(|event| data(event)["direction"].clone()).collect();
    assert_eq!(directions, ["outbound", "inbound"]);
    store.see(3, confirmed("T2", 3));
    store.see(3, confirmed("T1", 3));
    for (id, direction) in [("T1", "outbound"), ("T2", "inbound")] {
        let told = data(&store.one(9, retract(id)));
        assert_eq!((&told["direction"], &told["answered"]), (&json!(direction), &json!(true)));
        assert_eq!((&told["answered_elsewhere"], &told["talk_seconds"]), (&json!(false), &json!(6.0)));
    }
}

#[test]
fn the_legs_of_a_click_to_call_are_told_apart_to_their_ends() {
    let mut store = Store::default();
    let click = |from: &str| CallFields {
        from_uri: Some(from.into()),
        to_uri: Some("sip:ann@acme.test".into()),
        call_setup_id: Some("a1b2c3d4".into()),
        ..fields("C1")
    };
    let purpose = |event: &Event| data(event)["purpose"].clone();
    let setup = Content::Call(DialogState::Requested, click("sip:call-setup@onsip.com;id=1").into());
    assert_eq!(purpose(&store.one(0, item("T1", Some(0), setup))), "setup");
    assert_eq!(purpose(&store.one(1, retract("T1"))), "setup");
    let call = Content::Call(DialogState::Created, click("sip:ann@acme.test").into());
    assert_eq!(purpose(&store.one(2, item("T2", Some(2), call))), "call");
    assert_eq!(purpose(&store.one(3, retract("T9"))), json!(null), "of that nothing was ever published");
}
