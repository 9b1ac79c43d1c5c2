//! Taking over a new configuration: on SIGHUP, and when its files change.
//!
//! A configuration with problems changes nothing. Must not know what a change means for an account or a sink.

use super::Args;
use crate::actors::fleet::Changes;
use crate::app::App;
use crate::config::Config;
use crate::settings::problem::Problems;
use crate::settings::sources::{Fingerprint, Sources};
use crate::settings::watch::Watch;

/// How often it is read anew because it names other files than before.
const ROUNDS: usize = 3;
/// Names shown in one line of the log.
const MOST_NAMES: usize = 20;

/// The configuration that runs, and the files it came from.
pub(super) struct Running {
    args: Args,
    pub(super) config: Config,
    sources: Sources,
    /// What the files held when they were last read, whether that was any good or not.
    seen: Fingerprint,
    watch: Option<Watch>,
}

impl Running {
    /// Reads the configuration for the first time.
    pub(super) fn read(args: &Args) -> Result<Self, Problems> {
        loop {
            let before = Sources::given(&args.config.paths).fingerprint();
            let (config, sources) = args.config.load_to_run();
            let seen = sources.fingerprint();
            if seen.continues(&before) {
                return Ok(Self { args: args.clone(), config: config?, sources, seen, watch: None });
            }
        }
    }

    /// Begins or ends watching, as the configuration has it.
    pub(super) fn watch(&mut self) {
        match (&self.watch, self.config.watch_config) {
            (None, true) => match Watch::new() {
                Ok(watch) => {
                    self.watch = Some(watch);
                    self.renew_watch();
                }
                Err(fault) => unwatched(&fault),
            },
            (Some(_), false) => self.watch = None,
            (Some(_), true) | (None, false) => {}
        }
    }

    /// Returns when something happened to the files; never, if they are not watched.
    pub(super) async fn stirred(&mut self) {
        match &mut self.watch {
            Some(watch) => watch.stirred().await,
            None => std::future::pending().await,
        }
    }

    /// Takes the files over if they hold anything else than when they were last read.
    pub(super) async fn follow(&mut self, app: &App) {
        self.renew_watch();
        if self.sources.fingerprint() == self.seen {
            return;
        }
        tracing::info!("the configuration files changed");
        self.reload(app).await;
    }

    /// Takes the files over as they are now.
    pub(super) async fn reload(&mut self, app: &App) {
        let applied = match self.read_again() {
            Ok(new) => self.apply(app, new).await,
            Err(problems) => {
                for problem in &problems {
                    tracing::error!(%problem, "the new configuration is not taken over");
                }
                false
            }
        };
        app.reloaded(applied);
        self.watch();
    }

    async fn apply(&mut self, app: &App, mut new: Config) -> bool {
        super::make_room(&mut new);
        match app.reload(&self.config, new.clone()).await {
            Ok(changes) => {
                if self.config.log != new.log {
                    tracing::warn!("log: a change takes effect at the next start");
                }
                self.config = new;
                warn_of(&self.config);
                tell(&changes);
                true
            }
            Err(fault) => {
                tracing::error!(%fault, "the new configuration is not taken over");
                false
            }
        }
    }

    /// Reads the files, and again if they turn out to be others: each is watched before it is read for good.
    fn read_again(&mut self) -> Result<Config, Problems> {
        let mut outcome = self.read_once();
        for _ in 1..ROUNDS {
            if outcome.1 == self.sources {
                break;
            }
            self.sources = outcome.1;
            self.renew_watch();
            outcome = self.read_once();
        }
        outcome.0
    }

    fn read_once(&mut self) -> (Result<Config, Problems>, Sources) {
        self.seen = self.sources.fingerprint();
        self.args.config.load_to_run()
    }

    fn renew_watch(&mut self) {
        if let Some(Err(fault)) = self.watch.as_mut().map(|watch| watch.renew(&self.sources)) {
            unwatched(&fault);
        }
    }
}

/// Says what keeps nothing from running and yet should be put right.
pub(super) fn warn_of(config: &Config) {
    for problem in &config.warnings {
        tracing::warn!(%problem, "the configuration runs, but is not as it should be");
    }
}

fn unwatched(fault: &dyn std::error::Error) {
    tracing::warn!(%fault, "changes of the configuration files may go unseen; SIGHUP still has them read");
}

/// One line for each kind of change, names only.
fn tell(changes: &Changes) {
    let Changes { started, stopped, changed } = changes;
    for (kind, names) in [("started", started), ("stopped", stopped), ("changed", changed)] {
        if !names.is_empty() {
            tracing::info!(names = shown(names), "configuration: {} {kind}", names.len());
        }
    }
    tracing::info!("configuration taken over");
}

fn shown(names: &[String]) -> String {
    let shown = names.get(..MOST_NAMES).unwrap_or(names);
    match names.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_of_names_stays_one_short_line() {
        let names: Vec<_> = (0..1000).map(|n| format!("accounts.a{n}")).collect();
        assert!(shown(&names).ends_with("accounts.a19 and 980 more"));
        assert_eq!(shown(&names[..2]), "accounts.a0, accounts.a1");
    }
}
