-- +goose Up
-- Look-ups are answered in the order of time. Each filter has an index that
-- gives its records in that order.
DROP INDEX audit_records_by_event_name;
DROP INDEX audit_records_by_username;
DROP INDEX audit_records_by_access_key;
CREATE INDEX audit_records_by_event_name ON audit_records (event_name, time, seq);
CREATE INDEX audit_records_by_source ON audit_records (event_source, time, seq);
CREATE INDEX audit_records_by_username ON audit_records (username, time, seq);
CREATE INDEX audit_records_by_access_key ON audit_records (access_key_id, time, seq);
CREATE INDEX audit_records_by_read_only ON audit_records (read_only, time, seq);

DROP INDEX audit_resources_by_name;
DROP INDEX audit_resources_by_arn;
DROP INDEX audit_resources_by_type;
ALTER TABLE audit_resources ADD COLUMN time BIGINT NOT NULL DEFAULT 0;
UPDATE audit_resources SET time = (SELECT time FROM audit_records WHERE audit_records.seq = audit_resources.seq);
CREATE INDEX audit_resources_by_name ON audit_resources (name, time, seq);
CREATE INDEX audit_resources_by_arn ON audit_resources (arn, time, seq);
CREATE INDEX audit_resources_by_type ON audit_resources (type, time, seq);

-- +goose Down
DROP INDEX audit_resources_by_name;
DROP INDEX audit_resources_by_arn;
DROP INDEX audit_resources_by_type;
ALTER TABLE audit_resources DROP COLUMN time;
CREATE INDEX audit_resources_by_name ON audit_resources (name, seq);
CREATE INDEX audit_resources_by_arn ON audit_resources (arn, seq);
CREATE INDEX audit_resources_by_type ON audit_resources (type, seq);
DROP INDEX audit_records_by_read_only;
DROP INDEX audit_records_by_access_key;
DROP INDEX audit_records_by_username;
DROP INDEX audit_records_by_source;
DROP INDEX audit_records_by_event_name;
CREATE INDEX audit_records_by_event_name ON audit_records (event_name, seq);
CREATE INDEX audit_records_by_username ON audit_records (username, seq);
CREATE INDEX audit_records_by_access_key ON audit_records (access_key_id, seq);
