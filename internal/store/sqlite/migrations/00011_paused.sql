-- +goose Up
-- Until when an account's ledger takes nothing but vetoes, 0 for never: a new
-- device is taking over.
ALTER TABLE accounts ADD COLUMN paused INTEGER NOT NULL DEFAULT 0;
