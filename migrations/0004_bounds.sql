-- The counters of `sinks` are kept by the statements that change the rows, once for many, in place of triggers that ran
-- for each row. `bytes` is the size of the owed bodies, so that a queue can be bounded by it.
DROP TRIGGER owed_more;
DROP TRIGGER owed_less;
DROP TRIGGER dead_more;
DROP TRIGGER dead_less;

ALTER TABLE owed ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
UPDATE owed SET bytes = coalesce((SELECT octet_length(body) FROM events WHERE events.position = owed.position), 0);

ALTER TABLE sinks ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0 CHECK (bytes >= 0);
UPDATE sinks SET bytes = (SELECT coalesce(sum(bytes), 0) FROM owed WHERE owed.sink = sinks.number);

-- Whether an earlier event of the same call is still owed is asked for each event that may overtake others.
CREATE INDEX events_of_call ON events (partition);
