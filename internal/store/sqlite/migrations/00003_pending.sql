-- +goose Up

-- Requests that wait for other devices. adds is empty where no device is added;
-- request is empty when the request is over; state is a store.KeptState.
CREATE TABLE kept (
    id         BLOB PRIMARY KEY,
    account    BLOB NOT NULL REFERENCES accounts (account),
    device     INTEGER NOT NULL,
    adds       BLOB NOT NULL,
    request    BLOB NOT NULL,
    received   INTEGER NOT NULL,
    expires    INTEGER NOT NULL,
    state      INTEGER NOT NULL,
    refused_by INTEGER NOT NULL
);
CREATE INDEX kept_by_account ON kept (account, expires);
CREATE INDEX kept_by_expiry ON kept (expires);

CREATE TABLE replies (
    kept   BLOB NOT NULL REFERENCES kept (id) ON DELETE CASCADE,
    device INTEGER NOT NULL,
    reply  BLOB NOT NULL,
    PRIMARY KEY (kept, device)
);

CREATE TABLE joins (
    key      BLOB PRIMARY KEY,
    id       BLOB NOT NULL,
    account  BLOB NOT NULL REFERENCES accounts (account),
    request  BLOB NOT NULL,
    received INTEGER NOT NULL,
    expires  INTEGER NOT NULL,
    source   BLOB NOT NULL
);
CREATE INDEX joins_by_account ON joins (account, received);
CREATE INDEX joins_by_expiry ON joins (expires);
