-- +goose Up
CREATE TABLE sightings (
  key         TEXT PRIMARY KEY,
  kind        TEXT NOT NULL,
  node_id     TEXT NOT NULL,
  source_ip   TEXT NOT NULL,
  other       TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  detail      TEXT NOT NULL,
  first_at    BIGINT NOT NULL,
  last_at     BIGINT NOT NULL,
  count       BIGINT NOT NULL
);
CREATE INDEX sightings_by_node ON sightings (node_id, last_at);

-- +goose Down
DROP TABLE sightings;
