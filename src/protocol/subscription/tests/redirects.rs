//! The node is elsewhere.

use super::*;

fn via(play: &Play) -> &str {
    play.machine.via.as_str()
}

#[test]
fn five_hops_are_followed_and_the_sixth_is_denied() {
    let mut play = Play::new();
    play.ready();
    for hop in 1..=5 {
        assert_eq!(play.hears(&moved(&format!("/n{hop}"))), "list");
        assert_eq!(via(&play), format!("/n{hop}"));
    }
    let mut lucky = Play { machine: play.machine.clone(), now: play.now };
    assert_eq!(lucky.hears(&list("")), "subscribe, = subscribing");
    assert_eq!(via(&lucky), "/n5");
    assert_eq!(play.hears(&moved("/n6")), "= denied");
    assert_eq!(via(&play), "/me/a@b.test", "the next try begins where it was configured");
}

#[test]
fn a_loop_of_redirected_subscribes_between_good_lists_ends() {
    let mut play = Play::new();
    play.ready();
    for hop in 0..=5 {
        assert_eq!(play.hears(&list("")), "subscribe, = subscribing");
        let then = play.hears(&moved(["/x", "/y"][hop % 2]));
        assert_eq!(then, if hop < 5 { "list, = listing" } else { "= denied" }, "hop {hop}");
    }
}

#[test]
fn renewals_and_removals_go_where_the_redirect_led() {
    let mut play = Play::new();
    play.ready();
    play.hears(&moved("/n1"));
    play.hears(&list("subscribed:A subscribed:B"));
    let commands = play.machine.answered(&done(), at(play.now));
    assert!(
        commands.contains(&Command::Send(Request::Unsubscribe { node: "/n1".into(), subid: Some("A".into()) })),
        "{commands:?}"
    );
    play.hears(&done());
    play.due();
    assert_eq!(via(&play), "/n1");
    assert_eq!(play.hears(&moved("/n2")), "renewal: failed, list, = listing");
    assert_eq!(via(&play), "/n2");
}

#[test]
fn messages_may_name_either_node() {
    for node in ["/me/a@b.test", "/n1"] {
        let mut play = Play::new();
        play.ready();
        play.hears(&moved("/n1"));
        play.hears(&list(""));
        play.hears(&result("<subscription subscription='pending'/>"));
        let change = Change { node: Some(node.into()), ..told("subscribed") };
        assert_eq!(shown(play.machine.changed(&change, at(play.now))), "list, = active", "{node}");
    }
}

#[test]
fn after_a_loss_the_configured_node_is_asked_first() {
    let mut play = Play::new();
    play.ready();
    play.hears(&moved("/n1"));
    play.hears(&list("subscribed:A"));
    play.hears(&done());
    play.told("none");
    play.hears(&list(""));
    assert_eq!(via(&play), "/me/a@b.test");
}
