-- +goose Up
-- SQLite stores a table in the order of an INTEGER PRIMARY KEY: no index is needed
-- for it, which was one more page to write with every record.
CREATE TABLE audit_records_by_seq (
  seq           INTEGER PRIMARY KEY,
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
INSERT INTO audit_records_by_seq (seq, event_id, time, event_name, event_source, username, access_key_id, read_only, hash, body)
  SELECT seq, event_id, time, event_name, event_source, username, access_key_id, read_only, hash, body
  FROM audit_records ORDER BY seq;
DROP TABLE audit_records;
ALTER TABLE audit_records_by_seq RENAME TO audit_records;
CREATE INDEX audit_records_by_event_id ON audit_records (event_id);
CREATE INDEX audit_records_by_time ON audit_records (time, seq);
CREATE INDEX audit_records_by_event_name ON audit_records (event_name, time, seq);
CREATE INDEX audit_records_by_source ON audit_records (event_source, time, seq);
CREATE INDEX audit_records_by_username ON audit_records (username, time, seq);
CREATE INDEX audit_records_by_access_key ON audit_records (access_key_id, time, seq);
CREATE INDEX audit_records_by_read_only ON audit_records (read_only, time, seq);

-- +goose Down
SELECT 1; -- the table serves the earlier version as well
