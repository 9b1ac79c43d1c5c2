//! Accounts of another domain cannot end or change a leg of which they never told.

use super::*;

impl Store {
    /// Returns the events of a message that another account than the usual one received.
    fn says(&mut self, account: &str, received: i64, parts: Vec<Part>) -> Vec<Event> {
        self.batch(&[(account, "active-calls", received, Notification { parts, ..Notification::default() })])
    }

    /// Returns the events of an answer to a request for items that shows no leg of the leaf.
    fn shows_nothing(&mut self, account: &str, received: i64) -> Vec<Event> {
        let parts = vec![Part::Rest { node: NODE.into(), present: Vec::new(), told_by: None }];
        let asked = Some(utc(received - 1));
        self.batch(&[(account, "active-calls", received, Notification { asked, parts, ..Notification::default() })])
    }
}

fn purge() -> Part {
    Part::Purge { node: NODE.into() }
}

fn kinds(events: &[Event]) -> Vec<EventType> {
    events.iter().map(|event| event.r#type).collect()
}

#[test]
fn c2_an_account_of_another_domain_ends_no_leg_that_it_never_told_of_and_the_true_end_is_told() {
    for way in 0..3 {
        let mut store = Store::default();
        store.see(0, requested("T1", 0));
        store.see(5, confirmed("T1", 5));
        let ended = match way {
            0 => store.says(STRANGER, 6, vec![purge()]),
            1 => store.says(STRANGER, 6, vec![retract("T1")]),
            _ => store.shows_nothing(STRANGER, 7),
        };
        assert_eq!((ended.len(), store.foreign), (0, 1), "{way}");
        // Another account of the domain of the one that told may.
        let end = store.says("back", 65, vec![retract("T1")]);
        assert_eq!(data(&end[0])["talk_seconds"], 60.0, "{way}");
        assert_eq!(store.foreign, 1);
    }
}

#[test]
fn c2_an_item_of_another_call_is_told_and_changes_nothing_of_the_leg_whose_id_it_has() {
    let mut store = Store::default();
    store.see(0, requested("T1", 0));
    let forged = item("T1", Some(1), Content::Call(DialogState::Confirmed, fields("forged").into()));
    let told = store.says(STRANGER, 1, vec![forged, retract("T1"), purge()]);
    assert_eq!((kinds(&told), store.foreign), (vec![EventType::CallConfirmed], 2));
    assert_eq!(data(&told[0])["account"], STRANGER);
    let end = store.one(9, retract("T1"));
    assert_eq!((data(&end)["answered"].clone(), data(&end)["call_id"].clone()), (false.into(), "C1".into()));
}

#[test]
fn c2_an_account_of_another_domain_that_sees_the_leg_too_may_end_it_and_takes_no_right_away() {
    let seen: [&dyn Fn(&mut Store); 3] = [
        &|store| assert!(store.says(STRANGER, 1, vec![requested("T1", 0)]).is_empty(), "a copy"),
        &|store| assert_eq!(store.says(STRANGER, 3, vec![confirmed("T1", 3)]).len(), 1),
        &|store| {
            let parts =
                vec![requested("T1", 0), Part::Rest { node: NODE.into(), present: vec!["T1".into()], told_by: None }];
            let note = Notification { asked: Some(utc(2)), parts, ..Notification::default() };
            assert!(store.batch(&[(STRANGER, "active-calls", 3, note)]).is_empty());
        },
    ];
    for see in seen {
        for last in [STRANGER, "front"] {
            let mut store = Store::default();
            store.see(0, requested("T1", 0));
            see(&mut store);
            let end = store.says(last, 9, vec![retract("T1")]);
            assert_eq!((kinds(&end), store.foreign), (vec![EventType::CallEnded], 0), "{last}");
        }
    }
}

#[test]
fn c2_what_no_account_is_left_to_end_anybody_may_end() {
    let mut store = Store { removed: vec!["acme.test"], ..Store::default() };
    store.see(0, requested("T1", 0));
    assert_eq!(store.shows_nothing(STRANGER, 9).len(), 1);
    store.see(10, requested("T2", 10));
    store.removed.clear();
    assert!(store.shows_nothing(STRANGER, 19).is_empty(), "it is back");
    let mut old = Store::default();
    old.see(0, requested("T1", 0));
    for leg in old.legs.values_mut() {
        Arc::make_mut(leg).told_by.clear();
    }
    assert_eq!(old.says(STRANGER, 9, vec![purge()]).len(), 1, "from before the domains were written down");
}

#[test]
fn c2_an_unseen_leg_is_ended_by_whoever_tells_of_it() {
    let mut store = Store::default();
    assert_eq!(kinds(&store.says(STRANGER, 0, vec![retract("T1")])), [EventType::CallEnded]);
    assert_eq!(store.foreign, 0);
}
