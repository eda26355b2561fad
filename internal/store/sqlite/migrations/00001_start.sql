-- +goose Up
CREATE TABLE server (
    id   INTEGER PRIMARY KEY CHECK (id = 1),
    keys BLOB NOT NULL
);

CREATE TABLE accounts (
    account  BLOB PRIMARY KEY,
    name     TEXT NOT NULL,
    name_key TEXT NOT NULL UNIQUE,
    sequence INTEGER NOT NULL,
    head     BLOB NOT NULL,
    position INTEGER NOT NULL DEFAULT 0 -- of the newest share
) WITHOUT ROWID;

CREATE TABLE entries (
    account  BLOB NOT NULL REFERENCES accounts (account),
    sequence INTEGER NOT NULL,
    entry    BLOB NOT NULL,
    PRIMARY KEY (account, sequence)
);

-- Encrypted under the key that "key" names. slot is empty and version and member
-- are 0 where the kind has none.
CREATE TABLE shares (
    account  BLOB NOT NULL REFERENCES accounts (account),
    kind     INTEGER NOT NULL,
    epoch    INTEGER NOT NULL,
    slot     BLOB NOT NULL,
    version  INTEGER NOT NULL,
    member   INTEGER NOT NULL,
    key      TEXT NOT NULL,
    sealed   BLOB NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (account, kind, epoch, slot, version, member)
);
CREATE UNIQUE INDEX shares_by_position ON shares (account, position);

CREATE TABLE contacts (
    contact BLOB NOT NULL,
    owner   BLOB NOT NULL REFERENCES accounts (account),
    PRIMARY KEY (contact, owner)
) WITHOUT ROWID;

CREATE TABLE nonces (
    key     BLOB NOT NULL,
    nonce   BLOB NOT NULL,
    expires INTEGER NOT NULL,
    PRIMARY KEY (key, nonce)
) WITHOUT ROWID;
CREATE INDEX nonces_by_expiry ON nonces (expires);

CREATE TABLE activities (
    account  BLOB NOT NULL REFERENCES accounts (account),
    sequence INTEGER NOT NULL,
    activity BLOB NOT NULL,
    PRIMARY KEY (account, sequence)
);

CREATE TABLE reveals (
    account BLOB NOT NULL,
    time    INTEGER NOT NULL
);
CREATE INDEX reveals_by_time ON reveals (account, time);

CREATE TABLE attestations (
    account     BLOB NOT NULL REFERENCES accounts (account),
    device      INTEGER NOT NULL,
    sequence    INTEGER NOT NULL,
    attestation BLOB NOT NULL,
    PRIMARY KEY (account, device)
);

CREATE TABLE messages (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    sender    BLOB NOT NULL, -- empty for the server
    recipient BLOB NOT NULL,
    kind      INTEGER NOT NULL,
    body      BLOB NOT NULL,
    time      INTEGER NOT NULL
);
CREATE INDEX messages_by_recipient ON messages (recipient, id);
CREATE INDEX messages_by_pair ON messages (recipient, sender, kind);

CREATE TABLE acknowledgements (
    message INTEGER NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    device  INTEGER NOT NULL,
    PRIMARY KEY (message, device)
) WITHOUT ROWID;

CREATE TABLE recoveries (
    id       BLOB PRIMARY KEY,
    account  BLOB NOT NULL REFERENCES accounts (account),
    request  BLOB NOT NULL,
    key      BLOB NOT NULL,
    started  INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    released INTEGER NOT NULL
);
CREATE INDEX recoveries_by_account ON recoveries (account, started);
CREATE INDEX recoveries_by_key ON recoveries (key);

CREATE TABLE approvals (
    recovery     BLOB NOT NULL REFERENCES recoveries (id) ON DELETE CASCADE,
    holder       TEXT NOT NULL,
    approval     BLOB NOT NULL,
    sealed_share BLOB NOT NULL,
    PRIMARY KEY (recovery, holder)
);
