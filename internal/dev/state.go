package dev

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"sekisho/internal/shellquote"
)

// state is what dev stores between starts: its settings, and the first administrator's credentials,
// which DIR/env repeats.
type state struct {
	Account         string
	Region          string
	Listen          string // the last listening address, so that port 0 keeps its port
	AdminUser       string
	AdminPassword   string
	AccessKeyID     string
	SecretAccessKey string
	WebhookSecret   string            `json:",omitempty"`
	Nodes           map[string]string // node ID by agent name
}

func readState(dir string) (*state, error) {
	b, err := os.ReadFile(filepath.Join(dir, "dev.json"))
	if errors.Is(err, os.ErrNotExist) {
		return &state{}, nil
	}
	if err != nil {
		return nil, err
	}
	s := new(state)
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(s); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, "dev.json"), err)
	}
	return s, nil
}

func (s *state) write(dir string) error {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return writeSecret(filepath.Join(dir, "dev.json"), append(b, '\n'))
}

// writeSecret atomically replaces a file, with mode 0600.
func writeSecret(path string, b []byte) error {
	tmp := path + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.Write(b); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// variable is one line of DIR/env.
type variable struct{ name, value string }

// pluginName is the name under which the aws command runs its plugin.
const pluginName = "session-manager-plugin"

// writeEnv writes DIR/env, which a shell sources. It puts the folder programs on
// PATH and, if AWS's plugin is not installed, sekisho in its place.
func writeEnv(dir, programs string, vars []variable) error {
	var b strings.Builder
	b.WriteString("# Written by sekishod dev. Source it: . " + shellquote.Quote(filepath.Join(dir, "env")) + "\n")
	for _, v := range vars {
		// Plain values are not quoted, for readers other than shells.
		b.WriteString("export " + v.name + "=" + shellquote.Quote(v.value) + "\n")
	}
	paths, err := commandPaths(dir, programs)
	if err != nil {
		return err
	}
	for _, p := range paths {
		// Sourcing the file again must not make PATH longer.
		b.WriteString(
			"case \":$PATH:\" in *:" + shellquote.Quote(
				p,
			) + ":*) ;; *) export PATH=\"$PATH\":" + shellquote.Quote(
				p,
			) + " ;; esac\n",
		)
	}
	// aws CLIs before 2.13 do not know AWS_ENDPOINT_URL.
	b.WriteString(`aws() { command aws --endpoint-url "$AWS_ENDPOINT_URL" "$@"; }` + "\n")
	return writeSecret(filepath.Join(dir, "env"), []byte(b.String()))
}

// commandPaths returns the folders to add to PATH: that of sekisho, and one where sekisho is also
// named session-manager-plugin.
func commandPaths(dir, programs string) ([]string, error) {
	client := filepath.Join(programs, "sekisho")
	if _, err := os.Stat(client); err != nil {
		return nil, nil //nolint:nilerr // only the server was built
	}
	paths := []string{programs}
	plugin := filepath.Join(dir, "bin", pluginName)
	if found, err := exec.LookPath(pluginName); err == nil && found != plugin {
		return paths, nil
	}
	if err := os.MkdirAll(filepath.Dir(plugin), 0o700); err != nil {
		return nil, err
	}
	if err := os.Remove(plugin); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return append(paths, filepath.Dir(plugin)), os.Symlink(client, plugin)
}
