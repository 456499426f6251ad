package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// firstAdministratorFile contains the credentials of the first administrator until somebody deletes
// it.
const firstAdministratorFile = "first-administrator"

// bootstrap creates the first administrator of a new account. It writes the credentials to a file
// that only the server's user can read, not to standard output or a log, which others may read and
// keep.
func (s *Server) bootstrap(ctx context.Context, w io.Writer) (err error) {
	if used, err := s.db.Used(ctx); err != nil || used {
		return err
	}
	path := filepath.Join(s.cfg.DataDir, firstAdministratorFile)
	// Create the file first: otherwise the credentials could be lost.
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Chmod(0o600); err != nil {
		return err
	}
	first, made, err := s.Directory.Bootstrap(ctx, adminUser)
	if err != nil || !made {
		return err
	}
	_, err = fmt.Fprintf(f, "# The first administrator of this server. Store these safely, and delete this file.\n"+
		"# user name: %s\n# console password: %s\nexport AWS_ACCESS_KEY_ID=%s\nexport AWS_SECRET_ACCESS_KEY=%s\n",
		adminUser, first.Password, first.AccessKeyID, first.SecretAccessKey)
	if err := errors.Join(err, f.Sync()); err != nil {
		return fmt.Errorf("%s: %w; the credentials are lost: empty the data directory and start again", path, err)
	}
	_, err = fmt.Fprintf(
		w,
		"The first administrator's credentials are in %s. Store them safely, and delete the file.\n",
		path,
	)
	return err
}
