//! What the demonstration shows while it runs: every event, and every account that turns blind or sees again.
//!
//! Must not know what is wrong, or why.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anstyle::AnsiColor;
use jiff::Timestamp;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::say;
use crate::app::App;
use crate::board::View;
use crate::cli::line::{self, row};
use crate::domain::event::{EventType, rfc3339};
use crate::domain::moment::Moment;
use crate::domain::name::AccountName;
use crate::domain::{BareJid, FullJid};
use crate::feed::Told;
use crate::protocol::coverage::Blind;

/// How often it is looked who is blind: an account that lost its connection needs longer to be back.
const GLANCE: Duration = Duration::from_millis(100);
/// When the first fault strikes.
const FIRST_FAULT: Duration = Duration::from_secs(3);

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Events by type.
    pub(super) events: BTreeMap<String, u64>,
    /// For each account, how many gaps were told of it, and their seconds together.
    pub(super) gaps: BTreeMap<String, (u64, f64)>,
    /// Events that came too fast to be shown, or to be looked at.
    pub(super) unseen: u64,
}

impl Seen {
    fn note(&mut self, kind: EventType, event: &Value) {
        *self.events.entry(kind.as_str().to_owned()).or_default() += 1;
        let data = &event["data"];
        let at = |key: &str| data[key].as_str()?.parse::<Timestamp>().ok();
        if kind == EventType::Gap
            && let (Some(account), Some(from), Some(to)) = (data["account"].as_str(), at("from"), at("to"))
        {
            let (gaps, seconds) = self.gaps.entry(account.to_owned()).or_default();
            *gaps += 1;
            *seconds += to.duration_since(from).as_secs_f64();
        }
    }

    /// Notes what was told and not shown before the end.
    pub(super) fn catch_up(&mut self, feed: &mut Receiver<Arc<Told>>) -> anyhow::Result<()> {
        loop {
            match feed.try_recv() {
                Ok(told) => self.note(told.kind, &serde_json::from_str(&told.body)?),
                Err(TryRecvError::Lagged(n)) => self.unseen += n,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return Ok(()),
            }
        }
    }
}

/// Shows what happens until the time is over or somebody stops it; strikes once somebody can be struck.
pub(super) async fn watch(
    app: &App,
    feed: &mut Receiver<Arc<Told>>,
    duration: Option<Duration>,
    mut first_fault: Option<impl Fn(&BareJid)>,
) -> anyhow::Result<Seen> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let over = async {
        match duration {
            Some(duration) => sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(over);
    let mut glance = interval(GLANCE);
    glance.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut seen, mut sight, began) = (Seen::default(), Sight::default(), Moment::now());
    loop {
        tokio::select! {
            told = feed.recv() => match told {
                Ok(told) => {
                    let event = serde_json::from_str(&told.body)?;
                    seen.note(told.kind, &event);
                    say(&line::readable(&event))?;
                }
                Err(RecvError::Lagged(n)) => {
                    seen.unseen += n;
                    say(&format!("({n} events not shown)"))?;
                }
                Err(RecvError::Closed) => return Ok(seen),
            },
            _ = glance.tick() => {
                let now = Moment::now();
                let lines = sight.look(&app.board().view(), now.utc());
                lines.iter().try_for_each(|line| say(line))?;
                if now.since(began) >= FIRST_FAULT && let Some(jid) = somebody(&app.board().view()) {
                    first_fault.take().inspect(|strike| strike(&jid));
                }
            }
            () = &mut over => return Ok(seen),
            _ = interrupt.recv() => return Ok(seen),
            _ = terminate.recv() => return Ok(seen),
        }
    }
}

/// An account that is well.
fn somebody(view: &View) -> Option<BareJid> {
    let well = view.accounts.values().filter(|status| status.blind.is_none());
    well.filter_map(|status| FullJid::new(status.jid.as_ref()?).ok()).map(|jid| jid.to_bare()).next()
}

/// Who could see when it was last looked, and who turned blind since.
#[derive(Debug, Default)]
struct Sight {
    well: BTreeSet<AccountName>,
    blind: BTreeMap<AccountName, Timestamp>,
}

impl Sight {
    /// A line for each that turned blind, or sees again. Who has not seen yet has not turned blind.
    fn look(&mut self, view: &View, now: Timestamp) -> Vec<String> {
        let time = rfc3339(now);
        let mut lines = Vec::new();
        for (name, status) in &view.accounts {
            if let Some(Blind { since, reason }) = status.blind {
                if self.well.remove(name) {
                    let (style, rest) =
                        (AnsiColor::Red.on_default().bold(), format!("its events cannot arrive ({reason})"));
                    lines.push(row(&time, name.as_str(), style, "blind", &rest));
                    self.blind.insert(name.clone(), since);
                }
            } else {
                self.well.insert(name.clone());
                if let Some(since) = self.blind.remove(name) {
                    let seconds = now.duration_since(since).as_secs_f64();
                    let rest = format!("its events arrive again, after {seconds:.1} s");
                    lines.push(row(&time, name.as_str(), AnsiColor::Green.on_default().bold(), "sees", &rest));
                }
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::AccountStatus;
    use crate::domain::status::{AccountState, GapReason};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn view(blind: Option<i64>) -> View {
        let blind = blind.map(|since| Blind { since: at(since), reason: GapReason::Disconnect });
        let status = AccountStatus { blind, ..AccountStatus::new(AccountState::Waiting, at(0)) };
        View { accounts: [("a".parse().unwrap(), status)].into(), ..View::default() }
    }

    fn looked(sight: &mut Sight, blind: Option<i64>, now: i64) -> Vec<String> {
        let lines = sight.look(&view(blind), at(now));
        lines.iter().map(|line| anstream::adapter::strip_str(line).to_string()).collect()
    }

    #[test]
    fn who_turns_blind_and_who_sees_again_is_told_once() {
        let mut sight = Sight::default();
        assert_eq!(looked(&mut sight, None, 1), [""; 0]);
        assert_eq!(
            looked(&mut sight, Some(2), 3),
            ["00:00:03  a          blind     its events cannot arrive (disconnect)"]
        );
        assert_eq!(looked(&mut sight, Some(2), 4), [""; 0]);
        assert_eq!(
            looked(&mut sight, None, 5),
            ["00:00:05  a          sees      its events arrive again, after 3.0 s"]
        );
        assert_eq!(looked(&mut sight, None, 6), [""; 0]);
    }

    #[test]
    fn who_has_not_seen_yet_has_not_turned_blind() {
        let mut sight = Sight::default();
        assert_eq!(looked(&mut sight, Some(0), 1), [""; 0]);
        assert_eq!(looked(&mut sight, None, 2), [""; 0]);
    }
}
