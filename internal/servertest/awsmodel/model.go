// Package awsmodel checks responses against AWS's public service models, which
// are part of botocore (Debian's python3-boto3 installs it).
//
// A response conforms if it has no member that the model lacks, every member
// that the model requires, and values of the model's types and enumerations.
package awsmodel

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// requireEnv is set where the models must be present.
const requireEnv = "SEKISHO_REQUIRE_MODELS"

// Model is the model of a service.
type Model struct {
	Metadata struct {
		Protocol string
	}
	Operations map[string]*operation
	Shapes     map[string]*shape

	mu      sync.Mutex
	checked map[string]bool
}

type operation struct {
	Input      *ref
	Output     *ref
	Deprecated bool
	HTTP       struct {
		Method     string
		RequestURI string
	}
}

// ref is a reference to a shape.
type ref struct {
	Shape        string
	LocationName string
	Location     string
	Flattened    bool
	XMLAttribute bool
	Deprecated   bool
	QueryName    string
	Wrapper      string `json:"resultWrapper"`
}

type shape struct {
	Type         string
	Required     []string
	Members      map[string]*ref
	Member       *ref
	Key, Value   *ref
	Enum         []string
	Flattened    bool
	Payload      string
	LocationName string
}

// botocore is the newest installation of botocore on this machine.
var botocore = sync.OnceValue(func() (newest struct{ version, data string }) {
	const show = "import botocore; print(botocore.__version__, botocore.__path__[0])"
	for _, python := range []string{"/usr/bin/python3", "python3"} {
		out, err := exec.Command(python, "-c", show).Output()
		version, path, ok := strings.Cut(strings.TrimSpace(string(out)), " ")
		if err == nil && ok && slices.Compare(numbers(version), numbers(newest.version)) > 0 {
			newest.version, newest.data = version, filepath.Join(path, "data")
		}
	}
	return newest
})

// numbers are the parts of a version.
func numbers(version string) (all []int) {
	for part := range strings.SplitSeq(version, ".") {
		n, _ := strconv.Atoi(part) // an empty or odd part is older than any number
		all = append(all, n)
	}
	return all
}

// Load reads the model of a service, by its name in botocore. Without botocore the
// test is skipped, unless SEKISHO_REQUIRE_MODELS is set.
func Load(t testing.TB, service string) *Model {
	t.Helper()
	if botocore().data == "" {
		if os.Getenv(requireEnv) != "" {
			t.Fatal("no python3 with botocore: install python3-boto3 (scripts/setup)")
		}
		t.Skip("no python3 with botocore: scripts/setup installs python3-boto3")
	}
	m, err := read(filepath.Join(botocore().data, service))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// read reads the newest version of a model.
func read(dir string) (*Model, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*", "service-2.json*"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, errors.New("no model in " + dir)
	}
	slices.Sort(files)
	f, err := os.Open(files[len(files)-1])
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var src io.Reader = f
	if strings.HasSuffix(f.Name(), ".gz") {
		if src, err = gzip.NewReader(f); err != nil {
			return nil, err
		}
	}
	m := &Model{checked: map[string]bool{}}
	return m, json.NewDecoder(src).Decode(m)
}

// Route returns the method and URI of an operation of a REST service. ok is
// false for operations that the model calls deprecated.
func (m *Model) Route(operation string) (method, uri string, ok bool) {
	op := m.Operations[operation]
	return op.HTTP.Method, op.HTTP.RequestURI, !op.Deprecated
}

// Has reports whether the model has an operation.
func (m *Model) Has(operation string) bool { return m.Operations[operation] != nil }

// Unchecked lists those of the operations whose responses were never checked.
func (m *Model) Unchecked(operations []string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(operations), func(op string) bool { return m.checked[op] })
}

func (m *Model) noteChecked(operation string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.checked[operation] = true
}
