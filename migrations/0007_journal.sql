-- What is remembered changes with every event, and most of it again a moment later. A commit writes it down as one row of
-- `journal`; into the tables goes, some time after, only how it ended. `body`: {"legs": [...], "calls": [...]}.
CREATE TABLE journal (
    number   INTEGER PRIMARY KEY,
    checksum INTEGER NOT NULL,
    body     TEXT NOT NULL
) STRICT;

-- `seen` numbers the ids as they come; `known` finds them, and follows some time after. `upto` says how far it is.
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
CREATE TABLE known_upto (
    number INTEGER NOT NULL
) STRICT;
INSERT INTO known_upto (number) SELECT seq FROM sqlite_sequence WHERE name = 'seen';

-- An ended leg touches its call when it ends, and is forgotten long before the call: only live ones need to be looked for.
DROP INDEX legs_of_call;
CREATE INDEX legs_of_call ON legs (partition) WHERE ended IS NULL;
