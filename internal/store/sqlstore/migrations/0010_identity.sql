-- +goose Up

-- Every object of the directory, as JSON. A deleted one stays as a tombstone,
-- so that other members learn of it.
CREATE TABLE identity_objects (
  kind       TEXT NOT NULL,
  name       TEXT NOT NULL,
  generation BIGINT NOT NULL,
  deleted    BOOLEAN NOT NULL,
  body       TEXT NOT NULL,
  PRIMARY KEY (kind, name)
);
CREATE INDEX identity_objects_generation ON identity_objects (generation);

-- One row: the newest generation. A writer takes it from the one it has seen
-- to the next, or finds that somebody else did.
CREATE TABLE identity_generation (
  id     INTEGER PRIMARY KEY CHECK (id = 1),
  newest BIGINT NOT NULL
);
INSERT INTO identity_generation (id, newest) VALUES (1, 0);

CREATE TABLE identity_uses (
  id      TEXT PRIMARY KEY,
  used_at BIGINT NOT NULL,
  service TEXT NOT NULL,
  region  TEXT NOT NULL
);

-- +goose Down
DROP TABLE identity_uses;
DROP TABLE identity_generation;
DROP TABLE identity_objects;
