-- +goose Up
CREATE TABLE activations (
  id                    TEXT PRIMARY KEY,
  code_hash             BYTEA NOT NULL,
  description           TEXT NOT NULL,
  default_instance_name TEXT NOT NULL,
  iam_role              TEXT NOT NULL,
  registration_limit    BIGINT NOT NULL,
  registration_count    BIGINT NOT NULL,
  expires_at            BIGINT NOT NULL,
  created_at            BIGINT NOT NULL,
  created_by            TEXT NOT NULL,
  tags                  TEXT NOT NULL
);

CREATE TABLE nodes (
  id                TEXT PRIMARY KEY,
  name              TEXT NOT NULL,
  activation_id     TEXT NOT NULL,
  iam_role          TEXT NOT NULL,
  registered_at     BIGINT NOT NULL,
  public_key        BYTEA NOT NULL,
  fingerprint       TEXT NOT NULL,
  agent_name        TEXT NOT NULL,
  agent_version     TEXT NOT NULL,
  agent_status      TEXT NOT NULL,
  platform_type     TEXT NOT NULL,
  platform_name     TEXT NOT NULL,
  platform_version  TEXT NOT NULL,
  computer_name     TEXT NOT NULL,
  ip_address        TEXT NOT NULL,
  last_ping_at      BIGINT NOT NULL,
  last_source_ip    TEXT NOT NULL,
  connected_at      BIGINT NOT NULL,
  disconnected_at   BIGINT NOT NULL,
  disconnect_reason TEXT NOT NULL,
  deregistered_at   BIGINT NOT NULL,
  tags              TEXT NOT NULL
);

-- +goose Down
DROP TABLE nodes;
DROP TABLE activations;
