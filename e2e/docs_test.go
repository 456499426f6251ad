package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sekisho/e2e/docs"
	"sekisho/e2e/harness"
)

// TestDocs executes the blocks of the pages that say so, each page in one shell. Package docs describes the kinds of
// blocks, docs/walk.bash the walks. The first line of a walk names the server that it needs:
//
//	# server: shared               the one that most tests use; the walk must not change what belongs to all
//	# server: own [FLAGS OF DEV]   a server of its own
//	# server: none
func TestDocs(t *testing.T) {
	t.Parallel()
	runner, err := filepath.Abs("docs/walk.bash")
	if err != nil {
		t.Fatal(err)
	}
	// Programs that are built by a page use the caches of this test, not new ones in an empty home.
	caches, err := buildCaches(t)
	if err != nil {
		t.Fatal(err)
	}
	pages, err := docs.Pages("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range pages {
		walk, err := filepath.Abs(filepath.Join("..", docs.WalkOf(path)))
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(walk)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		page, err := docs.Parse("..", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(strings.TrimSuffix(path, ".md"), func(t *testing.T) {
			t.Parallel()
			blocks := t.TempDir()
			for i, b := range page.Blocks {
				name := b.Name + ".sh"
				switch b.Kind {
				case docs.Run:
				case docs.File:
					name = b.Arg
				default:
					continue
				}
				if err := os.WriteFile(filepath.Join(blocks, fmt.Sprintf("%03d-%s", i, name)), []byte(b.Text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			server := shared
			first, _, _ := strings.Cut(string(text), "\n")
			switch words := strings.Fields(strings.TrimPrefix(first, "# server:")); words[0] {
			case "own":
				server = startServer(t, shared.Programs, t.TempDir(), words[1:]...)
			case "shared", "none":
			default:
				t.Fatalf("the first line of %s is %q", walk, first)
			}
			script := `cd "$1" && exec bash "$2" "$3" "$4"`
			if strings.HasPrefix(first, "# server: none") {
				// The page makes its own: it must not find the variables of another.
				script = `unset ${!AWS_*} ${!SEKISHO_*} SSL_CERT_FILE; ` + script
			}
			cmd := server.Shell(t.Context(), nil, `exec bash -c "$@"`, script, "bash", t.TempDir(), runner, walk, blocks)
			cmd.Env = append(cmd.Env, caches...)
			cmd.Env = append(cmd.Env, "REPOSITORY="+repository(t), "BIN="+shared.Bin, "SEKISHO_ENV="+server.EnvFile())
			// A walk ends with 77 where it cannot run, as tests of automake do; CI can run all of them.
			r := harness.Do(t, cmd)
			if r.Code == 77 && os.Getenv("CI") == "" {
				t.Skip(r.Stdout)
			}
			if r.Code != 0 || !strings.HasSuffix(r.Stdout, "walk: ok\n") {
				t.Errorf("exit %d\n%s\n%s", r.Code, r.Stdout, r.Stderr)
			}
		})
	}
}

// buildCaches returns the variables that name the caches of Go and npm.
func buildCaches(t *testing.T) ([]string, error) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", "GOCACHE", "GOMODCACHE").Output()
	if err != nil {
		return nil, err
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return nil, err
	}
	dirs := strings.Fields(string(out))
	return []string{"GOCACHE=" + dirs[0], "GOMODCACHE=" + dirs[1], "npm_config_cache=" + filepath.Join(home, ".npm")}, nil
}

// repository is the root of the source code.
func repository(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	return root
}
