//! How a store is opened: the state, the log beside it, and what the log says since the last checkpoint.
//!
//! The database has the name that is configured; the rest lies in a folder of its name that ends with `.events`: `log/`,
//! `generations/`, and `damaged/` with what a repair has moved away. Must not know what is done with the store.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use tokio::sync::mpsc;

use super::changes::Changes;
use super::committer::{Committer, Operation, Shared, WAITING};
use super::consumers::Consumers;
use super::error::{OpenError, StoreError, unreadable};
use super::options::Options;
use super::presence::Presence;
use super::remembered::Remembered;
use super::time::Time;
use super::{Access, Store, checkpoint};
use crate::disk::Directory;
use crate::domain::identity::StoreId;
use crate::domain::name::SinkName;
use crate::generations::{self, Generations, Limits};
use crate::log::{self, ConsumerNumber, Log, Offset, Torn};
use crate::state::{self, ConsumerState, Loaded, State};

/// Bytes of the newest events' JSON that are held in memory.
const TAIL: usize = 4 * 1024 * 1024;
/// Bytes of a segment at most, and at least.
const SEGMENT: (u64, u64) = (64 * 1024 * 1024, 256 * 1024);

/// Where a store is.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) database: PathBuf,
    pub(super) events: PathBuf,
}

impl Place {
    pub(super) fn of(options: &Options) -> Result<Self, OpenError> {
        let name = options.path().filter(|path| !path.as_os_str().to_string_lossy().ends_with('/'));
        let named = name.ok_or_else(|| OpenError::Url { url: options.url.clone() })?;
        // Through a link, what it points to: one store has one log.
        let database = named.canonicalize().unwrap_or_else(|_| named.to_owned());
        Ok(Self { events: events_of(&database), database })
    }

    pub(super) fn log(&self) -> PathBuf {
        self.events.join("log")
    }

    pub(super) fn generations(&self) -> PathBuf {
        self.events.join("generations")
    }

    /// Whether there is a log.
    fn has_log(&self) -> bool {
        let is_file = |name: &std::ffi::OsStr| name.to_string_lossy().ends_with(".segment");
        self.log().read_dir().is_ok_and(|files| files.flatten().any(|file| is_file(&file.file_name())))
    }
}

/// Returns the folder beside a database: `onsip-router.events` beside `onsip-router.db`.
pub(super) fn events_of(database: &Path) -> PathBuf {
    let mut folder = database.to_owned();
    if folder.extension().is_some_and(|extension| extension == "db") {
        folder.set_extension("events");
        return folder;
    }
    let mut name = folder.into_os_string();
    name.push(".events");
    name.into()
}

pub(super) fn log_options(options: &Options, loaded: &Loaded) -> log::Options {
    log::Options {
        store: StoreId(loaded.store),
        segment_bytes: segment_bytes(options),
        tail_bytes: TAIL,
        seen: Offset(loaded.offset),
    }
}

pub(super) fn segment_bytes(options: &Options) -> u64 {
    (options.keep_bytes / 8).clamp(SEGMENT.1, SEGMENT.0)
}

/// Opens a store, makes it if it is absent, and owns it.
pub(super) async fn open(options: &Options) -> Result<Store, OpenError> {
    let place = Place::of(options)?;
    let state = State::open(&place.database, !place.has_log()).await.map_err(OpenError::State)?;
    let opened = open_log(options, place, state.clone()).await;
    if opened.is_err() {
        // Whoever is refused owns nothing from then on, and not only once its threads have ended.
        let _ = state.close().await;
    }
    opened
}

/// Opens what belongs to a state, which is ours.
async fn open_log(options: &Options, place: Place, state: State) -> Result<Store, OpenError> {
    let loaded = load(&state, &place).await?;
    let at = place.clone();
    let kept = log_options(options, &loaded);
    let now = loaded.clock.newest;
    let opened = blocking(&place, move || {
        let (past, log) = (at.generations(), at.log());
        let folder = Directory::open(&past).map_err(|fault| OpenError::of_file(&past, &fault))?;
        let options = generations::Options { store: kept.store, limits: Limits::default() };
        let generations = Generations::open(Arc::new(folder), options, &loaded.generations, now);
        let generations = generations.map_err(|fault| OpenError::Part { path: past, detail: fault.to_string() })?;
        let folder = Directory::open(&log).map_err(|fault| OpenError::of_file(&log, &fault))?;
        let opened = log::open(Arc::new(folder), kept);
        let (appender, log, torn) = opened.map_err(|fault| OpenError::Part { path: log, detail: fault.to_string() })?;
        let presence = Presence::of([at.database.clone(), at.log()]);
        let shared =
            recover(loaded, generations, log, presence, true).map_err(|fault| OpenError::of(&at.database, fault))?;
        Ok((shared, appender, torn))
    });
    let (shared, appender, torn) = opened.await?;
    if let Some(Torn { name, position }) = torn {
        tracing::warn!(segment = name, position, "the last group was not finished, or is damaged: it is cut off");
    }
    let shared = Arc::new(shared);
    let (sender, inbox) = mpsc::channel(WAITING);
    let committer = Committer::new(appender, Arc::clone(&shared), inbox);
    let begun = std::thread::Builder::new().name("store".to_owned()).spawn(move || committer.run());
    begun.map_err(|fault| OpenError::of_file(&place.database, &fault))?;
    let store = Store::new(state, shared, sender, Access::Owner, &place, options);
    store.count_dead().await.map_err(|fault| OpenError::of(&place.database, fault))?;
    Ok(store)
}

/// Opens an existing store to read what is there now, also while its owner goes on.
pub(super) async fn beside(options: &Options) -> Result<Store, OpenError> {
    let place = Place::of(options)?;
    let state = State::beside(&place.database).await.map_err(OpenError::State)?;
    let (mut looks, mut outcome) = (0, look(&state, &place, options).await);
    // A checkpoint of its owner, and what that gave up after it, may come between the two parts.
    while outcome.is_err() && looks < 3 {
        (looks, outcome) = (looks + 1, look(&state, &place, options).await);
    }
    let shared = outcome?;
    let (sender, _): (mpsc::Sender<Operation>, _) = mpsc::channel(1);
    let store = Store::new(state, shared, sender, Access::Beside, &place, options);
    store.count_dead().await.map_err(|fault| OpenError::of(&place.database, fault))?;
    Ok(store)
}

/// Opens an existing store for a command that changes it: as its owner, or beside that.
pub(super) async fn for_operator(options: &Options) -> Result<Store, OpenError> {
    let place = Place::of(options)?;
    if !State::has_owner(&place.database) && place.database.exists() {
        match open(options).await {
            // Somebody was faster.
            Err(OpenError::State(state::OpenError::Locked { .. })) => {}
            outcome => return outcome,
        }
    }
    beside(options).await
}

async fn look(state: &State, place: &Place, options: &Options) -> Result<Arc<Shared>, OpenError> {
    let loaded = load(state, place).await?;
    let (at, kept) = (place.clone(), log_options(options, &loaded));
    let looked = blocking(place, move || {
        let part = |fault: log::OpenError| OpenError::Part { path: at.log(), detail: fault.to_string() };
        let folder = Directory::existing(&at.log());
        let log = log::open_to_read(&folder, kept).map_err(part)?;
        let generations = Generations::none(Arc::new(folder), kept.store);
        let shared = recover(loaded, generations, log, Presence::default(), false);
        shared.map_err(|fault| OpenError::of(&at.database, fault))
    });
    Ok(Arc::new(looked.await?))
}

/// Does what may block on a thread for that.
async fn blocking<T: Send + 'static>(
    place: &Place,
    work: impl FnOnce() -> Result<T, OpenError> + Send + 'static,
) -> Result<T, OpenError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|fault| Err(OpenError::Io { path: place.database.clone(), detail: fault.to_string() }))
}

async fn load(state: &State, place: &Place) -> Result<Loaded, OpenError> {
    let loaded = state.load().await.map_err(|fault| OpenError::of(&place.database, fault.into()))?;
    match loaded.damaged.first() {
        Some(line) => Err(OpenError::Corrupt { path: place.database.clone(), detail: line.clone() }),
        None => Ok(loaded),
    }
}

/// Makes of a checkpoint, and of what the log says after it, what is known.
fn recover(
    loaded: Loaded,
    generations: Generations,
    log: Log,
    presence: Presence,
    ours: bool,
) -> Result<Shared, StoreError> {
    let consumers = Consumers::default();
    for ConsumerState { number, name, body } in &loaded.consumers {
        let sink: SinkName = name.parse().map_err(|error| unreadable("consumer", &error))?;
        consumers.restore(ConsumerNumber(*number), sink, &checkpoint::decode(name, body)?);
    }
    let legs = loaded.legs.into_iter().map(Arc::new).collect();
    let upto = Offset(loaded.offset);
    let remembered = Remembered::new(generations, upto, legs, loaded.calls, loaded.coverage);
    let mut clock = (loaded.clock.behind, loaded.clock.newest);
    let mut fault = None;
    let replayed = log.replay(upto, |first, committed, group| {
        let changes = match Changes::decode(&group.changes) {
            Ok(changes) => changes,
            Err(unreadable) => {
                fault = Some(StoreError::Corrupt(unreadable.to_string().into()));
                return ControlFlow::Break(());
            }
        };
        consumers.add(&changes.consumers);
        remembered.apply(first, committed, &group.entries, &changes);
        consumers.replay(first, &group.entries);
        consumers.replay_progress(&changes.progress);
        // The checkpoint may know it better than a record of before it.
        clock = changes.clock.filter(|read| read.1 >= clock.1).unwrap_or(clock);
        ControlFlow::Continue(())
    });
    let lost = replayed?;
    if let Some(fault) = fault {
        return Err(fault);
    }
    for (number, offsets) in &loaded.dead {
        consumers.replay_dead(ConsumerNumber(*number), offsets, &log)?;
    }
    for lost in &lost {
        tracing::error!(
            "{lost}; each sink that they may be for gets a dead letter, and what they changed besides is forgotten"
        );
    }
    consumers.recount(!lost.is_empty(), &log)?;
    remembered.hear(&loaded.heard, None);
    if ours {
        remembered.end_coverage();
    }
    Ok(Shared {
        log,
        remembered,
        consumers,
        time: Time::new(clock, ours),
        presence,
        fault: OnceLock::new(),
        metrics: OnceLock::new(),
    })
}
