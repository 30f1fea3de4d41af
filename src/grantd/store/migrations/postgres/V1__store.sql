-- The store's tables in PostgreSQL, the same as in ../sqlite. Of several nodes that share them, each has its own
-- audit chain, under a name that it keeps on its own disk: there is no `meta` table.

CREATE TABLE grants (
    id              TEXT PRIMARY KEY,
    node            TEXT NOT NULL,
    created_ms      BIGINT NOT NULL,
    phase           TEXT NOT NULL,
    resource        TEXT NOT NULL,
    subject         TEXT NOT NULL,          -- issuer:id
    requester       TEXT NOT NULL,          -- issuer:id
    turn_ms BIGINT NOT NULL,        -- when time turns it next; 0 when it does not
    version         BIGINT NOT NULL,
    body            TEXT NOT NULL           -- JSON
);
CREATE INDEX grants_by_phase ON grants (phase, turn_ms);
CREATE INDEX grants_by_subject ON grants (subject);
CREATE INDEX grants_by_requester ON grants (requester);
CREATE INDEX grants_by_resource ON grants (resource);
CREATE INDEX grants_by_age ON grants (created_ms);

CREATE TABLE leases (
    id              TEXT PRIMARY KEY,
    grant_id        TEXT NOT NULL REFERENCES grants (id),
    node            TEXT NOT NULL,
    created_ms      BIGINT NOT NULL,
    uid             BIGINT NOT NULL,
    scope           TEXT NOT NULL,          -- cloud/account/name of the deny scope
    phase           TEXT NOT NULL,
    anchor_key      TEXT NOT NULL,
    session_name    TEXT NOT NULL UNIQUE,   -- two sessions of one name could not be told apart in the cloud
    access_until_ms BIGINT NOT NULL,
    place_until_ms  BIGINT NOT NULL,        -- 0 when it takes no place in the deny scope
    deny_until_ms   BIGINT NOT NULL,        -- 0 when it has no entry in the deny scope
    version         BIGINT NOT NULL,
    body            TEXT NOT NULL           -- JSON
);
CREATE INDEX leases_by_grant ON leases (grant_id, phase);
CREATE INDEX leases_by_phase ON leases (phase);
CREATE INDEX leases_by_uid ON leases (uid);
CREATE INDEX leases_by_age ON leases (created_ms);
CREATE INDEX leases_by_place ON leases (scope, place_until_ms);
CREATE INDEX leases_by_deny ON leases (scope, deny_until_ms);

CREATE TABLE anchors (
    id         TEXT PRIMARY KEY,
    node       TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    body       TEXT NOT NULL                -- JSON
);

CREATE TABLE counters (
    counter TEXT NOT NULL,
    member  TEXT NOT NULL,
    PRIMARY KEY (counter, member)
);

CREATE TABLE claims (
    name     TEXT PRIMARY KEY,
    holder   TEXT NOT NULL,                 -- a node
    until_ms BIGINT NOT NULL
);

CREATE TABLE bundles (
    version TEXT PRIMARY KEY,
    bytes   BYTEA NOT NULL
);

CREATE TABLE audit (
    node     TEXT NOT NULL,
    seq      BIGINT NOT NULL,
    at_ms    BIGINT NOT NULL,
    kind     TEXT NOT NULL,
    grant_id TEXT,                          -- no reference: what was refused is recorded too
    lease_id TEXT,
    record   TEXT NOT NULL,                 -- the RFC 8785 form; without its hash it is what was hashed
    PRIMARY KEY (node, seq)
);
CREATE INDEX audit_by_grant ON audit (grant_id) WHERE grant_id IS NOT NULL;
CREATE INDEX audit_by_lease ON audit (lease_id) WHERE lease_id IS NOT NULL;

-- The end of each node's chain, so that records missing at the end are noticed.
CREATE TABLE chain (
    node TEXT PRIMARY KEY,
    seq  BIGINT NOT NULL,
    hash TEXT NOT NULL
);
