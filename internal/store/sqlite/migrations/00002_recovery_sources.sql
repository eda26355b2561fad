-- +goose Up
ALTER TABLE recoveries ADD COLUMN source BLOB NOT NULL DEFAULT x'';
