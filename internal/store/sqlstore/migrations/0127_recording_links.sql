-- +goose Up
CREATE TABLE recording_links (
  id         TEXT PRIMARY KEY,
  session_id TEXT NOT NULL,
  token_hash BYTEA NOT NULL, -- SHA-256
  created_by TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  revoked_by TEXT NOT NULL,
  revoked_at BIGINT NOT NULL
);
CREATE INDEX recording_links_by_session ON recording_links (session_id, created_at);

-- +goose Down
DROP TABLE recording_links;
