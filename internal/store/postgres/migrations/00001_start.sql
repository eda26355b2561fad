-- +goose Up
-- Times are milliseconds since 1970. Text is compared by its bytes, whatever the
-- database's language. Accounts are independent of each other: no sequence and no
-- row is shared between them.

CREATE TABLE server (
    id   INTEGER PRIMARY KEY CHECK (id = 1),
    keys BYTEA NOT NULL
);

-- Rows change in place, so some room is left beside them.
CREATE TABLE accounts (
    account  BYTEA PRIMARY KEY,
    name     TEXT NOT NULL,
    name_key TEXT COLLATE "C" NOT NULL UNIQUE,
    sequence BIGINT NOT NULL,
    head     BYTEA NOT NULL,
    position BIGINT NOT NULL DEFAULT 0 -- of the newest share
) WITH (fillfactor = 80);

CREATE TABLE entries (
    account  BYTEA NOT NULL REFERENCES accounts (account),
    sequence BIGINT NOT NULL,
    entry    BYTEA NOT NULL,
    PRIMARY KEY (account, sequence)
);
-- What is encrypted cannot be compressed.
ALTER TABLE entries ALTER COLUMN entry SET STORAGE EXTERNAL;

-- Encrypted under the key that "key" names. slot is empty and version and member
-- are 0 where the kind has none.
CREATE TABLE shares (
    account  BYTEA NOT NULL REFERENCES accounts (account),
    kind     INTEGER NOT NULL,
    epoch    BIGINT NOT NULL,
    slot     BYTEA NOT NULL,
    version  BIGINT NOT NULL,
    member   BIGINT NOT NULL,
    key      TEXT NOT NULL,
    sealed   BYTEA NOT NULL,
    position BIGINT NOT NULL,
    PRIMARY KEY (account, kind, epoch, slot, version, member)
);
CREATE UNIQUE INDEX shares_by_position ON shares (account, position);

CREATE TABLE contacts (
    contact BYTEA NOT NULL,
    owner   BYTEA NOT NULL REFERENCES accounts (account),
    PRIMARY KEY (contact, owner)
);

-- token is of the attempt that spent the nonce. A row with an empty nonce is a lock
-- of the key.
CREATE TABLE nonces (
    key     BYTEA NOT NULL,
    nonce   BYTEA NOT NULL,
    expires BIGINT NOT NULL,
    token   BYTEA NOT NULL,
    PRIMARY KEY (key, nonce)
) WITH (autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX nonces_by_expiry ON nonces (expires);

CREATE TABLE activities (
    account  BYTEA NOT NULL REFERENCES accounts (account),
    sequence BIGINT NOT NULL,
    activity BYTEA NOT NULL,
    PRIMARY KEY (account, sequence)
);

CREATE TABLE reveals (
    account BYTEA NOT NULL,
    time    BIGINT NOT NULL,
    device  BIGINT NOT NULL,
    failed  BOOLEAN NOT NULL
);
CREATE INDEX reveals_by_time ON reveals (account, time);

CREATE TABLE attestations (
    account     BYTEA NOT NULL REFERENCES accounts (account),
    device      BIGINT NOT NULL,
    sequence    BIGINT NOT NULL,
    attestation BYTEA NOT NULL,
    PRIMARY KEY (account, device)
);

CREATE TABLE inboxes (
    recipient BYTEA PRIMARY KEY,
    last      BIGINT NOT NULL -- number that a message had
) WITH (fillfactor = 80);

CREATE TABLE messages (
    recipient BYTEA NOT NULL,
    id        BIGINT NOT NULL,
    sender    BYTEA NOT NULL, -- empty for the server
    kind      INTEGER NOT NULL,
    topic     TEXT COLLATE "C" NOT NULL, -- of the kind; a newer message takes the place of one of the same
    body      BYTEA NOT NULL,
    time      BIGINT NOT NULL,
    PRIMARY KEY (recipient, id)
);
CREATE INDEX messages_by_pair ON messages (recipient, sender, kind);

CREATE TABLE acknowledgements (
    recipient BYTEA NOT NULL,
    message   BIGINT NOT NULL,
    device    BIGINT NOT NULL,
    PRIMARY KEY (recipient, message, device),
    FOREIGN KEY (recipient, message) REFERENCES messages (recipient, id) ON DELETE CASCADE
);

CREATE TABLE recoveries (
    id       BYTEA PRIMARY KEY,
    account  BYTEA NOT NULL REFERENCES accounts (account),
    request  BYTEA NOT NULL,
    key      BYTEA NOT NULL,
    started  BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    released BOOLEAN NOT NULL,
    source   BYTEA NOT NULL
);
CREATE INDEX recoveries_by_account ON recoveries (account, started);
CREATE INDEX recoveries_by_key ON recoveries (key);

CREATE TABLE approvals (
    recovery     BYTEA NOT NULL REFERENCES recoveries (id) ON DELETE CASCADE,
    holder       TEXT COLLATE "C" NOT NULL,
    approval     BYTEA NOT NULL,
    sealed_share BYTEA NOT NULL,
    PRIMARY KEY (recovery, holder)
);

-- Requests that wait for other devices. adds is empty where no device is added;
-- request is encrypted under the key that "key" names, and empty when the request
-- is over; state is a store.KeptState.
CREATE TABLE kept (
    id         BYTEA PRIMARY KEY,
    account    BYTEA NOT NULL REFERENCES accounts (account),
    device     BIGINT NOT NULL,
    adds       BYTEA NOT NULL,
    key        TEXT NOT NULL,
    request    BYTEA NOT NULL,
    received   BIGINT NOT NULL,
    expires    BIGINT NOT NULL,
    state      INTEGER NOT NULL,
    refused_by BIGINT NOT NULL
);
CREATE INDEX kept_by_account ON kept (account, expires);
CREATE INDEX kept_by_expiry ON kept (expires);
CREATE INDEX kept_to_erase ON kept (expires) WHERE LENGTH(request) > 0;

CREATE TABLE replies (
    kept   BYTEA NOT NULL REFERENCES kept (id) ON DELETE CASCADE,
    device BIGINT NOT NULL,
    reply  BYTEA NOT NULL,
    PRIMARY KEY (kept, device)
);

CREATE TABLE joins (
    key      BYTEA PRIMARY KEY,
    id       BYTEA NOT NULL,
    account  BYTEA NOT NULL REFERENCES accounts (account),
    request  BYTEA NOT NULL,
    received BIGINT NOT NULL,
    expires  BIGINT NOT NULL,
    source   BYTEA NOT NULL
);
CREATE INDEX joins_by_account ON joins (account, received);
CREATE INDEX joins_by_expiry ON joins (expires);

CREATE TABLE alarm_settings (
    account BYTEA PRIMARY KEY REFERENCES accounts (account),
    mail    TEXT NOT NULL,
    webhook TEXT NOT NULL,
    key     TEXT NOT NULL, -- that encrypts the secret
    secret  BYTEA NOT NULL
);

-- A row that is done stays for an hour, without its body, address and secret, to
-- be counted.
CREATE TABLE outbox (
    account BYTEA NOT NULL REFERENCES accounts (account),
    id      BIGINT NOT NULL,
    alarm   TEXT COLLATE "C" NOT NULL,
    kind    TEXT COLLATE "C" NOT NULL,
    channel TEXT COLLATE "C" NOT NULL,
    target  TEXT COLLATE "C" NOT NULL,
    key     TEXT NOT NULL,
    secret  BYTEA NOT NULL,
    body    BYTEA NOT NULL,
    created BIGINT NOT NULL,
    due     BIGINT NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 0,
    done    BOOLEAN NOT NULL DEFAULT FALSE,
    times   INTEGER NOT NULL DEFAULT 1, -- how many alarms of its kind a delivery stands for
    PRIMARY KEY (account, id),
    UNIQUE (alarm, channel, target)
);
CREATE INDEX outbox_by_due ON outbox (done, due);
CREATE INDEX outbox_by_account ON outbox (account, channel, kind, created);

CREATE TABLE countries (
    account BYTEA NOT NULL REFERENCES accounts (account),
    country TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (account, country)
);
