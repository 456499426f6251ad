-- +goose Up
ALTER TABLE sessions ADD COLUMN record_forwards BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE sessions ADD COLUMN recording_days BIGINT NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE sessions DROP COLUMN recording_days;
ALTER TABLE sessions DROP COLUMN record_forwards;
