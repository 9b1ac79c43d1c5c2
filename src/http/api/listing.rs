//! How a list is asked for: `?q=&state=&account=&blind=&order=&offset=&limit=`; without any, all of it, by name.
//!
//! Must not know what is listed.

use actix_web::HttpResponse;
use actix_web::web::Query;
use serde::{Deserialize, Serialize};

/// How many there are of what was asked for, on whichever page.
pub const TOTAL: &str = "x-total-count";

/// What is asked for.
#[derive(Debug)]
pub(super) struct Wish<S> {
    text: String,
    states: Vec<S>,
    accounts: Vec<String>,
    blind: Option<bool>,
    order: Order,
    offset: usize,
    limit: usize,
}

/// The order of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Order {
    /// By name.
    #[default]
    Name,
    /// What an operator should look at first comes first, then by name.
    Worst,
}

/// Why a query was not understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Misunderstood {
    /// Another parameter, one twice, or a value it cannot have.
    #[error("the parameters are q, state, account, blind (true or false), order (name or worst), offset and limit")]
    Parameter,
    /// A state there is not.
    #[error("there is no such state")]
    State,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    q: Option<String>,
    state: Option<String>,
    account: Option<String>,
    blind: Option<bool>,
    order: Option<Order>,
    offset: Option<usize>,
    limit: Option<usize>,
}

/// One thing of a list, as far as it can be chosen by.
pub(super) struct Facts<'a, S> {
    pub(super) account: &'a str,
    pub(super) state: S,
    pub(super) blind: bool,
    pub(super) texts: [Option<&'a str>; 3],
}

impl<S: Copy + PartialEq> Wish<S> {
    /// Reads a query; `named` knows the states.
    pub(super) fn read(query: &str, named: fn(&str) -> Option<S>) -> Result<Self, Misunderstood> {
        let Query(asked) = Query::<Parameters>::from_query(query).map_err(|_| Misunderstood::Parameter)?;
        let states: Option<Vec<S>> = values(asked.state.as_deref()).map(named).collect();
        Ok(Self {
            text: asked.q.unwrap_or_default().trim().to_lowercase(),
            states: states.ok_or(Misunderstood::State)?,
            accounts: values(asked.account.as_deref()).map(str::to_owned).collect(),
            blind: asked.blind,
            order: asked.order.unwrap_or_default(),
            offset: asked.offset.unwrap_or(0),
            limit: asked.limit.unwrap_or(usize::MAX),
        })
    }

    /// Whether it is wanted.
    pub(super) fn admits(&self, facts: &Facts<'_, S>) -> bool {
        let found = |text: &&str| text.to_lowercase().contains(&self.text);
        (self.states.is_empty() || self.states.contains(&facts.state))
            && (self.accounts.is_empty() || self.accounts.iter().any(|name| name == facts.account))
            && self.blind.is_none_or(|blind| blind == facts.blind)
            && (self.text.is_empty() || found(&facts.account) || facts.texts.iter().flatten().any(found))
    }

    /// Of all rows that are wanted, in the order of their names, those that are shown.
    pub(super) fn page<R>(&self, mut rows: Vec<R>, rank: fn(&R) -> u8) -> Page<R> {
        let total = rows.len();
        match self.order {
            Order::Name => {}
            Order::Worst => rows.sort_by_key(rank),
        }
        let rows = rows.into_iter().skip(self.offset).take(self.limit).collect();
        Page { rows, total }
    }
}

/// A part of a list.
pub(super) struct Page<R> {
    pub(super) rows: Vec<R>,
    pub(super) total: usize,
}

impl<R> Page<R> {
    /// The same with every row made into something else.
    pub(super) fn map<T>(self, of: impl FnMut(R) -> T) -> Page<T> {
        Page { rows: self.rows.into_iter().map(of).collect(), total: self.total }
    }
}

impl<R: Serialize> Page<R> {
    /// As JSON: the rows, and beside them how many there are.
    pub(super) fn answer(&self) -> HttpResponse {
        HttpResponse::Ok().insert_header((TOTAL, self.total)).json(&self.rows)
    }
}

/// Of a list with commas between.
fn values(list: Option<&str>) -> impl Iterator<Item = &str> {
    list.unwrap_or_default().split(',').map(str::trim).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::status::AccountState;

    fn wish(query: &str) -> Wish<AccountState> {
        Wish::read(query, AccountState::named).unwrap()
    }

    fn admits(query: &str) -> bool {
        wish(query).admits(&Facts {
            account: "front-desk",
            state: AccountState::Waiting,
            blind: true,
            texts: [Some("front@Acme.test"), None, Some("connection refused")],
        })
    }

    #[test]
    fn without_a_wish_everything_is_shown() {
        assert!(admits("") && admits("q=&state=&account=&order=name"));
        let page = wish("").page(vec![3, 1, 2], |row| *row);
        assert_eq!((page.rows, page.total), (vec![3, 1, 2], 3));
    }

    #[test]
    fn a_text_is_found_in_any_part_and_any_case() {
        assert!(admits("q=DESK") && admits("q=acme") && admits("q=refused") && !admits("q=back"));
    }

    #[test]
    fn every_wish_must_be_met() {
        assert!(admits("state=refused,waiting&account=front-desk&blind=true"));
        for query in ["state=online", "account=front", "blind=false", "state=waiting&q=back"] {
            assert!(!admits(query), "{query}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let fault = |query| Wish::read(query, AccountState::named).err();
        assert_eq!(fault("state=onlin"), Some(Misunderstood::State));
        for query in ["stat=online", "limit=-1", "offset=x", "order=best", "blind=yes", "q=a&q=b"] {
            assert_eq!(fault(query), Some(Misunderstood::Parameter), "{query}");
        }
    }

    #[test]
    fn a_page_is_a_part_of_what_is_wanted_and_knows_how_much_that_is() {
        let page = wish("order=worst&offset=1&limit=2").page(vec![(2, 'a'), (0, 'b'), (2, 'c'), (1, 'd')], |row| row.0);
        assert_eq!((page.rows, page.total), (vec![(1, 'd'), (2, 'a')], 4));
        assert_eq!(wish("offset=9").page(vec![0], |row| *row).rows, [0; 0]);
    }
}
