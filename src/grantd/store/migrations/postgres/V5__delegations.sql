-- Whose voice was lent to whom, and what was taken back. Rows are never removed: the record of an approval names them.

CREATE TABLE delegations (
    id         TEXT PRIMARY KEY,
    created_ms BIGINT NOT NULL,
    version    BIGINT NOT NULL,
    body       TEXT NOT NULL                -- JSON
);
