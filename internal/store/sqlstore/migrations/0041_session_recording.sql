-- +goose Up
ALTER TABLE sessions ADD COLUMN recording TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE sessions DROP COLUMN recording;
