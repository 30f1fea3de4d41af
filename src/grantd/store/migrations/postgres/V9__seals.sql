-- Every policy bundle that was accepted by its signatures, by its place in the sequence, which only rises.

CREATE TABLE seals (
    sequence BIGINT PRIMARY KEY,
    body     TEXT NOT NULL
);
