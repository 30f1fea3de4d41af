-- How long revocations were measured to take, in each account.

CREATE TABLE propagations (
    cloud   TEXT NOT NULL,
    account TEXT NOT NULL,
    version BIGINT NOT NULL,
    body    TEXT NOT NULL,                  -- JSON
    PRIMARY KEY (cloud, account)
);
