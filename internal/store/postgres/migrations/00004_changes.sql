-- +goose Up
-- What changed in which account, for all servers to tell its devices. Rows are
-- read by who sees the end of the transaction that wrote them, and removed after
-- a while.
CREATE TABLE changes (
    transaction XID8 NOT NULL DEFAULT pg_current_xact_id(),
    account     BYTEA NOT NULL,
    kinds       BIGINT NOT NULL, -- a bit for each
    time        TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (transaction, account)
);
CREATE INDEX changes_by_time ON changes (time);

-- Until when an account's ledger takes nothing but vetoes, 0 for never: a new
-- device is taking over.
ALTER TABLE accounts ADD COLUMN paused BIGINT NOT NULL DEFAULT 0;
