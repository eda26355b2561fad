-- +goose Up
-- What the server notes beside a head whose ledger it has verified. Whoever sets a head
-- without it leaves one that is of another head.
ALTER TABLE accounts ADD COLUMN verified BLOB NOT NULL DEFAULT x'';
