-- +goose Up
-- What comes at the same time lies together: the nonces of a moment, and an account's
-- numbers of reveals. A change then writes few pages, and others write the same ones.

-- A signed request has one time, and its nonce expires so long after it: a request
-- that comes again comes with both.
CREATE TABLE nonces_in_time (
    expires INTEGER NOT NULL,
    key     BLOB NOT NULL,
    nonce   BLOB NOT NULL,
    token   BLOB NOT NULL,
    PRIMARY KEY (expires, key, nonce)
) WITHOUT ROWID;
INSERT INTO nonces_in_time (expires, key, nonce, token) SELECT expires, key, nonce, token FROM nonces;
DROP TABLE nonces;
ALTER TABLE nonces_in_time RENAME TO nonces;

CREATE TABLE reveals_together (
    account BLOB NOT NULL,
    device  INTEGER NOT NULL, -- or 0 for all of the account's, without those that failed
    number  INTEGER NOT NULL,
    time    INTEGER NOT NULL,
    PRIMARY KEY (account, device, number)
) WITHOUT ROWID;
INSERT INTO reveals_together (account, device, number, time)
    SELECT account, device, of_device, time FROM reveals
    UNION ALL SELECT account, 0, of_account, time FROM reveals WHERE failed = FALSE;
DROP TABLE reveals;
ALTER TABLE reveals_together RENAME TO reveals;
