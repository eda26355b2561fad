-- +goose Up
-- What comes at the same time lies together: the nonces of a moment, and an account's
-- numbers of reveals. A change then writes few pages, and others write the same ones.

-- A signed request has one time, and its nonce expires so long after it: a request
-- that comes again comes with both.
DELETE FROM nonces WHERE nonce = ''; -- keys were locked so
ALTER TABLE nonces DROP CONSTRAINT nonces_pkey;
ALTER TABLE nonces ADD PRIMARY KEY (expires, key, nonce);
DROP INDEX nonces_by_expiry;

CREATE TABLE reveals_together (
    account BYTEA NOT NULL,
    device  BIGINT NOT NULL, -- or 0 for all of the account's, without those that failed
    number  BIGINT NOT NULL,
    time    BIGINT NOT NULL,
    PRIMARY KEY (account, device, number)
);
INSERT INTO reveals_together (account, device, number, time)
    SELECT account, device, of_device, time FROM reveals
    UNION ALL SELECT account, 0, of_account, time FROM reveals WHERE failed = FALSE;
DROP TABLE reveals;
ALTER TABLE reveals_together RENAME TO reveals;
ALTER INDEX reveals_together_pkey RENAME TO reveals_pkey;
