-- +goose Up
CREATE TABLE kms_keys (
  id           TEXT PRIMARY KEY,
  description  TEXT NOT NULL,
  state        TEXT NOT NULL,
  created_at   BIGINT NOT NULL,
  deletion_at  BIGINT NOT NULL,
  policy       TEXT NOT NULL,
  policy_names TEXT NOT NULL,
  rotates      BOOLEAN NOT NULL,
  rotate_every BIGINT NOT NULL,
  tags         TEXT NOT NULL,
  generations  TEXT NOT NULL -- sealed under the keyring
);

CREATE TABLE kms_aliases (
  name       TEXT PRIMARY KEY,
  key_id     TEXT NOT NULL REFERENCES kms_keys (id) ON DELETE CASCADE,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
);
CREATE INDEX kms_aliases_key ON kms_aliases (key_id);

-- +goose Down
DROP TABLE kms_aliases;
DROP TABLE kms_keys;
