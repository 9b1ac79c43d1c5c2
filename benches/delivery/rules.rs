//! What a rule costs for each event.

use onsip_router::domain::moment::Moment;
use onsip_router::routing::rule::Rule;
use serde_json::Value;

use super::parcels::parcel;

/// Three clauses, as most rules have.
const RULE: &str =
    r#"type == "com.onsip.call.requested" && data.direction == "inbound" && data.account.startsWith("front")"#;

/// Prints the time of one rule for one event.
pub fn print(count: u32) {
    let rule = Rule::compile(RULE).unwrap();
    let event: Value = serde_json::from_str(&parcel(1, 1, 0).body).unwrap();
    let start = Moment::now();
    let matches = (0..count).filter(|_| rule.matches(std::hint::black_box(&event)) == Ok(true)).count();
    let time = Moment::now().since(start);
    assert_eq!(u32::try_from(matches), Ok(count));
    println!("a rule of three clauses: {:.2} us for each event (goal: 2)", time.as_secs_f64() * 1e6 / f64::from(count));
}
