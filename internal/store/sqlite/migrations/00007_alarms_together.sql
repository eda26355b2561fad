-- +goose Up
-- How many alarms of its kind a delivery stands for.
ALTER TABLE outbox ADD COLUMN times INTEGER NOT NULL DEFAULT 1;
