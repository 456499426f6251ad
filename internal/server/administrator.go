package server

import (
	"context"
	"errors"

	"sekisho"
	"sekisho/internal/activity/audit"
)

// FirstAdministrator has the credentials of a new account's first user.
type FirstAdministrator struct {
	UserName        string
	Password        string
	AccessKeyID     string
	SecretAccessKey string
}

// Initialize creates the state of a new server in cfg.DataDir, with its first
// administrator, and closes it again.
func Initialize(ctx context.Context, cfg Config) (first FirstAdministrator, err error) {
	s, err := New(ctx, cfg)
	if err != nil {
		return first, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	made, isNew, err := s.Directory.Bootstrap(ctx, adminUser)
	if err != nil {
		return first, err
	}
	if !isNew {
		return first, sekisho.Errorf(sekisho.CodeConflict, "%s already has users.", cfg.DataDir)
	}
	return FirstAdministrator{adminUser, made.Password, made.AccessKeyID, made.SecretAccessKey}, nil
}

// ResetAdministrator lets root on the server's machine regain access to the account: it makes name
// an administrator with a new password, and records that in the audit trail. The server must be
// stopped; its data directory is locked meanwhile.
func ResetAdministrator(ctx context.Context, cfg Config, name string) (password string, err error) {
	s, err := New(ctx, cfg)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	e := s.serverEvent("AdministratorReset", map[string]any{"userName": name, "by": "root on the server"})
	if err := s.trail.Begin(ctx, &e); err != nil {
		return "", err
	}
	password, err = s.Directory.ResetAdministrator(ctx, name)
	if err != nil {
		e.ErrorCode, e.ErrorMessage = string(sekisho.CodeOf(err)), err.Error()
	}
	e.UserIdentity = audit.Identity{Type: audit.IdentityRoot, AccountID: cfg.Account}
	return password, errors.Join(err, s.trail.Complete(ctx, e))
}
