// Package enroll registers a machine as a managed node with an activation, stores the node's key,
// and fetches the role credentials that sign all other requests.
//
// # The state directory
//
//	config.json    the server's address
//	identity.json  the node's ID, fingerprint and private key
//	lock           locked by the one process that uses the directory
//
// Only the agent can access the directory. Files have mode 0600 and are replaced atomically;
// neither reading nor writing follows symbolic links.
package enroll

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sekisho"
	"sekisho/internal/agent/uplink"
	"sekisho/internal/wire/id"
)

const (
	configFile   = "config.json"
	identityFile = "identity.json"
	lockFile     = "lock"
	maxFile      = 1 << 20
)

// Vault is an open state directory.
type Vault struct {
	path    string
	root    *os.Root
	lock    *os.File
	machine machine // this one
}

// Identity is the identity of this node.
type Identity struct {
	Node        sekisho.NodeID
	Fingerprint string
	Key         *rsa.PrivateKey
}

// OpenVault opens the state directory at path. With create, it creates a missing one.
func OpenVault(path string, create bool) (*Vault, error) {
	if create {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return nil, fmt.Errorf("create the state directory: %w", err)
		}
		if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("create the state directory: %w", err)
		}
	}
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, notRegistered(path)
	}
	if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	v := &Vault{path: path, root: root, machine: thisMachine()}
	// Check the opened directory, and that the path still refers to it.
	opened, err := root.Stat(".")
	if err == nil && !os.SameFile(st, opened) {
		err = sekisho.Errorf(
			sekisho.CodeDenied,
			"state directory %s is a symbolic link or was replaced while it was opened",
			path,
		)
	}
	if err == nil {
		err = private(path, opened, 0o022)
	}
	if err != nil {
		root.Close()
		return nil, err
	}
	return v, nil
}

func notRegistered(path string) error {
	return sekisho.Errorf(sekisho.CodeNotFound, "this machine is not registered (no identity in %s).", path).
		WithHint("Run: sekisho-agent register --endpoint URL --activation-id ID --activation-code CODE")
}

// private refuses a file that belongs to another user or has a mode bit of mask.
func private(path string, st fs.FileInfo, mask fs.FileMode) error {
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok || int(sys.Uid) != os.Geteuid() {
		return sekisho.Errorf(sekisho.CodeDenied, "%s is not owned by the user that the agent runs as", path).
			WithHint("Give it to user ID %d with chown, or choose another directory with --state.", os.Geteuid())
	}
	if st.Mode().Perm()&mask != 0 {
		return sekisho.Errorf(sekisho.CodeDenied,
			"%s has mode %04o, which gives access to other users", path, st.Mode().Perm()).
			WithHint("Run chmod go-rwx on it.")
	}
	return nil
}

// Lock makes this process the only user of the vault until Close. Processes
// that it starts do not hold the lock.
func (v *Vault) Lock() error {
	f, err := v.root.OpenFile(lockFile, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("lock the state directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return sekisho.Errorf(sekisho.CodeInUse, "another sekisho-agent is using %s", v.path).
				WithHint("Stop it first, or choose another directory with --state.")
		}
		return fmt.Errorf("lock the state directory: %w", err)
	}
	v.lock = f
	return nil
}

// Close releases the vault.
func (v *Vault) Close() error {
	if v.lock != nil {
		v.lock.Close()
	}
	return v.root.Close()
}

func (v *Vault) read(name string) ([]byte, error) {
	// Non-blocking: otherwise a planted FIFO would block the agent.
	f, err := v.root.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(v.path, name)
	if !st.Mode().IsRegular() {
		return nil, sekisho.Errorf(sekisho.CodeDenied, "%s is not a regular file", path)
	}
	if err := private(path, st, 0o077); err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = sekisho.Errorf(sekisho.CodeInvalid, "%s is larger than %d bytes", path, maxFile)
	}
	return b, err
}

// write replaces a file atomically. It replaces a symbolic link instead of
// following it.
func (v *Vault) write(name string, content any) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %s: %w", filepath.Join(v.path, name), err)
		}
	}()
	b, err := json.MarshalIndent(content, "", "  ")
	if err != nil {
		return err
	}
	temp := name + "." + id.UUID()
	f, err := v.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = v.root.Remove(temp) // report the first error
		}
	}()
	_, err = f.Write(append(b, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := v.root.Rename(temp, name); err != nil {
		return err
	}
	return v.syncDir()
}

func (v *Vault) syncDir() error {
	d, err := v.root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Server returns the server's address.
func (v *Vault) Server() (uplink.Server, error) {
	b, err := v.read(configFile)
	if errors.Is(err, fs.ErrNotExist) {
		return uplink.Server{}, notRegistered(v.path)
	}
	if err != nil {
		return uplink.Server{}, fmt.Errorf("configuration: %w", err)
	}
	var s uplink.Server
	if err := strict(b, &s); err != nil {
		return uplink.Server{}, sekisho.Errorf(sekisho.CodeInvalid, "%s: %w", filepath.Join(v.path, configFile), err)
	}
	return s, nil
}

// identityJSON is the stored form of Identity.
type identityJSON struct {
	Node         sekisho.NodeID
	Fingerprint  string
	PrivateKey   string // PEM, PKCS #8
	RegisteredAt time.Time
	Machine      machine // that registered
}

const pemType = "PRIVATE KEY"

// Identity returns the node's identity, or a not-found error if the machine is not registered.
// On a machine other than the one that registered, the fingerprint differs: copying a disk
// copies the key, and the server must be able to distinguish the two.
func (v *Vault) Identity() (Identity, error) {
	b, err := v.read(identityFile)
	if errors.Is(err, fs.ErrNotExist) {
		return Identity{}, notRegistered(v.path)
	}
	if err != nil {
		return Identity{}, fmt.Errorf("identity: %w", err)
	}
	ident, from, err := parseIdentity(b)
	if err == nil && !from.same(v.machine) {
		ident.Fingerprint = fingerprintOn(ident.Fingerprint, v.machine)
	}
	if err != nil {
		return Identity{}, sekisho.Errorf(sekisho.CodeInvalid, "%s is damaged: %w.", filepath.Join(v.path, identityFile),
			err).
			WithHint("Restore it, or register the machine again with --force.")
	}
	return ident, nil
}

func parseIdentity(b []byte) (Identity, machine, error) {
	var j identityJSON
	if err := strict(b, &j); err != nil {
		return Identity{}, machine{}, err
	}
	block, _ := pem.Decode([]byte(j.PrivateKey))
	if block == nil || block.Type != pemType {
		return Identity{}, machine{}, errors.New("it contains no private key")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return Identity{}, machine{}, errors.New("its private key is malformed") // the cause may quote the key
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return Identity{}, machine{}, errors.New("its private key is not RSA")
	}
	if !id.ValidNode(string(j.Node)) {
		return Identity{}, machine{}, fmt.Errorf("%.40q is not a node ID", j.Node)
	}
	return Identity{Node: j.Node, Fingerprint: j.Fingerprint, Key: key}, j.Machine, nil
}

func strict(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("it has data after its end")
	}
	return nil
}

func (v *Vault) saveIdentity(i Identity) error {
	der, err := x509.MarshalPKCS8PrivateKey(i.Key)
	if err != nil {
		return fmt.Errorf("private key: %w", err)
	}
	return v.write(identityFile, identityJSON{
		Node:         i.Node,
		Fingerprint:  i.Fingerprint,
		PrivateKey:   string(pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der})),
		RegisteredAt: time.Now().UTC().Truncate(time.Second),
		Machine:      v.machine,
	})
}

// retire renames the identity file, even a damaged one, and returns the new name, or "" if there
// was none.
func (v *Vault) retire() (string, error) {
	if _, err := v.root.Lstat(identityFile); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	} else if err != nil {
		return "", err
	}
	old := "identity-" + time.Now().UTC().Format("20060102T150405.000000000Z") + ".json"
	if err := v.root.Rename(identityFile, old); err != nil {
		return "", fmt.Errorf("rename the old identity: %w", err)
	}
	return filepath.Join(v.path, old), nil
}
