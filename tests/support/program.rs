//! The built program, run once to its end, and a configuration for it.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use onsip_router::simulator::{Account, Options, Simulator};
use tempfile::TempDir;
use tokio::process::Command;

/// No command may take longer.
const BOUND: Duration = Duration::from_mins(1);

pub const PASSWORD: &str = "correct horse";

/// A simulated service with an account per JID.
pub async fn service(jids: &[&str]) -> Simulator {
    let accounts = jids.iter().map(|jid| Account::new(jid, PASSWORD).unwrap()).collect();
    Simulator::start(Options { accounts, ..Options::default() }).await.unwrap()
}

/// A configuration with one account per JID, named by its local part, for a simulated service at `port`.
pub fn configuration(port: u16, jids: &[&str]) -> String {
    let services_domain = Options::default().services_domain;
    let mut text = format!(
        "[xmpp]\nhost = '127.0.0.1'\nport = {port}\ntls = 'off'\nrequest_timeout = '2s'\n\
         [onsip]\nservices_domain = '{services_domain}'\n\
         [http]\nlisten = '127.0.0.1:0'\n[sinks.log]\ntype = 'file'\npath = 'events.jsonl'\n"
    );
    for jid in jids {
        let name = jid.split('@').next().unwrap();
        writeln!(text, "[accounts.{name}]\njid = '{jid}'\npassword = '{PASSWORD}'").unwrap();
    }
    text
}

/// A folder with this configuration in it.
pub fn folder(configuration: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.toml"), configuration).unwrap();
    folder
}

/// What a command said, and how it ended.
#[derive(Clone, Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    /// The first row of a table whose cells begin so.
    pub fn row(&self, cells: &[&str]) -> Vec<String> {
        let mut rows = self.stdout.lines().map(split);
        let found = rows.find(|row| row.len() >= cells.len() && row.iter().zip(cells).all(|(one, two)| one == two));
        found.unwrap_or_else(|| panic!("no row {cells:?} in\n{self:#?}"))
    }

    /// Whether it shows `text` anywhere.
    pub fn shows(&self, text: &str) -> bool {
        self.stdout.contains(text) || self.stderr.contains(text)
    }
}

/// The cells of a row: they are two blanks apart at least.
pub fn split(line: &str) -> Vec<String> {
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
}

/// Runs `onsip-router` with `arguments` in `folder`.
pub async fn run(folder: &Path, arguments: &[&str]) -> Said {
    run_with(folder, arguments, &[]).await
}

/// The same with an environment, which is otherwise empty.
pub async fn run_with(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onsip-router"));
    command.args(arguments).current_dir(folder).env_clear().envs(environment.iter().copied());
    command.stdin(Stdio::null()).kill_on_drop(true);
    let ended = tokio::time::timeout(BOUND, command.output()).await;
    let Output { status, stdout, stderr } = ended.expect("the command ends").expect("the command starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Said { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}
