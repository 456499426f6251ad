-- +goose Up
CREATE TABLE console_sign_ins (
  token_hash BYTEA PRIMARY KEY,
  data       BYTEA NOT NULL,
  expires_at BIGINT NOT NULL
);
CREATE INDEX console_sign_ins_expires_at ON console_sign_ins (expires_at);

-- +goose Down
DROP TABLE console_sign_ins;
