//! Which series of a metric exist before anything happened: the values of its labels, multiplied out.
//!
//! Must not know metrics by name.

use super::label::{Label, Names};
use super::table::Row;
use crate::domain::event::EventType;
use crate::domain::service::ServiceKind;

/// Every combination of the values of `row`'s labels; none where a label has no value.
pub fn known(row: &Row, names: &Names) -> Vec<Vec<String>> {
    let mut all = vec![Vec::new()];
    for label in row.labels {
        let values = label.values(names);
        all = all.iter().flat_map(|series| values.iter().map(|value| extended(series, value))).collect();
    }
    if row.labels == [Label::Service, Label::EventType] {
        all.retain(|series| can_occur(series));
    }
    all
}

fn extended(series: &[String], value: &str) -> Vec<String> {
    series.iter().cloned().chain([value.to_owned()]).collect()
}

/// A service yields events of its own kind only, so the other series would stay 0 for ever.
fn can_occur(series: &[String]) -> bool {
    let [service, kind] = series else { return true };
    EventType::ALL
        .into_iter()
        .any(|event| event.as_str() == kind && event.service_kind() == Some(ServiceKind::named(service)))
}
