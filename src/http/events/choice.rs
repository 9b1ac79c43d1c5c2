//! Which events a client wants: `?account=…&type=…&service=…`, each one value or several with commas between, and how
//! many of the newest to begin with: `&recent=…`.
//!
//! A type is its name, with or without `com.onsip.`, or the beginning of it up to a dot: `call` is every
//! `com.onsip.call.*`. A gap belongs to every service of its account. Must not know how events are sent.

use std::collections::VecDeque;
use std::sync::Arc;

use actix_web::web::Query;
use serde::Deserialize;

use crate::domain::event::EventType;
use crate::feed::Told;

/// What most types begin with and nobody wants to type.
const PREFIX: &str = "com.onsip.";

/// What is wanted; an empty list of accounts, services or types is everything.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Choice {
    accounts: Vec<String>,
    services: Vec<String>,
    types: Vec<EventType>,
    recent: usize,
}

/// Why a query was not understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Misunderstood {
    /// Another parameter, or one twice.
    #[error("the parameters are account, type, service and recent (a number), each once")]
    Parameter,
    /// A type that no event can have.
    #[error("no event has a type that begins so: `type` takes one such as com.onsip.call.ended, call.ended or call")]
    Type,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    account: Option<String>,
    service: Option<String>,
    r#type: Option<String>,
    recent: Option<usize>,
}

impl Choice {
    /// Reads a query.
    pub(super) fn read(query: &str) -> Result<Self, Misunderstood> {
        let Query(Parameters { account, service, r#type, recent }) =
            Query::from_query(query).map_err(|_| Misunderstood::Parameter)?;
        let mut kinds = Vec::new();
        for text in values(r#type.as_deref()) {
            let before = kinds.len();
            kinds.extend(types(text));
            if kinds.len() == before {
                return Err(Misunderstood::Type);
            }
        }
        let owned = |list: Option<String>| values(list.as_deref()).map(str::to_owned).collect();
        Ok(Self { accounts: owned(account), services: owned(service), types: kinds, recent: recent.unwrap_or(0) })
    }

    /// What of the kept events a client begins with: those after the last it has seen, else the newest.
    pub(super) fn begin(&self, kept: Vec<Arc<Told>>, last_seen: Option<&str>) -> VecDeque<Arc<Told>> {
        let seen = last_seen.and_then(|id| kept.iter().rposition(|told| told.id.as_str() == id));
        let (after, most) = seen.map_or((0, self.recent), |seen| (seen + 1, usize::MAX));
        let mut wanted: VecDeque<_> = kept.into_iter().skip(after).filter(|told| self.admits(told)).collect();
        wanted.drain(..wanted.len().saturating_sub(most));
        wanted
    }

    /// Whether an event is wanted.
    pub(super) fn admits(&self, told: &Told) -> bool {
        (self.accounts.is_empty() || self.accounts.contains(&told.account))
            && (self.services.is_empty() || told.services.iter().any(|service| self.services.contains(service)))
            && (self.types.is_empty() || self.types.contains(&told.kind))
    }
}

fn values(list: Option<&str>) -> impl Iterator<Item = &str> {
    list.unwrap_or_default().split(',').map(str::trim).filter(|value| !value.is_empty())
}

fn types(text: &str) -> impl Iterator<Item = EventType> + '_ {
    let short = text.strip_prefix(PREFIX).unwrap_or(text);
    EventType::ALL.into_iter().filter(move |kind| {
        let rest = kind.as_str().strip_prefix(PREFIX).and_then(|name| name.strip_prefix(short));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::identity::Token;

    fn told(kind: EventType, account: &str, services: &[&str]) -> Told {
        let services = services.iter().map(|service| (*service).to_owned()).collect();
        Told::of(Token::of(["x"]), kind, account.to_owned(), services, "{}".into())
    }

    fn admitted(query: &str, told: &Told) -> bool {
        Choice::read(query).unwrap().admits(told)
    }

    #[test]
    fn without_a_wish_everything_is_wanted() {
        let event = told(EventType::ItemPublished, "front", &["notes"]);
        for query in ["", "account=", "type=&service=,"] {
            assert!(admitted(query, &event), "{query}");
        }
    }

    #[test]
    fn a_type_is_named_in_full_in_short_or_by_its_beginning() {
        let ended = told(EventType::CallEnded, "front", &["active-calls"]);
        for query in ["com.onsip.call.ended", "call.ended", "call", "com.onsip.call", "gap,call.ended"] {
            assert!(admitted(&format!("type={query}"), &ended), "{query}");
        }
        for query in ["call.created", "gap", "registration"] {
            assert!(!admitted(&format!("type={query}"), &ended), "{query}");
        }
    }

    #[test]
    fn a_type_no_event_has_is_refused_and_so_is_an_unknown_parameter() {
        for query in ["type=calls", "type=call.end", "type=com.onsip.", "type=ended", "type=call,gaps"] {
            assert_eq!(Choice::read(query), Err(Misunderstood::Type), "{query}");
        }
        for query in ["kind=call", "account=a&account=b", "recent=-1", "x"] {
            assert_eq!(Choice::read(query), Err(Misunderstood::Parameter), "{query}");
        }
    }

    #[test]
    fn every_wish_must_be_met_and_one_of_several_values_is_enough() {
        let event = told(EventType::CallEnded, "front", &["active-calls"]);
        assert!(admitted("account=back,front&service=active-calls&type=call", &event));
        assert!(!admitted("account=fron", &event) && !admitted("account=front&service=user-agents", &event));
    }

    #[test]
    fn a_client_begins_with_what_followed_the_last_it_saw_or_else_with_the_newest() {
        let ids = ["a", "b", "c", "d"];
        let kinds = [EventType::CallCreated, EventType::Gap, EventType::CallConfirmed, EventType::CallEnded];
        let kept: Vec<_> = ids
            .iter()
            .zip(kinds)
            .map(|(id, kind)| {
                let id = Token::from((*id).to_owned());
                Arc::new(Told::of(id, kind, "front".to_owned(), Vec::new(), "{}".into()))
            })
            .collect();
        let begin = |query: &str, last_seen| {
            let begin = Choice::read(query).unwrap().begin(kept.clone(), last_seen);
            begin.iter().map(|told| told.id.to_string()).collect::<String>()
        };
        assert_eq!(begin("", None), "");
        assert_eq!(begin("recent=2", None), "cd");
        assert_eq!(begin("recent=9&type=call", None), "acd");
        assert_eq!(begin("recent=9", Some("c")), "d");
        assert_eq!(begin("type=call", Some("a")), "cd");
        assert_eq!(begin("recent=1", Some("forgotten")), "d");
    }

    #[test]
    fn a_gap_belongs_to_every_service_of_its_account() {
        let gap = told(EventType::Gap, "front", &["active-calls", "user-agents"]);
        assert!(admitted("service=user-agents", &gap) && !admitted("service=notes", &gap));
    }
}
