-- +goose Up
CREATE TABLE service_settings (
  id          TEXT PRIMARY KEY,
  value       TEXT NOT NULL,
  modified_at BIGINT NOT NULL,
  modified_by TEXT NOT NULL
);

-- +goose Down
DROP TABLE service_settings;
