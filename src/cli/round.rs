//! A round of visits: to every account once, a few at a time.
//!
//! Must not know what happens on a visit.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use futures::{StreamExt, stream};
use tokio::time::interval;

use super::print;
use super::table::harmless;
use super::visit::{Door, Visit};
use crate::config::{Account, Config};
use crate::domain::name::AccountName;
use crate::protocol::link::Failure;
use crate::settings::check::unknown;
use crate::xmpp::connector::Connector;
use crate::xmpp::session::Bounds;

/// How often a long round says how far it is.
const PROGRESS: Duration = Duration::from_secs(5);

/// An account by name.
pub type Named<'a> = (&'a AccountName, &'a Account);

/// What a round brought.
pub struct Report {
    /// For standard output.
    pub text: String,
    /// Whether an account failed.
    pub failed: bool,
}

/// Makes a round, prints its report and says how it ended.
pub fn make(round: impl Future<Output = Result<Report>>) -> ExitCode {
    match block_on(round) {
        Ok(report) => {
            let printed = print(report.text);
            if report.failed { ExitCode::FAILURE } else { printed }
        }
        Err(fault) => {
            eprintln!("onsip-router: {fault:#}");
            ExitCode::FAILURE
        }
    }
}

/// Does something that waits for others, on this thread.
pub fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// A round about to begin.
pub struct Round<'a> {
    accounts: Vec<Named<'a>>,
    at_once: usize,
    door: Door,
}

impl<'a> Round<'a> {
    /// A round to all enabled accounts, or to the one named `only`. Each visitor's resource begins with `name`.
    ///
    /// # Errors
    /// If `only` is not there or not enabled, or if certificate authorities cannot be read.
    pub fn new(config: &'a Config, only: Option<&str>, name: &'static str) -> Result<Self> {
        let accounts = chosen(config, only)?;
        let connector = Connector::new(config.xmpp.clone()).context("xmpp")?;
        let at_once = config.xmpp.concurrent_logins;
        Ok(Self { accounts, at_once, door: Door { connector, bounds: Bounds::new(at_once, None), name } })
    }

    /// Visits each account; the results come in the order of names.
    pub async fn go<T>(self, visit: impl AsyncFn(Named<'a>, Result<&mut Visit, Failure>) -> T) -> Vec<(Named<'a>, T)> {
        let (all, door, visit) = (self.accounts.len(), &self.door, &visit);
        let visits = self.accounts.into_iter().map(async |named| (named, attend(door, named, visit).await));
        let mut visits = stream::iter(visits).buffer_unordered(self.at_once);
        let mut done = Vec::with_capacity(all);
        let mut progress = interval(PROGRESS);
        progress.tick().await; // the first comes at once
        loop {
            tokio::select! {
                next = visits.next() => match next {
                    Some(result) => done.push(result),
                    None => break,
                },
                _ = progress.tick() => eprintln!("onsip-router: {} of {all} accounts done", done.len()),
            }
        }
        done.sort_by(|one, other| one.0.0.cmp(other.0.0));
        done
    }
}

async fn attend<'a, T>(
    door: &Door,
    named: Named<'a>,
    visit: &impl AsyncFn(Named<'a>, Result<&mut Visit, Failure>) -> T,
) -> T {
    match Visit::begin(door, named.1).await {
        Ok(mut begun) => {
            let result = visit(named, Ok(&mut begun)).await;
            begun.leave().await;
            result
        }
        Err(failure) => visit(named, Err(failure)).await,
    }
}

fn chosen<'a>(config: &'a Config, only: Option<&str>) -> Result<Vec<Named<'a>>> {
    let Some(only) = only else {
        return Ok(config.accounts.iter().filter(|(_, account)| account.enabled).collect());
    };
    let known = || config.accounts.keys().map(AccountName::as_str);
    let found = config.accounts.iter().find(|(name, _)| name.as_str() == only);
    let found = found.ok_or_else(|| anyhow!("--account {only}: {}", unknown("account", only, known())))?;
    if !found.1.enabled {
        bail!("--account {only}: is not enabled; say `enabled = true` in accounts.{only}");
    }
    Ok(vec![found])
}

/// Says on standard error what is wrong with an account, on one line.
pub fn complain(name: &AccountName, what: impl std::fmt::Display) {
    eprintln!("{name}: {}", harmless(&what.to_string()));
}
