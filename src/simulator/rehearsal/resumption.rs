//! Sessions that are lost and resumed, and those that are not.

use super::*;
use crate::simulator::login::Stage;
use crate::simulator::names::MANAGEMENT;

const MINUTE: Duration = Duration::from_mins(1);

/// Subscribed, with a managed stream; the key of it.
fn managed(r: &mut Rehearsal) -> (SessionId, String) {
    r.board.change_behaviour(None, |b| b.resumable_for = Some(MINUTE));
    let id = r.subscribed("router", "");
    let enabled = r.say(id, &format!("<enable xmlns='{MANAGEMENT}' resume='true'/>"));
    assert!(enabled[0].is("enabled", MANAGEMENT) && enabled[0].attr("max") == Some("60"), "{enabled:?}");
    (id, enabled[0].attr("id").unwrap().to_owned())
}

fn resume(r: &mut Rehearsal, key: &str, handled: u32) -> (SessionId, Vec<Element>) {
    let id = r.board.connected(false, r.now);
    r.board.sessions.get_mut(&id).unwrap().stage = Stage::Authenticated(Rehearsal::anna());
    let heard = r.say(id, &format!("<resume xmlns='{MANAGEMENT}' previd='{key}' h='{handled}'/>"));
    (id, heard)
}

fn acknowledge(r: &mut Rehearsal, id: SessionId, handled: u32) -> Vec<Element> {
    r.say(id, &format!("<a xmlns='{MANAGEMENT}' h='{handled}'/>"))
}

fn names(heard: &[Element]) -> Vec<&str> {
    heard.iter().map(Element::name).collect()
}

#[test]
fn what_is_not_acknowledged_comes_again_after_a_resumption_and_so_does_what_happened_meanwhile() {
    let mut r = Rehearsal::new();
    let (old, key) = managed(&mut r);
    r.publish();
    assert!(r.hear(old).iter().any(|heard| heard.is("r", MANAGEMENT)));
    r.publish();
    assert_eq!(names(&r.hear(old)), ["message"], "it owes an answer already");
    assert_eq!(names(&acknowledge(&mut r, old, 1)), ["r"], "the second was sent after the question");
    r.board.cut(old);
    r.board.disconnected(old, r.now);
    assert_eq!((r.board.connections(), r.board.resumable()), (0, 1));
    r.publish();
    r.wait(59);
    let (id, heard) = resume(&mut r, &key, 1);
    assert_eq!(names(&heard), ["resumed", "message", "message", "r"]);
    assert_eq!((heard[0].attr("h"), heard[0].attr("previd")), (Some("0"), Some(key.as_str())));
    assert!(acknowledge(&mut r, id, 3).is_empty());
    assert_eq!(r.board.unacknowledged(&Rehearsal::anna()), 0);
    assert_eq!(
        (r.board.resources(&Rehearsal::anna()).len(), r.board.priorities(&Rehearsal::anna())),
        (1, vec![Some(1)])
    );
}

#[test]
fn a_client_that_comes_before_its_loss_is_noticed_takes_its_session_over() {
    let mut r = Rehearsal::new();
    let (old, key) = managed(&mut r);
    r.board.stall(old, Stall::Dead);
    r.publish();
    assert!(r.hear(old).is_empty());
    let (id, heard) = resume(&mut r, &key, 0);
    assert_eq!(names(&heard), ["resumed", "message", "r"]);
    r.board.disconnected(old, r.now);
    assert_eq!(r.board.session_of(&FullJid::new("anna@acme.test/router").unwrap()), Some(id));
}

#[test]
fn an_answer_under_way_reaches_the_resumed_session() {
    let mut r = Rehearsal::new();
    let (old, key) = managed(&mut r);
    r.board.change_behaviour(None, |b| b.reply_delay = Duration::from_secs(2));
    r.say(old, &format!("<iq xmlns='{CLIENT}' type='get' id='7'><ping xmlns='urn:xmpp:ping'/></iq>"));
    r.board.disconnected(old, r.now);
    let (id, heard) = resume(&mut r, &key, 0);
    assert_eq!(heard[0].attr("h"), Some("1"));
    r.wait(2);
    assert!(r.hear(id).iter().any(|heard| heard.attr("id") == Some("7")));
}

#[test]
fn a_session_that_nobody_may_resume_is_not_found() {
    let mut r = Rehearsal::new();
    let (old, key) = managed(&mut r);
    assert_eq!(names(&resume(&mut r, "guessed", 0).1), ["failed"]);
    let bert = r.board.connected(false, r.now);
    r.board.sessions.get_mut(&bert).unwrap().stage = Stage::Authenticated(BareJid::new("bert@acme.test").unwrap());
    let heard = r.say(bert, &format!("<resume xmlns='{MANAGEMENT}' previd='{key}' h='0'/>"));
    assert_eq!(names(&heard), ["failed"], "it is somebody else's");
    r.board.disconnected(old, r.now);
    r.wait(61);
    assert_eq!((names(&resume(&mut r, &key, 0).1), r.board.resumable()), (vec!["failed"], 0), "it is too late");
    let (id, key) = managed(&mut r);
    r.board.close(id);
    assert_eq!(names(&resume(&mut r, &key, 0).1), ["failed"], "it was closed");
    let (_, key) = managed(&mut r);
    r.board.forget_sessions();
    assert_eq!(names(&resume(&mut r, &key, 0).1), ["failed"], "the service restarted");
    assert_eq!(r.board.observed().resumed, 0);
}

#[test]
fn what_a_session_that_is_over_did_not_acknowledge_is_delivered_anew() {
    let mut r = Rehearsal::new();
    r.board.style.store_offline = true;
    let (old, _) = managed(&mut r);
    r.publish();
    r.publish();
    acknowledge(&mut r, old, 1);
    r.board.disconnected(old, r.now);
    r.wait(61);
    r.board.hand_on(r.now);
    let id = r.online("router");
    let heard = r.say(id, &format!("<presence xmlns='{CLIENT}'><priority>1</priority></presence>"));
    assert_eq!(names(&heard), ["message"], "the acknowledged one is not stored");
}

#[test]
fn an_acknowledgement_of_more_than_was_sent_ends_the_stream() {
    let mut r = Rehearsal::new();
    let (id, _) = managed(&mut r);
    acknowledge(&mut r, id, 1);
    assert_eq!((r.board.connections(), r.board.resumable()), (0, 0));
}

#[test]
fn where_it_is_not_offered_it_is_refused() {
    let mut r = Rehearsal::new();
    let id = r.online("router");
    assert_eq!(names(&r.say(id, &format!("<enable xmlns='{MANAGEMENT}'/>"))), ["failed"]);
}
