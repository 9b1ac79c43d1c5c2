//! What the table needs of each kind of metric: to be made from its row, and to have a series shown or taken away.
//!
//! Must not know any metric by name.

use std::fmt::Write as _;

use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, Result,
};

use super::table::Row;

/// Counter, gauge or histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only ever grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts observations by size.
    Histogram,
}

/// A metric and all its series.
pub trait Family: Sized {
    /// Its kind.
    const KIND: Kind;

    /// Makes it; fails on a bad name only.
    fn build(row: &Row) -> Result<Self>;

    /// Puts it into the registry; fails on a double name only.
    fn register(&self, registry: &Registry) -> Result<()>;

    /// Exports a series from now on, as 0 if it is new.
    fn show(&self, values: &[&str]);

    /// Exports a series no longer.
    fn hide(&self, values: &[&str]);
}

fn opts(row: &Row) -> Opts {
    Opts::new(row.name, row.help).namespace(super::NAMESPACE)
}

fn histogram_opts(row: &Row) -> HistogramOpts {
    HistogramOpts::new(row.name, row.help).namespace(super::NAMESPACE).buckets(row.edges.to_vec())
}

fn register<C: Collector + Clone + 'static>(family: &C, registry: &Registry) -> Result<()> {
    registry.register(Box::new(family.clone()))
}

macro_rules! single {
    ($family:ident, $kind:ident, $opts:ident) => {
        impl Family for $family {
            const KIND: Kind = Kind::$kind;

            fn build(row: &Row) -> Result<Self> {
                Self::with_opts($opts(row))
            }

            fn register(&self, registry: &Registry) -> Result<()> {
                register(self, registry)
            }

            fn show(&self, _values: &[&str]) {}

            fn hide(&self, _values: &[&str]) {}
        }
    };
}

macro_rules! labelled {
    ($family:ident, $kind:ident, $opts:ident) => {
        impl Family for $family {
            const KIND: Kind = Kind::$kind;

            fn build(row: &Row) -> Result<Self> {
                Self::new($opts(row).into(), &row.label_names())
            }

            fn register(&self, registry: &Registry) -> Result<()> {
                register(self, registry)
            }

            fn show(&self, values: &[&str]) {
                drop(self.get_metric_with_label_values(values));
            }

            fn hide(&self, values: &[&str]) {
                drop(self.remove_label_values(values));
            }
        }
    };
}

// There may be thousands of accounts, and what their series say stands on the board.
macro_rules! per_account {
    ($family:ident, $kind:ident, $named:literal) => {
        #[doc = concat!("A ", $named, " with one series for each account, written at each scrape and kept nowhere.")]
        #[derive(Debug)]
        pub struct $family {
            name: String,
            help: &'static str,
        }

        impl Family for $family {
            const KIND: Kind = Kind::$kind;

            fn build(row: &Row) -> Result<Self> {
                Ok(Self { name: row.full_name(), help: row.help })
            }

            fn register(&self, _registry: &Registry) -> Result<()> {
                Ok(())
            }

            fn show(&self, _values: &[&str]) {}

            fn hide(&self, _values: &[&str]) {}
        }

        impl $family {
            /// Appends the series of these accounts, whose names need no escaping.
            pub fn write<'a>(&self, text: &mut String, series: impl Iterator<Item = (&'a str, f64)>) {
                let Self { name, help } = self;
                // Writing to a string cannot fail.
                let _ = writeln!(text, concat!("# HELP {} {}\n# TYPE {} ", $named), name, help, name);
                for (account, value) in series {
                    let _ = writeln!(text, "{name}{{account=\"{account}\"}} {value}");
                }
            }
        }
    };
}

single!(IntCounter, Counter, opts);
single!(IntGauge, Gauge, opts);
single!(Gauge, Gauge, opts);
single!(Histogram, Histogram, histogram_opts);
labelled!(IntCounterVec, Counter, opts);
labelled!(IntGaugeVec, Gauge, opts);
labelled!(GaugeVec, Gauge, opts);
labelled!(HistogramVec, Histogram, histogram_opts);
per_account!(AccountCounter, Counter, "counter");
per_account!(AccountGauge, Gauge, "gauge");
