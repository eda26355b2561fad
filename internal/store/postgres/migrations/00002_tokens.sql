-- +goose Up
-- Tokens that register accounts, by their SHA-256.

CREATE TABLE tokens (
    hash    BYTEA PRIMARY KEY,
    note    TEXT NOT NULL,
    uses    BIGINT NOT NULL, -- accounts that it may register
    used    BIGINT NOT NULL, -- that it has registered
    created BIGINT NOT NULL,
    expires BIGINT NOT NULL
);
