-- +goose Up
CREATE TABLE sessions (
  id            TEXT PRIMARY KEY,
  target        TEXT NOT NULL,
  status        TEXT NOT NULL,
  active        BOOLEAN NOT NULL,
  owner         TEXT NOT NULL,
  owner_user_id TEXT NOT NULL,
  owner_user    TEXT NOT NULL,
  access_key_id TEXT NOT NULL,
  document_name TEXT NOT NULL,
  reason        TEXT NOT NULL,
  details       TEXT NOT NULL,
  started_at    BIGINT NOT NULL,
  ended_at      BIGINT NOT NULL,
  source_ip     TEXT NOT NULL,
  max_duration  BIGINT NOT NULL,
  idle_timeout  BIGINT NOT NULL
);
CREATE INDEX sessions_by_start ON sessions (active, started_at, id);

CREATE TABLE channel_tokens (
  hash       BYTEA PRIMARY KEY,
  subject    TEXT NOT NULL,
  leg        TEXT NOT NULL,
  expires_at BIGINT NOT NULL,
  used_at    BIGINT NOT NULL
);
CREATE INDEX channel_tokens_by_expiry ON channel_tokens (expires_at);

-- +goose Down
DROP TABLE channel_tokens;
DROP TABLE sessions;
