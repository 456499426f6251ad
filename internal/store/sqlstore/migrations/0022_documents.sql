-- +goose Up
CREATE TABLE documents (
  name            TEXT PRIMARY KEY,
  target_type     TEXT NOT NULL,
  default_version BIGINT NOT NULL,
  latest_version  BIGINT NOT NULL, -- numbers are not used twice
  created_at      BIGINT NOT NULL,
  tags            TEXT NOT NULL,
  shares          TEXT NOT NULL
);

CREATE TABLE document_versions (
  name         TEXT NOT NULL REFERENCES documents (name) ON DELETE CASCADE,
  number       BIGINT NOT NULL,
  version_name TEXT NOT NULL,
  display_name TEXT NOT NULL,
  format       TEXT NOT NULL,
  content      TEXT NOT NULL,
  created_at   BIGINT NOT NULL,
  created_by   TEXT NOT NULL,
  PRIMARY KEY (name, number)
);
CREATE UNIQUE INDEX document_versions_by_version_name ON document_versions (name, version_name) WHERE version_name <> '';

ALTER TABLE sessions ADD COLUMN document_version TEXT NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN run_as_user TEXT NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN omit_input BOOLEAN NOT NULL DEFAULT FALSE;

-- +goose Down
ALTER TABLE sessions DROP COLUMN omit_input;
ALTER TABLE sessions DROP COLUMN run_as_user;
ALTER TABLE sessions DROP COLUMN document_version;
DROP TABLE document_versions;
DROP TABLE documents;
