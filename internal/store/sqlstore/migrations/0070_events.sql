-- +goose Up
CREATE TABLE events (
  seq     BIGINT PRIMARY KEY,
  id      TEXT NOT NULL UNIQUE,
  type    TEXT NOT NULL,
  subject TEXT NOT NULL,
  time    BIGINT NOT NULL,
  body    BYTEA NOT NULL
);
-- The greatest sequence number so far: numbers of removed records are not reused.
CREATE TABLE event_last (
  one BIGINT PRIMARY KEY,
  seq BIGINT NOT NULL
);
CREATE TABLE event_items (
  webhook   TEXT NOT NULL,
  seq       BIGINT NOT NULL,
  subject   TEXT NOT NULL,
  queued_at BIGINT NOT NULL,
  attempts  BIGINT NOT NULL,
  PRIMARY KEY (webhook, seq)
);
CREATE INDEX event_items_by_seq ON event_items (seq);
CREATE TABLE event_tallies (
  webhook           TEXT PRIMARY KEY,
  delivered         BIGINT NOT NULL,
  given_up          BIGINT NOT NULL,
  dropped           BIGINT NOT NULL,
  last_delivered_at BIGINT NOT NULL,
  last_failed_at    BIGINT NOT NULL,
  last_failure      TEXT NOT NULL
);
-- The state in the last event of each node.
CREATE TABLE event_nodes (
  node_id TEXT PRIMARY KEY,
  up      BOOLEAN NOT NULL
);

-- +goose Down
DROP TABLE event_nodes;
DROP TABLE event_tallies;
DROP TABLE event_items;
DROP TABLE event_last;
DROP TABLE events;
