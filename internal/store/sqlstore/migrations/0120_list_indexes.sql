-- +goose Up
-- Each filter of a listing has an index that gives its rows in the order of the
-- listing, so that a page reads about as many rows as it returns.
CREATE INDEX activations_by_time ON activations (created_at DESC, id);
CREATE INDEX activations_by_name ON activations (default_instance_name, created_at DESC, id);
CREATE INDEX activations_by_role ON activations (iam_role, created_at DESC, id);
CREATE INDEX activations_by_node ON activations (node_id, created_at DESC, id);

CREATE INDEX sessions_just_in_time ON sessions (active, started_at DESC, id) WHERE access_request <> '';
CREATE INDEX sessions_standard ON sessions (active, started_at DESC, id) WHERE access_request = '';
CREATE INDEX sessions_lapsing ON sessions (active, started_at DESC, id) WHERE permission <> '';

DROP INDEX access_requests_by_user;
DROP INDEX access_requests_by_time;
CREATE INDEX access_requests_by_time ON access_requests (created_at DESC, id);
CREATE INDEX access_requests_by_open ON access_requests (open, created_at DESC, id);
CREATE INDEX access_requests_by_user ON access_requests (user_id, created_at DESC, id);
CREATE INDEX access_requests_by_user_open ON access_requests (user_id, open, created_at DESC, id);

CREATE INDEX commands_by_time ON commands (requested_at DESC, seq DESC);
CREATE INDEX commands_by_document ON commands (document, requested_at DESC, seq DESC);
CREATE INDEX commands_by_status ON commands (status, requested_at DESC, seq DESC);
DROP INDEX commands_by_active;
CREATE INDEX commands_by_active ON commands (active, requested_at DESC, seq DESC);

DROP INDEX command_invocations_by_node;
CREATE INDEX command_invocations_by_time ON command_invocations (requested_at DESC, seq DESC, node);
CREATE INDEX command_invocations_by_node ON command_invocations (node, requested_at DESC, seq DESC);
CREATE INDEX command_invocations_by_document ON command_invocations (document, requested_at DESC, seq DESC, node);
CREATE INDEX command_invocations_by_status ON command_invocations (status, requested_at DESC, seq DESC, node);
CREATE INDEX command_invocations_by_command ON command_invocations (command, status, node);

CREATE INDEX log_streams_by_last_event ON log_streams (group_name, last_event, name);

CREATE INDEX object_versions_by_place ON object_versions (bucket, key, seq DESC);

CREATE INDEX sightings_by_kind ON sightings (kind, last_at DESC, key);
CREATE INDEX nodes_deregistered ON nodes (deregistered_at DESC, id) WHERE deregistered_at <> 0;

-- +goose Down
DROP INDEX nodes_deregistered;
DROP INDEX sightings_by_kind;
DROP INDEX object_versions_by_place;
DROP INDEX log_streams_by_last_event;
DROP INDEX command_invocations_by_command;
DROP INDEX command_invocations_by_status;
DROP INDEX command_invocations_by_document;
DROP INDEX command_invocations_by_node;
DROP INDEX command_invocations_by_time;
CREATE INDEX command_invocations_by_node ON command_invocations (node, seq);
DROP INDEX commands_by_active;
CREATE INDEX commands_by_active ON commands (active, seq);
DROP INDEX commands_by_status;
DROP INDEX commands_by_document;
DROP INDEX commands_by_time;
DROP INDEX access_requests_by_user_open;
DROP INDEX access_requests_by_user;
DROP INDEX access_requests_by_open;
DROP INDEX access_requests_by_time;
CREATE INDEX access_requests_by_user ON access_requests (user_id, open, created_at);
CREATE INDEX access_requests_by_time ON access_requests (created_at);
DROP INDEX sessions_lapsing;
DROP INDEX sessions_standard;
DROP INDEX sessions_just_in_time;
DROP INDEX activations_by_node;
DROP INDEX activations_by_role;
DROP INDEX activations_by_name;
DROP INDEX activations_by_time;
