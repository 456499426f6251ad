-- +goose Up
ALTER TABLE kms_keys ADD COLUMN grants TEXT NOT NULL DEFAULT 'null';

-- +goose Down
ALTER TABLE kms_keys DROP COLUMN grants;
