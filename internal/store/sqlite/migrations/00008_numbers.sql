-- +goose Up
-- Every inbox and every account's outbox counts for itself, and a nonce knows which
-- attempt spent it: as where several servers share one database.

ALTER TABLE nonces ADD COLUMN token BLOB NOT NULL DEFAULT x'';

CREATE TABLE inboxes (
    recipient BLOB PRIMARY KEY,
    last      INTEGER NOT NULL -- number that a message had
) WITHOUT ROWID;
INSERT INTO inboxes (recipient, last)
    SELECT account, (SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name = 'messages') FROM accounts
    UNION SELECT recipient, (SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name = 'messages') FROM messages;

CREATE TABLE messages_numbered (
    recipient BLOB NOT NULL,
    id        INTEGER NOT NULL,
    sender    BLOB NOT NULL, -- empty for the server
    kind      INTEGER NOT NULL,
    topic     TEXT NOT NULL, -- of the kind; a newer message takes the place of one of the same
    body      BLOB NOT NULL,
    time      INTEGER NOT NULL,
    PRIMARY KEY (recipient, id)
);
INSERT INTO messages_numbered (recipient, id, sender, kind, topic, body, time)
    SELECT recipient, id, sender, kind, topic, body, time FROM messages;
CREATE TABLE acknowledgements_numbered (
    recipient BLOB NOT NULL,
    message   INTEGER NOT NULL,
    device    INTEGER NOT NULL,
    PRIMARY KEY (recipient, message, device),
    FOREIGN KEY (recipient, message) REFERENCES messages_numbered (recipient, id) ON DELETE CASCADE
) WITHOUT ROWID;
INSERT INTO acknowledgements_numbered (recipient, message, device)
    SELECT recipient, id, device FROM acknowledgements JOIN messages ON messages.id = acknowledgements.message;
DROP TABLE acknowledgements;
DROP TABLE messages;
ALTER TABLE messages_numbered RENAME TO messages;
ALTER TABLE acknowledgements_numbered RENAME TO acknowledgements;
CREATE INDEX messages_by_pair ON messages (recipient, sender, kind);

CREATE TABLE outbox_numbered (
    account BLOB NOT NULL REFERENCES accounts (account),
    id      INTEGER NOT NULL,
    alarm   TEXT NOT NULL,
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
    times   INTEGER NOT NULL DEFAULT 1, -- how many alarms of its kind a delivery stands for
    PRIMARY KEY (account, id),
    UNIQUE (alarm, channel, target)
);
INSERT INTO outbox_numbered (account, id, alarm, kind, channel, target, key, secret, body, created, due, attempt, done, times)
    SELECT account, id, alarm, kind, channel, target, key, secret, body, created, due, attempt, done, times FROM outbox;
DROP TABLE outbox;
ALTER TABLE outbox_numbered RENAME TO outbox;
CREATE INDEX outbox_by_due ON outbox (done, due);
CREATE INDEX outbox_by_account ON outbox (account, channel, kind, created);

DROP INDEX kept_to_erase;
CREATE INDEX kept_to_erase ON kept (expires) WHERE LENGTH(request) > 0;
