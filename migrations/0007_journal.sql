-- What is remembered changes with every event, and most of it again a moment later. A commit writes it down as one row of
-- `journal`; into the tables goes, some time after, only how it ended.
-- `body`: a byte that names its format, then ids, legs and calls in the form of `postcard`.
CREATE TABLE journal (
    number   INTEGER PRIMARY KEY,
    checksum INTEGER NOT NULL,
    body     BLOB NOT NULL
) STRICT;

-- The newest events of the queue, those of one commit in one row, as long as nothing of it is asked for singly. Most are
-- delivered before that, and never become rows of `events`. `debtors`: all bits of all of them.
CREATE TABLE packs (
    first   INTEGER PRIMARY KEY,
    last    INTEGER NOT NULL,
    debtors INTEGER NOT NULL,
    body    BLOB NOT NULL
) STRICT;

-- `seen` numbers the ids as they come; `known` finds them.
CREATE TABLE known (
    id BLOB PRIMARY KEY
) STRICT, WITHOUT ROWID;
INSERT INTO known (id) SELECT id FROM seen ORDER BY id;
CREATE TABLE seen_rows (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id     BLOB NOT NULL,
    at     INTEGER NOT NULL
) STRICT;
INSERT INTO seen_rows (number, id, at) SELECT number, id, at FROM seen ORDER BY number;
-- A number that was ever given is never given again.
DELETE FROM sqlite_sequence WHERE name = 'seen_rows';
INSERT INTO sqlite_sequence (name, seq)
    SELECT 'seen_rows', coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'seen'), 0);
DROP TABLE seen;
ALTER TABLE seen_rows RENAME TO seen;

-- An ended leg touches its call when it ends, and is forgotten long before the call: only live ones need to be looked for.
DROP INDEX legs_of_call;
CREATE INDEX legs_of_call ON legs (partition) WHERE ended IS NULL;
