-- +goose Up
-- One row: the certificate authority of a cluster. The key is sealed by the keyring.
CREATE TABLE cluster_authority (
    id          BIGINT PRIMARY KEY,
    certificate BYTEA NOT NULL,
    sealed_key  BYTEA NOT NULL
);

-- The server processes of a cluster. Times are the database's.
CREATE TABLE cluster_members (
    name        TEXT PRIMARY KEY,
    epoch       BIGINT NOT NULL,
    address     TEXT NOT NULL,
    version     TEXT NOT NULL,
    protocol    BIGINT NOT NULL,
    instance    TEXT NOT NULL,
    started_at  BIGINT NOT NULL,
    renewed_at  BIGINT NOT NULL,
    lease_until BIGINT NOT NULL,
    skew        BIGINT NOT NULL
);

-- One row: the member that does the work of which there is one in a cluster.
CREATE TABLE cluster_coordinator (
    id           BIGINT PRIMARY KEY,
    member       TEXT NOT NULL,
    member_epoch BIGINT NOT NULL
);

-- The member that has the control channel of a node; empty for a closed one.
CREATE TABLE node_owners (
    node         TEXT PRIMARY KEY,
    member       TEXT NOT NULL,
    member_epoch BIGINT NOT NULL,
    source       TEXT NOT NULL,
    process      TEXT NOT NULL,
    changed_at   BIGINT NOT NULL
);
CREATE INDEX node_owners_by_change ON node_owners (changed_at);
CREATE INDEX node_owners_by_member ON node_owners (member);

-- The member whose relay carries a session. term counts its owners.
CREATE TABLE session_owners (
    session      TEXT PRIMARY KEY,
    member       TEXT NOT NULL,
    member_epoch BIGINT NOT NULL,
    term         BIGINT NOT NULL,
    since        BIGINT NOT NULL
);
CREATE INDEX session_owners_by_member ON session_owners (member);

-- The member of a cluster that serves the call.
ALTER TABLE audit_intents ADD COLUMN member TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE audit_intents DROP COLUMN member;
DROP TABLE session_owners;
DROP TABLE node_owners;
DROP TABLE cluster_coordinator;
DROP TABLE cluster_members;
DROP TABLE cluster_authority;
