//! The contestant `router`: the built daemon with a file sink, every event on the disk before it counts.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use onsip_router::domain::moment::Moment;
use onsip_router::simulator::{self, EVENTS_PER_LEG};

use super::buckets::Buckets;
use super::contestant::{Account, Expected, PATIENCE};
use super::stage::Service;
use super::support::daemon::Daemon;

const STEPS: usize = 3;
const _: () = assert!(STEPS as u64 == EVENTS_PER_LEG);
/// What the configuration allows by default until everything is subscribed.
const BOUND: Duration = Duration::from_mins(5);
/// Between two looks at the file, where the time of each event counts.
const CLOSE_LOOK: Duration = Duration::from_micros(250);
/// The same where only the end counts.
const LOOK: Duration = Duration::from_millis(10);
/// Between two scrapes, which cost something with many accounts.
const SCRAPE: Duration = Duration::from_millis(250);
const FILE: &str = "events.jsonl";
const NEVER: &str = "when = 'type == \"com.onsip.canary\"'\n";
/// Stands before the leg number in an item id.
const BEFORE_ITEM: &str = "\"item_id\":\"";
const BEFORE_TYPE: &str = "\"type\":\"com.onsip.call.";

pub struct Router {
    daemon: Daemon,
    accounts: usize,
    writes: bool,
    file: Option<File>,
    expected: Expected,
    committed: f64,
}

impl Router {
    pub async fn start(service: &Service, writes: bool) -> Self {
        let sink = format!("type = \"file\"\npath = \"{FILE}\"\n{}", if writes { "" } else { NEVER });
        let config = simulator::configuration(service.address(), service.services_domain(), &service.accounts)
            .replace("type = \"stdout\"\n", &sink);
        let config = match &service.certificate {
            Some(certificate) => {
                config.replace("tls = \"off\"", &format!("tls = \"starttls\"\nca_file = \"{}\"", certificate.display()))
            }
            None => config,
        };
        let config = format!(
            "watch_config = false\n{config}[store]\nurl = \"sqlite://router.db\"\n[http]\nlisten = \"127.0.0.1:0\"\n"
        );
        let daemon = Daemon::start(&config, &[]).await;
        let expected = Expected { first: 0, legs: 0, bytes: 0, timed: false };
        Self { daemon, accounts: service.accounts.len(), writes, file: None, expected, committed: 0.0 }
    }

    pub fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    pub async fn until_subscribed(&self) {
        #[expect(clippy::cast_precision_loss, reason = "a count")]
        let all = self.accounts as f64 - 0.5;
        self.daemon.until_metric("subscriptions", &[("state", "active")], BOUND, |active| active > all).await;
    }

    pub async fn expect(&mut self, expected: Expected) {
        self.expected = expected;
        self.committed = self.committed().await;
        if self.writes && self.file.is_none() {
            // The sink makes it only with the first event.
            let path = self.path();
            self.file = Some(OpenOptions::new().read(true).append(true).create(true).open(path).unwrap());
        }
        if let Some(file) = &mut self.file {
            file.read_to_end(&mut Vec::new()).unwrap();
        }
    }

    pub async fn until_finished(&mut self) -> (Moment, Account) {
        let Some(file) = &self.file else { return self.until_committed().await };
        let (file, expected) = (file.try_clone().unwrap(), self.expected);
        tokio::task::spawn_blocking(move || follow(file, expected)).await.unwrap()
    }

    /// Without a line to look at, the commits tell how far it is.
    async fn until_committed(&self) -> (Moment, Account) {
        #[expect(clippy::cast_precision_loss, reason = "a count")]
        let all = (self.expected.legs * EVENTS_PER_LEG) as f64;
        let start = Moment::now();
        loop {
            let done = self.committed().await - self.committed;
            let end = Moment::now();
            if done > all - 0.5 || end.since(start) > PATIENCE {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
                let (events, lost, duplicated) =
                    (done as u64, (all - done).max(0.0) as u64, (done - all).max(0.0) as u64);
                return (end, Account { events, lost, duplicated, ..Account::default() });
            }
            tokio::time::sleep(SCRAPE).await;
        }
    }

    /// What it says itself of how long events took.
    pub async fn deliveries(&self) -> Buckets {
        Buckets::of_delivery(&self.daemon.metrics().await)
    }

    async fn committed(&self) -> f64 {
        self.daemon.metrics().await.value("event_commit_seconds_count", &[]).unwrap_or_default()
    }

    /// What it says of itself, where something is not as it should be.
    pub async fn troubles(&self) -> String {
        let metrics = self.daemon.metrics().await;
        let names = [
            "events_rejected_total",
            "events_duplicate_total",
            "disconnects_total",
            "requests_timed_out_total",
            "gaps_total",
            "sink_dropped_total",
        ];
        let found = names.map(|name| (name, metrics.value(name, &[]).unwrap_or_default()));
        let found = found.iter().filter(|(_, value)| *value > 0.0);
        let mut said: Vec<String> = found.map(|(name, value)| format!("{name} {value}")).collect();
        let logged = self.daemon.log();
        let bad = logged.lines().filter(|line| line.contains("WARN") || line.contains("ERROR"));
        said.extend(bad.take(3).map(str::to_owned));
        said.join("; ")
    }

    pub async fn end(mut self: Box<Self>) {
        let status = self.daemon.terminate().await;
        assert!(status.success(), "the daemon ended with {status}");
        // Every line was looked at; holding each to the schema takes minutes.
        let _ = fs::remove_file(self.path());
    }

    fn path(&self) -> PathBuf {
        self.daemon.folder().join(FILE)
    }
}

/// Reads the file as it grows, until everything expected stands in it.
fn follow(mut file: File, expected: Expected) -> (Moment, Account) {
    let events = usize::try_from(expected.legs).unwrap() * STEPS;
    let (start, mut bytes, mut lines) = (Moment::now(), Vec::new(), 0);
    let mut at = Vec::new();
    let (mut from, mut end) = (0, start);
    while lines < events && Moment::now().since(start) < PATIENCE {
        if file.read_to_end(&mut bytes).unwrap() == 0 {
            std::thread::sleep(if expected.timed { CLOSE_LOOK } else { LOOK });
            continue;
        }
        end = Moment::now();
        #[expect(clippy::naive_bytecount, reason = "it is in another process than what is measured")]
        let found = bytes[from..].iter().filter(|byte| **byte == b'\n').count();
        from = bytes.len();
        lines += found;
        at.extend(std::iter::repeat_n(end, if expected.timed { found } else { 0 }));
    }
    // What comes once more than it should comes soon.
    std::thread::sleep(Duration::from_millis(100));
    file.read_to_end(&mut bytes).unwrap();
    at.resize(at.len().max(lines + events), end);
    (end, account(&bytes, &at, expected))
}

fn account(bytes: &[u8], at: &[Moment], expected: Expected) -> Account {
    let events = usize::try_from(expected.legs).unwrap() * STEPS;
    let mut seen = vec![false; events];
    let mut account = Account { at: vec![0.0; if expected.timed { events } else { 0 }], ..Account::default() };
    for (line, at) in std::str::from_utf8(bytes).unwrap().lines().zip(at) {
        let Some((leg, step)) = event(line) else { continue };
        let Some(begin) = leg.checked_sub(expected.first).map(|leg| usize::try_from(leg).unwrap() * STEPS) else {
            continue;
        };
        let Some(of_leg) = seen.get_mut(begin..begin + STEPS) else { continue };
        let twice = std::mem::replace(&mut of_leg[step], true);
        account.duplicated += u64::from(twice);
        account.events += u64::from(!twice);
        account.out_of_order += u64::from(!twice && of_leg[step + 1..].contains(&true));
        if expected.timed && !twice {
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            let micros = at.utc().as_microsecond() as f64;
            account.at[begin + step] = micros;
        }
    }
    account.lost = events as u64 - account.events;
    account
}

fn event(line: &str) -> Option<(u64, usize)> {
    let item = line.split_once(BEFORE_ITEM)?.1.split('"').next()?;
    let leg = item.rsplit_once("z9hG4bK")?.1.parse().ok()?;
    let step = match line.split_once(BEFORE_TYPE)?.1.split('"').next()? {
        "confirmed" => 1,
        "ended" => 2,
        _ => 0,
    };
    Some((leg, step))
}
