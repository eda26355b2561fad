-- +goose Up
-- When the operator locked an account, 0 for never.
ALTER TABLE accounts ADD COLUMN locked BIGINT NOT NULL DEFAULT 0;

-- Accounts that the operator deleted. Their devices must not bring them back.
CREATE TABLE removed (
    account BYTEA PRIMARY KEY,
    time    BIGINT NOT NULL
);
