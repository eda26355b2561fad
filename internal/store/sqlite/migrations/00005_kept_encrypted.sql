-- +goose Up

-- What waited in the clear is asked again: it would have lived five minutes.
DELETE FROM kept;
ALTER TABLE kept ADD COLUMN key TEXT NOT NULL DEFAULT ''; -- that encrypts the request
CREATE INDEX kept_to_erase ON kept (expires) WHERE request <> x'';
