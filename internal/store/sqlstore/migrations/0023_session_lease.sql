-- +goose Up
ALTER TABLE sessions ADD COLUMN lease TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE sessions DROP COLUMN lease;
