-- +goose Up
CREATE TABLE alarm_settings (
    account BLOB PRIMARY KEY REFERENCES accounts (account),
    mail    TEXT NOT NULL,
    webhook TEXT NOT NULL,
    key     TEXT NOT NULL, -- that encrypts the secret
    secret  BLOB NOT NULL
) WITHOUT ROWID;

-- A row that is done stays for an hour, without its body, address and secret, to
-- be counted.
CREATE TABLE outbox (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    alarm   TEXT NOT NULL,
    account BLOB NOT NULL REFERENCES accounts (account),
    kind    TEXT NOT NULL,
    channel TEXT NOT NULL,
    target  TEXT NOT NULL,
    key     TEXT NOT NULL,
    secret  BLOB NOT NULL,
    body    BLOB NOT NULL,
    created INTEGER NOT NULL,
    due     INTEGER NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 0,
    done    INTEGER NOT NULL DEFAULT 0,
    UNIQUE (alarm, channel, target)
);
CREATE INDEX outbox_by_due ON outbox (done, due);
CREATE INDEX outbox_by_account ON outbox (account, channel, kind, created);

CREATE TABLE countries (
    account BLOB NOT NULL REFERENCES accounts (account),
    country TEXT NOT NULL,
    PRIMARY KEY (account, country)
) WITHOUT ROWID;

ALTER TABLE reveals ADD COLUMN device INTEGER NOT NULL DEFAULT 0;
ALTER TABLE reveals ADD COLUMN failed INTEGER NOT NULL DEFAULT 0;
