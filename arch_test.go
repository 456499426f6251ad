package sekisho_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// The layers of the system, lowest first. A package belongs to the layer of
// its longest prefix here, and may import its own layer and those below. A
// package without a layer fails TestLayers: add it here.
var layers = []struct {
	name     string
	prefixes []string
}{
	{"L0 vocabulary", []string{"sekisho"}},
	{"L1 formats", []string{
		"sekisho/internal/nearest",
		"sekisho/internal/netguard",
		"sekisho/internal/ratelimit",
		"sekisho/internal/safetext",
		"sekisho/internal/version",
		"sekisho/internal/wire/awsproto",
		"sekisho/internal/wire/httplimit",
		"sekisho/internal/session/cast",
		"sekisho/internal/session/export",
		"sekisho/internal/session/screen",
		"sekisho/internal/session/termsafe",
		"sekisho/internal/ssmdoc",
		"sekisho/internal/wire/id",
		"sekisho/internal/wire/mgs",
		"sekisho/internal/iam/grant",
		"sekisho/internal/iam/policy",
		"sekisho/internal/shellquote",
		"sekisho/internal/wire/sigv4",
	}},
	{"L2 engines", []string{
		"sekisho/internal/node/admission",
		"sekisho/internal/activity/audit",
		"sekisho/internal/activity/refusals",
		"sekisho/internal/activity/usage",
		"sekisho/internal/iam/authz",
		"sekisho/internal/iam/calendar",
		"sekisho/internal/cluster",
		"sekisho/internal/session/access",
		"sekisho/internal/session/share",
		"sekisho/internal/session/autoapproval",
		"sekisho/internal/session/broker",
		"sekisho/internal/runcommand",
		"sekisho/internal/node/control",
		"sekisho/internal/wire/datachannel",
		"sekisho/internal/ssmdoc/doclibrary",
		"sekisho/internal/activity/event",
		"sekisho/internal/node/fleet",
		"sekisho/internal/iam/identity",
		"sekisho/internal/node/inventory",
		"sekisho/internal/storage/keyring",
		"sekisho/internal/storage/kmskey",
		"sekisho/internal/storage/loggroup",
		"sekisho/internal/storage/objects",
		"sekisho/internal/wire/mux",
		"sekisho/internal/session/evidence",
		"sekisho/internal/session/recfile",
		"sekisho/internal/session/participants", "sekisho/internal/session/record",
		"sekisho/internal/session/relay",
		"sekisho/internal/session/settings",
		"sekisho/internal/session/transfer",
	}},
	{"L3 adapters", []string{
		"sekisho/internal/api",
		"sekisho/internal/console",
		"sekisho/internal/cluster/peer",
		"sekisho/internal/node/install",
		"sekisho/internal/wire/link",
		"sekisho/internal/store/sqlstore",
		"sekisho/internal/activity/webhook",
	}},
	{"L4 programs", []string{
		"sekisho/internal/agent",
		"sekisho/internal/cli",
		"sekisho/internal/client",
		"sekisho/internal/config",
		"sekisho/internal/server",
	}},
	{"L5 commands", []string{
		"sekisho/cmd",
		"sekisho/internal/dev", // a server and its agents in one process, for trying Sekisho out
		"sekisho/tools",
	}},
	{"test apparatus", []string{
		"sekisho/e2e",
		"sekisho/internal/servertest",
		"sekisho/internal/session/record/recstore/recstoretest",
		"sekisho/internal/store/storetest",
	}},
}

// engineImports are the permitted imports between engines, along the path of a
// session. Everything else goes through an interface of the consumer.
var engineImports = map[string][]string{
	"evidence":   {"audit", "record"},
	"identity":   {"keyring", "calendar"}, // secrets at rest; the calendars of policies
	"doclibrary": {"autoapproval"},
	"refusals":   {"audit"},
	"record":     {"recfile", "transfer"},
}

// owners are third-party modules that a single folder wraps, so that replacing
// one changes that folder only.
var owners = []struct{ module, owner, why string }{
	{
		"github.com/coder/websocket",
		"sekisho/internal/wire/link",
		"websockets are dialled and accepted in one place, with one set of limits",
	},
	{"modernc.org/sqlite", "sekisho/internal/store/sqlstore", "the database driver is sqlstore's own business"},
	{"github.com/jackc/pgx/v5", "sekisho/internal/store", "the database driver is sqlstore's own business"},
	{"github.com/pressly/goose/v3", "sekisho/internal/store/sqlstore", "migrations are sqlstore's own business"},
	{"github.com/creack/pty", "sekisho/internal/agent/pty", "terminals are opened in one place"},
	{"go.yaml.in/yaml/v3", "sekisho/internal/config", "YAML is how files are written, not how the system speaks"},
	{"github.com/teambition/rrule-go", "sekisho/internal/iam/calendar", "calendar files are read in one place"},
	{"github.com/cedar-policy/cedar-go", "sekisho/internal/session/autoapproval",
		"policies in Cedar are read in one place"},
	{"github.com/emersion/go-ical", "sekisho/internal/iam/calendar", "calendar files are read in one place"},
	{
		"github.com/aws/aws-sdk-go-v2/service/s3",
		"sekisho/internal/session/record/recstore/s3store",
		"recordings reach an external store in one place",
	},
	{"github.com/spf13/cobra", "sekisho/internal/cli", "commands are parsed in one place"},
}

// banned are imports that no package may have, tests included.
var banned = map[string]string{
	"github.com/gorilla/websocket": "internal/wire/link speaks WebSocket; its tests use coder/websocket as the peer",
	"github.com/pkg/errors":        "errors and fmt do it",
	"github.com/sirupsen/logrus":   "log/slog is the logger",
	"github.com/stretchr/testify":  "the standard library and go-cmp are enough",
	"go.uber.org/zap":              "log/slog is the logger",
	"gopkg.in/yaml.v3":             "frozen; go.yaml.in/yaml/v3 replaces it",
	"io/ioutil":                    "deprecated; io and os do it",
	"log":                          "log/slog is the logger",
	"math/rand":                    "crypto/rand, or math/rand/v2 where nothing secret depends on it",
}

// agentBadDeps must not be linked into the agent, which runs as root on every
// node and is downloaded by each of them.
var agentBadDeps = map[string]string{
	"database/sql":                     "the agent keeps no database",
	"modernc.org/sqlite":               "the agent keeps no database",
	"sekisho/internal/api":             "the agent calls doors, it has none",
	"sekisho/internal/iam/authz":       "the agent obeys, it does not decide",
	"sekisho/internal/session/broker":  "the agent obeys, it does not decide",
	"sekisho/internal/console":         "the agent serves no one",
	"sekisho/internal/node/fleet":      "the agent knows itself only",
	"sekisho/internal/iam/identity":    "the agent knows no users of Sekisho",
	"sekisho/internal/storage/keyring": "the server's keys never reach a node",
	"sekisho/internal/session/relay":   "the relay is the server's",
	"sekisho/internal/server":          "the agent is not the server",
	"sekisho/internal/store/sqlstore":  "the agent keeps no database",
}

// agentOwnImports are the packages of Sekisho that agent packages may import.
var agentOwnImports = []string{
	"sekisho",
	"sekisho/internal/agent",
	"sekisho/internal/wire/datachannel",
	"sekisho/internal/wire/link",
	"sekisho/internal/wire/mux",
	"sekisho/internal/session/transfer",
}

// goPackage is the part of go list's output that the tests use.
type goPackage struct {
	ImportPath   string
	Dir          string
	GoFiles      []string
	TestGoFiles  []string
	XTestGoFiles []string
	Imports      []string
	TestImports  []string
	XTestImports []string
	Deps         []string
}

// packages lists the module's packages, once for all tests.
var packages = sync.OnceValues(func() ([]goPackage, error) {
	// -e: the compiler reports packages that do not compile.
	cmd := exec.Command("go", "list", "-e", "-json", "./...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, errors.Join(err, errors.New(stderr.String()))
	}
	var all []goPackage
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := d.Decode(&p); err == io.EOF {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
})

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	all, err := packages()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	if len(all) < 5 {
		t.Fatalf("go list found %d packages only; these tests would prove nothing", len(all))
	}
	return all
}

// within reports whether the import path lies in the folder of prefix.
func within(path, prefix string) bool {
	return path == prefix || strings.HasPrefix(path, prefix+"/")
}

// layerOf returns the layer of one of the module's own packages.
func layerOf(path string) (int, bool) {
	best, layer := "", -1
	for i, l := range layers {
		for _, p := range l.prefixes {
			// The vocabulary is the root package itself, not the packages
			// below it.
			if (path == p || p != "sekisho" && within(path, p)) && len(p) > len(best) {
				best, layer = p, i
			}
		}
	}
	return layer, layer >= 0
}

func layerNamed(name string) int {
	for i, l := range layers {
		if strings.HasPrefix(l.name, name) {
			return i
		}
	}
	panic("no layer " + name)
}

func isOwn(path string) bool { return within(path, "sekisho") }

func isStdlib(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".") && !isOwn(path)
}

// apparatus reports whether path is a package of tests, which may import
// anything.
func apparatus(path string) bool {
	l, ok := layerOf(path)
	return ok && l == layerNamed("test apparatus")
}

func TestPackageDocs(t *testing.T) {
	t.Parallel()
	for _, p := range listPackages(t) {
		if len(p.GoFiles) == 0 {
			continue // a package with tests only
		}
		var documented []string
		fset := token.NewFileSet()
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(
				fset,
				filepath.Join(p.Dir, name),
				nil,
				parser.PackageClauseOnly|parser.ParseComments,
			)
			if err != nil {
				t.Fatal(err)
			}
			if f.Doc != nil {
				documented = append(documented, name)
			}
		}
		switch len(documented) {
		case 1:
		case 0:
			t.Errorf("%s has no package doc: say in one sentence what the package is", p.ImportPath)
		default:
			t.Errorf("%s has a package doc in each of %v: keep one", p.ImportPath, documented)
		}
	}
}

func TestLayers(t *testing.T) {
	t.Parallel()
	engines := layerNamed("L2")
	used := map[[2]string]bool{}
	for _, p := range listPackages(t) {
		layer, ok := layerOf(p.ImportPath)
		if !ok {
			t.Errorf("%s has no layer: add it to the table in arch_test.go", p.ImportPath)
			continue
		}
		for _, imp := range p.Imports {
			if !isOwn(imp) {
				if layer <= layerNamed("L1") && !isStdlib(imp) && imp != "golang.org/x/time/rate" {
					t.Errorf("%s (%s) imports %s: formats and vocabulary import the standard library only",
						p.ImportPath, layers[layer].name, imp)
				}
				continue
			}
			below, ok := layerOf(imp)
			if !ok {
				continue // reported as a package of its own
			}
			if below > layer {
				t.Errorf("%s (%s) imports %s (%s): imports go downward only",
					p.ImportPath, layers[layer].name, imp, layers[below].name)
			}
			if layer == engines && below == engines {
				from, to := engineName(p.ImportPath), engineName(imp)
				used[[2]string{from, to}] = true
				if from != to && !slices.Contains(engineImports[from], to) {
					t.Errorf(
						"engine %s imports engine %s, which is not on its way (engineImports in arch_test.go): declare the "+
							"interface it needs",
						from,
						to,
					)
				}
			}
		}
	}
	for from, list := range engineImports {
		for _, to := range list {
			if !used[[2]string{from, to}] {
				t.Errorf("engineImports permits %s to import %s, but it does not: remove the permission", from, to)
			}
		}
	}
}

// engineName returns "broker" for sekisho/internal/session/broker and all
// packages below it.
func engineName(path string) string {
	best := ""
	for _, p := range layers[layerNamed("L2")].prefixes {
		if within(path, p) && len(p) > len(best) {
			best = p
		}
	}
	return best[strings.LastIndex(best, "/")+1:]
}

func TestAdaptersStandAlone(t *testing.T) {
	t.Parallel()
	adapters := layerNamed("L3")
	adapter := func(path string) string {
		for _, p := range layers[adapters].prefixes {
			if within(path, p) {
				return p
			}
		}
		return ""
	}
	for _, p := range listPackages(t) {
		from := adapter(p.ImportPath)
		if from == "" {
			continue
		}
		for _, imp := range p.Imports {
			to := adapter(imp)
			if to == "" || to == from || to == "sekisho/internal/wire/link" {
				continue
			}
			t.Errorf("%s imports %s: adapters know each other only through engines (link excepted)", p.ImportPath, imp)
		}
	}
}

func TestProgramsAreRoots(t *testing.T) {
	t.Parallel()
	for _, p := range listPackages(t) {
		for _, imp := range p.Imports {
			for _, program := range []string{"sekisho/internal/server", "sekisho/internal/cli"} {
				if !within(imp, program) || within(p.ImportPath, program) {
					continue
				}
				if from, ok := layerOf(p.ImportPath); ok && from >= layerNamed("L5") {
					continue
				}
				t.Errorf("%s imports %s: only commands put programs together", p.ImportPath, imp)
			}
		}
	}
}

func TestOwnedModules(t *testing.T) {
	t.Parallel()
	for _, p := range listPackages(t) {
		if apparatus(p.ImportPath) || within(p.ImportPath, "sekisho/tools") {
			continue
		}
		for _, imp := range p.Imports {
			for _, o := range owners {
				if !within(imp, o.module) || within(p.ImportPath, o.owner) {
					continue
				}
				if o.module == "github.com/spf13/cobra" && within(p.ImportPath, "sekisho/cmd") {
					continue
				}
				t.Errorf("%s imports %s, which is for %s alone: %s", p.ImportPath, imp, o.owner, o.why)
			}
		}
	}
}

func TestBannedImports(t *testing.T) {
	t.Parallel()
	for _, p := range listPackages(t) {
		for _, imp := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			for module, why := range banned {
				if imp == module || strings.Contains(module, ".") && within(imp, module) {
					t.Errorf("%s imports %s: %s", p.ImportPath, imp, why)
				}
			}
		}
	}
}

func TestAgentBadDeps(t *testing.T) {
	t.Parallel()
	found := false
	for _, p := range listPackages(t) {
		if !within(p.ImportPath, "sekisho/cmd/sekisho-agent") && !within(p.ImportPath, "sekisho/internal/agent") {
			continue
		}
		found = true
		for _, dep := range p.Deps {
			for bad, why := range agentBadDeps {
				if within(dep, bad) {
					t.Errorf("%s links %s: %s", p.ImportPath, dep, why)
				}
			}
		}
		if !within(p.ImportPath, "sekisho/internal/agent") {
			continue
		}
		for _, imp := range p.Imports {
			if !isOwn(imp) {
				continue
			}
			if layer, _ := layerOf(imp); layer <= layerNamed("L1") {
				continue
			}
			if !slices.ContainsFunc(
				agentOwnImports,
				func(own string) bool { return within(imp, own) && own != "sekisho" },
			) {
				t.Errorf("%s imports %s: an agent may reach formats, %v only", p.ImportPath, imp, agentOwnImports[1:])
			}
		}
	}
	if !found {
		t.Error("no package of the agent was found; this test proved nothing")
	}
}

// TestNoSleep holds for tests too: a sleep is either too short on a slow
// machine or too long on a fast one. Inside a synctest bubble it is neither,
// because time passes there only while every goroutine waits.
func TestNoSleep(t *testing.T) {
	t.Parallel()
	for _, p := range listPackages(t) {
		fset := token.NewFileSet()
		for _, name := range slices.Concat(p.GoFiles, p.TestGoFiles, p.XTestGoFiles) {
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(f, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok && isSelector(call.Fun, "synctest", "Test") {
					return false
				}
				if e, ok := n.(ast.Expr); ok && isSelector(e, "time", "Sleep") {
					t.Errorf("%s: time.Sleep: wait for the condition itself, with a deadline", fset.Position(n.Pos()))
				}
				return true
			})
		}
	}
}

// TestNoBackgroundContext keeps work from outliving its caller unnoticed: a
// context comes from the caller, and context.WithoutCancel names the exceptions.
// Only programs and test apparatus begin contexts.
func TestNoBackgroundContext(t *testing.T) {
	t.Parallel()
	for _, p := range listPackages(t) {
		base := p.ImportPath[strings.LastIndex(p.ImportPath, "/")+1:]
		if apparatus(p.ImportPath) || within(p.ImportPath, "sekisho/cmd") || within(p.ImportPath, "sekisho/tools") ||
			strings.HasSuffix(base, "test") {
			continue
		}
		fset := token.NewFileSet()
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(f, func(n ast.Node) bool {
				e, ok := n.(ast.Expr)
				if ok && (isSelector(e, "context", "Background") || isSelector(e, "context", "TODO")) {
					t.Errorf(
						"%s: a context comes from the caller; use context.WithoutCancel for work that must outlive it",
						fset.Position(n.Pos()),
					)
				}
				return true
			})
		}
	}
}

// TestNothingWritesSudoers: AWS's agent lets its ssm-user become root without
// a password. None of our programs, packages and installers does.
func TestNothingWritesSudoers(t *testing.T) {
	t.Parallel()
	for _, p := range listPackages(t) {
		fset := token.NewFileSet()
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(f, func(n ast.Node) bool {
				if lit, ok := n.(*ast.BasicLit); ok && strings.Contains(lit.Value, "sudoers") {
					t.Errorf("%s names sudoers", fset.Position(n.Pos()))
				}
				return true
			})
		}
	}
	files := 0
	for _, dir := range []string{"packaging", "internal/node/install", "scripts"} {
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || strings.HasSuffix(path, ".go") {
				return err
			}
			files++
			b, err := os.ReadFile(path)
			if strings.Contains(string(b), "sudoers") || strings.Contains(path, "sudoers") {
				t.Errorf("%s names sudoers", path)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	if files == 0 {
		t.Error("no file of a package was read: this test proves nothing")
	}
}

// TestDocumentedTestsExist: the tests exist that documents name as evidence.
func TestDocumentedTestsExist(t *testing.T) {
	t.Parallel()
	have := make(map[string]bool)
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err := filepath.WalkDir(".", func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() && (e.Name() == "node_modules" || e.Name() == ".git" || e.Name() == "bin") {
			return filepath.SkipDir
		}
		if e.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		b, err := os.ReadFile(path)
		for _, m := range declared.FindAllSubmatch(b, -1) {
			have[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`(Test\\w+)`")
	for _, page := range []string{"docs/security.md", "docs/compat.md", "docs/access-requests.md"} {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		found := named.FindAllSubmatch(b, -1)
		if len(found) == 0 {
			t.Errorf("%s names no test", page)
		}
		for _, m := range found {
			if !have[string(m[1])] {
				t.Errorf("%s names %s, which is not there", page, m[1])
			}
		}
	}
}

// TestOtherModulesRequireTheSameVersions: bench and peers require this module, and so at
// least the module versions that it requires. Otherwise they build only after
// `go mod tidy`.
func TestOtherModulesRequireTheSameVersions(t *testing.T) {
	t.Parallel()
	required := regexp.MustCompile(`(?m)^\t(\S+) (v\d+)\.(\d+)\.(\d+)(\S*)`)
	read := func(name string) map[string][]string {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all := make(map[string][]string)
		for _, m := range required.FindAllStringSubmatch(string(b), -1) {
			all[m[1]] = m[2:]
		}
		if len(all) == 0 {
			t.Errorf("%s requires nothing", name)
		}
		return all
	}
	root := read("go.mod")
	for _, dir := range []string{"bench", "peers"} {
		for module, have := range read(filepath.Join(dir, "go.mod")) {
			want, shared := root[module]
			older := func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) }
			if shared && slices.CompareFunc(have, want, older) < 0 {
				t.Errorf("%s has %s %s, and this module %s: run go mod tidy in %s",
					dir, module, strings.Join(have, "."), strings.Join(want, "."), dir)
			}
		}
	}
}

// TestWhereIs checks that every file in the tour's "Where is" table exists.
func TestWhereIs(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(text), "\n## Where is")
	if !ok {
		t.Fatal("docs/architecture.md has no section \"Where is\"")
	}
	table, _, _ = strings.Cut(table, "\n## ")
	rows := 0
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) != 4 || !strings.Contains(cells[2], "`") {
			continue
		}
		rows++
		for i, name := range strings.Split(cells[2], "`") {
			if i%2 == 0 {
				continue // between two names
			}
			_, inside := os.Stat(filepath.Join("internal", name))
			_, outside := os.Stat(name)
			if inside != nil && outside != nil {
				t.Errorf("%s: no such file %s", strings.TrimSpace(cells[1]), name)
			}
		}
	}
	if rows < 42 {
		t.Errorf("the table has %d behaviours, want at least 42", rows)
	}
}

// isSelector reports whether e is pkg.name.
func isSelector(e ast.Expr, pkg, name string) bool {
	sel, ok := e.(*ast.SelectorExpr)
	if !ok || sel.Sel.Name != name {
		return false
	}
	x, ok := sel.X.(*ast.Ident)
	return ok && x.Name == pkg
}

// TestProgramsEmbedTimeZones: machines without a time-zone database evaluate
// policies the same way.
func TestProgramsEmbedTimeZones(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"sekishod", "sekisho"} {
		text, err := os.ReadFile(filepath.Join("cmd", program, "main.go"))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), `_ "time/tzdata"`) {
			t.Errorf("%s does not import time/tzdata", program)
		}
	}
}
