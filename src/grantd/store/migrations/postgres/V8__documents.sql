-- Grant documents that were used: each is used once.

CREATE TABLE documents (
    issuer   TEXT NOT NULL,
    jti      TEXT NOT NULL,
    until_ms BIGINT NOT NULL,
    PRIMARY KEY (issuer, jti)
);
