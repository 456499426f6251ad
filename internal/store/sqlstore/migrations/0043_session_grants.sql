-- +goose Up
-- What the permission of a session rests on (JSON), for sessions that end when
-- it lapses; empty for the others.
ALTER TABLE sessions ADD COLUMN permission TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE sessions DROP COLUMN permission;
