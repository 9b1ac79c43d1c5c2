//! The counters, at their edges and in every order.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::seed::properties;

fn own() -> FullJid {
    FullJid::new("a@b.test/router").unwrap()
}

fn stanza(n: u32) -> Element {
    format!("<iq xmlns='jabber:client' id='{n}'/>").parse().unwrap()
}

fn enabled(id: Option<&str>) -> Management {
    Management::Enabled { id: id.map(str::to_owned), patience: Some(Duration::from_mins(1)) }
}

fn on() -> Acknowledgement {
    let mut counters = Acknowledgement::asked_for();
    counters.hear(&enabled(Some("x")));
    counters
}

/// A stream on which so many were received, handled, sent and acknowledged already.
fn on_since(count: u32) -> Acknowledgement {
    Acknowledgement { received: count, handled: count, sent: count, acknowledged: count, asked: count, ..on() }
}

fn ids(counters: &Acknowledgement) -> Vec<&str> {
    counters.unacknowledged().filter_map(|stanza| stanza.attr("id")).collect()
}

#[test]
fn what_is_not_dealt_with_is_not_acknowledged_and_told_of_as_soon_as_it_is() {
    for start in [0, u32::MAX - 1, u32::MAX] {
        let mut counters = on_since(start);
        for _ in 0..3 {
            counters.receive();
        }
        let upto = |n: u32| start.wrapping_add(n);
        assert_eq!(counters.received(), upto(3));
        assert_eq!(counters.hear(&Management::Asks), Due::Answer(start));
        assert_eq!(counters.handle(upto(2)), None, "one is missing");
        counters.receive();
        assert_eq!(counters.handle(upto(3)), Some(upto(3)));
        assert_eq!(counters.handle(upto(4)), None, "nobody asked");
        assert_eq!(counters.hear(&Management::Asks), Due::Answer(upto(4)));
    }
}

#[test]
fn one_step_may_deal_with_more_than_was_asked_about() {
    let mut counters = on();
    counters.receive();
    counters.hear(&Management::Asks);
    counters.receive();
    assert_eq!(counters.handle(2), Some(2));
}

#[test]
fn what_was_sent_is_kept_until_it_is_acknowledged() {
    for start in [0, u32::MAX - 1] {
        let mut counters = on_since(start);
        assert!((0..4).all(|n| counters.send(&stanza(n))));
        assert_eq!(counters.hear(&Management::Acknowledges(start.wrapping_add(3))), Due::Nothing);
        assert_eq!(ids(&counters), ["3"]);
        assert_eq!(counters.hear(&Management::Acknowledges(start.wrapping_add(3))), Due::Nothing, "said twice");
        assert_eq!(counters.hear(&Management::Acknowledges(start.wrapping_add(5))), Due::TooHigh);
        assert_eq!(counters.hear(&Management::Acknowledges(start.wrapping_add(2))), Due::TooHigh, "it goes back");
    }
}

#[test]
fn the_server_is_asked_one_question_at_a_time_after_several_more_stanzas_and_in_silence_but_not_before_it_counts() {
    let mut counters = Acknowledgement::asked_for();
    assert!((0..20).all(|n| counters.send(&stanza(n))));
    assert!(!counters.ask(false) && !counters.ask(true));
    counters.hear(&enabled(Some("x")));
    assert!(counters.ask(false), "they were sent after the question");
    assert!(!counters.ask(false), "it was asked");
    assert!(counters.ask(true));
    assert_eq!(counters.hear(&Management::Acknowledges(20)), Due::Nothing);
    assert!(!counters.ask(false), "there is nothing to ask about");
    assert!(counters.send(&stanza(20)) && counters.ask(false));
    assert!((21..28).all(|n| counters.send(&stanza(n)) && !counters.ask(false)), "the question is open");
    assert!(counters.send(&stanza(28)) && counters.ask(false));
    assert_eq!(counters.hear(&Management::Acknowledges(21)), Due::Nothing);
    assert!(!counters.ask(false), "all of it was asked about");
}

#[test]
fn a_server_that_acknowledges_nothing_costs_bounded_memory_and_the_resumption() {
    for mut counters in [on(), Acknowledgement::asked_for()] {
        let kept = u32::try_from(MOST_UNACKNOWLEDGED).unwrap();
        assert!((0..kept).all(|n| counters.send(&stanza(n))));
        assert!(!counters.send(&stanza(kept)), "told once");
        assert!((0..1000).all(|n| counters.send(&stanza(n))));
        assert_eq!(counters.unacknowledged().count(), 0);
        counters.hear(&enabled(Some("x")));
        assert_eq!(counters.hear(&Management::Acknowledges(kept + 1001)), Due::Nothing, "it still counts right");
        assert!(counters.resumption(own()).is_none());
    }
}

#[test]
fn without_an_id_or_without_management_there_is_nothing_to_resume_and_nothing_kept() {
    let mut plain = Acknowledgement::asked_for();
    plain.send(&stanza(1));
    let mut refused = plain.clone();
    plain.hear(&enabled(None));
    refused.hear(&Management::Failed);
    for mut counters in [plain, refused, Acknowledgement::off()] {
        counters.send(&stanza(2));
        counters.receive();
        assert_eq!(counters.unacknowledged().count(), 0);
        assert!(counters.resumption(own()).is_none());
    }
    assert!(Acknowledgement::asked_for().resumption(own()).is_none());
}

#[test]
fn our_patience_has_a_bound_whatever_the_server_grants() {
    for (granted, patience) in [(Some(10), 10), (Some(86_400), 300), (None, 300)] {
        let mut counters = Acknowledgement::asked_for();
        let patience_of = granted.map(Duration::from_secs);
        counters.hear(&Management::Enabled { id: Some("x".into()), patience: patience_of });
        assert_eq!(counters.resumption(own()).unwrap().patience(), Duration::from_secs(patience));
    }
}

#[test]
fn a_resumed_stream_counts_on_and_sends_again_what_was_not_acknowledged() {
    let mut counters = on_since(u32::MAX);
    assert!((0..3).all(|n| counters.send(&stanza(n))));
    counters.receive();
    counters.receive();
    counters.hear(&Management::Asks);
    counters.handle(0);
    let mut resumption = counters.resumption(own()).unwrap();
    assert_eq!((resumption.id(), resumption.handled()), ("x", 0));
    resumption.handle(1); // dealt with after the loss
    assert_eq!(resumption.handled(), 1);
    assert!(resumption.clone().resumed("y", 0).is_none(), "somebody else's");
    assert!(resumption.clone().resumed("x", 3).is_none(), "more than was sent");
    let mut counters = resumption.resumed("x", 1).unwrap();
    assert_eq!(ids(&counters), ["2"]);
    assert_eq!(counters.received(), 1);
    counters.receive();
    assert_eq!(counters.hear(&Management::Asks), Due::Answer(1));
    assert_eq!(counters.handle(2), Some(2));
    assert_eq!(counters.hear(&Management::Acknowledges(2)), Due::Nothing);
    assert_eq!(counters.unacknowledged().count(), 0);
}

#[test]
fn what_is_kept_is_not_shown() {
    let mut counters = on();
    counters.send(&"<iq xmlns='jabber:client'><value>s3cret</value></iq>".parse().unwrap());
    let shown = format!("{counters:?} {:?}", counters.clone().resumption(own()));
    assert!(!shown.contains("s3cret"), "{shown}");
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Receive,
    Handle(u32),
    Asks,
    Send,
    Acknowledges(u32),
    Resume(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Receive),
        3 => (0..4u32).prop_map(Step::Handle),
        2 => Just(Step::Asks),
        4 => Just(Step::Send),
        3 => (0..4u32).prop_map(Step::Acknowledges),
        1 => (0..4u32).prop_map(Step::Resume),
    ]
}

properties! {
    cases: 256;

    /// Against a model with numbers that never wrap: what is handled is never ahead of what was dealt with, nothing sent
    /// is lost or doubled, and an honest server is never said to acknowledge too much.
    #[test]
    fn whatever_happens_the_counters_agree_with_the_truth(start in any::<u32>(), steps in vec(step(), 0..200)) {
        let mut counters = on_since(start);
        let truth = |n: u64| start.wrapping_add(u32::try_from(n).unwrap());
        let (mut received, mut handled, mut acknowledged) = (0u64, 0u64, 0u64);
        let mut sent: Vec<String> = Vec::new();
        for step in steps {
            match step {
                Step::Receive => {
                    counters.receive();
                    received += 1;
                }
                Step::Handle(more) => {
                    handled = received.min(handled + u64::from(more));
                    if let Some(told) = counters.handle(truth(handled)) {
                        prop_assert_eq!(told, truth(handled));
                    }
                }
                Step::Asks => prop_assert_eq!(counters.hear(&Management::Asks), Due::Answer(truth(handled))),
                Step::Send => {
                    let n = u32::try_from(sent.len()).unwrap();
                    prop_assert!(counters.send(&stanza(n)) || sent.len() as u64 - acknowledged > 128);
                    sent.push(n.to_string());
                }
                Step::Acknowledges(more) => {
                    acknowledged = (sent.len() as u64).min(acknowledged + u64::from(more));
                    prop_assert_eq!(counters.hear(&Management::Acknowledges(truth(acknowledged))), Due::Nothing);
                }
                Step::Resume(more) => {
                    let Some(resumption) = counters.clone().resumption(own()) else { continue };
                    prop_assert_eq!(resumption.handled(), truth(handled));
                    acknowledged = (sent.len() as u64).min(acknowledged + u64::from(more));
                    counters = resumption.resumed("x", truth(acknowledged)).unwrap();
                    received = handled;
                }
            }
            prop_assert_eq!(counters.received(), truth(received));
            if counters.clone().resumption(own()).is_some() {
                let kept: Vec<_> = sent.iter().skip(usize::try_from(acknowledged).unwrap()).collect();
                prop_assert_eq!(ids(&counters), kept);
            }
        }
    }
}
