-- What must not be vended for, and who lifted that. Rows are never removed: their versions together are an epoch.

CREATE TABLE freezes (
    id         TEXT PRIMARY KEY,
    created_ms INTEGER NOT NULL,
    version    INTEGER NOT NULL,
    body       TEXT NOT NULL                -- JSON
) STRICT;
