-- What must not be vended for, and who lifted that. Rows are never removed: their versions together are an epoch.

CREATE TABLE freezes (
    id         TEXT PRIMARY KEY,
    created_ms BIGINT NOT NULL,
    version    BIGINT NOT NULL,
    body       TEXT NOT NULL                -- JSON
);
