-- +goose Up
-- When the operator locked an account, 0 for never.
ALTER TABLE accounts ADD COLUMN locked INTEGER NOT NULL DEFAULT 0;

-- Accounts that the operator deleted. Their devices must not bring them back.
CREATE TABLE removed (
    account BLOB PRIMARY KEY,
    time    INTEGER NOT NULL
) WITHOUT ROWID;
