-- +goose Up
ALTER TABLE sessions ADD COLUMN disable_copy BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE sessions ADD COLUMN disable_paste BOOLEAN NOT NULL DEFAULT FALSE;

-- +goose Down
ALTER TABLE sessions DROP COLUMN disable_paste;
ALTER TABLE sessions DROP COLUMN disable_copy;
