use super::*;
use crate::protocol::notification::Content;

const CALL: &str = "<active-call xmlns='onsip:active-calls' publish-time='2026-01-01T12:00:00Z'>\
     <dialog-state>requested</dialog-state><call-id>C</call-id></active-call>";

fn inquiry(node: &str, leaves: &[&str]) -> Inquiry {
    Inquiry {
        account: "front".parse().unwrap(),
        service: Service::new("active-calls", "x.test").unwrap(),
        node: node.into(),
        leaves: leaves.iter().map(|leaf| (*leaf).into()).collect(),
        asked: "2026-01-01T12:00:00Z".parse().unwrap(),
    }
}

/// The answer with this content, to a request for all of Ann's items.
fn collection(inner: &str) -> Notification {
    read(&inquiry("/me/ann@a.test", &["/a.test/ann", "/a.test/sales"]), inner)
}

fn read(inquiry: &Inquiry, inner: &str) -> Notification {
    let answer = format!("<iq xmlns='jabber:client' type='result'>{inner}</iq>");
    inquiry.read(&answer.parse().unwrap(), &FullJid::new("ann@a.test/router").unwrap())
}

fn pubsub(inner: &str) -> String {
    format!("<pubsub xmlns='http://jabber.org/protocol/pubsub'>{inner}</pubsub>")
}

/// `leaf: item item` of each leaf the answer speaks for; `(front)` where only that account's legs are meant.
fn rests(note: &Notification) -> Vec<String> {
    let rest = |part: &Part| match part {
        Part::Rest { node, present, told_by } => {
            let by = told_by.as_ref().map_or(String::new(), |account| format!(" ({account})"));
            let present: Vec<_> = present.iter().map(|item| format!(" {item}")).collect();
            Some(format!("{node}:{}{by}", present.concat()))
        }
        Part::Item { .. } | Part::Retract { .. } | Part::Purge { .. } | Part::Subscription(_) => None,
    };
    note.parts.iter().filter_map(rest).collect()
}

fn items(note: &Notification) -> Vec<(&str, &str)> {
    let item = |part| match part {
        &Part::Item { ref node, ref item, content: Content::Call(..), .. } => Some((node.as_str(), item.as_str())),
        _ => None,
    };
    note.parts.iter().filter_map(item).collect()
}

#[test]
fn several_blocks_are_read_one_per_leaf() {
    let note = collection(&pubsub(&format!(
        "<items node='/a.test/ann'><item id='T1'>{CALL}</item><item id='T2'>{CALL}</item></items>\
         <items node='/a.test/sales'/>"
    )));
    assert_eq!(items(&note), [("/a.test/ann", "T1"), ("/a.test/ann", "T2")]);
    assert_eq!(rests(&note), ["/a.test/ann: T1 T2", "/a.test/sales:"]);
    assert!(matches!(note.parts.last(), Some(Part::Rest { .. })), "what is there comes first");
    assert_eq!((note.collection, note.asked.is_some()), (Some("/me/ann@a.test".into()), true));
    assert_eq!(note.to.unwrap().as_str(), "ann@a.test/router");
}

#[test]
fn a_leaf_that_is_left_out_has_nothing_as_far_as_the_account_saw_it() {
    let empty = ["/a.test/ann: (front)", "/a.test/sales: (front)"];
    assert_eq!(rests(&collection(&pubsub(""))), empty);
    let itself = collection(&pubsub("<items node='/me/ann@a.test'/>"));
    assert_eq!(rests(&itself), [&["/me/ann@a.test:"], &empty[..]].concat());
    let one = collection(&pubsub("<items node='/a.test/sales'/>"));
    assert_eq!(rests(&one), ["/a.test/sales:", "/a.test/ann: (front)"]);
}

#[test]
fn of_a_leaf_the_answer_holds_for_everybody() {
    let leaf = inquiry("/a.test/ann", &["/a.test/ann"]);
    assert_eq!(rests(&read(&leaf, &pubsub(""))), ["/a.test/ann:"]);
    let note = read(&leaf, &pubsub(&format!("<items><item id='T1'>{CALL}</item></items>")));
    assert_eq!((rests(&note), note.collection.clone()), (vec!["/a.test/ann: T1".to_owned()], None));
}

#[test]
fn an_item_that_cannot_be_read_is_there_all_the_same() {
    let note = collection(&pubsub(
        "<items node='/a.test/ann'><item id='T1'/><item id='T2'><riddle xmlns='x'/></item></items>",
    ));
    assert_eq!((items(&note).len(), note.malformed), (0, 2));
    assert_eq!(rests(&note)[0], "/a.test/ann: T1 T2");
}

#[test]
fn what_is_not_a_whole_answer_ends_nothing() {
    let nameless = collection(&pubsub(&format!(
        "<items node='/a.test/ann'><item>{CALL}</item><item id='T2'>{CALL}</item></items><items node='/a.test/sales'/>"
    )));
    assert_eq!(rests(&nameless), ["/a.test/sales:"]);
    assert_eq!(items(&nameless).len(), 1);
    let page = collection(&pubsub(&format!(
        "<items node='/a.test/ann'><item id='T1'>{CALL}</item></items><set xmlns='http://jabber.org/protocol/rsm'/>"
    )));
    assert_eq!((rests(&page).len(), items(&page).len()), (0, 1));
    assert_eq!(collection("").parts, []);
}

#[test]
fn a_collection_stands_for_the_leaves_of_the_authorized_addresses() {
    let addresses = ["ann@a.test", "ann@b.test", "nonsense"].map(str::to_owned);
    let of = |node: &str| leaves(&node.into(), &addresses).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(of("/me/ann@a.test"), ["/a.test/ann", "/b.test/ann"]);
    assert_eq!(of("/me/ann@a.test/b.test"), ["/b.test/ann"]);
    assert_eq!(of("/a.test/bob"), ["/a.test/bob"]);
}

#[test]
fn c2_an_answer_of_which_something_was_left_out_ends_nothing() {
    let long = "x".repeat(1_024);
    let call = format!("<item id='T1'>{CALL}</item>");
    for other in [
        format!("<items node='/a.test/ann'>{call}<item id='{long}'>{CALL}</item></items>"),
        format!("<items node='{long}'/><items node='/a.test/ann'>{call}</items>"),
    ] {
        let note = collection(&pubsub(&other));
        assert_eq!((items(&note).len(), rests(&note).len(), note.oversize), (1, 0, 1));
    }
    let many = (0..5_000).map(|n| format!("<item id='{n}'>{CALL}</item>")).collect::<Vec<_>>().concat();
    let note = collection(&pubsub(&format!("<items node='/a.test/ann'>{many}</items>")));
    assert!(note.output() <= crate::domain::limits::SHOWN_OUTPUT_BYTES && rests(&note).is_empty());
    assert_eq!(note.parts.len() as u64 + note.oversize, 5_000);
}
