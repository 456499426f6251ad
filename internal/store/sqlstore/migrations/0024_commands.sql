-- +goose Up
ALTER TABLE documents ADD COLUMN type TEXT NOT NULL DEFAULT 'Session';

CREATE TABLE commands (
  id           TEXT PRIMARY KEY,
  seq          BIGINT NOT NULL, -- newer ones have larger numbers
  document     TEXT NOT NULL,
  status       TEXT NOT NULL,
  active       BOOLEAN NOT NULL,
  requested_at BIGINT NOT NULL,
  body         TEXT NOT NULL, -- the rest, as JSON
  job          TEXT NOT NULL  -- what never changes
);
CREATE UNIQUE INDEX commands_by_seq ON commands (seq);
CREATE INDEX commands_by_active ON commands (active, seq);

CREATE TABLE command_invocations (
  command  TEXT NOT NULL REFERENCES commands (id) ON DELETE CASCADE,
  node     TEXT NOT NULL,
  seq      BIGINT NOT NULL, -- of the command
  document TEXT NOT NULL,
  status   TEXT NOT NULL,
  requested_at BIGINT NOT NULL,
  body     TEXT NOT NULL, -- the rest, as JSON
  PRIMARY KEY (command, node)
);
CREATE INDEX command_invocations_by_seq ON command_invocations (seq, node);
CREATE INDEX command_invocations_by_node ON command_invocations (node, seq);

-- What the steps of invocations wrote: apart, as lists do not need it.
CREATE TABLE command_steps (
  command TEXT NOT NULL REFERENCES commands (id) ON DELETE CASCADE,
  node    TEXT NOT NULL,
  step    BIGINT NOT NULL, -- its place in the document
  body    TEXT NOT NULL,
  PRIMARY KEY (command, node, step)
);

-- +goose Down
DROP TABLE command_steps;
DROP TABLE command_invocations;
DROP TABLE commands;
ALTER TABLE documents DROP COLUMN type;
