package enroll_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"sekisho"
	"sekisho/internal/agent/agenttest"
	"sekisho/internal/agent/enroll"
)

func registration(srv *agenttest.Server) enroll.Registration {
	return enroll.Registration{
		Server:         srv.Address(),
		ActivationID:   agenttest.ActivationID,
		ActivationCode: agenttest.ActivationCode,
	}
}

func open(t *testing.T, path string, create bool) *enroll.Vault {
	t.Helper()
	v, err := enroll.OpenVault(path, create)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	return v
}

func TestRegister(t *testing.T) {
	// Not parallel: the files' modes must hold under the widest umask.
	defer syscall.Umask(syscall.Umask(0))
	srv := agenttest.New(t)
	state := filepath.Join(t.TempDir(), "a", "state")
	v := open(t, state, true)
	done, err := enroll.Register(t.Context(), v, registration(srv))
	if err != nil || done.OldIdentity != "" {
		t.Fatalf("%+v, %v", done, err)
	}
	ident, err := v.Identity()
	if err != nil || ident.Node != done.Node || ident.Key.N.BitLen() != 2048 || len(ident.Fingerprint) != 36 {
		t.Errorf("identity %+v, %v", ident.Node, err)
	}
	server, err := v.Server()
	if err != nil || server != srv.Address() {
		t.Errorf("server %+v, %v", server, err)
	}
	if st, err := os.Stat(state); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("state directory: %v, %v", st.Mode(), err)
	}
	files := contents(t, state)
	if len(files) != 2 {
		t.Errorf("%d files", len(files))
	}
	for name, f := range files {
		if f.mode != 0o600 {
			t.Errorf("%s has mode %v", name, f.mode)
		}
		if bytes.Contains(f.content, []byte(agenttest.ActivationCode)) {
			t.Errorf("%s holds the activation code", name)
		}
	}
}

type file struct {
	mode    fs.FileMode
	content []byte
}

func contents(t *testing.T, dir string) map[string]file {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]file)
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = file{info.Mode(), b}
	}
	return files
}

func TestRegisterTwice(t *testing.T) {
	t.Parallel()
	srv := agenttest.New(t)
	state := filepath.Join(t.TempDir(), "state")
	v := open(t, state, true)
	first, err := enroll.Register(t.Context(), v, registration(srv))
	if err != nil {
		t.Fatal(err)
	}
	before := contents(t, state)
	if _, err := enroll.Register(t.Context(), v, registration(srv)); sekisho.CodeOf(err) != sekisho.CodeConflict ||
		!strings.Contains(err.Error(), "--force") {
		t.Errorf("second registration: %v", err)
	}
	r := registration(srv)
	r.Force = true
	second, err := enroll.Register(t.Context(), v, r)
	if err != nil || second.Node == first.Node {
		t.Fatalf("forced registration: %+v, %v", second, err)
	}
	if ident, err := v.Identity(); err != nil || ident.Node != second.Node {
		t.Errorf("identity %v, %v", ident.Node, err)
	}
	old, err := os.ReadFile(second.OldIdentity)
	if err != nil || !bytes.Equal(old, before["identity.json"].content) {
		t.Errorf("the old identity is not kept: %v", err)
	}
}

// TestRefusedRegistrationChangesNothing, not even with --force.
func TestRefusedRegistrationChangesNothing(t *testing.T) {
	t.Parallel()
	srv := agenttest.New(t)
	state := filepath.Join(t.TempDir(), "state")
	v := open(t, state, true)
	if _, err := enroll.Register(t.Context(), v, registration(srv)); err != nil {
		t.Fatal(err)
	}
	before := contents(t, state)
	for name, change := range map[string]func(*enroll.Registration){
		"wrong code":  func(r *enroll.Registration) { r.ActivationCode = strings.Repeat("x", 20) },
		"no code":     func(r *enroll.Registration) { r.ActivationCode = "" },
		"no ID":       func(r *enroll.Registration) { r.ActivationID = "" },
		"http":        func(r *enroll.Registration) { r.Server.Endpoint = "http://203.0.113.1" },
		"no endpoint": func(r *enroll.Registration) { r.Server.Endpoint = "" },
		"path":        func(r *enroll.Registration) { r.Server.Endpoint += "/x" },
		"password":    func(r *enroll.Registration) { r.Server.Endpoint = "https://a:b@203.0.113.1" },
		"region":      func(r *enroll.Registration) { r.Server.Region = "eu/west" },
		"unknown CA":  func(r *enroll.Registration) { r.Server.CA = "" },
		"no CA":       func(r *enroll.Registration) { r.Server.CA = "rubbish" },
	} {
		r := registration(srv)
		r.Force = true
		change(&r)
		_, err := enroll.Register(t.Context(), v, r)
		if err == nil {
			t.Errorf("%s: registered", name)
		} else if strings.Contains(err.Error(), r.ActivationCode) && r.ActivationCode != "" {
			t.Errorf("%s: the error contains the activation code: %v", name, err)
		}
	}
	after := contents(t, state)
	if len(after) != len(before) || !bytes.Equal(after["identity.json"].content, before["identity.json"].content) ||
		!bytes.Equal(after["config.json"].content, before["config.json"].content) {
		t.Error("the state changed")
	}
}

// TestPlantedFiles: another user puts links and pipes where the agent keeps
// its files.
func TestPlantedFiles(t *testing.T) {
	t.Parallel()
	srv := agenttest.New(t)
	for _, name := range []string{"identity.json", "config.json", "lock"} {
		for _, kind := range []string{"symlink", "dangling", "fifo"} {
			t.Run(name+" "+kind, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				state, victim := filepath.Join(dir, "state"), filepath.Join(dir, "victim")
				v := open(t, state, true)
				const precious = "precious"
				if err := os.WriteFile(victim, []byte(precious), 0o600); err != nil {
					t.Fatal(err)
				}
				var err error
				switch kind {
				case "symlink":
					err = os.Symlink(victim, filepath.Join(state, name))
				case "dangling":
					err = os.Symlink(filepath.Join(dir, "new"), filepath.Join(state, name))
				case "fifo":
					err = syscall.Mkfifo(filepath.Join(state, name), 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
				if _, err := v.Identity(); name == "identity.json" && (err == nil || sekisho.IsNotFound(err)) {
					t.Errorf("identity: %v", err)
				}
				if _, err := v.Server(); name == "config.json" && (err == nil || sekisho.IsNotFound(err)) {
					t.Errorf("configuration: %v", err)
				}
				if name == "lock" && kind != "fifo" {
					if err := v.Lock(); err == nil {
						t.Error("Lock followed a link")
					}
				}
				r := registration(srv)
				r.Force = true
				if name != "lock" {
					if _, err := enroll.Register(t.Context(), v, r); err != nil {
						t.Errorf("forced registration: %v", err)
					}
					if _, err := v.Identity(); err != nil {
						t.Errorf("identity after it: %v", err)
					}
				}
				if b, err := os.ReadFile(victim); err != nil || string(b) != precious {
					t.Errorf("the file behind the link is now %q, %v", b, err)
				}
				if _, err := os.Lstat(filepath.Join(dir, "new")); err == nil {
					t.Error("a file was made through the link")
				}
			})
		}
	}
}

func TestStateDirectoryOfOthers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	wide := filepath.Join(dir, "wide")
	if err := os.Mkdir(wide, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(wide, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := enroll.OpenVault(wide, true); sekisho.CodeOf(err) != sekisho.CodeDenied {
		t.Errorf("writable by all: %v", err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	if _, err := enroll.OpenVault(link, true); sekisho.CodeOf(err) != sekisho.CodeDenied {
		t.Errorf("symbolic link: %v", err)
	}
	if _, err := enroll.OpenVault(filepath.Join(dir, "none"), false); !sekisho.IsNotFound(err) {
		t.Errorf("missing: %v", err)
	}
	if os.Geteuid() == 0 {
		theirs := filepath.Join(dir, "theirs")
		if err := os.Mkdir(theirs, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(theirs, 54321, 54321); err != nil {
			t.Fatal(err)
		}
		if _, err := enroll.OpenVault(theirs, true); sekisho.CodeOf(err) != sekisho.CodeDenied {
			t.Errorf("a directory of another user: %v", err)
		}
	}
}

func TestDamagedIdentity(t *testing.T) {
	t.Parallel()
	srv := agenttest.New(t)
	state := filepath.Join(t.TempDir(), "state")
	v := open(t, state, true)
	if _, err := enroll.Register(t.Context(), v, registration(srv)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(state, "identity.json")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(good, &fields); err != nil {
		t.Fatal(err)
	}
	with := func(key string, value any) []byte {
		changed := maps.Clone(fields)
		changed[key] = value
		b, err := json.Marshal(changed)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	key := fields["PrivateKey"].(string)
	for name, b := range map[string][]byte{
		"empty":               nil,
		"cut":                 good[:len(good)/2],
		"more after the JSON": append(bytes.Clone(good), "{}"...),
		"an unknown field":    with("Extra", 1),
		"node":                with("Node", "../../x"),
		"no key":              with("PrivateKey", ""),
		"damaged key":         with("PrivateKey", strings.Replace(key, "\nMII", "\nMIJ", 1)),
	} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := v.Identity()
		if err == nil || sekisho.IsNotFound(err) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if strings.Contains(err.Error(), "MII") || len(err.Error()) > 400 {
			t.Errorf("%s: the error contains part of the key: %v", name, err)
		}
	}
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Identity(); sekisho.CodeOf(err) != sekisho.CodeDenied {
		t.Errorf("an identity that others can read: %v", err)
	}
}

func TestLock(t *testing.T) {
	t.Parallel()
	state := filepath.Join(t.TempDir(), "state")
	first, second := open(t, state, true), open(t, state, false)
	if err := first.Lock(); err != nil {
		t.Fatal(err)
	}
	if err := second.Lock(); sekisho.CodeOf(err) != sekisho.CodeInUse {
		t.Errorf("second lock: %v", err)
	}
	first.Close()
	if err := second.Lock(); err != nil {
		t.Errorf("after the first released its lock: %v", err)
	}
}
