-- 1 where this router made the subscription itself, under a resource that the server had assigned in place of the one asked
-- for. Such a one is its own, and may be removed once it is bound as somebody else; no other line of another resource is.
ALTER TABLE ledger ADD COLUMN assigned INTEGER NOT NULL DEFAULT 0;
