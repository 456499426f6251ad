-- +goose Up
-- Keys are bytes: they are compared and listed in the order of their UTF-8.
CREATE TABLE buckets (
  name       TEXT PRIMARY KEY,
  created_at BIGINT NOT NULL,
  versioning TEXT NOT NULL,
  settings   TEXT NOT NULL
);
CREATE TABLE object_versions (
  bucket        TEXT NOT NULL REFERENCES buckets (name),
  key           BYTEA NOT NULL,
  seq           BIGINT NOT NULL,
  version_id    TEXT NOT NULL,
  latest        BOOLEAN NOT NULL,
  delete_marker BOOLEAN NOT NULL,
  size          BIGINT NOT NULL,
  etag          TEXT NOT NULL,
  modified_at   BIGINT NOT NULL,
  facts         TEXT NOT NULL,
  pieces        TEXT NOT NULL,
  PRIMARY KEY (bucket, key, seq)
);
CREATE UNIQUE INDEX object_versions_version_id ON object_versions (bucket, key, version_id);
CREATE UNIQUE INDEX object_versions_latest ON object_versions (bucket, key) WHERE latest;
CREATE TABLE object_uploads (
  id         TEXT PRIMARY KEY,
  bucket     TEXT NOT NULL REFERENCES buckets (name),
  key        BYTEA NOT NULL,
  started_at BIGINT NOT NULL,
  started_by TEXT NOT NULL,
  facts      TEXT NOT NULL
);
CREATE INDEX object_uploads_key ON object_uploads (bucket, key, id);
CREATE TABLE object_parts (
  upload      TEXT NOT NULL REFERENCES object_uploads (id),
  number      BIGINT NOT NULL,
  blob        TEXT NOT NULL,
  size        BIGINT NOT NULL,
  etag        TEXT NOT NULL,
  checksum    TEXT NOT NULL,
  modified_at BIGINT NOT NULL,
  PRIMARY KEY (upload, number)
);
-- Every file of the object store. A dead one is to be removed.
CREATE TABLE object_blobs (
  id   TEXT PRIMARY KEY,
  dead BOOLEAN NOT NULL
);
CREATE INDEX object_blobs_dead ON object_blobs (id) WHERE dead;

-- +goose Down
DROP TABLE object_blobs;
DROP TABLE object_parts;
DROP TABLE object_uploads;
DROP TABLE object_versions;
DROP TABLE buckets;
