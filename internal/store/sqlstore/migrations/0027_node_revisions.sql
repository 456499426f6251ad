-- +goose Up
-- Every change of a node gets the next revision, so that a copy of all nodes in
-- memory can be brought up to date by reading only what changed.
CREATE TABLE node_revision (
  revision BIGINT NOT NULL
);
INSERT INTO node_revision (revision) VALUES (1);
ALTER TABLE nodes ADD COLUMN revision BIGINT NOT NULL DEFAULT 1;
ALTER TABLE nodes ADD COLUMN architecture TEXT NOT NULL DEFAULT '';
CREATE INDEX nodes_by_revision ON nodes (revision);

-- +goose Down
DROP INDEX nodes_by_revision;
ALTER TABLE nodes DROP COLUMN architecture;
ALTER TABLE nodes DROP COLUMN revision;
DROP TABLE node_revision;
