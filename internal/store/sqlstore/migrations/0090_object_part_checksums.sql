-- +goose Up
-- The checksum that the sender of a part chose, where its upload has no algorithm.
ALTER TABLE object_parts ADD COLUMN stated_algorithm TEXT NOT NULL DEFAULT '';
ALTER TABLE object_parts ADD COLUMN stated_checksum TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE object_parts DROP COLUMN stated_checksum;
ALTER TABLE object_parts DROP COLUMN stated_algorithm;
