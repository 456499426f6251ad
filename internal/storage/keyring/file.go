package keyring

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"sekisho"
)

// readSecret reads a master key. It refuses a file that others can read.
func readSecret(path string) (_ []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if mode := info.Mode(); !mode.IsRegular() || mode.Perm()&0o077 != 0 {
		return nil, sekisho.Errorf(sekisho.CodeInvalid,
			"the master key %s is open to other users of this machine (mode %04o).", path, mode.Perm()).
			WithHint("Run: chmod 600 %s, and rotate the key if others may have read it.", path)
	}
	key, err := io.ReadAll(io.LimitReader(f, keySize+1))
	if err != nil {
		return nil, err
	}
	if len(key) != keySize {
		return nil, sekisho.Errorf(sekisho.CodeInvalid, "the master key %s does not have %d bytes.", path, keySize).
			WithHint("Restore it from your backup.")
	}
	return key, nil
}

func readBounded(path string, limit int64) (_ []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, sekisho.Errorf(sekisho.CodeInvalid, "%s is longer than %d bytes", path, limit)
	}
	return b, nil
}

// putNew writes a new file of mode 0600 atomically: it appears under its name only when all
// of it is on disk. It never replaces a file.
func putNew(path string, data []byte) error {
	temp, err := writeTemp(path, data)
	if err != nil {
		return err
	}
	return errors.Join(os.Link(temp, path), os.Remove(temp), syncDir(path))
}

// replace atomically replaces the file at path with data.
func replace(path string, data []byte) error {
	temp, err := writeTemp(path, data)
	if err != nil {
		return err
	}
	if err := rename(temp, path); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return nil
}

func rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return syncDir(to)
}

func writeTemp(path string, data []byte) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp") // O_EXCL, mode 0600
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(f.Name()))
	}
	return f.Name(), nil
}

func syncDir(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
