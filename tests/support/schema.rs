//! Whatever events a test left behind follow the published schema.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use jsonschema::Validator;
use onsip_router::domain::event::Event;
use serde_json::Value;

static SCHEMA: LazyLock<Validator> = LazyLock::new(|| {
    let schema = serde_json::to_value(schemars::schema_for!(Event)).expect("a schema is JSON");
    jsonschema::validator_for(&schema).expect("a schema")
});

/// What is wrong with the first event in a file sink's file below `folder` that is not as `schema event` says.
pub fn fault(folder: &Path) -> Option<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    for path in entries.map(|entry| entry.path()) {
        let found = if path.is_dir() {
            fault(&path)
        } else if path.extension().is_some_and(|extension| extension == "jsonl") {
            fs::read_to_string(&path).unwrap_or_default().lines().find_map(fault_of)
        } else {
            None
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

/// A line that a kill cut off is no event, and neither is what a test wrote itself.
fn fault_of(line: &str) -> Option<String> {
    let event: Value = serde_json::from_str(line).ok().filter(|event: &Value| event.get("specversion").is_some())?;
    let faults: Vec<_> = SCHEMA.iter_errors(&event).map(|fault| fault.to_string()).collect();
    (!faults.is_empty()).then(|| format!("{faults:?} in {event:#}"))
}
