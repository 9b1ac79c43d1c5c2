//! Which of our own subscriptions to a node is kept, and which are too many (protocol sheet section 17, rules 10, 11
//! and 16).
//!
//! Must not know what was asked, nor do anything about it.

use xmpp_parsers::jid::FullJid;

use super::stanza::Listed;
use crate::domain::name::Subid;

/// What to make of the entries of one full JID.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement<'a> {
    /// The one that stays: a subscribed one; only if there is none, a pending one.
    pub kept: Option<&'a Listed>,
    /// Own ones besides it, in the order listed. One without a subid is never among them: it cannot be named.
    pub surplus: Vec<&'a Subid>,
}

impl Judgement<'_> {
    /// Whether `entry` of the same list is to go.
    #[must_use]
    pub fn condemns(&self, entry: &Listed, own: &FullJid) -> bool {
        entry.is_of(own) && entry.state != "none" && entry.subid.as_ref().is_some_and(|id| self.surplus.contains(&id))
    }
}

/// Judges the entries of exactly `own`, resource included; all others are as if they were not there.
///
/// The one of the subid `known` is kept, if it is subscribed, for that is the one that is renewed. Else the last one is:
/// the service appends, so it is the newest.
#[must_use]
pub fn judge<'a>(listed: &'a [Listed], own: &FullJid, known: Option<&Subid>) -> Judgement<'a> {
    let ours: Vec<_> = listed.iter().filter(|entry| entry.is_of(own) && entry.state != "none").collect();
    let approved = || ours.iter().filter(|entry| matches!(entry.state.as_str(), "subscribed" | "unconfigured"));
    let remembered = approved().find(|entry| known.is_some() && entry.subid.as_ref() == known);
    let newest = || approved().rfind(|entry| entry.state == "subscribed").or_else(|| approved().next_back());
    let kept = remembered.or_else(newest).or_else(|| ours.last()).copied();
    let others = ours.iter().filter(|entry| kept.is_some_and(|kept| kept.subid != entry.subid));
    Judgement { kept, surplus: others.filter_map(|entry| entry.subid.as_ref()).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "a@b/router";

    fn entry(jid: &str, subid: &str, state: &str) -> Listed {
        let subid = (!subid.is_empty()).then(|| subid.into());
        Listed { jid: jid.to_owned(), subid, state: state.to_owned() }
    }

    /// The subid kept, and those that go.
    fn judged(listed: &[Listed], known: Option<&str>) -> (Option<String>, Vec<String>) {
        let own = FullJid::new(OWN).unwrap();
        let judgement = judge(listed, &own, known.map(Subid::from).as_ref());
        let condemned = listed.iter().filter(|entry| judgement.condemns(entry, &own));
        assert_eq!(condemned.count(), judgement.surplus.len());
        let kept = judgement.kept.map(|kept| kept.subid.as_ref().map_or("", Subid::as_str).to_owned());
        (kept, judgement.surplus.iter().map(ToString::to_string).collect())
    }

    fn expect(listed: &[Listed], known: Option<&str>, kept: Option<&str>, surplus: &[&str]) {
        let surplus = surplus.iter().map(ToString::to_string).collect();
        assert_eq!(judged(listed, known), (kept.map(str::to_owned), surplus));
    }

    #[test]
    fn without_a_ledger_the_last_of_the_subscribed_is_kept() {
        let listed = [1, 2, 3].map(|n| entry(OWN, &n.to_string(), "subscribed"));
        expect(&listed, None, Some("3"), &["1", "2"]);
        expect(&listed, Some("gone"), Some("3"), &["1", "2"]);
        expect(&[], None, None, &[]);
    }

    #[test]
    fn the_one_the_ledger_knows_is_kept_if_it_is_subscribed() {
        let mut listed = [1, 2, 3].map(|n| entry(OWN, &n.to_string(), "subscribed"));
        expect(&listed, Some("1"), Some("1"), &["2", "3"]);
        "pending".clone_into(&mut listed[0].state);
        expect(&listed, Some("1"), Some("3"), &["1", "2"]);
    }

    #[test]
    fn nothing_of_another_resource_or_of_the_bare_jid_is_touched() {
        let foreign = ["a@b/other", "a@b/Router", "a@b/router2", "a@b", "c@b/router", "", "a@b/router/x"];
        let mut listed: Vec<_> = foreign.iter().map(|jid| entry(jid, "x", "subscribed")).collect();
        expect(&listed, Some("x"), None, &[]);
        listed.insert(0, entry(OWN, "1", "subscribed"));
        expect(&listed, Some("x"), Some("1"), &[]);
    }

    #[test]
    fn a_foreign_entry_of_the_same_subid_as_a_surplus_one_is_not_condemned() {
        let own = FullJid::new(OWN).unwrap();
        let listed =
            [entry(OWN, "1", "subscribed"), entry("a@b/other", "1", "subscribed"), entry(OWN, "2", "subscribed")];
        let judgement = judge(&listed, &own, None);
        assert_eq!(listed.each_ref().map(|entry| judgement.condemns(entry, &own)), [true, false, false]);
    }

    #[test]
    fn a_pending_one_goes_only_by_its_subid() {
        let subscribed = entry(OWN, "1", "subscribed");
        expect(&[subscribed.clone(), entry(OWN, "", "pending")], None, Some("1"), &[]);
        expect(&[subscribed, entry(OWN, "2", "pending")], None, Some("1"), &["2"]);
    }

    #[test]
    fn of_several_that_all_wait_the_newest_is_kept() {
        let listed = [entry(OWN, "1", "pending"), entry(OWN, "2", "pending")];
        expect(&listed, None, Some("2"), &["1"]);
        expect(&listed[..1], None, Some("1"), &[]);
    }

    #[test]
    fn what_has_ended_counts_as_absent() {
        let listed = [entry(OWN, "1", "subscribed"), entry(OWN, "2", "none")];
        expect(&listed, None, Some("1"), &[]);
        expect(&listed[1..], None, None, &[]);
    }

    #[test]
    fn one_that_waits_for_its_options_counts_as_subscribed() {
        let listed = [entry(OWN, "1", "unconfigured"), entry(OWN, "2", "pending")];
        expect(&listed, None, Some("1"), &["2"]);
    }

    #[test]
    fn entries_that_cannot_be_told_apart_are_left_alone() {
        let listed = [entry(OWN, "", "subscribed"), entry(OWN, "", "subscribed")];
        expect(&listed, None, Some(""), &[]);
    }
}
