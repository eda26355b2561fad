-- +goose Up
-- Tokens that register accounts, by their SHA-256.

CREATE TABLE tokens (
    hash    BLOB PRIMARY KEY,
    note    TEXT NOT NULL,
    uses    INTEGER NOT NULL, -- accounts that it may register
    used    INTEGER NOT NULL, -- that it has registered
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL
) WITHOUT ROWID;
