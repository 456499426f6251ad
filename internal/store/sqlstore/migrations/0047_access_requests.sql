-- +goose Up
CREATE TABLE access_requests (
  id         TEXT PRIMARY KEY,
  user_id    TEXT NOT NULL,
  open       BOOLEAN NOT NULL, -- pending or approved
  created_at BIGINT NOT NULL,
  body       TEXT NOT NULL     -- JSON
);
CREATE INDEX access_requests_by_user ON access_requests (user_id, open, created_at);
CREATE INDEX access_requests_by_time ON access_requests (created_at);
ALTER TABLE sessions ADD COLUMN access_request TEXT NOT NULL DEFAULT '';
CREATE TABLE access_rules (
  name TEXT PRIMARY KEY,
  body TEXT NOT NULL -- JSON
);

-- +goose Down
ALTER TABLE sessions DROP COLUMN access_request;
DROP TABLE access_rules;
DROP TABLE access_requests;
