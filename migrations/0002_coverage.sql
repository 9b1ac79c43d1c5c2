-- Until when each account's events could reach us. `open`: they still can, and `until` is moved on now and then; else
-- `until` is the beginning of the gap and `reason` says why. One row per account that ever was covered.
CREATE TABLE coverage (
    account TEXT PRIMARY KEY,
    open    INTEGER NOT NULL,
    until   INTEGER NOT NULL,
    reason  TEXT
) STRICT, WITHOUT ROWID;
