-- +goose Up
CREATE TABLE log_groups (
  name       TEXT PRIMARY KEY,
  created_at BIGINT NOT NULL,
  retention  BIGINT NOT NULL, -- days; 0 = for ever
  kms_key    TEXT NOT NULL,
  tags       TEXT NOT NULL,
  next_seq   BIGINT NOT NULL
);
CREATE TABLE log_streams (
  group_name     TEXT NOT NULL REFERENCES log_groups (name),
  name           TEXT NOT NULL,
  created_at     BIGINT NOT NULL,
  first_event    BIGINT NOT NULL,
  last_event     BIGINT NOT NULL,
  last_ingestion BIGINT NOT NULL,
  PRIMARY KEY (group_name, name)
);
-- Times of events are milliseconds, as their senders give them.
CREATE TABLE log_events (
  group_name  TEXT NOT NULL,
  stream      TEXT NOT NULL,
  time        BIGINT NOT NULL,
  seq         BIGINT NOT NULL,
  ingested_at BIGINT NOT NULL,
  message     BYTEA NOT NULL, -- sealed
  PRIMARY KEY (group_name, stream, time, seq),
  FOREIGN KEY (group_name, stream) REFERENCES log_streams (group_name, name)
);
CREATE INDEX log_events_time ON log_events (group_name, time, seq);

-- +goose Down
DROP TABLE log_events;
DROP TABLE log_streams;
DROP TABLE log_groups;
