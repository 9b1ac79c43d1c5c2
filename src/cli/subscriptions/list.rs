//! `subscriptions list`: what the services hold, beside what the ledger knows of it.

use anyhow::Result;

use super::VISITOR;
use super::ledger::own_line;
use crate::cli::round::{Named, Report, Round, complain};
use crate::cli::table::{Table, time};
use crate::cli::visit::{Holding, Visit};
use crate::config::Config;
use crate::domain::FullJid;
use crate::domain::name::{AccountName, Subid};
use crate::protocol::link::Failure;
use crate::protocol::stanza::Listed;
use crate::protocol::surplus::judge;
use crate::store::LedgerEntry;

const HEADINGS: [&str; 10] =
    ["ACCOUNT", "SERVICE", "NODE", "JID", "SUBID", "STATE", "WHOSE", "LEDGER", "LEASE UNTIL", "RENEWED"];

/// What was found of one account.
struct Found {
    router: FullJid,
    holdings: Vec<Holding>,
    ledger: Vec<LedgerEntry>,
}

/// Visits the accounts and makes the table.
pub(super) async fn list(config: &Config, only: Option<&str>) -> Result<Report> {
    let round = Round::new(config, only, VISITOR)?;
    let ledger = super::ledger(config).await?;
    let found = round.go(async |(name, account): Named<'_>, visit: Result<&mut Visit, Failure>| {
        let visit = visit.map_err(|failure| anyhow::anyhow!(failure.why()))?;
        let holdings = visit.holdings(account).await;
        Ok::<_, anyhow::Error>(Found { router: visit.router().clone(), holdings, ledger: ledger.of(name).await? })
    });
    let (mut table, mut failed) = (Table::new(HEADINGS), false);
    for ((name, _), found) in found.await {
        match found {
            Ok(found) => {
                failed |= report(name, &found.holdings);
                for line in lines(&found) {
                    table.add(cells(name, &line));
                }
            }
            Err(why) => {
                failed = true;
                complain(name, why);
            }
        }
    }
    Ok(Report { text: table.to_string(), failed })
}

/// Says on standard error what could not be listed, and what is too full; whether anything could not be.
pub(super) fn report(name: &AccountName, holdings: &[Holding]) -> bool {
    let mut failed = false;
    for held in holdings {
        if let Err(why) = &held.listed {
            failed = true;
            complain(name, format_args!("{} {}: {why}", held.service, held.node));
        }
        if let Some(warning) = held.crowded() {
            complain(name, warning);
        }
    }
    failed
}

/// One line of the table.
#[derive(Debug, Default, PartialEq, Eq)]
struct Line<'a> {
    service: &'a str,
    node: &'a str,
    listed: Option<&'a Listed>,
    whose: &'static str,
    ledger: Option<&'a LedgerEntry>,
}

/// What is listed, node by node, and then what only the ledger knows.
fn lines(found: &Found) -> Vec<Line<'_>> {
    let mut lines = Vec::new();
    let mut told: Vec<&LedgerEntry> = Vec::new();
    for held in &found.holdings {
        let (service, node) = (held.service.name(), held.node.as_str());
        let Ok(listed) = &held.listed else {
            // Whether the service knows what the ledger knows was not to be found out.
            told.extend(found.ledger.iter().filter(|line| line.service == service && line.node == held.node));
            continue;
        };
        let known = own_line(&found.ledger, &found.router, held).and_then(|line| line.subid.as_ref());
        let judgement = judge(listed, &found.router, known);
        for entry in listed {
            let whose = match (entry.is_of(&found.router), judgement.condemns(entry, &found.router)) {
                (true, true) => "own, surplus",
                (true, false) => "own",
                (false, _) => "other",
            };
            let kept = judgement.kept == Some(entry);
            let ledger = found.ledger.iter().find(|line| is_about(line, held, entry, kept));
            told.extend(ledger);
            lines.push(Line { service, node, listed: Some(entry), whose, ledger });
        }
        if listed.is_empty() && !found.ledger.iter().any(|line| line.service == service && line.node == held.node) {
            lines.push(Line { service, node, whose: "none", ..Line::default() });
        }
    }
    for ledger in found.ledger.iter().filter(|line| !told.contains(line)) {
        let asked = found.holdings.iter().any(|held| ledger.service == held.service.name() && ledger.node == held.node);
        let whose = if asked { "only in the ledger" } else { "only in the ledger, not configured" };
        lines.push(Line {
            service: &ledger.service,
            node: ledger.node.as_str(),
            listed: None,
            whose,
            ledger: Some(ledger),
        });
    }
    lines
}

/// Whether `line` of the ledger is about this entry; one without a subid is about the entry that is kept.
fn is_about(line: &LedgerEntry, held: &Holding, entry: &Listed, kept: bool) -> bool {
    let holder = FullJid::new(&line.jid).is_ok_and(|jid| entry.is_of(&jid));
    let named = if line.subid.is_some() { line.subid == entry.subid } else { kept };
    line.service == held.service.name() && line.node == held.node && holder && named
}

fn cells(account: &AccountName, line: &Line<'_>) -> [String; 10] {
    let (entry, ledger) = (line.listed, line.ledger);
    let jid = entry.map(|entry| entry.jid.as_str()).or(ledger.map(|ledger| ledger.jid.as_str()));
    let subid = entry.map_or_else(|| ledger.and_then(|ledger| ledger.subid.as_ref()), |entry| entry.subid.as_ref());
    [
        account.to_string(),
        line.service.to_owned(),
        line.node.to_owned(),
        jid.unwrap_or_default().to_owned(),
        subid.map_or("", Subid::as_str).to_owned(),
        entry.map_or("", |entry| entry.state.as_str()).to_owned(),
        line.whose.to_owned(),
        ledger.map_or("", |ledger| ledger.state.as_str()).to_owned(),
        ledger.and_then(|ledger| ledger.lease_until).map(time).unwrap_or_default(),
        ledger.and_then(|ledger| ledger.renewed).map(time).unwrap_or_default(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::service::Service;

    const NODE: &str = "/me/a@b";

    fn entry(jid: &str, subid: &str, state: &str) -> Listed {
        Listed { jid: jid.into(), subid: (!subid.is_empty()).then(|| subid.into()), state: state.into() }
    }

    fn remembered(node: &str, jid: &str, subid: Option<&str>) -> LedgerEntry {
        LedgerEntry {
            account: "desk".parse().unwrap(),
            service: "active-calls".into(),
            node: node.into(),
            jid: jid.into(),
            subid: subid.map(Into::into),
            state: "active".into(),
            lease_until: Some("2026-11-22T15:14:09Z".parse().unwrap()),
            renewed: None,
            assigned: false,
        }
    }

    fn found(listed: Result<Vec<Listed>>, ledger: Vec<LedgerEntry>) -> Found {
        let service = Service::new("active-calls", "x.test").unwrap();
        let held = Holding { service, node: NODE.into(), via: NODE.into(), listed };
        Found { router: FullJid::new("a@b/router").unwrap(), holdings: vec![held], ledger }
    }

    /// Subid, whose, and whether the ledger knows it.
    fn told(found: &Found) -> Vec<(String, &'static str, bool)> {
        let account = "desk".parse().unwrap();
        lines(found).iter().map(|line| (cells(&account, line)[4].clone(), line.whose, line.ledger.is_some())).collect()
    }

    #[test]
    fn own_surplus_and_other_resources_are_told_apart() {
        let listed = vec![
            entry("a@b/router", "1", "subscribed"),
            entry("a@b/phone", "2", "subscribed"),
            entry("a@b/router", "3", "subscribed"),
            entry("a@b/router", "", "pending"),
        ];
        let ledger = vec![remembered(NODE, "a@b/router", Some("1"))];
        let expected = [
            ("1".to_owned(), "own", true),
            ("2".to_owned(), "other", false),
            ("3".to_owned(), "own, surplus", false),
            (String::new(), "own", false),
        ];
        assert_eq!(told(&found(Ok(listed), ledger)), expected);
    }

    #[test]
    fn what_only_the_ledger_knows_is_said_to_be_so() {
        let ledger = vec![
            remembered(NODE, "a@b/router", Some("9")),
            remembered(NODE, "a@b/old", Some("1")),
            remembered("/me/former@b", "a@b/router", Some("8")),
        ];
        let expected = [
            ("1".to_owned(), "own", false),
            ("9".to_owned(), "only in the ledger", true),
            ("1".to_owned(), "only in the ledger", true),
            ("8".to_owned(), "only in the ledger, not configured", true),
        ];
        assert_eq!(told(&found(Ok(vec![entry("a@b/router", "1", "subscribed")]), ledger)), expected);
    }

    #[test]
    fn a_line_of_the_ledger_without_a_subid_is_about_the_entry_that_is_kept() {
        let listed = vec![entry("a@b/router", "1", "subscribed"), entry("a@b/router", "2", "subscribed")];
        let ledger = vec![remembered(NODE, "a@b/router", None)];
        let expected = [("1".to_owned(), "own, surplus", false), ("2".to_owned(), "own", true)];
        assert_eq!(told(&found(Ok(listed), ledger)), expected);
    }

    #[test]
    fn where_the_service_did_not_answer_nothing_is_claimed_of_its_node() {
        let ledger = vec![remembered(NODE, "a@b/router", Some("1"))];
        assert_eq!(told(&found(Err(anyhow::anyhow!("no answer in time")), ledger)), []);
    }

    #[test]
    fn a_node_without_any_subscription_has_a_line_of_its_own() {
        assert_eq!(told(&found(Ok(Vec::new()), Vec::new())), [(String::new(), "none", false)]);
    }

    #[test]
    fn times_of_the_ledger_stand_in_the_line() {
        let found =
            found(Ok(vec![entry("a@b/router", "1", "subscribed")]), vec![remembered(NODE, "a@b/router", Some("1"))]);
        let line = cells(&"desk".parse().unwrap(), &lines(&found)[0]);
        let expected = ["desk", "active-calls", NODE, "a@b/router", "1", "subscribed", "own", "active"];
        assert_eq!(line[..8], expected);
        assert_eq!((line[8].as_str(), line[9].as_str()), ("2026-11-22T15:14:09Z", ""));
    }
}
