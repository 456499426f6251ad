package sekisho_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"sekisho/e2e/docs"
	"sekisho/internal/config"
	"sekisho/internal/iam/policy"
)

// userPages are the pages that users and operators read. Each has a companion in Japanese, with the same sections and
// the same blocks of code.
var userPages = []string{
	"README.md",
	"docs/access-control.md",
	"docs/access-requests.md",
	"docs/account.md",
	"docs/client.md",
	"docs/cluster.md",
	"docs/console.md",
	"docs/events.md",
	"docs/fleet.md",
	"docs/install.md",
	"docs/kms.md",
	"docs/metadata.md",
	"docs/operate.md",
	"docs/postgresql.md",
	"docs/quick-setup.md",
	"docs/s3-and-logs.md",
	"docs/run-command.md",
	"docs/session-documents.md",
	"docs/sessions.md",
	"docs/troubleshooting.md",
	"docs/tutorial.md",
	"docs/usage.md",
}

// testNames returns the names of all tests of this module.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git" || d.Name() == "bin") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		for _, m := range declared.FindAllSubmatch(text, -1) {
			names[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestDocBlocks: every block of code in every page is executed, checked, or marked as what it is.
func TestDocBlocks(t *testing.T) {
	t.Parallel()
	pages, err := docs.Pages(".")
	if err != nil {
		t.Fatal(err)
	}
	tests := testNames(t)
	for _, path := range pages {
		page, err := docs.Parse(".", path)
		if err != nil {
			t.Error(err)
			continue
		}
		// The blocks of a companion are those of the English page, which are executed.
		english := strings.TrimSuffix(path, ".ja.md")
		companion := english != path
		walk, err := os.ReadFile(docs.WalkOf(path))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		for _, b := range page.Blocks {
			problem := ""
			switch b.Kind {
			case docs.Unmarked:
				problem = "is not marked: after the language write run, file=NAME, test=NAME, policy, config, data, output " +
					"or shown: REASON (e2e/docs/docs.go describes them)"
			case docs.Run, docs.File:
				if len(walk) == 0 && !companion {
					problem = "is to be executed, but there is no " + docs.WalkOf(path)
				}
			case docs.Test:
				if info, err := os.Stat(b.Arg); !tests[b.Arg] && (err != nil || info.Mode()&0o111 == 0 ||
					!strings.HasPrefix(b.Arg, "scripts/")) {
					problem = "names the test " + b.Arg + ", which does not exist"
				}
			case docs.Policy:
				problem = policyProblem(b.Text)
			case docs.Config:
				problem = configProblem(b.Text)
			case docs.Data:
				problem = dataProblem(b)
			case docs.Shown:
				if len(strings.Fields(b.Arg)) < 3 {
					problem = "needs a reason why it is not tested"
				}
			case docs.Output:
			}
			if problem != "" {
				t.Errorf("%s:%d: the block %s", path, b.Line, problem)
			}
		}
		// A function of a walk that belongs to no block would never run.
		for _, m := range regexp.MustCompile(`(?m)^(?:before|after|stdin|run)_(\w+)\(\)`).FindAllSubmatch(walk, -1) {
			if !slices.ContainsFunc(page.Blocks, func(b docs.Block) bool {
				return b.Name == string(m[1]) && b.Kind == docs.Run
			}) {
				t.Errorf("%s: %s has no block %s to run", docs.WalkOf(path), path, m[1])
			}
		}
	}
}

// policyProblem reports what is wrong with a policy, a statement or a part of a statement.
func policyProblem(text string) string {
	text = strings.TrimSpace(text)
	var probe map[string]any
	switch {
	case strings.HasPrefix(text, `"Condition"`):
		text = `{"Effect": "Allow", "Action": "ssm:StartSession", "Resource": "*", ` + text + `}`
		fallthrough
	case json.Unmarshal([]byte(text), &probe) == nil && probe["Statement"] == nil:
		text = `{"Version": "2012-10-17", "Statement": [` + text + `]}`
	}
	if _, err := policy.Parse([]byte(text)); err != nil {
		return "is not a valid policy: " + err.Error()
	}
	return ""
}

// configProblem reports what is wrong with a part of the server's configuration.
func configProblem(text string) string {
	for _, line := range []string{
		"data: /var/lib/sekisho", "listen: 0.0.0.0:443", `account: "100000000000"`, "region: us-east-1",
		"tls: {certificate: /c.pem, key: /k.pem}",
	} {
		key, _, _ := strings.Cut(line, ":")
		if !regexp.MustCompile(`(?m)^` + key + `:`).MatchString(text) {
			text += line + "\n"
		}
	}
	if _, err := config.Parse([]byte(text)); err != nil {
		return "is not a valid configuration: " + err.Error()
	}
	return ""
}

func dataProblem(b docs.Block) string {
	var v any
	var err error
	switch b.Lang {
	case "json":
		err = json.Unmarshal([]byte(b.Text), &v)
	case "yaml":
		err = yaml.Unmarshal([]byte(b.Text), &v)
	default:
		return "is data in a language that this test cannot read: " + b.Lang
	}
	if err != nil {
		return "does not parse: " + err.Error()
	}
	return ""
}

// TestCompanions: pages that users read exist in Japanese, with the same sections and commands.
func TestCompanions(t *testing.T) {
	t.Parallel()
	for _, path := range userPages {
		page, err := docs.Parse(".", path)
		if err != nil {
			t.Error(err)
			continue
		}
		other, err := docs.Parse(".", docs.Companion(path))
		if err != nil {
			t.Error(err)
			continue
		}
		if len(page.Headings) != len(other.Headings) {
			t.Errorf("%s has %d headings, %s %d", path, len(page.Headings), other.Path, len(other.Headings))
		}
		for i := range min(len(page.Headings), len(other.Headings)) {
			if a, b := page.Headings[i], other.Headings[i]; a.Level != b.Level {
				t.Errorf("%s: heading %q has level %d, in %s %q has %d", path, a.Text, a.Level, other.Path, b.Text, b.Level)
				break
			}
		}
		if len(page.Blocks) != len(other.Blocks) {
			t.Errorf("%s has %d blocks, %s %d", path, len(page.Blocks), other.Path, len(other.Blocks))
		}
		for i := range min(len(page.Blocks), len(other.Blocks)) {
			a, b := page.Blocks[i], other.Blocks[i]
			if a.Lang != b.Lang || a.Kind != b.Kind || withoutComments(a.Text) != withoutComments(b.Text) {
				t.Errorf("%s:%d and %s:%d differ:\n%s\n%s", path, a.Line, other.Path, b.Line, withoutComments(a.Text),
					withoutComments(b.Text))
				break
			}
		}
	}
}

var comment = regexp.MustCompile(`(?m)(^|\s+)#( .*)?$`)

// withoutComments removes the comments of a block, which are translated, and empty lines.
func withoutComments(text string) string {
	var b bytes.Buffer
	for line := range strings.Lines(comment.ReplaceAllString(text, "")) {
		if strings.TrimSpace(line) != "" {
			b.WriteString(strings.TrimRight(line, " \n") + "\n")
		}
	}
	return b.String()
}
