//! The contestants in other languages: installed below the target folder when they are first asked for.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/pipeline");
const INSTALLED: &str = env!("CARGO_TARGET_TMPDIR");

/// Why a contestant cannot take part.
pub struct Missing(pub String);

fn folder(name: &str) -> PathBuf {
    Path::new(INSTALLED).join("pipeline").join(name)
}

/// Installs what `package-lock.json` says.
pub async fn prepare_node() -> Result<(), Missing> {
    let folder = folder("xmppjs");
    std::fs::create_dir_all(&folder).unwrap();
    for file in ["package.json", "package-lock.json", "main.mjs"] {
        std::fs::copy(Path::new(SOURCES).join("xmppjs").join(file), folder.join(file)).unwrap();
    }
    run(Command::new("npm").args(["ci", "--no-audit", "--no-fund", "--silent"]).current_dir(&folder)).await
}

pub fn node() -> Command {
    let mut command = Command::new("node");
    command.arg(folder("xmppjs").join("main.mjs"));
    command
}

/// Installs what `requirements.txt` says.
pub async fn prepare_python() -> Result<(), Missing> {
    let folder = folder("slixmpp");
    let python = folder.join("bin/python");
    if !python.exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder)).await?;
    }
    let requirements = Path::new(SOURCES).join("slixmpp/requirements.txt");
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"];
    run(Command::new(&python).args(install).arg(requirements)).await
}

pub fn python() -> Command {
    let mut command = Command::new(folder("slixmpp").join("bin/python"));
    command.arg(Path::new(SOURCES).join("slixmpp/main.py"));
    command
}

async fn run(command: &mut Command) -> Result<(), Missing> {
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().await.map_err(|error| Missing(format!("{name}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it says nothing").to_owned();
    Err(Missing(format!("{name} ended with {}: {last}", output.status)))
}
