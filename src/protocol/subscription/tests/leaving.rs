//! It is removed at the service because we go.

use super::*;

impl Play {
    fn leave(&mut self) -> String {
        shown(self.machine.leave(at(self.now)))
    }
}

#[test]
fn an_active_one_is_removed_by_its_subid_and_the_memory_holds_none_any_more() {
    let mut play = Play::active();
    assert_eq!(play.leave(), "unsubscribe A");
    assert!(!play.machine.has_left());
    assert_eq!(play.hears(&done()), "removed, = lost");
    assert!(play.machine.has_left());
    assert_eq!(play.machine.memory().unwrap().subid, None);
}

#[test]
fn one_that_waits_for_its_approval_is_looked_up_and_removed() {
    let mut play = Play::pending();
    assert_eq!(play.leave(), "list");
    assert_eq!(play.hears(&list("pending:A subscribed:Z@a@b.test/phone")), "unsubscribe A");
    assert_eq!(play.hears(&done()), "removed, = lost");
    assert!(play.machine.has_left());
}

#[test]
fn a_request_under_way_is_waited_for_and_what_it_made_is_removed() {
    let mut play = Play::new();
    play.ready();
    play.hears(&list(""));
    assert_eq!(play.leave(), "");
    assert!(!play.machine.has_left());
    assert_eq!(play.hears(&result("<subscription subscription='pending'/>")), "list");
    assert_eq!(play.hears(&list("pending:A")), "unsubscribe A");
    assert_eq!(play.hears(&done()), "removed, = lost");
    assert!(play.machine.has_left());
}

#[test]
fn all_of_ours_go_and_nothing_of_another_resource() {
    let mut play = Play::new();
    play.ready();
    assert_eq!(play.leave(), "");
    let entries = list("subscribed:A pending:B subscribed:C subscribed:Z@a@b.test/phone");
    let mut did = vec![play.hears(&entries)];
    while !play.machine.has_left() {
        did.push(play.hears(&done()));
    }
    assert_eq!(did.join(", "), "unsubscribe C, removed, unsubscribe B, removed, unsubscribe A, removed, = lost");
}

#[test]
fn where_no_list_comes_the_remembered_one_is_removed_and_a_failure_ends_it_too() {
    let mut play = Play::active();
    let (_, did) = play.due();
    assert!(did.starts_with("renew A"), "{did}");
    play.leave();
    assert_eq!(play.hears(&done()), "list");
    assert_eq!(play.hears(&Err(NoAnswer::TimedOut)), "unsubscribe A");
    assert_eq!(play.hears(&Err(NoAnswer::TimedOut)), "= lost");
    assert!(play.machine.has_left());
    assert!(play.machine.memory().unwrap().subid.is_some(), "it may still be there");
}

#[test]
fn without_a_connection_there_is_nothing_to_do_and_nothing_begins_again() {
    let mut play = Play::active();
    play.suspended();
    assert_eq!(play.leave(), "");
    assert!(play.machine.has_left());
    assert_eq!(play.ready(), "");
    assert_eq!(play.reauthorized(), "");
    assert_eq!(play.told("subscribed"), "");
    assert_eq!(play.machine.deadline(), None);
}

#[test]
fn a_connection_that_breaks_while_leaving_ends_it() {
    let mut play = Play::active();
    play.leave();
    play.suspended();
    assert!(play.machine.has_left());
    assert_eq!(play.ready(), "");
}
