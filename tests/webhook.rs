//! The sink `webhook` against receivers that check, refuse, move, hang and lie.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

#[path = "webhook/configuration.rs"]
mod configuration;
#[path = "webhook/daemon.rs"]
mod daemon;
#[path = "webhook/encryption.rs"]
mod encryption;
#[path = "webhook/form.rs"]
mod form;
#[path = "webhook/order.rs"]
mod order;
#[path = "contract/parcels.rs"]
mod parcels;
#[path = "webhook/refusals.rs"]
mod refusals;

use std::io::Write;

use onsip_router::config::Config;
use onsip_router::sinks::{Failure, Options, Parcel, Sink};

use parcels::parcel;

/// What is wrong with a sink section, or its options.
fn load(section: &str) -> Result<Options, String> {
    let mut file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    let whole = format!(
        "[accounts.a]\njid = \"a@acme.test\"\npassword = \"x\"\n[store]\nurl = \"sqlite://x.db\"\n\
         [sinks.crm]\ntype = \"webhook\"\n{section}\n"
    );
    file.write_all(whole.as_bytes()).unwrap();
    let config = Config::load(&[file.path().to_owned()], std::iter::empty()).map_err(|problems| problems.to_string());
    config.map(|mut config| config.sinks.pop_first().unwrap().1.options)
}

fn sink(section: &str) -> Box<dyn Sink> {
    load(section).unwrap().open()
}

/// The event `number` of the call `call`, short.
fn event(call: usize, number: usize) -> Parcel {
    parcel(call, number, 0)
}

/// The reason of an answer that asks for another try.
fn retry(answer: &Result<(), Failure>) -> &str {
    let Err(Failure::Retry { reason, .. }) = answer else { panic!("{answer:?}") };
    reason
}

/// The reason of an answer that gives up.
fn reject(answer: &Result<(), Failure>) -> &str {
    let Err(Failure::Reject { reason }) = answer else { panic!("{answer:?}") };
    reason
}
