-- What a sink is owed is said twice over: by a bit of the event as long as the sink takes events in their order, and by a
-- row of `owed` for what it did not take in its turn. An event that goes the usual way costs no row but its own.

-- Ids as 16 bytes in place of 32 digits: half the index, of which every event touches another page.
CREATE TABLE seen_ids (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id     BLOB NOT NULL UNIQUE,
    at     INTEGER NOT NULL
) STRICT;
INSERT INTO seen_ids (number, id, at) SELECT number, coalesce(unhex(id), CAST(id AS BLOB)), at FROM seen ORDER BY number;
-- A number that was ever given is never given again.
DELETE FROM sqlite_sequence WHERE name = 'seen_ids';
INSERT INTO sqlite_sequence (name, seq)
    SELECT 'seen_ids', coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'seen'), 0);
DROP TABLE seen;
ALTER TABLE seen_ids RENAME TO seen;

-- `debtors`: bit n stands for the sink with number n, below 63. What is asked for often stands before the long texts.
CREATE TABLE queue (
    position  INTEGER PRIMARY KEY,
    debtors   INTEGER NOT NULL,
    received  INTEGER NOT NULL,
    checksum  INTEGER,
    id        TEXT NOT NULL,
    partition TEXT NOT NULL,
    body      TEXT NOT NULL CHECK (body <> '')
) STRICT;
INSERT INTO queue (position, debtors, received, checksum, id, partition, body)
    SELECT position, 0, received, checksum, id, partition, body FROM events ORDER BY position;
DROP TABLE events;
ALTER TABLE queue RENAME TO events;
-- The beginning tells calls apart well enough, and keeps the index small.
CREATE INDEX events_of_call ON events (substr(partition, 1, 8));

-- A sink is owed the events with its bit after `done` and up to `newest`; outside of that a bit says nothing.
ALTER TABLE sinks ADD COLUMN done INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sinks ADD COLUMN newest INTEGER NOT NULL DEFAULT 0;

-- All that is owed, either way; nothing is in both.
CREATE VIEW owing AS
    SELECT owed.sink, owed.position, events.received, owed.attempts, owed.failing_since, owed.bytes
        FROM owed CROSS JOIN events ON events.position = owed.position
    UNION ALL
    SELECT sinks.number, events.position, events.received, 0, NULL, octet_length(events.body)
        FROM sinks CROSS JOIN events ON events.position > sinks.done AND events.position <= sinks.newest
        WHERE sinks.number < 63 AND events.debtors & (1 << sinks.number);
