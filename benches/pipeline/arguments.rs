//! What is asked for on the command line: words, and numbers after them.

use super::contestant::Contestant;
use super::round::Setting;

/// Runs of the setting the goals are about; of the others one is enough.
const RUNS: u32 = 5;
const ACCOUNTS: u32 = 1_000;
const SIZES: [u32; 4] = [1, 100, 1_000, 10_000];
const EVENTS: u64 = 100_000;

/// What is to be measured.
pub struct Arguments {
    pub contestants: Vec<Contestant>,
    /// Whether the results are written to a file.
    pub write: bool,
    /// Whether TLS is measured with the usual number of accounts only.
    brief: bool,
    accounts: Vec<u32>,
    tls: Vec<bool>,
    events: u64,
    runs: Option<u32>,
}

impl Arguments {
    pub fn read(words: &[String]) -> Self {
        let mut read = Self {
            contestants: Vec::new(),
            write: false,
            brief: false,
            accounts: Vec::new(),
            tls: vec![false],
            events: EVENTS,
            runs: None,
        };
        let mut key = "";
        for word in words.iter().map(String::as_str).filter(|word| !word.starts_with("--")) {
            match (word, key) {
                ("all", _) => (read.accounts, read.tls) = (SIZES.to_vec(), vec![false, true]),
                ("brief", _) => read.brief = true,
                ("tls", _) => read.tls = vec![true],
                ("write", _) => read.write = true,
                ("accounts" | "runs" | "events" | "only", _) => key = word,
                (number, "accounts") => read.accounts.push(number.parse().unwrap()),
                (number, "runs") => read.runs = Some(number.parse().unwrap()),
                (number, "events") => read.events = number.parse().unwrap(),
                (name, _) => match Contestant::ALL.into_iter().find(|contestant| contestant.name() == name) {
                    Some(contestant) => read.contestants.push(contestant),
                    None => panic!("{name}: no such contestant or word"),
                },
            }
        }
        if read.contestants.is_empty() {
            read.contestants = Contestant::ALL.to_vec();
        }
        if read.accounts.is_empty() {
            read.accounts.push(ACCOUNTS);
        }
        read
    }

    pub fn settings(&self) -> Vec<Setting> {
        let one =
            |tls| self.accounts.iter().map(move |accounts| Setting { accounts: *accounts, tls, events: self.events });
        let fits = |setting: &Setting| !self.brief || !setting.tls || setting.accounts == ACCOUNTS;
        self.tls.iter().flat_map(|tls| one(*tls)).filter(fits).collect()
    }

    pub fn runs(&self, setting: Setting) -> u32 {
        self.runs.unwrap_or(if setting.accounts == ACCOUNTS && !setting.tls { RUNS } else { 1 })
    }
}
