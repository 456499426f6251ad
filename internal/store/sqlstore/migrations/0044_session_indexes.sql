-- +goose Up
-- Each filter of a listing has an index that gives its sessions newest first.
CREATE INDEX sessions_by_target ON sessions (active, target, started_at DESC, id);
CREATE INDEX sessions_by_owner ON sessions (active, owner, started_at DESC, id);
CREATE INDEX sessions_by_status ON sessions (active, status, started_at DESC, id);
DROP INDEX sessions_by_start;
CREATE INDEX sessions_by_start ON sessions (active, started_at DESC, id);

-- +goose Down
DROP INDEX sessions_by_start;
CREATE INDEX sessions_by_start ON sessions (active, started_at, id);
DROP INDEX sessions_by_status;
DROP INDEX sessions_by_owner;
DROP INDEX sessions_by_target;
