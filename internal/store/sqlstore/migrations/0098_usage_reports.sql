-- +goose Up
CREATE TABLE usage_reports (
  name TEXT PRIMARY KEY,
  body TEXT NOT NULL -- JSON
);
-- A report reads the sessions of a day.
CREATE INDEX sessions_by_end ON sessions (ended_at, id);

-- +goose Down
DROP INDEX sessions_by_end;
DROP TABLE usage_reports;
