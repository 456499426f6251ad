package e2e_test

import (
	"bytes"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"sekisho/e2e/harness"
)

// TestSSHThroughSekisho runs ssh, scp, sftp and rsync through `sekisho
// ssh-config`, and has several of them share one session (ControlMaster).
func TestSSHThroughSekisho(t *testing.T) {
	t.Parallel()
	theirs, dir := sshServer(t, nil)
	text, err := os.ReadFile(theirs)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\n  Port ")
	port, _, ok := strings.Cut(rest, "\n")
	if !ok {
		t.Fatalf("no port in\n%s", text)
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	config, control := filepath.Join(dir, "sekisho_config"), filepath.Join(dir, "c")
	options := strings.Join([]string{
		"Host *", "  Port " + port, "  IdentityFile " + filepath.Join(dir, "id"), "  IdentitiesOnly yes",
		"  StrictHostKeyChecking no",
		"  UserKnownHostsFile /dev/null", "  LogLevel ERROR", "  BatchMode yes", "  ControlPath " + control,
		"  ControlPersist 60", "",
	}, "\n")
	do := func(script string, args ...string) harness.Result {
		t.Helper()
		r := harness.Do(
			t,
			shared.Shell(
				t.Context(),
				nil,
				`C=$1; shift; T=$SEKISHO_TARGET; `+script,
				append([]string{config}, args...)...),
		)
		if r.Code != 0 {
			t.Fatalf("%s: exit %d: %s%s", script, r.Code, r.Stdout, r.Stderr)
		}
		return r
	}
	// The options come first: ssh uses the first value of each.
	do(`{ printf '%s' "$2"; sekisho ssh-config --user "$1"; } > "$C"`, me.Username, options)
	file := filepath.Join(dir, "file")
	data := bytes.Repeat([]byte("some data "), 50_000)
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	do(`ssh -F "$C" -M -N -f "$T" > /dev/null 2>&1 && ssh -F "$C" -O check "$T"`) // it keeps its output open
	defer do(`ssh -F "$C" -O exit "$T"`)
	if r := do(`echo "some input" | ssh -F "$C" "$T" 'cat; echo from afar'`); r.Stdout != "some input\nfrom afar\n" {
		t.Errorf("ssh says %q", r.Stdout)
	}
	do(`scp -q -F "$C" "$1" "$T:$1.up" && scp -q -F "$C" "$T:$1.up" "$1.down"`, file)
	do(`printf 'put %s %s.sftp\nget %s.sftp %s.back\n' "$1" "$1" "$1" "$1" | sftp -q -F "$C" -b - "$T"`, file)
	do(`rsync -a -e "ssh -F $C" "$1" "$T:$1.rsync" && rsync -a -e "ssh -F $C" "$T:$1.rsync" "$1.again"`, file)
	for how, name := range map[string]string{"scp": "file.down", "sftp": "file.back", "rsync": "file.again"} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %d of %d bytes, %v", how, len(got), len(data), err)
		}
	}
}
