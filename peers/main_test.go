package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestResultsAreRead(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"\x1b[32mPASS \x1b[0mPutObject_success":             "PutObject_success true",
		"\x1b[31mFAIL \x1b[0mPutObject_md5: EOF":            "PutObject_md5 false",
		"\x1b[36mRUN  \x1b[0mPutObject_success":             "",
		`{"name":"minio-go: testFPutObject","status":"NA"}`: "",
	} {
		got := ""
		if test, passed, ok := versityResult(line); ok {
			got = test + " " + map[bool]string{true: "true", false: "false"}[passed]
		}
		if got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
	for line, want := range map[string]bool{
		`{"name":"minio-go: testFPutObject","status":"PASS"}`: true,
		`{"name":"minio-go: testFPutObject","status":"NA"}`:   false,
	} {
		if test, passed, ok := minioResult(line); test != "testFPutObject" || passed != want || !ok {
			t.Errorf("%s: %s %v %v", line, test, passed, ok)
		}
	}
	if _, _, ok := minioResult("panic: x"); ok {
		t.Error("a panic was read as a result")
	}
}

func TestUnexpectedResultsAreErrors(t *testing.T) {
	t.Parallel()
	want := map[string]expectation{"a": {pass: true}, "b": {reason: "no"}}
	for name, c := range map[string]struct {
		got map[string]bool
		err string
	}{
		"as expected":      {map[string]bool{"a": true, "b": false}, ""},
		"a new failure":    {map[string]bool{"a": false, "b": false}, "a fails"},
		"a new success":    {map[string]bool{"a": true, "b": true}, "b passes"},
		"a missing test":   {map[string]bool{"a": true}, "b did not run"},
		"an unlisted test": {map[string]bool{"a": true, "b": false, "c": true}, "c (passes: true)"},
	} {
		err := compare("suite", want, c.got)
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestListsAreComplete checks that the committed lists have a reason for every test that
// does not pass.
func TestListsAreComplete(t *testing.T) {
	t.Parallel()
	for _, s := range suites {
		if list, err := readList(filepath.Join("expected", s.name+".txt")); err != nil || len(list) == 0 {
			t.Errorf("%s: %d tests, %v", s.name, len(list), err)
		}
	}
	file := filepath.Join(t.TempDir(), "list")
	for _, text := range []string{"fail a", "fail a: ", "skip a", "pass a\npass a"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readList(file); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
}
