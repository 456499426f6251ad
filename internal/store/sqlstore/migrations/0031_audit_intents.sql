-- +goose Up
-- Calls that have begun and whose outcome is not recorded yet.
CREATE TABLE audit_intents (
  id   TEXT PRIMARY KEY,
  body BYTEA NOT NULL
);

-- +goose Down
DROP TABLE audit_intents;
