-- +goose Up
ALTER TABLE activations ADD COLUMN node_kind TEXT NOT NULL DEFAULT '';
ALTER TABLE activations ADD COLUMN node_id TEXT NOT NULL DEFAULT '';
ALTER TABLE nodes ADD COLUMN profile TEXT NOT NULL DEFAULT ''; -- JSON, or nothing

-- +goose Down
ALTER TABLE nodes DROP COLUMN profile;
ALTER TABLE activations DROP COLUMN node_id;
ALTER TABLE activations DROP COLUMN node_kind;
