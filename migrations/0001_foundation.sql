-- Marks the file as ours ("onsp"), so that no other program's database is ever taken for it.
PRAGMA application_id = 1869509488;

-- Every event id of the last days, for de-duplication. `number` is also the event's position in the queue.
CREATE TABLE seen (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id     TEXT NOT NULL UNIQUE,
    at     INTEGER NOT NULL
) STRICT;

-- Events still owed to a sink, or kept as a dead letter. Times are microseconds UTC.
CREATE TABLE events (
    position  INTEGER PRIMARY KEY,
    id        TEXT NOT NULL,
    partition TEXT NOT NULL,
    received  INTEGER NOT NULL,
    body      TEXT NOT NULL CHECK (body <> '')
) STRICT;

-- Sinks ever owed anything. `owed` and `dead` count the rows below (kept by triggers), so that a depth is one look-up.
CREATE TABLE sinks (
    number INTEGER PRIMARY KEY,
    name   TEXT NOT NULL UNIQUE,
    owed   INTEGER NOT NULL DEFAULT 0 CHECK (owed >= 0),
    dead   INTEGER NOT NULL DEFAULT 0 CHECK (dead >= 0)
) STRICT;

CREATE TABLE owed (
    sink          INTEGER NOT NULL REFERENCES sinks (number),
    position      INTEGER NOT NULL,
    attempts      INTEGER NOT NULL DEFAULT 0,
    failing_since INTEGER,
    PRIMARY KEY (sink, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE dead (
    sink     INTEGER NOT NULL REFERENCES sinks (number),
    position INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    died     INTEGER NOT NULL,
    reason   TEXT NOT NULL,
    PRIMARY KEY (sink, position)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER owed_more AFTER INSERT ON owed BEGIN
    UPDATE sinks SET owed = owed + 1 WHERE number = NEW.sink;
END;
CREATE TRIGGER owed_less AFTER DELETE ON owed BEGIN
    UPDATE sinks SET owed = owed - 1 WHERE number = OLD.sink;
END;
CREATE TRIGGER dead_more AFTER INSERT ON dead BEGIN
    UPDATE sinks SET dead = dead + 1 WHERE number = NEW.sink;
END;
CREATE TRIGGER dead_less AFTER DELETE ON dead BEGIN
    UPDATE sinks SET dead = dead - 1 WHERE number = OLD.sink;
END;

CREATE TABLE legs (
    token     TEXT NOT NULL UNIQUE,
    service   TEXT NOT NULL,
    node      TEXT NOT NULL,
    partition TEXT NOT NULL,
    touched   INTEGER NOT NULL,
    ended     INTEGER,
    body      TEXT NOT NULL
) STRICT;
CREATE INDEX legs_live_of_node ON legs (service, node) WHERE ended IS NULL;
CREATE INDEX legs_live_by_age ON legs (touched) WHERE ended IS NULL;
CREATE INDEX legs_ended ON legs (ended) WHERE ended IS NOT NULL;
CREATE INDEX legs_of_call ON legs (partition);

CREATE TABLE calls (
    partition   TEXT PRIMARY KEY,
    sequence    INTEGER NOT NULL,
    answered_by TEXT,
    touched     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX calls_by_age ON calls (touched);

CREATE TABLE ledger (
    account     TEXT NOT NULL,
    service     TEXT NOT NULL,
    node        TEXT NOT NULL,
    jid         TEXT NOT NULL,
    subid       TEXT,
    state       TEXT NOT NULL,
    lease_until INTEGER,
    renewed     INTEGER,
    PRIMARY KEY (account, service, node, jid)
) STRICT, WITHOUT ROWID;
