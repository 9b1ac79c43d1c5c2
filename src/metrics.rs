//! The metrics: counted by whoever acts, named in one table, exported in the Prometheus text format 0.0.4.
//!
//! Gauges that describe a state, and all series of single accounts, are read off the board at each scrape. Must not know
//! actors, the store or HTTP.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use prometheus::Error;
use prometheus::process_collector::ProcessCollector;
use prometheus::{Registry, TextEncoder};

use crate::board::View;
use crate::domain::moment::Moment;

mod accounts;
pub mod family;
pub mod history;
pub mod label;
pub mod options;
mod record;
mod series;
pub mod spread;
mod state;
pub mod table;
pub mod totals;

use accounts::Shown;
use history::History;
use label::Names;
use options::Options;
use table::Families;

/// What every name begins with, without the underscore.
pub const NAMESPACE: &str = "onsip_router";

/// Every metric, in a registry of its own; derefs to one public field per metric.
#[derive(Debug)]
pub struct Metrics {
    families: Families,
    registry: Registry,
    /// Also held while rendering: a scrape sets the state gauges and reads them in one piece.
    known: Mutex<Known>,
    history: Mutex<History>,
    /// What runs, and since when.
    pub build: Build,
}

/// What is configured.
#[derive(Debug, Default)]
struct Known {
    names: Names,
    options: Options,
}

/// What runs, and since when.
#[derive(Clone, Debug)]
pub struct Build {
    /// The version.
    pub version: String,
    /// The commit it was built from.
    pub commit: String,
    /// When the process began.
    pub started: Moment,
}

impl Metrics {
    /// Registers every metric and shows each series known in advance as 0.
    ///
    /// # Errors
    /// If the table holds a bad name or one twice.
    pub fn new<A, S, K>(version: &str, commit: &str, accounts: A, services: S, sinks: K) -> prometheus::Result<Self>
    where
        A: IntoIterator<Item: AsRef<str>>,
        S: IntoIterator<Item: AsRef<str>>,
        K: IntoIterator<Item: AsRef<str>>,
    {
        let registry = Registry::new();
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let families = Families::register(&registry)?;
        families.build_info.with_label_values(&[version, commit]).set(1);
        let build = Build { version: version.to_owned(), commit: commit.to_owned(), started: Moment::now() };
        let metrics = Self { families, registry, known: Mutex::default(), history: Mutex::default(), build };
        // Once even where nothing is configured: labels without names have their series, too.
        metrics.families.each(true, |row| series::known(row, &Names::default()));
        metrics.declare(accounts, services, sinks);
        Ok(metrics)
    }

    /// Says what is configured from now on: shows the series of what is new, hides those of what is gone.
    pub fn declare<A, S, K>(&self, accounts: A, services: S, sinks: K)
    where
        A: IntoIterator<Item: AsRef<str>>,
        S: IntoIterator<Item: AsRef<str>>,
        K: IntoIterator<Item: AsRef<str>>,
    {
        let new = Names { accounts: set(accounts), services: set(services), sinks: set(sinks) };
        let mut known = self.known();
        let gone = known.names.without(&new);
        self.families.each(false, |row| if row.depends_on_names() { series::known(row, &gone) } else { Vec::new() });
        self.families.each(true, |row| series::known(row, &new));
        known.names = new;
    }

    /// Says which series of single accounts are exported from now on.
    pub fn limit(&self, options: Options) {
        self.known().options = options;
    }

    /// Notes what was counted until now; to be called once per [`history::STEP`].
    pub fn sample(&self, now: Moment) {
        let (totals, deliveries) = (self.totals(), self.deliveries());
        self.history().sample(now, totals, deliveries);
    }

    /// The last hour, locked; hold it shortly.
    pub fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything as text, with the state gauges as `view` has them.
    pub fn render(&self, view: &View) -> String {
        let known = self.known();
        state::set(&self.families, &known.names, view);
        let shown = Shown::of(view, &known.names, known.options);
        self.accounts_without_series.set(i64::try_from(shown.left_out()).unwrap_or(i64::MAX));
        let families = self.registry.gather();
        // Writing to a string cannot fail, and the registry leaves out families without a series.
        let mut text = TextEncoder::new().encode_to_string(&families).unwrap_or_else(|fault| format!("# {fault}\n"));
        shown.write(&self.families, &mut text);
        text
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deref for Metrics {
    type Target = Families;
    fn deref(&self) -> &Families {
        &self.families
    }
}

fn set<I: IntoIterator<Item: AsRef<str>>>(names: I) -> BTreeSet<String> {
    names.into_iter().map(|name| name.as_ref().to_owned()).collect()
}

#[cfg(test)]
mod tests;
