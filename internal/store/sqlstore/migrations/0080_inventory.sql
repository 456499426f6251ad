-- +goose Up
CREATE TABLE inventory (
  node_id     TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
  type        TEXT NOT NULL,
  version     TEXT NOT NULL,
  captured_at TEXT NOT NULL,
  hash        TEXT NOT NULL,
  attributes  TEXT NOT NULL, -- JSON list
  size        BIGINT NOT NULL,
  content     BYTEA NOT NULL, -- JSON
  PRIMARY KEY (node_id, type)
);
CREATE INDEX inventory_by_type ON inventory (type, version, attributes);

-- +goose Down
DROP TABLE inventory;
