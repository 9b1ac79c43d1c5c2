-- The times by which things grow old here (`received`, `at`, `touched`, `ended`, `failing_since`, `died`) are UTC without the
-- steps it makes when the clock is set. `behind`: how far they are behind UTC now; `newest`: when one was read last. One row.
CREATE TABLE clock (
    id     INTEGER PRIMARY KEY CHECK (id = 0),
    behind INTEGER NOT NULL,
    newest INTEGER NOT NULL,
    -- Another one after each time the log is folded in: with what `<database>.lock` says, it tells whether the log that lies
    -- beside the database is of this database.
    stamp  INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO clock (id, behind, newest)
    SELECT 0, 0, coalesce((SELECT at FROM seen ORDER BY number DESC LIMIT 1), 0);
