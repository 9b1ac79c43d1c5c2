//! Messages as the service writes them, and as it never should.

use super::*;

fn read(inner: &str) -> Notification {
    read_as(ServiceKind::Calls, inner)
}

fn read_as(kind: ServiceKind, inner: &str) -> Notification {
    let xml = format!("<message xmlns='jabber:client' from='pubsub.s' to='a@b/r'>{inner}</message>");
    Notification::read(&xml.parse().unwrap(), |_| Some(kind))
}

fn event(inner: &str) -> String {
    format!("<event xmlns='http://jabber.org/protocol/pubsub#event'>{inner}</event>")
}

fn item(id: &str, state: &str) -> String {
    format!(
        "<item id='{id}'><active-call xmlns='onsip:active-calls' publish-time='2012-11-13T15:20:00Z'>\
         <dialog-state>{state}</dialog-state><call-id>c1</call-id><to-tag/><new-thing>x</new-thing>\
         </active-call></item>"
    )
}

const HEADERS: &str = "<headers xmlns='http://jabber.org/protocol/shim'><header name='Collection'>/me/a@b</header>\
                       <header name='SubID'>1</header><header name='SubID'>2</header></headers>";

#[test]
fn headers_may_come_first_or_last() {
    let body = event(&format!("<items node='/b/a'>{}</items>", item("T1", "created")));
    let first = read(&format!("{HEADERS}{body}"));
    let last = read(&format!("{body}{HEADERS}"));
    assert_eq!(first, last);
    assert_eq!(first.collection, Some("/me/a@b".into()));
    assert_eq!(first.subids, ["1".into(), "2".into()]);
}

#[test]
fn every_item_and_retract_is_read_in_order() {
    let note = read(&event(&format!(
        "<items node='/b/a'>{}<retract id='T0'/>{}</items><items node='/b/c'>{}</items>",
        item("T1", "requested"),
        item("T2", "confirmed"),
        item("T3", "created")
    )));
    let seen: Vec<_> = note
        .parts
        .iter()
        .map(|part| match part {
            Part::Item { item, node, .. } => format!("+{item}@{node}"),
            Part::Retract { item, .. } => format!("-{item}"),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(seen, ["+T1@/b/a", "-T0", "+T2@/b/a", "+T3@/b/c"]);
}

#[test]
fn a_bad_item_does_not_cost_its_neighbours() {
    let note = read(&event(&format!(
        "<items node='/b/a'>{}<item id='T2'/>{}<item>{}</item></items><items>lost</items>",
        item("T1", "requested"),
        item("T3", "ringing"),
        "<active-call xmlns='onsip:active-calls'/>"
    )));
    assert_eq!((note.parts.len(), note.malformed), (1, 4));
}

#[test]
fn an_empty_element_is_absent_and_unknown_ones_are_passed_over() {
    let note = read(&event(&format!("<items node='/b/a'>{}</items>", item("T1", "confirmed"))));
    let [Part::Item { content: Content::Call(state, fields), published, .. }] = &note.parts[..] else {
        unreachable!("{note:?}")
    };
    assert_eq!((*state, fields.call_id.as_deref(), &fields.to_tag), (DialogState::Confirmed, Some("c1"), &None));
    assert_eq!(published.as_deref(), Some("2012-11-13T15:20:00Z"));
}

#[test]
fn an_approval_needs_no_type_and_no_subid() {
    let note = read(&event("<subscription node='/me/a@b' jid='a@b/r' subscription='subscribed'/>"));
    let [Part::Subscription(change)] = &note.parts[..] else { unreachable!("{note:?}") };
    assert_eq!((change.state.as_str(), &change.subid), ("subscribed", &None));
}

#[test]
fn a_delay_stamp_of_either_age_is_seen() {
    assert!(read("<delay xmlns='urn:xmpp:delay' stamp='2012-11-13T15:20:00Z'/>").delayed);
    assert!(read("<x xmlns='jabber:x:delay' stamp='20121113T15:20:00'/>").delayed);
}

#[test]
fn other_services_keep_the_payload_whole() {
    let note = read_as(
        ServiceKind::Items,
        &event(
            "<items node='/d/vm'><item id='1'><voicemail xmlns='onsip:voicemail'><mailbox>1</mailbox></voicemail></item></items>",
        ),
    );
    let [Part::Item { content: Content::Other(Some(xml)), .. }] = &note.parts[..] else { unreachable!("{note:?}") };
    assert!(xml.contains("onsip:voicemail") && xml.contains("<mailbox>1</mailbox>"), "{xml}");
}

#[test]
fn chatter_of_a_service_is_malformed_and_a_purge_is_not() {
    assert_eq!(read("<body>hello</body>").malformed, 1);
    let purge = read(&event("<purge node='/b/a'/><delete node='/b/c'/><configuration node='/b/a'/>"));
    assert_eq!((purge.parts.len(), purge.malformed), (2, 0));
}

#[test]
fn a_returned_message_tells_nothing() {
    let xml = format!(
        "<message xmlns='jabber:client' from='pubsub.s' to='a@b/r' type='error'>{}</message>",
        event(&format!("<items node='/b/a'>{}</items>", item("T1", "created")))
    );
    let note = Notification::read(&xml.parse().unwrap(), |_| Some(ServiceKind::Calls));
    assert_eq!((note.parts.len(), note.malformed), (0, 1));
}

#[test]
fn a_message_may_be_of_any_other_type() {
    for kind in ["normal", "headline", "chat"] {
        let xml = format!(
            "<message xmlns='jabber:client' from='pubsub.s' to='a@b/r' type='{kind}'>{}</message>",
            event("<items node='/b/a'><retract id='T1'/><retract id='T2'/></items>")
        );
        let note = Notification::read(&xml.parse().unwrap(), |_| Some(ServiceKind::Calls));
        assert_eq!(note.parts.len(), 2, "{kind}");
    }
}

#[test]
fn blank_headers_and_publish_times_are_absent() {
    let note = read(&format!(
        "<headers xmlns='http://jabber.org/protocol/shim'><header name='Collection'> </header><header name='SubID'/>\
         </headers>{}",
        event(
            "<items node='/b/a'><item id='T'><active-call xmlns='onsip:active-calls' publish-time=''>\
             <dialog-state>created</dialog-state></active-call></item></items>"
        )
    ));
    assert_eq!((&note.collection, note.subids.len()), (&None, 0));
    assert!(matches!(&note.parts[..], [Part::Item { published: None, .. }]));
}

#[test]
fn a_header_needs_no_wrapper() {
    let note = read("<header xmlns='http://jabber.org/protocol/shim' name='SubID'>9</header>");
    assert_eq!(note.subids, ["9".into()]);
}

mod garbage {
    use proptest::prelude::*;

    use super::*;
    use crate::seed::properties;

    const NAMES: [&str; 16] = [
        "event",
        "items",
        "item",
        "retract",
        "purge",
        "delete",
        "subscription",
        "headers",
        "header",
        "active-call",
        "user-agent",
        "dialog-state",
        "call-id",
        "delay",
        "x",
        "error",
    ];
    const SPACES: [&str; 7] = [
        "jabber:client",
        "http://jabber.org/protocol/pubsub#event",
        "http://jabber.org/protocol/shim",
        "onsip:active-calls",
        "onsip:user-agents",
        "urn:xmpp:delay",
        "",
    ];
    const ATTRIBUTES: [&str; 6] = ["id", "node", "name", "subscription", "publish-time", "type"];

    fn tree() -> impl Strategy<Value = String> {
        let attribute = (0..ATTRIBUTES.len(), "[a-z/:]{0,6}");
        let head = (0..NAMES.len(), 0..SPACES.len(), proptest::option::of(attribute), "[a-z 0-9]{0,8}");
        let leaf = head.clone().prop_map(|head| element(head, ""));
        leaf.prop_recursive(5, 40, 6, move |inner| {
            (head.clone(), proptest::collection::vec(inner, 0..6))
                .prop_map(|(head, children)| element(head, &children.concat()))
        })
    }

    fn element((name, space, attribute, text): (usize, usize, Option<(usize, String)>, String), inner: &str) -> String {
        let attribute = attribute.map_or(String::new(), |(name, value)| format!(" {}='{value}'", ATTRIBUTES[name]));
        let name = NAMES[name];
        format!("<{name} xmlns='{}'{attribute}>{text}{inner}</{name}>", SPACES[space])
    }

    properties! {
        cases: 256;

        #[test]
        fn never_panics_and_never_costs_a_good_neighbour(
            before in proptest::collection::vec(tree(), 0..4),
            inside in proptest::collection::vec(tree(), 0..4),
        ) {
            for kind in [ServiceKind::Calls, ServiceKind::Registrations, ServiceKind::Items] {
                let good = event(&format!("{}<items node='/b/a'>{}<retract id='good'/></items>", inside.concat(), inside.concat()));
                let note = read_as(kind, &format!("{}{good}", before.concat()));
                let seen = note.parts.iter().any(|part| matches!(part, Part::Retract { item, .. } if item.as_str() == "good"));
                prop_assert!(seen, "{note:?}");
                let alone = read_as(kind, &before.concat());
                prop_assert!(alone.malformed > 0 || before.iter().any(|tree| tree.starts_with("<event")));
            }
        }
    }
}

#[test]
fn c1_what_is_too_long_or_too_many_is_left_out_and_counted_and_costs_nothing_else() {
    let long = "x".repeat(crate::domain::limits::NAME_BYTES + 1);
    let good = item("T1", "created");
    let of = |inner: &str| read(&event(&format!("<items node='/b/a'>{inner}{good}</items>")));
    let blocks = [
        format!("<items node='{long}'><retract id='a'/>{good}</items>"),
        format!("<purge node='{long}'/>"),
        format!("<subscription node='{long}' subscription='none'/>"),
        format!("<subscription node='/b/a' subid='{long}{long}' subscription='none'/>"),
    ];
    for block in blocks {
        let note = read(&event(&format!("{block}<items node='/b/a'>{good}</items>")));
        assert_eq!((note.parts.len(), note.oversize, note.malformed), (1, 1, 0), "{block}");
    }
    let published = "2".repeat(65);
    let field = "y".repeat(crate::domain::limits::FIELD_BYTES + 1);
    let entries = [
        format!("<retract id='{long}'/>"),
        format!("<item id='{long}'/>"),
        format!(
            "<item id='a'><active-call xmlns='onsip:active-calls' publish-time='{published}'><dialog-state>created\
             </dialog-state></active-call></item>"
        ),
        format!(
            "<item id='a'><active-call xmlns='onsip:active-calls'><dialog-state>created</dialog-state><to-display>{field}\
             </to-display></active-call></item>"
        ),
    ];
    for entry in entries {
        let note = of(&entry);
        assert_eq!((note.parts.len(), note.oversize, note.malformed), (1, 1, 0), "{entry}");
    }
    let header = |name: &str, text: &str| format!("<header name='{name}'>{text}</header>");
    let subids: String = (0..14).map(|n| header("SubID", &n.to_string())).collect();
    let headers = format!("{}{}{subids}", header("Collection", &long), header("SubID", &long.repeat(2)));
    let headers = format!("<headers xmlns='http://jabber.org/protocol/shim'>{headers}</headers>");
    let note = read(&format!("{headers}{}", event(&format!("<items node='/b/a'>{good}</items>"))));
    assert_eq!((note.parts.len(), note.collection, note.subids.len(), note.oversize), (1, None, 10, 6));
    let payload = "z".repeat(crate::domain::limits::PAYLOAD_BYTES);
    let note = read_as(
        ServiceKind::Items,
        &event(&format!("<items node='n'><item id='a'><p xmlns='u'>{payload}</p></item></items>")),
    );
    assert_eq!((note.parts.len(), note.oversize), (0, 1));
}

#[test]
fn c2_no_message_becomes_more_than_it_may() {
    let retracts = "<retract id='i'/>".repeat(5_500);
    for node in ["n".to_owned(), "n".repeat(1_000)] {
        let note = read(&event(&format!("<items node='{node}'>{retracts}</items>")));
        assert!(note.output() <= MESSAGE_OUTPUT_BYTES, "{}", note.output());
        assert!((100..=512).contains(&note.parts.len()), "{}", note.parts.len());
        assert_eq!(note.parts.len() as u64 + note.oversize, 5_500);
    }
    let changes = "<subscription node='n' subscription='none'/>".repeat(1_000);
    let note = read(&event(&changes));
    assert_eq!((note.parts.len(), note.oversize), (16, 984));
}
