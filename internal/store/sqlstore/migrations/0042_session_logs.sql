-- +goose Up
ALTER TABLE sessions ADD COLUMN logs TEXT NOT NULL DEFAULT '{}';

-- +goose Down
ALTER TABLE sessions DROP COLUMN logs;
