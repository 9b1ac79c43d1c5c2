-- Ageing looks at one service only: items of others may live for years, and would stand in front for ever.
DROP INDEX legs_live_by_age;
CREATE INDEX legs_live_by_age ON legs (service, touched) WHERE ended IS NULL;
