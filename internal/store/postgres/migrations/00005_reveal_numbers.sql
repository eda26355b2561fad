-- +goose Up
-- Reveals are numbered in the account, where failed ones do not count, and for each
-- device. Whether a limit is reached then takes one row to find out.
ALTER TABLE reveals ADD COLUMN of_account BIGINT NOT NULL DEFAULT 0;
ALTER TABLE reveals ADD COLUMN of_device BIGINT NOT NULL DEFAULT 0;
UPDATE reveals SET of_account = numbered.of_account, of_device = numbered.of_device FROM (
    SELECT ctid AS id,
        SUM(CASE WHEN failed = FALSE THEN 1 ELSE 0 END) OVER (PARTITION BY account ORDER BY time, ctid) AS of_account,
        ROW_NUMBER() OVER (PARTITION BY account, device ORDER BY time, ctid) AS of_device
    FROM reveals) AS numbered
WHERE reveals.ctid = numbered.id;
CREATE INDEX reveals_of_account ON reveals (account, of_account);
CREATE INDEX reveals_of_device ON reveals (account, device, of_device);
DROP INDEX reveals_by_time;
