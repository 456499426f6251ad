package servertest_test

import (
	"cmp"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sekisho/internal/api"
	"sekisho/internal/api/s3"
	"sekisho/internal/api/ssmmessages"
	"sekisho/internal/servertest"
	"sekisho/internal/servertest/awsmodel"
)

var update = flag.Bool("update", false, "write docs/operations.md")

const (
	root           = "../.."
	operationsPage = root + "/docs/operations.md"
)

// services are the doors, in the order of the page. Those without a model are
// not part of AWS's public models.
var services = []struct{ service, name, model string }{
	{"ssm", "Systems Manager", "ssm"},
	{"ssmmessages", "Session channels", ""},
	{"ec2messages", "Messages of Run Command", ""},
	{"sts", "Security Token Service", "sts"},
	{"iam", "Identity and Access Management", "iam"},
	{"s3", "S3", "s3"},
	{"logs", "CloudWatch Logs", "logs"},
	{"kms", "Key Management Service", "kms"},
	{"cloudtrail", "CloudTrail", "cloudtrail"},
	{"cur", "Cost and Usage Reports", "cur"},
	{"ec2", "EC2", "ec2"},
	{"sekisho", "Sekisho's own", ""},
}

// missing lists what operations lack besides members of their requests.
var missing = map[string]string{
	"ssm.ListAssociations":                "answers that there are none",
	"ssm.ListInstanceAssociations":        "answers that there are none",
	"ssm.DescribeAssociation":             "answers that there are none",
	"ssm.UpdateInstanceAssociationStatus": "answers that there are none",
	"ssm.PutComplianceItems":              "accepts reports and does not store them",
	"ssm.GetManifest":                     "answers that there are no packages",
	"ssm.GetParameters":                   "answers that there are no parameters",
	"ec2messages.GetMessages":             "delivers no associations",
	"sts.AssumeRoleWithSAML":              "refuses every call",
	"cur.PutReportDefinition":             "daily CSV files only; see [usage reports](usage.md)",
}

// operationRow is one operation of the page.
type operationRow struct{ operation, state, test string }

// TestOperationsPage fails if docs/operations.md does not match the doors, the
// models and the tests. `make operations` writes the page.
func TestOperationsPage(t *testing.T) {
	t.Parallel()
	doors := map[string]*api.Door{"ssmmessages": ssmmessages.New()}
	for _, d := range servertest.Start(t).Doors() {
		doors[d.Service] = d
	}
	names := map[string][]string{"s3": s3.New(s3.Config{}).Operations()}
	for service, d := range doors {
		names[service] = slices.Sorted(maps.Keys(d.Operations))
	}
	written, err := os.ReadFile(operationsPage)
	if err != nil && !*update {
		t.Fatalf("%v (run `make operations`)", err)
	}
	if !*update {
		checkListed(t, string(written), names)
	}
	page := writePage(t, string(written), doors, names)
	if *update {
		must(t, os.WriteFile(operationsPage, []byte(page), 0o644))
		return
	}
	if versionLine(string(written)) != versionLine(page) {
		t.Skipf("the page was written with other models: %s", versionLine(page))
	}
	if string(written) != page {
		t.Errorf(
			"docs/operations.md is out of date at %q: run `make operations`",
			firstDifference(string(written), page),
		)
	}
}

// checkListed compares the page with the operations of the doors, without the
// models.
func checkListed(t *testing.T, page string, names map[string][]string) {
	t.Helper()
	for _, s := range services {
		section := sectionOf(page, s.service)
		var listed []string
		for _, r := range rowsOf(section) {
			listed = append(listed, r.operation)
		}
		if !slices.Equal(listed, names[s.service]) {
			t.Errorf(
				"docs/operations.md lists other operations of %s than its door has: run `make operations`",
				s.service,
			)
		}
	}
	if len(names) != len(services) {
		t.Errorf("%d doors, and the page has %d: add the new one to services", len(names), len(services))
	}
}

// sectionOf is the part of the page about a service.
func sectionOf(page, service string) string {
	_, section, _ := strings.Cut(page, "\n## `"+service+"`")
	section, _, _ = strings.Cut(section, "\n## ")
	return section
}

func rowsOf(section string) (rows []operationRow) {
	for line := range strings.Lines(section) {
		if cells := strings.Split(line, " | "); len(cells) == 3 && strings.HasPrefix(cells[0], "| `") {
			rows = append(
				rows,
				operationRow{
					strings.Trim(cells[0], "| `"),
					cells[1],
					strings.TrimSuffix(strings.TrimSpace(cells[2]), " |"),
				},
			)
		}
	}
	return rows
}

const versionMark = "Models: "

func versionLine(page string) string {
	_, rest, _ := strings.Cut(page, "\n"+versionMark)
	line, _, _ := strings.Cut(rest, "\n")
	return line
}

func firstDifference(a, b string) string {
	theirs := strings.Split(b, "\n")
	for i, line := range strings.Split(a, "\n") {
		if i >= len(theirs) || line != theirs[i] {
			return line
		}
	}
	return "the end"
}

func writePage(t *testing.T, before string, doors map[string]*api.Door, names map[string][]string) string {
	t.Helper()
	var out strings.Builder
	out.WriteString(`# Operations

Every operation of every service that Sekisho answers for. ` + "`make operations`" +
		` writes this page from the server's doors, from
AWS's public service models as botocore has them, and from the tests; do not edit it. How clients behave is in
[compat.md](compat.md).

- **full**: the door reads every member of the request that the model has.
- **partial**: the operation works; what is named is ignored or refused. A member that has no meaning here, such as DryRun, counts.
- Operations that are absent answer ` + "`NotImplemented`" + `.

The test is one that calls the operation and checks its answer. Besides, TestCrossPrincipalMatrix calls every operation as a
stranger, a user without policies and a node, and TestAnswersToTheMatrixFitTheServiceModels compares answers with the models.

` + versionMark + awsmodel.Version(t) + "\n")
	tests := findTests(t)
	s3Source := sourceOf(t, root+"/internal/api/s3")
	for _, s := range services {
		fmt.Fprintf(&out, "\n## `%s`: %s\n\n", s.service, s.name)
		var model *awsmodel.Model
		if s.model != "" {
			model = awsmodel.Load(t, s.model)
		}
		named := map[string]string{} // tests that the page already names
		for _, r := range rowsOf(sectionOf(before, s.service)) {
			named[r.operation] = r.test
		}
		var rows []operationRow
		full := 0
		for _, op := range names[s.service] {
			reads := func(m awsmodel.Member) bool {
				return slices.ContainsFunc(m.Wire, func(w string) bool {
					return slices.Contains(doors[s.service].Operations[op].Members(), strings.ToLower(w))
				})
			}
			if s.service == "s3" {
				reads = func(m awsmodel.Member) bool {
					return m.Name == "Bucket" || m.Name == "Key" || m.Name == "Body" ||
						slices.ContainsFunc(
							m.Wire,
							func(w string) bool { return strings.Contains(s3Source, strings.ToLower(w)) },
						)
				}
			}
			state := stateOf(model, s.service, op, reads)
			if strings.HasPrefix(state, "full") {
				full++
			}
			rows = append(rows, operationRow{op, state, tests.of(s.service, op, named[op])})
		}
		summary := fmt.Sprintf("%d operations.", len(rows))
		var absent []string
		if model != nil {
			absent = slices.DeleteFunc(
				model.Names(),
				func(op string) bool { return slices.Contains(names[s.service], op) },
			)
			summary = fmt.Sprintf("%d operations, %d of them full; %d absent.", len(rows), full, len(absent))
		}
		out.WriteString(summary + "\n\n| operation | state | test |\n|---|---|---|\n")
		for _, r := range rows {
			fmt.Fprintf(&out, "| `%s` | %s | %s |\n", r.operation, r.state, r.test)
		}
		if len(absent) > 0 {
			fmt.Fprintf(&out, "\nAbsent:\n\n%s\n", wrapped(absent))
		}
	}
	return out.String()
}

func stateOf(model *awsmodel.Model, service, op string, reads func(awsmodel.Member) bool) string {
	var lacks []string
	if model != nil && model.Has(op) {
		for _, m := range model.Request(op) {
			if !reads(m) {
				lacks = append(lacks, m.Name)
			}
		}
	}
	because := missing[service+"."+op]
	switch {
	case because != "" && len(lacks) > 0:
		return "partial: " + because + "; without " + strings.Join(lacks, ", ")
	case because != "":
		return "partial: " + because
	case len(lacks) > 0:
		return "partial: without " + strings.Join(lacks, ", ")
	case model == nil:
		return "full"
	case !model.Has(op):
		return "full; not in AWS's public model"
	}
	return "full"
}

// wrapped breaks a list into lines.
func wrapped(words []string) string {
	var lines []string
	line := ""
	for i, w := range words {
		if i < len(words)-1 {
			w += ","
		}
		if len(line)+len(w) > 118 {
			lines = append(lines, line)
			line = ""
		}
		line = strings.TrimSpace(line + " " + w)
	}
	return strings.Join(append(lines, line), "\n")
}

// sourceOf is the source text of a package in lower case.
func sourceOf(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	must(t, err)
	var all strings.Builder
	for _, f := range files {
		if !strings.HasSuffix(f, "_test.go") {
			text, err := os.ReadFile(f)
			must(t, err)
			all.WriteString(strings.ToLower(string(text)))
		}
	}
	return all.String()
}

// proof is a test that names an operation.
type proof struct {
	rank       int // the lower, the closer to the door
	test, file string
}

// proofs are the tests by the operations that they name, and by "service
// operation" in the spelling of AWS's command line.
type proofs map[string][]proof

// of returns a test of an operation: the one that the page names as long as it
// still is one, so that other tests can be added and removed.
func (p proofs) of(service, op, named string) string {
	if service == "s3" { // requests name no operations
		return "[TestAnswersFitTheServiceModel](../internal/api/s3/model_test.go)"
	}
	const own = "/internal/api/"
	found := append(slices.Clone(p[op]), p[service+" "+kebab(op)]...)
	// An operation name that several doors share, such as TagResource, is
	// proven only by tests of its own door.
	found = slices.DeleteFunc(found, func(x proof) bool {
		i := strings.Index("/"+x.file, own)
		return i >= 0 && !strings.HasPrefix(("/" + x.file)[i+len(own):], doorFolder(service)+"/")
	})
	if len(found) == 0 {
		return "TestCrossPrincipalMatrix"
	}
	for _, x := range found {
		if x.String() == named {
			return named
		}
	}
	best := slices.MinFunc(found, func(a, b proof) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.file, b.file), cmp.Compare(a.test, b.test))
	})
	return best.String()
}

// String returns a Markdown link.
func (x proof) String() string { return fmt.Sprintf("[%s](../%s)", x.test, x.file) }

func doorFolder(service string) string {
	if service == "sekisho" {
		return "sekishoapi"
	}
	return service
}

// kebab spells an operation as AWS's command line does.
func kebab(op string) string {
	var b strings.Builder
	for i, c := range op {
		upper := c >= 'A' && c <= 'Z'
		before := i > 0 && (op[i-1] < 'A' || op[i-1] > 'Z')
		after := i > 0 && i+1 < len(op) && op[i+1] >= 'a' && op[i+1] <= 'z'
		if upper && (before || after) {
			b.WriteByte('-')
		}
		b.WriteRune(c)
	}
	return strings.ToLower(b.String())
}

// findTests reads all tests of the module.
func findTests(t *testing.T) proofs {
	t.Helper()
	all := proofs{}
	must(t, filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() &&
			(e.Name() == "node_modules" || e.Name() == "testdata" || strings.HasPrefix(e.Name(), ".") && path != root) {
			return fs.SkipDir
		}
		switch e.Name() {
		case "operations_test.go", "matrix_test.go", "secrets_test.go":
			return nil // these name every operation
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		file, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		file = filepath.ToSlash(file)
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if ok && strings.HasPrefix(fn.Name.Name, "Test") && fn.Recv == nil {
				all.read(fn, proof{rankOf(file), fn.Name.Name, file})
			}
		}
		return nil
	}))
	return all
}

func rankOf(file string) int {
	for i, prefix := range []string{"internal/api/", "internal/servertest/", "e2e/"} {
		if strings.HasPrefix(file, prefix) {
			return i
		}
	}
	return 3
}

// read adds the operations that a test names.
func (p proofs) read(fn *ast.FuncDecl, x proof) {
	add := func(name string) {
		if !slices.Contains(p[name], x) {
			p[name] = append(p[name], x)
		}
	}
	ast.Inspect(fn, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			if sel, ok := n.Fun.(*ast.SelectorExpr); ok {
				add(sel.Sel.Name)
			}
		case *ast.BasicLit:
			text, err := strconv.Unquote(n.Value)
			if n.Kind != token.STRING || err != nil {
				return true
			}
			if !strings.ContainsAny(text, " \n") {
				add(text)
				return true
			}
			words := strings.Fields(text)
			for i := range len(words) - 1 {
				add(words[i] + " " + words[i+1])
			}
		}
		return true
	})
}
