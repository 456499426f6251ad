-- +goose Up
SELECT 1; -- the primary key of audit_records needs no other form than 0030 gave it

-- +goose Down
SELECT 1;
