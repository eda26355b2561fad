-- +goose Up

ALTER TABLE messages ADD COLUMN topic TEXT NOT NULL DEFAULT ''; -- of the kind; a newer message takes the place of one of the same
