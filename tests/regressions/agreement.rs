//! Holds the page, the metrics, `status` and the log against the API: this is what agreeing means.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use crate::places::{Line, Places, timeless};

/// A value as a text, if there is one.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// A time in whole seconds, as pages and screens tell it.
fn second(value: &Value) -> String {
    let time = value.as_str().map(|time| time.parse::<Timestamp>().unwrap());
    time.map(|time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()).unwrap_or_default()
}

/// A time as the metrics tell it.
fn unix(value: &Value) -> f64 {
    value.as_str().map_or(0.0, |time| time.parse::<Timestamp>().unwrap().as_duration().as_secs_f64())
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| f64::from(u8::from(value.as_bool().unwrap_or_else(|| panic!("{value}")))))
}

fn whole(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value}"))
}

/// Returns the counts that are not zero.
fn present(counts: &Value) -> BTreeMap<String, u64> {
    let counts = counts.as_object().unwrap().iter().map(|(word, n)| (word.clone(), whole(n)));
    counts.filter(|(_, n)| *n > 0).collect()
}

impl Places {
    #[track_caller]
    fn measures(&self, name: &str, labels: &[(&str, &str)], expected: f64) {
        let is = self.metric(name, labels);
        assert!((is - expected).abs() < 0.001, "the metric {name}{labels:?} is {is}, and the API says {expected}");
    }

    /// Checks that the page, the metrics and `status` say what the API says.
    pub fn agree(&self) {
        let json = timeless(self.json.clone());
        assert_eq!((&json["summary"], &json["sinks"]), (&self.api["summary"], &self.api["sinks"]), "`status --json`");
        self.agree_on_sums();
        self.agree_on_tiles();
        self.agree_on_the_screen();
        self.rows("accounts").for_each(|account| self.agree_on_account(account));
        self.rows("subscriptions").for_each(|row| self.agree_on_subscription(row));
        self.rows("sinks").for_each(|sink| self.agree_on_sink(sink));
    }

    /// The metrics of the whole, and the sums that the API makes.
    fn agree_on_sums(&self) {
        let summary = self.summary();
        let (accounts, subscriptions, sinks) = (&summary["accounts"], &summary["subscriptions"], &summary["sinks"]);
        for (state, n) in accounts["states"].as_object().unwrap() {
            self.measures("accounts", &[("state", state)], number(n));
            let there = self.rows("accounts").filter(|account| account["state"] == state.as_str()).count();
            assert_eq!(whole(n), there as u64, "{state}");
        }
        for (state, n) in subscriptions["states"].as_object().unwrap() {
            self.measures("subscriptions", &[("state", state)], number(n));
        }
        let blind: Vec<_> = self.rows("accounts").filter(|account| !account["blind"].is_null()).collect();
        assert_eq!(whole(&accounts["blind"]), blind.len() as u64);
        self.measures("accounts_blind", &[], number(&accounts["blind"]));
        let oldest = blind.iter().map(|account| unix(&account["blind"]["since"])).reduce(f64::min);
        self.measures("accounts_blind_oldest_timestamp_seconds", &[], oldest.unwrap_or_default());

        let writable = summary["store"]["open"] == true && summary["store"]["fault"].is_null();
        self.measures("store_writable", &[], f64::from(u8::from(writable)));
        self.measures("ready", &[], number(&summary["ready"]));
        for (name, labels, key) in [
            ("events_received_total", &[][..], "received"),
            ("events_duplicate_total", &[], "duplicate"),
            ("events_rejected_total", &[], "rejected"),
            ("gaps_total", &[], "gaps"),
            ("sink_deliveries_total", &[("outcome", "delivered")], "delivered"),
            ("sink_deliveries_total", &[("outcome", "retried")], "retried"),
            ("sink_deliveries_total", &[("outcome", "dead")], "dead"),
            ("sink_operator_events_total", &[("action", "retried")], "revived"),
            ("sink_operator_events_total", &[("action", "purged")], "purged"),
            ("sink_operator_events_total", &[("action", "purged_dead")], "purged_dead"),
            ("sink_dropped_total", &[], "dropped"),
        ] {
            self.measures(name, labels, number(&summary["totals"][key]));
        }
        let of_sinks = |key: &str| self.rows("sinks").map(|sink| whole(&sink[key])).sum::<u64>();
        assert_eq!((whole(&sinks["queued"]), whole(&sinks["dead"])), (of_sinks("queued"), of_sinks("dead")));
        let together = |configured: &str, other: &str| self.metric(configured, &[]) + self.metric(other, &[]);
        let (queued, dead) = (number(&sinks["queued"]), number(&sinks["dead"]));
        assert!((together("sink_queue_events", "unconfigured_sink_events") - queued).abs() < 0.5);
        assert!((together("sink_dead_events", "unconfigured_sink_dead_events") - dead).abs() < 0.5);
    }

    /// Whether the daemon is ready, in a word.
    fn readiness(&self) -> &'static str {
        match (self.summary()["draining"] == true, self.summary()["ready"] == true) {
            (true, _) => "stopping",
            (false, true) => "ready",
            (false, false) => "not ready",
        }
    }

    /// A count since the start.
    fn total(&self, key: &str) -> u64 {
        whole(&self.summary()["totals"][key])
    }

    /// The head of the page.
    fn agree_on_tiles(&self) {
        let summary = self.summary();
        let (accounts, subscriptions, sinks) = (&summary["accounts"], &summary["subscriptions"], &summary["sinks"]);
        let totals = |key: &str| self.total(key);
        let word = self.readiness();
        assert!(self.page.contains(&format!(">{word}</span></p>")), "the page does not say {word:?}");
        for reason in summary["reasons"].as_array().unwrap().iter().take(4) {
            let shown = format!("<p class=\"reason\">{}</p>", reason.as_str().unwrap());
            assert!(self.page.contains(&shown), "the page does not say {reason}");
            self.is_on_the_screen(&format!("  {}", reason.as_str().unwrap()));
        }
        let with = |counts: &Value, more: &[(&str, u64)]| {
            let mut all = present(counts);
            all.extend(more.iter().filter(|(_, n)| *n > 0).map(|(word, n)| ((*word).to_owned(), *n)));
            all
        };
        let none = serde_json::json!({});
        let count = |of: &Value, key: &str| whole(&of[key]);
        let tiles = [
            ("Accounts", count(accounts, "total"), with(&accounts["states"], &[("blind", count(accounts, "blind"))])),
            ("Subscriptions", count(subscriptions, "total"), with(&subscriptions["states"], &[])),
            ("Sinks", count(sinks, "total"), {
                let down = count(sinks, "total") - count(sinks, "up");
                let (blocking, unconfigured) = (count(sinks, "blocking"), count(sinks, "unconfigured"));
                let up = count(sinks, "up");
                with(&none, &[("up", up), ("down", down), ("blocking", blocking), ("not configured", unconfigured)])
            }),
            ("Events queued", count(sinks, "queued"), with(&none, &[("dead", count(sinks, "dead"))])),
            ("Events received", totals("received"), {
                let gaps = if totals("gaps") == 1 { "gap" } else { "gaps" };
                let rest = [("received twice", totals("duplicate")), ("rejected", totals("rejected"))];
                with(&none, &[rest[0], rest[1], (gaps, totals("gaps"))])
            }),
            ("Deliveries", totals("delivered"), {
                let by_operator = [
                    ("owed again by an operator", totals("revived")),
                    ("purged by an operator", totals("purged")),
                    ("dead purged by an operator", totals("purged_dead")),
                ];
                let ours = [
                    ("failed and tried again", totals("retried")),
                    ("given up", totals("dead")),
                    ("dropped", totals("dropped")),
                ];
                with(&none, &[by_operator, ours].concat())
            }),
        ];
        for (title, total, parts) in tiles {
            assert_eq!(self.tile(title), (total, parts), "the tile {title} of the page");
        }
    }

    /// The head of the screen of `status`.
    fn agree_on_the_screen(&self) {
        let summary = self.summary();
        let (accounts, subscriptions) = (&summary["accounts"], &summary["subscriptions"]);
        let totals = |key: &str| self.total(key);
        let word = self.readiness();
        assert!(self.screen.lines().next().unwrap().ends_with(&format!(": {word}")), "{}", self.screen);
        let listed = |of: &Value| {
            let parts: Vec<_> = present(&of["states"]).into_iter().map(|(word, n)| format!("{n} {word}")).collect();
            let total = whole(&of["total"]);
            if parts.is_empty() { total.to_string() } else { format!("{total}: {}", parts.join(", ")) }
        };
        let blind = whole(&accounts["blind"]);
        let blind = if blind > 0 { format!("; {blind} blind") } else { String::new() };
        // Its order is that of the API, by the state; ours is by the word.
        let sorted = |line: &str| {
            let mut words: Vec<_> = line.split([',', ':', ';']).map(|word| word.trim().to_owned()).collect();
            words.sort();
            words
        };
        for (beginning, expected) in
            [("accounts ", listed(accounts) + &blind), ("subscriptions ", listed(subscriptions))]
        {
            let line = self.screen.lines().find_map(|line| line.strip_prefix(beginning)).unwrap();
            assert_eq!(sorted(line), sorted(&expected), "`status`");
        }
        self.is_on_the_screen(&format!(
            "events         {} received, {} of them twice; {} rejected, {} gaps",
            totals("received"),
            totals("duplicate"),
            totals("rejected"),
            totals("gaps")
        ));
        let done = [("revived", "owed again"), ("purged", "purged"), ("purged_dead", "dead purged")];
        let done: Vec<_> = done.iter().map(|(key, word)| (totals(key), word)).filter(|(n, _)| *n > 0).collect();
        let done: Vec<_> = done.iter().map(|(n, word)| format!("{n} {word}")).collect();
        let done = if done.is_empty() { String::new() } else { format!(" ({} by an operator)", done.join(", ")) };
        self.is_on_the_screen(&format!(
            "deliveries     {} done, {} failed and tried again, {} given up{done}, {} dropped",
            totals("delivered"),
            totals("retried"),
            totals("dead"),
            totals("dropped")
        ));
    }

    fn agree_on_account(&self, account: &Value) {
        let name = account["name"].as_str().unwrap();
        let (state, why) = (account["state"].as_str().unwrap(), text(&account["why"]).unwrap_or_default());
        let blind = &account["blind"];
        let label = [("account", name)];
        let covered = blind.is_null() && state != "disabled";
        self.measures("account_covered", &label, f64::from(u8::from(covered)));
        self.measures("account_blind_since_timestamp_seconds", &label, unix(&blind["since"]));
        self.measures("account_online", &label, f64::from(u8::from(state == "online")));
        self.measures("account_authorized_until_timestamp_seconds", &label, unix(&account["authorized_until"]));
        self.measures("account_last_event_timestamp_seconds", &label, unix(&account["last_event"]));
        self.measures("account_events_total", &label, number(&account["events"]));

        let row = self.page_row("Accounts", &[("Account", &account["name"])]);
        let is_blind = blind["reason"].as_str().map(|reason| format!("{}: {reason}", second(&blind["since"])));
        let expected = [
            ("State", state.to_owned()),
            ("Since", second(&account["since"])),
            ("Why", why.clone()),
            ("Blind", is_blind.unwrap_or_default()),
            ("Authorized until", second(&account["authorized_until"])),
            ("Newest event", second(&account["last_event"])),
        ];
        for (column, expected) in expected {
            assert_eq!(row[column], expected, "{column} of {name} on the page");
        }

        let among = self.summary()["blind"].as_array().unwrap().iter().find(|row| row["name"] == name);
        assert_eq!(among.is_some(), !blind.is_null(), "{name} is among the blind of the summary, or is not");
        if let Some(among) = among {
            let said = [&among["state"], &among["since"], &among["reason"], &among["why"]];
            assert_eq!(said, [&account["state"], &blind["since"], &blind["reason"], &account["why"]]);
            let row = self.screen_row("BLIND", name);
            let cell = |column: &str| row.get(column).cloned().unwrap_or_default();
            let reason = blind["reason"].as_str().unwrap().to_owned();
            let said = [cell("STATE"), cell("SINCE"), cell("REASON"), cell("WHY")];
            assert_eq!(said, [state.to_owned(), second(&blind["since"]), reason, why], "`status` of {name}");
        }
    }

    fn agree_on_subscription(&self, subscription: &Value) {
        let key = [
            ("Account", &subscription["account"]),
            ("Service", &subscription["service"]),
            ("Node", &subscription["node"]),
        ];
        let row = self.page_row("Subscriptions", &key);
        for (column, expected) in [
            ("State", text(&subscription["state"]).unwrap_or_default()),
            ("Since", second(&subscription["since"])),
            ("Why", text(&subscription["why"]).unwrap_or_default()),
            ("Lease until", second(&subscription["lease_until"])),
            ("Renewed", second(&subscription["renewed"])),
        ] {
            assert_eq!(row[column], expected, "{column} of {subscription:#} on the page");
        }
    }

    fn agree_on_sink(&self, sink: &Value) {
        let name = sink["name"].as_str().unwrap();
        let state = text(&sink["state"]).unwrap();
        let up = sink["up"] == true;
        assert_eq!(up, state == "up", "{sink:#}");
        if sink["configured"] == true {
            let label = [("sink", name)];
            for (metric, key) in [
                ("sink_up", "up"),
                ("sink_blocking", "blocking"),
                ("sink_queue_events", "queued"),
                ("sink_queue_bytes", "bytes"),
                ("sink_held_calls", "held"),
                ("sink_dead_events", "dead"),
            ] {
                self.measures(metric, &label, number(&sink[key]));
            }
            self.measures("sink_queue_oldest_timestamp_seconds", &label, unix(&sink["oldest"]));
            for reason in ["full", "age"] {
                let dropped = number(&sink["dropped"][reason]);
                self.measures("sink_dropped_total", &[("sink", name), ("reason", reason)], dropped);
            }
        } else {
            for metric in ["sink_up", "sink_queue_events", "sink_dead_events", "sink_dropped_total"] {
                assert_eq!(self.metrics.value(metric, &[("sink", name)]), None, "{metric} of {name}");
            }
        }
        let dropped: Vec<_> = present(&sink["dropped"]).into_iter().collect();
        let mut dropped: Vec<_> = dropped.iter().rev().map(|(reason, n)| format!("{reason}: {n}")).collect();
        if dropped.is_empty() {
            dropped.push("0".to_owned());
        }
        let dropped = dropped.join(", ");
        let (queued, bytes, dead) = (sink["queued"].to_string(), sink["bytes"].to_string(), sink["dead"].to_string());
        let (error, kind) = (text(&sink["last_error"]).unwrap_or_default(), text(&sink["type"]).unwrap_or_default());
        let (oldest, next, held) = (second(&sink["oldest"]), second(&sink["next_try"]), sink["held"].to_string());
        let blocking = sink["blocking"] == true;

        let row = self.page_row("Sinks", &[("Sink", &sink["name"])]);
        let shown = if blocking { state.clone() + "full, blocking" } else { state.clone() };
        for (column, expected) in [
            ("Type", &kind),
            ("State", &shown),
            ("Queued", &queued),
            ("Bytes", &bytes),
            ("Oldest", &oldest),
            ("Held calls", &held),
            ("Next try", &next),
            ("Dead", &dead),
            ("Dropped", &dropped),
            ("Newest failure", &error),
        ] {
            assert_eq!(row[column], *expected, "{column} of {name} on the page");
        }

        let row = self.screen_row("SINK", name);
        let shown = if blocking { state + ", blocking" } else { state };
        for (column, expected) in [
            ("TYPE", &kind),
            ("STATE", &shown),
            ("QUEUED", &queued),
            ("BYTES", &bytes),
            ("OLDEST", &oldest),
            ("DEAD", &dead),
            ("DROPPED", &dropped),
            ("LAST ERROR", &error),
        ] {
            assert_eq!(row.get(column).map_or("", String::as_str), *expected, "{column} of {name} by `status`");
        }
        let held = match whole(&sink["held"]) {
            0 => String::new(),
            1 => "1 call held, ".to_owned(),
            calls => format!("{calls} calls held, "),
        };
        let waits = self.screen.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        let expected = (!next.is_empty()).then(|| format!("{held}next try {next}"));
        assert_eq!(waits.map(str::to_owned), expected, "next try of {name} by `status`");
    }

    /// Says what the newest line about a thing says otherwise than the API.
    pub fn disagreement_of_the_log(&self) -> Option<String> {
        let sinks = self.rows("sinks").filter_map(|sink| {
            let name = sink["name"].as_str().unwrap();
            // A reload that has it again, or changes it, names it.
            let names = |line: &&Line| line.field("names").split([' ', ',', '.']).any(|word| word == name);
            let line = self.log.iter().rfind(|line| line.field("sink") == name || names(line))?;
            (!agrees_on_sink(line, sink)).then(|| format!("{line:?}, but {sink:#}"))
        });
        // Nothing is expected of a disabled account, and at a stop one line is written for all.
        let expected = |account: &&Value| account["state"] != "disabled" && self.summary()["draining"] == false;
        let accounts = self.rows("accounts").filter(expected).filter_map(|account| {
            let about = |line: &&Line| line.field("account") == account["name"] && line.message.starts_with("account ");
            let blind = self.log.iter().rfind(|line| about(line) && !line.field("reason").is_empty());
            let state = self.log.iter().rfind(|line| about(line) && !line.field("state").is_empty());
            let other = blind.into_iter().chain(state).find(|line| !agrees_on_account(line, account))?;
            Some(format!("{other:?}, but {account:#}"))
        });
        sinks.chain(accounts).next()
    }
}

/// Whether the newest line about a sink says what the API says; one about something that is over says nothing of now.
fn agrees_on_sink(line: &Line, sink: &Value) -> bool {
    let (why, next) = (("why", text(&sink["last_error"])), text(&sink["next_try"]));
    let is = |state: &str| sink["state"] == state;
    match line.message.as_str() {
        "a delivery failed and is tried again" => {
            !is("up") && line.has(&[why, ("next_try", next), ("held_calls", text(&sink["held"]))])
        }
        "the sink takes nothing: it is probed until it does" => is("down") && line.has(&[why, ("retry_at", next)]),
        "the sink wants no more events: it rests for an hour, or until a reload" => {
            is("resting") && line.has(&[why, ("retry_at", next)])
        }
        "the sink accepts events again" => is("up"),
        "its queue is full: receiving stops until there is room" => sink["blocking"] == true,
        "its queue has room again: receiving goes on" => sink["blocking"] == false,
        "given up and kept as dead letters" => line.has(&[why]) && whole(&sink["dead"]) > 0,
        message if message.starts_with("caught up: ") => is("up") && sink["next_try"].is_null(),
        message if message.starts_with("a sink that is not configured") => {
            let fields = ["dead", "oldest"].map(|key| (key, text(&sink[key])));
            is("not configured") && line.has(&fields) && line.has(&[("owed", text(&sink["queued"]))])
        }
        message if message.starts_with("dropped: ") => whole(&sink["dropped"][line.field("reason")]) > 0,
        _ => true,
    }
}

/// The same for an account.
fn agrees_on_account(line: &Line, account: &Value) -> bool {
    let blind = &account["blind"];
    match line.message.as_str() {
        "account blind: its events cannot arrive" => {
            line.has(&[("since", text(&blind["since"])), ("reason", text(&blind["reason"]))])
        }
        "account sees: its events can arrive" => blind.is_null(),
        "account refused" => account["state"] == "refused" && line.has(&[("why", text(&account["why"]))]),
        "account online" => account["state"] == "online",
        _ => true,
    }
}
