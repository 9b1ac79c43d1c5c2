//! Which sinks an event goes to. Pure: no clock, no IO.

use serde_json::Value;

use crate::domain::name::SinkName;
use rule::{Rule, RuleFault};

pub mod rule;
pub mod schema;

/// Every sink, with the rule that says which events it gets.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    sinks: Vec<(SinkName, Option<Rule>)>,
}

/// Where one event goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routed {
    /// The sinks it is owed to.
    pub sinks: Vec<SinkName>,
    /// The sinks whose rule is false for it.
    pub skipped: Vec<SinkName>,
    /// The sinks whose rule had no answer for it, and why; that counts as no.
    pub undecided: Vec<(SinkName, RuleFault)>,
}

impl Routes {
    /// Routes to `sinks`; without a rule a sink gets every event.
    #[must_use]
    pub fn new(sinks: impl IntoIterator<Item = (SinkName, Option<Rule>)>) -> Self {
        Self { sinks: sinks.into_iter().collect() }
    }

    /// Where an event goes; `event` is asked for its JSON only if a rule wants it.
    pub fn of(&self, event: impl Fn() -> Value) -> Routed {
        let mut routed = Routed::default();
        let mut json = None;
        for (sink, rule) in &self.sinks {
            let wanted = match rule {
                None => Ok(true),
                Some(rule) => rule.matches(json.get_or_insert_with(&event)),
            };
            match wanted {
                Ok(true) => routed.sinks.push(sink.clone()),
                Ok(false) => routed.skipped.push(sink.clone()),
                Err(fault) => routed.undecided.push((sink.clone(), fault)),
            }
        }
        routed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sink_without_a_rule_gets_everything_and_a_rule_without_an_answer_means_no() {
        let rule = |text: &str| Some(Rule::compile(text).unwrap());
        let routes = Routes::new([
            ("all".parse().unwrap(), None),
            ("created".parse().unwrap(), rule("type == 'com.onsip.call.created'")),
            ("broken".parse().unwrap(), rule("data.talk_seconds > 1")),
        ]);
        let found = routes.of(|| serde_json::json!({"type": "com.onsip.call.created", "data": {}}));
        assert_eq!(found.sinks, ["all".parse().unwrap(), "created".parse().unwrap()]);
        assert_eq!(found.skipped, [] as [SinkName; 0]);
        let why = RuleFault::Evaluation("the event has no `talk_seconds`".to_owned());
        assert_eq!(found.undecided, [("broken".parse().unwrap(), why)]);
        let found = routes.of(|| serde_json::json!({"type": "com.onsip.call.ended", "data": {"talk_seconds": 0.5}}));
        assert_eq!(found.sinks, ["all".parse().unwrap()]);
        assert_eq!(found.skipped, ["created".parse().unwrap(), "broken".parse().unwrap()]);
    }
}
