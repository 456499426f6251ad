-- +goose Up
CREATE TABLE audit_records (
  seq           BIGINT PRIMARY KEY,
  event_id      TEXT NOT NULL,
  time          BIGINT NOT NULL,
  event_name    TEXT NOT NULL,
  event_source  TEXT NOT NULL,
  username      TEXT NOT NULL,
  access_key_id TEXT NOT NULL,
  read_only     BOOLEAN NOT NULL,
  hash          BYTEA NOT NULL,
  body          BYTEA NOT NULL
);
CREATE INDEX audit_records_by_event_id ON audit_records (event_id);
CREATE INDEX audit_records_by_time ON audit_records (time, seq);
CREATE INDEX audit_records_by_event_name ON audit_records (event_name, seq);
CREATE INDEX audit_records_by_username ON audit_records (username, seq);
CREATE INDEX audit_records_by_access_key ON audit_records (access_key_id, seq);

CREATE TABLE audit_resources (
  seq  BIGINT NOT NULL,
  pos  BIGINT NOT NULL,
  name TEXT NOT NULL,
  arn  TEXT NOT NULL,
  type TEXT NOT NULL,
  PRIMARY KEY (seq, pos)
);
CREATE INDEX audit_resources_by_name ON audit_resources (name, seq);
CREATE INDEX audit_resources_by_arn ON audit_resources (arn, seq);
CREATE INDEX audit_resources_by_type ON audit_resources (type, seq);

CREATE TABLE audit_heads (
  seq       BIGINT PRIMARY KEY,
  hash      BYTEA NOT NULL,
  time      BIGINT NOT NULL,
  signature BYTEA NOT NULL
);

-- +goose Down
DROP TABLE audit_heads;
DROP TABLE audit_resources;
DROP TABLE audit_records;
