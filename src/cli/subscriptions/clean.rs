//! `subscriptions clean`: removes this router's own surplus by subid, one at a time, and nothing else.

use anyhow::{Result, anyhow};

use super::VISITOR;
use super::ledger::{Ledger, own_line};
use super::list::report;
use crate::cli::round::{Named, Report, Round, complain};
use crate::cli::table::Table;
use crate::cli::visit::{Holding, Visit};
use crate::config::Config;
use crate::domain::name::{AccountName, Subid};
use crate::protocol::link::Failure;
use crate::protocol::requests::{NoAnswer, Reply};
use crate::protocol::stanza::{Listed, Request};
use crate::protocol::surplus::judge;
use crate::store::StoreError;

const HEADINGS: [&str; 7] = ["ACCOUNT", "SERVICE", "NODE", "JID", "SUBID", "STATE", "RESULT"];

/// What became of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    /// The router's own, and the one it goes on with.
    Kept,
    /// Of another resource.
    Other,
    /// The router's own, but it cannot be named or has ended.
    Left,
    Removed,
    /// The service did not know it any more.
    Gone,
    /// It would be removed, if this were not a rehearsal.
    Due,
    NotRemoved(String),
}

/// Visits the accounts, removes what is too much, and makes the table.
pub(super) async fn clean(config: &Config, only: Option<&str>, dry_run: bool) -> Result<Report> {
    let round = Round::new(config, only, VISITOR)?;
    let ledger = super::ledger(config).await?;
    let done = round.go(async |(name, account): Named<'_>, visit: Result<&mut Visit, Failure>| {
        let visit = visit.map_err(|failure| anyhow!(failure.why()))?;
        let mut holdings = Vec::new();
        for held in visit.holdings(account).await {
            let fates = tidy(name, visit, &held, &ledger, dry_run).await;
            holdings.push((held, fates));
        }
        Ok::<_, anyhow::Error>(holdings)
    });
    let (mut table, mut failed) = (Table::new(HEADINGS), false);
    let mut fates = Vec::new();
    for ((name, _), done) in done.await {
        match done {
            Ok(holdings) => {
                for (held, each) in holdings {
                    failed |= report(name, std::slice::from_ref(&held));
                    let each = each.unwrap_or_else(|why| {
                        failed = true;
                        complain(name, why);
                        Vec::new()
                    });
                    for (entry, fate) in held.listed.iter().flatten().zip(&each) {
                        let cells = cells(name, &held, entry, fate);
                        if matches!(fate, Fate::NotRemoved(_)) {
                            complain(name, cells[1..].join(" "));
                        }
                        table.add(cells);
                    }
                    fates.extend(each);
                }
            }
            Err(why) => {
                failed = true;
                complain(name, why);
            }
        }
    }
    failed |= fates.iter().any(|fate| matches!(fate, Fate::NotRemoved(_)));
    Ok(Report { text: format!("{table}\n{}", summary(&fates)), failed })
}

/// Removes what is too much of one node, and says what became of each entry; nothing where the ledger cannot be read.
async fn tidy(
    name: &AccountName,
    visit: &mut Visit,
    held: &Holding,
    ledger: &Ledger,
    dry_run: bool,
) -> Result<Vec<Fate>, StoreError> {
    let Ok(listed) = &held.listed else { return Ok(Vec::new()) };
    // Read after the list was made: a running daemon writes there what it has just subscribed to.
    let ledger = ledger.of(name).await?;
    let router = visit.router().clone();
    let known = own_line(&ledger, &router, held).and_then(|line| line.subid.as_ref());
    let judgement = judge(listed, &router, known);
    let mut fates = Vec::new();
    for entry in listed {
        fates.push(match &entry.subid {
            Some(_) if judgement.condemns(entry, &router) && dry_run => Fate::Due,
            Some(subid) if judgement.condemns(entry, &router) => remove(visit, held, subid).await,
            Some(_) | None if !entry.is_of(&router) => Fate::Other,
            Some(_) | None if judgement.kept == Some(entry) => Fate::Kept,
            Some(_) | None => Fate::Left,
        });
    }
    Ok(fates)
}

async fn remove(visit: &mut Visit, held: &Holding, subid: &Subid) -> Fate {
    let request = Request::Unsubscribe { node: held.via.clone(), subid: Some(subid.clone()) };
    let reply = visit.ask(held.service.jid(), &request).await;
    fate(&reply, |why| visit.fault(why).to_string())
}

/// What the answer to an unsubscribe request means (protocol sheet section 6.7).
fn fate(reply: &Reply, fault: impl Fn(&NoAnswer) -> String) -> Fate {
    match reply {
        Ok(_) => Fate::Removed,
        Err(NoAnswer::Refused(why)) if why.is("not-subscribed") || why.is("invalid-subid") => Fate::Gone,
        Err(why) => Fate::NotRemoved(fault(why)),
    }
}

fn cells(account: &AccountName, held: &Holding, entry: &Listed, fate: &Fate) -> [String; 7] {
    let result = match fate {
        Fate::Kept => "kept".to_owned(),
        Fate::Other => "left: another resource".to_owned(),
        Fate::Left => "left".to_owned(),
        Fate::Removed => "removed".to_owned(),
        Fate::Gone => "was gone already".to_owned(),
        Fate::Due => "would be removed".to_owned(),
        Fate::NotRemoved(why) => format!("not removed: {why}"),
    };
    [
        account.to_string(),
        held.service.to_string(),
        held.node.to_string(),
        entry.jid.clone(),
        entry.subid.as_ref().map_or("", Subid::as_str).to_owned(),
        entry.state.clone(),
        result,
    ]
}

fn summary(fates: &[Fate]) -> String {
    let count = |wanted: &[Fate]| fates.iter().filter(|fate| wanted.contains(fate)).count();
    let left = count(&[Fate::Kept, Fate::Other, Fate::Left]);
    match (count(&[Fate::Due]), count(&[Fate::Removed, Fate::Gone])) {
        (0, removed) => {
            let failed = fates.len() - left - removed;
            let failed = if failed == 0 { String::new() } else { format!(", {failed} not removed") };
            format!("{removed} removed, {left} left{failed}")
        }
        (due, _) => format!("{due} would be removed, {left} left"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::stanza::Refusal;

    fn refused(condition: &str, specific: Option<&str>) -> Fate {
        let specific = specific.map(str::to_owned);
        let refusal = Refusal { condition: condition.to_owned(), specific, wait: false, target: None };
        fate(&Err(NoAnswer::Refused(refusal)), ToString::to_string)
    }

    #[test]
    fn what_the_service_does_not_know_any_more_counts_as_gone() {
        assert_eq!(refused("unexpected-request", Some("not-subscribed")), Fate::Gone);
        assert_eq!(refused("not-acceptable", Some("invalid-subid")), Fate::Gone);
    }

    #[test]
    fn every_other_refusal_and_silence_are_told() {
        assert_eq!(refused("forbidden", None), Fate::NotRemoved("forbidden".to_owned()));
        let silence = fate(&Err(NoAnswer::TimedOut), ToString::to_string);
        assert_eq!(silence, Fate::NotRemoved("no answer in time".to_owned()));
    }

    #[test]
    fn the_last_line_counts_what_was_done_and_what_was_left() {
        assert_eq!(summary(&[]), "0 removed, 0 left");
        assert_eq!(summary(&[Fate::Removed, Fate::Gone, Fate::Kept, Fate::Other]), "2 removed, 2 left");
        let broken = [Fate::Removed, Fate::NotRemoved("forbidden".to_owned()), Fate::Left];
        assert_eq!(summary(&broken), "1 removed, 1 left, 1 not removed");
        assert_eq!(summary(&[Fate::Due, Fate::Kept]), "1 would be removed, 1 left");
    }
}
