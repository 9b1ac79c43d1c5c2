-- Marks the file as ours ("onsp"), so that no other program's database is ever taken for it.
PRAGMA application_id = 1869509488;

-- All times are microseconds since 1970, UTC. A checksum is the CRC-32 of the other values of its row.

-- What the state says of itself: one row, which is written together with the file.
CREATE TABLE store (
    id       INTEGER PRIMARY KEY CHECK (id = 0),
    -- The number of the store, drawn when it is made. The event log carries the same one.
    store    BLOB NOT NULL CHECK (length(store) = 16),
    -- The clock of the store is UTC without the steps it makes when it is set: by so much it is behind UTC, and this is what
    -- it read last.
    behind   INTEGER NOT NULL,
    newest   INTEGER NOT NULL,
    -- The checkpoint below has seen all events before this offset of the log, and none from it on.
    offset   INTEGER NOT NULL CHECK (offset >= 0),
    checksum INTEGER NOT NULL
) STRICT;

-- The subscription ledger: one line for each subscription that this router holds at a service, as far as it knows.
-- `assigned`: this router made it, under a resource that the server had assigned in place of the one asked for.
CREATE TABLE ledger (
    account     TEXT NOT NULL,
    service     TEXT NOT NULL,
    node        TEXT NOT NULL,
    jid         TEXT NOT NULL,
    subid       TEXT,
    state       TEXT NOT NULL,
    lease_until INTEGER,
    renewed     INTEGER,
    assigned    INTEGER NOT NULL,
    PRIMARY KEY (account, service, node, jid)
) STRICT, WITHOUT ROWID;

-- Checkpoint: until when the events of each account could arrive. `open`: they still can. Else `until` is the beginning of
-- the gap, and `reason` says why. There is one line for each account that ever was covered.
CREATE TABLE coverage (
    account TEXT PRIMARY KEY,
    open    INTEGER NOT NULL,
    until   INTEGER NOT NULL,
    reason  TEXT
) STRICT, WITHOUT ROWID;

-- The heartbeat of the accounts that are covered: until when their events could arrive, at least. It is written every few
-- seconds, and counts where the coverage of the account is open.
CREATE TABLE heard (
    account TEXT PRIMARY KEY,
    until   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Checkpoint: the consumers, one for each sink. Events in the log name them by their numbers. `body` is written and read by
-- the consumers themselves, and begins with the number of its format.
CREATE TABLE consumers (
    number   INTEGER PRIMARY KEY,
    name     TEXT NOT NULL UNIQUE,
    body     BLOB NOT NULL,
    checksum INTEGER NOT NULL
) STRICT;

-- Checkpoint: the legs that are live, and the calls that they belong to. `body` is JSON.
CREATE TABLE legs (
    token    TEXT PRIMARY KEY,
    body     BLOB NOT NULL,
    checksum INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE calls (
    partition TEXT PRIMARY KEY,
    body      BLOB NOT NULL,
    checksum  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Checkpoint: the generations of ids, in their order.
CREATE TABLE generations (
    place  INTEGER PRIMARY KEY,
    number INTEGER NOT NULL UNIQUE
) STRICT;

-- Dead letters: the events that were given up, whole, since the log does not keep them. `offset` is the event's place in the
-- log, `bytes` the length of `body`.
CREATE TABLE dead (
    number    INTEGER PRIMARY KEY,
    consumer  INTEGER NOT NULL,
    offset    INTEGER NOT NULL,
    attempts  INTEGER NOT NULL,
    received  INTEGER NOT NULL,
    died      INTEGER NOT NULL,
    reason    TEXT NOT NULL,
    id        TEXT NOT NULL,
    partition TEXT NOT NULL,
    bytes     INTEGER NOT NULL,
    checksum  INTEGER NOT NULL,
    body      TEXT NOT NULL,
    UNIQUE (consumer, offset)
) STRICT;
-- They are counted, and the oldest found, without a look at the bodies.
CREATE INDEX dead_by_age ON dead (consumer, died, offset, bytes);

-- What operators ask of the process that owns the store, from beside it, and what came of it. `body` and `result` are JSON;
-- `taken` and `done` are when the owner took it, and when it had finished.
CREATE TABLE commands (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    asked  INTEGER NOT NULL,
    body   TEXT NOT NULL CHECK (json_valid(body)),
    taken  INTEGER,
    done   INTEGER,
    result TEXT CHECK (json_valid(result))
) STRICT;
