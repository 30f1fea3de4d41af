-- Who uses break-glass by it; empty where nobody does. And what is asked again and again: subject, resource and capability,
-- each on a line; empty in rows from before this was kept.
ALTER TABLE grants ADD COLUMN glass TEXT NOT NULL DEFAULT '';
ALTER TABLE grants ADD COLUMN topic TEXT NOT NULL DEFAULT '';
CREATE INDEX grants_by_glass ON grants (created_ms) WHERE glass <> '';

-- What has to be looked at by somebody, and what was found. Rows are never removed.
CREATE TABLE reviews (
    id        TEXT PRIMARY KEY,
    kind      TEXT NOT NULL,
    grant_id  TEXT NOT NULL REFERENCES grants (id),
    person    TEXT NOT NULL,
    topic     TEXT NOT NULL,                -- as that of the grant
    opened_ms INTEGER NOT NULL,
    due_ms    INTEGER NOT NULL,             -- 0 when it is completed
    noted     INTEGER NOT NULL,             -- 1 when it is on record that it is overdue
    version   INTEGER NOT NULL,
    body      TEXT NOT NULL                 -- JSON
) STRICT;
CREATE INDEX reviews_by_due ON reviews (due_ms) WHERE due_ms > 0;
CREATE INDEX reviews_by_grant ON reviews (grant_id);
CREATE INDEX reviews_by_topic ON reviews (topic, opened_ms);
