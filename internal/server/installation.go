package server

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"sekisho/internal/activity/audit"
	"sekisho/internal/session/record"
	"sekisho/internal/storage/keyring"
	"sekisho/internal/store/sqlstore"
)

// acceptLossFile is a file by which an administrator says that recordings or objects are lost for
// good. The server removes it when it has started.
const acceptLossFile = "accept-lost-files"

// The ID of an installation is the fingerprint of its signing key, which no rotation changes: the
// keyring cannot have the ID of another installation. The database stores it, and each line of the
// recordings' ledger names it.

// checkInstallation refuses a database, a keyring and recordings that do not belong together, and a
// state without the recordings or objects that the database refers to. A database of an earlier
// version has no ID; it gets one if its audit trail is signed with the key. lost says what is missing
// with an administrator's consent.
func checkInstallation(
	ctx context.Context, at State, db *sqlstore.DB, ring *keyring.Ring,
) (lost []string, err error) {
	if err := checkKeys(ctx, at, db, ring); err != nil || at.Shared {
		return nil, err // other members of the cluster have the rest
	}
	dir := at.Dir
	ledger := filepath.Join(dir, "recordings", record.LedgerFile)
	key, err := ledgerKey(ledger)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		recorded, err := db.Recorded(ctx)
		if err != nil {
			return nil, err
		}
		if recorded > 0 {
			lost = append(lost, fmt.Sprintf("the recordings of %d sessions (%s is missing)", recorded, ledger))
		}
	case err != nil:
		return nil, err
	case key != "" && key != installationID(ring):
		return nil, fmt.Errorf("the recordings in %s belong to another installation than the keys in %s: they are "+
			"signed with the key "+
			"%.16s…, and the keyring has %.16s…. Restore the whole directory from one backup",
			filepath.Dir(ledger), filepath.Join(dir, "keys"), key, installationID(ring))
	}
	objects, err := db.LiveBlobs(ctx)
	if err != nil {
		return nil, err
	}
	if there, err := has(filepath.Join(dir, "objects")); err != nil {
		return nil, err
	} else if objects > 0 && !there {
		lost = append(lost, fmt.Sprintf("the content of %d objects (%s is missing or empty)", objects,
			filepath.Join(dir, "objects")))
	}
	if len(lost) == 0 {
		return nil, nil
	}
	accept := filepath.Join(dir, acceptLossFile)
	if _, err := os.Stat(accept); err == nil {
		return lost, nil
	}
	return nil, fmt.Errorf("the database refers to %s. Mount or restore what is missing; if it is lost for good, "+
		"create the file %s "+
		"and start again", lost[0], accept)
}

// checkKeys refuses a database of another installation than the keyring's. It stores the ID in one
// that has none.
func checkKeys(ctx context.Context, at State, db *sqlstore.DB, ring *keyring.Ring) error {
	id := installationID(ring)
	stored, err := db.Installation(ctx)
	if err != nil {
		return err
	}
	if stored == "" { // written by an earlier version, or new
		head, err := db.Audit.LastAuditHead(ctx)
		if err != nil {
			return err
		}
		if head != nil && !head.Vouches(ring.PublicKey(), audit.Record{Seq: head.Seq, Hash: head.Hash}) {
			stored = "unknown"
		}
	}
	switch stored {
	case "":
		if stored, err = db.SetInstallation(ctx, id); err != nil || stored == id {
			return err
		}
	case id:
		return nil
	}
	return fmt.Errorf("%s belongs to another installation (%.16s…) than the keys in %s (%.16s…): nothing in it could "+
		"be decrypted. "+
		"Restore the whole directory from one backup", at.place(), stored, filepath.Join(at.Dir, "keys"), id)
}

func installationID(ring *keyring.Ring) string { return record.Fingerprint(ring.PublicKey()) }

// ledgerKey returns the key that the first line of a ledger names; "" for an empty ledger.
func ledgerKey(path string) (key string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	line, err := bufio.NewReaderSize(f, record.MaxLedgerLine).ReadSlice('\n')
	if err != nil {
		return "", nil // empty, or not a ledger: the recorder says so
	}
	var first struct{ Key string }
	if json.Unmarshal(line, &first) != nil {
		return "", nil
	}
	return first.Key, nil
}

// acceptLosses notes what is missing with an administrator's consent, which counts once.
func (s *Server) acceptLosses(ctx context.Context, lost []string) error {
	if len(lost) == 0 {
		return nil
	}
	for _, what := range lost {
		s.cfg.Log.Error("started without files that the database refers to", "lost", what)
		if err := s.trail.Record(ctx, s.serverEvent("FilesLost", map[string]any{"lost": what})); err != nil {
			return err
		}
	}
	return os.Remove(filepath.Join(s.cfg.DataDir, acceptLossFile))
}
