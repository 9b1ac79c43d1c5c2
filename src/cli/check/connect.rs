//! `check --connect`: logs each account in once, authorizes it, lists its subscriptions, and leaves; and looks at the
//! tables of sinks.

use anyhow::{Result, anyhow};
use futures::future::join_all;

use crate::cli::round::{Named, Report, Round, complain};
use crate::cli::table::{Table, time};
use crate::cli::visit::{Holding, Visit};
use crate::config::{Account, Config};
use crate::domain::FullJid;
use crate::domain::name::AccountName;
use crate::protocol::link::Failure;
use crate::protocol::requests::{NoAnswer, Reply};
use crate::protocol::stanza::{Grant, Granted};

/// The beginning of the resource of every visit.
const VISITOR: &str = "onsip-router-check";

const HEADINGS: [&str; 8] = ["ACCOUNT", "LOG-IN", "AUTHORIZED", "SERVICE", "NODE", "OWN", "FOREIGN", "RESULT"];

/// What a visit to one account brought.
struct Seen {
    router: FullJid,
    /// Absent where the configuration says not to ask.
    authorized: Option<Result<Grant>>,
    holdings: Vec<Holding>,
}

/// Visits every enabled account and makes the table.
pub(super) async fn connect(config: &Config) -> Result<Report> {
    let round = Round::new(config, None, VISITOR)?;
    let seen = round.go(async |(_, account): Named<'_>, visit: Result<&mut Visit, Failure>| {
        let visit = visit?;
        let authorized = if config.onsip.authorize {
            let reply = visit.authorize(&config.onsip, account).await;
            Some(grant(&reply, |why| visit.fault(why)))
        } else {
            None
        };
        let holdings = visit.holdings(account).await;
        Ok::<_, Failure>(Seen { router: visit.router().clone(), authorized, holdings })
    });
    let (mut table, mut failed, mut all) = (Table::new(HEADINGS), 0, 0);
    for ((name, account), seen) in seen.await {
        all += 1;
        failed += usize::from(!passed(&seen));
        for row in rows(name, account, &seen) {
            table.add(row);
        }
        for warning in seen.iter().flat_map(|seen| &seen.holdings).filter_map(Holding::crowded) {
            complain(name, warning);
        }
    }
    let sinks = sinks(config).await;
    let text = format!("{table}\n{} ok, {failed} failed{}", all - failed, sinks.text);
    Ok(Report { text, failed: failed > 0 || sinks.failed })
}

/// Looks at the peer of each sink that can be asked whether it takes events, and makes a table of them.
async fn sinks(config: &Config) -> Report {
    let checks = config.sinks.iter().map(async |(name, sink)| Some((name, &sink.options, sink.options.check().await?)));
    let (mut table, mut failed) = (Table::new(["SINK", "TYPE", "RESULT"]), false);
    let mut any = false;
    for (name, options, checked) in join_all(checks).await.into_iter().flatten() {
        any = true;
        failed |= checked.is_err();
        let result = checked.map_or_else(|why| format!("failed: {why}"), |()| "ok".to_owned());
        table.add([name.to_string(), options.kind().to_owned(), result]);
    }
    Report { text: if any { format!("\n\n{table}") } else { String::new() }, failed }
}

/// What `authorize-plain` brought. The text of a refusal stays unread: the service echoes the password in it.
fn grant(reply: &Reply, fault: impl Fn(&NoAnswer) -> anyhow::Error) -> Result<Grant> {
    match reply.as_ref().map(Granted::read) {
        Ok(Granted::Yes(grant)) => Ok(grant),
        Ok(Granted::No) => Err(anyhow!("authorize-plain did not complete")),
        Err(why) if why.may_pass() => Err(fault(why)),
        Err(why) => Err(anyhow!("{}; is the password that of the owner of sip_address?", fault(why))),
    }
}

fn passed(seen: &Result<Seen, Failure>) -> bool {
    seen.as_ref().is_ok_and(|seen| {
        !matches!(seen.authorized, Some(Err(_))) && seen.holdings.iter().all(|held| held.listed.is_ok())
    })
}

/// One row per node. What is about the account as a whole stands in each, so that a row can be read by itself.
fn rows(name: &AccountName, account: &Account, seen: &Result<Seen, Failure>) -> Vec<[String; 8]> {
    let result = if passed(seen) { "ok" } else { "failed" };
    let seen = match seen {
        Ok(seen) => seen,
        Err(failure) => {
            let none = String::new;
            return vec![[name.to_string(), failure.why(), none(), none(), none(), none(), none(), result.to_owned()]];
        }
    };
    let authorized = authorized(seen.authorized.as_ref(), account);
    let row = |cells: [String; 5]| {
        let [service, node, own, foreign, result] = cells;
        [name.to_string(), "ok".to_owned(), authorized.clone(), service, node, own, foreign, result]
    };
    if seen.holdings.is_empty() {
        return vec![row(["", "", "", "", result].map(str::to_owned))];
    }
    let cells = |held: &Holding| {
        let (own, foreign, result) = match &held.listed {
            Ok(listed) => {
                let own = listed.iter().filter(|entry| entry.is_of(&seen.router)).count();
                (own.to_string(), (listed.len() - own).to_string(), result.to_owned())
            }
            Err(why) => (String::new(), String::new(), format!("{result}: {why}")),
        };
        [held.service.to_string(), held.node.to_string(), own, foreign, result]
    };
    seen.holdings.iter().map(|held| row(cells(held))).collect()
}

fn authorized(granted: Option<&Result<Grant>>, account: &Account) -> String {
    let grant = match granted {
        None => return "not asked for".to_owned(),
        Some(Err(why)) => return format!("no: {why}"),
        Some(Ok(grant)) => grant,
    };
    let until = grant.expires.map_or_else(|| "an unknown time".to_owned(), time);
    if grant.addresses.is_empty() {
        return format!("until {until}");
    }
    let covered = grant.addresses.iter().any(|address| address.eq_ignore_ascii_case(&account.sip_address));
    let missing = if covered { String::new() } else { format!(", but not {}", account.sip_address) };
    format!("until {until} for {}{missing}", grant.addresses.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::BareJid;
    use crate::domain::service::Service;
    use crate::protocol::stanza::{Listed, Refusal};

    fn account() -> Account {
        Account {
            jid: BareJid::new("a@b").unwrap(),
            password: "hunter2".to_owned().into(),
            resource: "router".to_owned(),
            sip_address: "a@b".to_owned(),
            auth_for_all: false,
            enabled: true,
            subscribe: Vec::new(),
        }
    }

    fn held(service: &str, listed: Result<Vec<Listed>>) -> Holding {
        let service = Service::new(service, "x.test").unwrap();
        Holding { service, node: "/me/a@b".into(), via: "/me/a@b".into(), listed }
    }

    fn entry(jid: &str) -> Listed {
        Listed { jid: jid.to_owned(), subid: None, state: "subscribed".to_owned() }
    }

    fn shown(seen: &Result<Seen, Failure>) -> Vec<String> {
        rows(&"desk".parse().unwrap(), &account(), seen).iter().map(|row| row.join("|")).collect()
    }

    fn grant_for(addresses: &[&str]) -> Grant {
        let addresses = addresses.iter().map(ToString::to_string).collect();
        Grant { expires: Some("2026-11-22T15:14:09Z".parse().unwrap()), addresses }
    }

    fn seen(authorized: Option<Result<Grant>>, holdings: Vec<Holding>) -> Seen {
        Seen { router: FullJid::new("a@b/router").unwrap(), authorized, holdings }
    }

    #[test]
    fn a_row_says_until_when_for_what_and_how_many_subscriptions_are_whose() {
        let listed = vec![entry("a@b/router"), entry("a@b/phone"), entry("a@b/router"), entry("a@b")];
        let seen = Ok(seen(Some(Ok(grant_for(&["a@b", "c@b"]))), vec![held("active-calls", Ok(listed))]));
        let expected = "desk|ok|until 2026-11-22T15:14:09Z for a@b, c@b|active-calls|/me/a@b|2|2|ok";
        assert_eq!(shown(&seen), [expected]);
        assert!(passed(&seen));
    }

    #[test]
    fn an_account_that_subscribes_to_nothing_has_a_row_too() {
        assert_eq!(shown(&Ok(seen(None, Vec::new()))), ["desk|ok|not asked for|||||ok"]);
    }

    #[test]
    fn a_node_that_cannot_be_listed_fails_the_account_and_says_why() {
        let broken = held("voicemail", Err(anyhow!("no answer in time")));
        let seen = Ok(seen(None, vec![held("active-calls", Ok(Vec::new())), broken]));
        let expected = [
            "desk|ok|not asked for|active-calls|/me/a@b|0|0|failed",
            "desk|ok|not asked for|voicemail|/me/a@b|||failed: no answer in time",
        ];
        assert_eq!(shown(&seen), expected);
    }

    #[test]
    fn a_failed_log_in_is_a_row_with_its_reason() {
        let row = "desk|the server rejected the credentials: not-authorized||||||failed";
        assert_eq!(shown(&Err(Failure::Refused("not-authorized".to_owned()))), [row]);
    }

    #[test]
    fn a_grant_that_leaves_the_configured_address_out_says_so() {
        let text = authorized(Some(&Ok(grant_for(&["c@b"]))), &account());
        assert_eq!(text, "until 2026-11-22T15:14:09Z for c@b, but not a@b");
    }

    #[test]
    fn a_refusal_names_its_conditions_and_what_to_look_at() {
        let refused = |condition: &str, wait| {
            let refusal = Refusal { condition: condition.to_owned(), specific: None, wait, target: None };
            grant(&Err(NoAnswer::Refused(refusal)), |why| anyhow!("{why}")).unwrap_err().to_string()
        };
        let expected = "bad-request; is the password that of the owner of sip_address?";
        assert_eq!(refused("bad-request", false), expected);
        assert_eq!(refused("internal-server-error", true), "internal-server-error");
    }
}
