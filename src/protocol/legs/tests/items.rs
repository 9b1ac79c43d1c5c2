//! Registrations and the items of other services.

use super::*;

fn phone(published: i64, expires: &str) -> Part {
    let fields = RegistrationFields {
        contact: Some("sip:ann@192.0.2.1".into()),
        expires: Some(expires.into()),
        ..RegistrationFields::default()
    };
    item("sip:ann@192.0.2.1", Some(published), Content::Registration(fields))
}

fn types(events: &[Event]) -> Vec<EventType> {
    events.iter().map(|event| event.r#type).collect()
}

#[test]
fn a_registration_is_updated_removed_and_may_come_back() {
    let mut store = Store::default();
    let mut see = |at, part| store.see_from("user-agents", at, part);
    assert_eq!(types(&see(0, phone(0, "1"))), [EventType::RegistrationUpdated]);
    assert_eq!(types(&see(1, phone(1, "2"))), [EventType::RegistrationUpdated]);
    assert_eq!(types(&see(1, phone(1, "2"))), []);
    let first = see(2, retract("sip:ann@192.0.2.1"));
    assert_eq!(types(&first), [EventType::RegistrationRemoved]);
    assert_eq!(types(&see(3, phone(3, "3"))), [EventType::RegistrationUpdated], "back again");
    let second = see(4, retract("sip:ann@192.0.2.1"));
    assert_eq!(types(&second), [EventType::RegistrationRemoved]);
    assert_ne!(first[0].id, second[0].id);
    assert_eq!(data(&second[0])["contact"], serde_json::Value::Null);
    assert_eq!(second[0].partitionkey, second[0].subject);
    assert_eq!(second[0].sequence, "0000000005");
}

#[test]
fn an_old_copy_of_a_registration_does_not_bring_it_back() {
    let mut store = Store::default();
    store.see_from("user-agents", 100, phone(100, "1"));
    store.see_from("user-agents", 200, retract("sip:ann@192.0.2.1"));
    assert_eq!(store.see_from("user-agents", 300, phone(150, "2")).len(), 1, "told, as a replay");
    assert_eq!(store.see_from("user-agents", 301, retract("sip:ann@192.0.2.1")).len(), 0);
}

#[test]
fn items_of_other_services_are_published_and_retracted() {
    let mut store = Store::default();
    let mail = |payload: &str| item("M1", None, Content::Other(Some(payload.into())));
    let mut see = |part| store.see_from("voicemail", 0, part);
    let first = see(mail("<voicemail/>"));
    assert_eq!(types(&first), [EventType::ItemPublished]);
    assert_eq!(data(&first[0])["payload"], "<voicemail/>");
    assert_eq!(types(&see(mail("<voicemail><labels/></voicemail>"))), [EventType::ItemPublished], "moved");
    assert_eq!(types(&see(retract("M1"))), [EventType::ItemRetracted]);
    assert_eq!(types(&see(item("M2", None, Content::Other(None)))), [EventType::ItemPublished], "without payload");
    let purged = see(Part::Purge { node: NODE.into() });
    assert_eq!(types(&purged), [EventType::ItemRetracted]);
    assert_eq!(data(&purged[0])["payload"], serde_json::Value::Null);
}

#[test]
fn the_same_item_of_two_services_is_two_things() {
    let mut store = Store::default();
    let calls = store.see(0, retract("X"));
    let mails = store.see_from("voicemail", 0, retract("X"));
    assert_ne!(calls[0].subject, mails[0].subject);
    assert_ne!(calls[0].id, mails[0].id);
}
