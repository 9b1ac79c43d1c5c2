//! Looks for what is wrong with a store, and repairs what can be repaired of one that no router uses.
//!
//! Says everything it did. Must not know who asks.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use super::Store;
use super::error::{OpenError, StoreError};
use super::opening::{Place, log_options};
use super::options::Options;
use crate::disk::Directory;
use crate::domain::identity::StoreId;
use crate::generations::{self, Generations};
use crate::log;
use crate::state::{Checkpoint, State};

pub use crate::state::Repaired;

/// Why nothing was repaired. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// It could not be opened, or a router uses it.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It could not be read or written.
    #[error("{}: {fault}", .path.display())]
    Store {
        /// The database.
        path: PathBuf,
        /// What is wrong.
        fault: StoreError,
    },
}

impl Store {
    /// Looks through everything and says what is wrong, one line each; takes as long as the store is large.
    pub async fn faults(&self) -> Result<Vec<String>, StoreError> {
        let mut faults = self.state.faults().await?;
        let loaded = self.state.load().await?;
        let (log, past) = (self.shared.log.clone(), Directory::existing(&self.place.generations()));
        let damaged = tokio::task::spawn_blocking(move || {
            let mut told = log.check();
            let damaged = Generations::damage(&past, StoreId(loaded.store), &loaded.generations).into_iter();
            told.extend(damaged.filter(|(_, fault)| is_damage(fault)).map(|(_, fault)| fault.to_string()));
            told
        });
        faults.extend(damaged.await.map_err(|_| StoreError::Gone)?);
        Ok(faults)
    }

    /// Looks through everything of an existing store as [`Store::faults`] does, also where it is damaged so that it does not
    /// open.
    pub async fn check(options: &Options) -> Result<Vec<String>, RepairError> {
        let place = Place::of(options)?;
        let state = State::beside(&place.database).await.map_err(OpenError::State)?;
        let looked = look(&state, &place, options).await;
        let _ = state.close().await;
        looked.map_err(|fault| RepairError::Store { path: place.database, fault })
    }

    /// Repairs what can be repaired of a store that no router uses, and says what that was. What is damaged is moved to files
    /// beside.
    pub async fn repair(options: &Options) -> Result<Repaired, RepairError> {
        let place = Place::of(options)?;
        let state = State::owned(&place.database).await.map_err(OpenError::State)?;
        let outcome = repair(&state, &place, options).await;
        let closed = state.close().await.map_err(StoreError::from);
        let repaired = outcome.and_then(|repaired| closed.map(|()| repaired));
        repaired.map_err(|fault| RepairError::Store { path: place.database, fault })
    }
}

async fn look(state: &State, place: &Place, options: &Options) -> Result<Vec<String>, StoreError> {
    let mut faults = state.faults().await?;
    // Without the line that says which store it is, which was told already, nobody knows which log is its own.
    let Ok(loaded) = state.load().await else { return Ok(faults) };
    let (at, kept) = (place.clone(), log_options(options, &loaded));
    let looked = tokio::task::spawn_blocking(move || {
        let mut told = match log::open_to_read(&Directory::existing(&at.log()), kept) {
            Ok(log) => log.check(),
            Err(fault) => vec![fault.to_string()],
        };
        let past = Directory::existing(&at.generations());
        let damaged = Generations::damage(&past, kept.store, &loaded.generations).into_iter();
        told.extend(damaged.filter(|(_, fault)| is_damage(fault)).map(|(_, fault)| fault.to_string()));
        told
    });
    faults.extend(looked.await.map_err(|_| StoreError::Gone)?);
    Ok(faults)
}

/// Whether a generation is not what was written. One that its owner has replaced meanwhile is only missing.
fn is_damage(fault: &generations::OpenError) -> bool {
    use generations::OpenError as Fault;
    matches!(fault, Fault::Header(_) | Fault::Length { .. } | Fault::Damaged { .. })
}

async fn repair(state: &State, place: &Place, options: &Options) -> Result<Repaired, StoreError> {
    let mut repaired = state.repair().await?;
    let loaded = match state.load().await {
        Ok(loaded) => loaded,
        // Without the line that says which store it is, nobody knows which log is its own.
        Err(fault) if repaired.left.is_empty() => return Err(fault.into()),
        Err(_) => return Ok(repaired),
    };
    let (at, kept, named) = (place.clone(), log_options(options, &loaded), loaded.generations.clone());
    let looked = tokio::task::spawn_blocking(move || repair_files(&at, kept, &named));
    let Looked { done, left, damaged } = looked.await.map_err(|_| StoreError::Gone)?;
    repaired.done.extend(done);
    repaired.left.extend(left);
    if !damaged.is_empty() {
        let generations = loaded.generations.into_iter().filter(|number| !damaged.contains(number)).collect();
        let without = Checkpoint { offset: loaded.offset, clock: loaded.clock, generations, ..Checkpoint::default() };
        state.checkpoint(without).await?;
    }
    Ok(repaired)
}

/// What was found in the files beside the database.
#[derive(Debug, Default)]
struct Looked {
    done: Vec<String>,
    left: Vec<String>,
    /// Generations that the state must not name any more.
    damaged: Vec<u64>,
}

fn repair_files(place: &Place, kept: log::Options, named: &[u64]) -> Looked {
    let mut looked = Looked::default();
    let folder = Directory::existing(&place.log());
    let mut aside = |name: &str, bytes: &[u8]| keep_aside(place, name, bytes);
    let told = |fault: &log::OpenError| format!("{}: {fault}", place.log().display());
    match log::repair(&folder, kept, &mut aside) {
        Ok(done) => looked.done = done,
        Err(fault) => looked.left.push(told(&fault)),
    }
    if looked.left.is_empty() {
        looked.left.extend(log::open_to_read(&folder, kept).err().map(|fault| told(&fault)));
    }
    let past = place.generations();
    for (number, fault) in Generations::damage(&Directory::existing(&past), kept.store, named) {
        let name = Generations::name(number);
        let copied = match is_damage(&fault) {
            true => fs::read(past.join(&name)).and_then(|bytes| keep_aside(place, &name, &bytes)),
            false => Err(io::Error::other("it is not what is damaged")),
        };
        match copied {
            Ok(to) => {
                looked.done.push(format!(
                    "{fault}; it was moved to {to}, and the ids in it are forgotten: what comes again may be told twice"
                ));
                looked.damaged.push(number);
            }
            Err(_) => looked.left.push(format!("{}: {fault}", past.display())),
        }
    }
    looked
}

/// Keeps damaged bytes in a file beside the log, and returns its name.
fn keep_aside(place: &Place, name: &str, bytes: &[u8]) -> io::Result<String> {
    let folder = place.events.join("damaged");
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    let path = folder.join(name);
    let mut file = fs::OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::File::open(&folder)?.sync_all()?;
    Ok(path.display().to_string())
}
