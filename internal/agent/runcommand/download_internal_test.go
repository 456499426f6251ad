package runcommand

import (
	"cmp"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sekisho/internal/wire/mgs"
)

func downloadStep(kind string, info any, to string) map[string]any {
	return map[string]any{"action": pluginDownload, "name": "get", "inputs": map[string]any{
		"sourceType": kind, "sourceInfo": info, "destinationPath": to,
	}}
}

// TestRemoteScript has the form of AWS-RunRemoteScript: a step downloads a
// script, and the next one runs it by its name.
func TestRemoteScript(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.open(nil)
	b.services.objects["scripts/a b/hello+1.sh"] = "#!/bin/sh\necho hello from $(basename $0) $1\n"
	job, _ := b.send(mgs.SendCommand{
		DocumentName: "AWS-RunRemoteScript",
		DocumentContent: json.RawMessage(`{"schemaVersion":"2.2","parameters":{
			"sourceType":{"type":"String"},"sourceInfo":{"type":"StringMap","default":{}},"commandLine":{"type":"String","default":""},
			"workingDirectory":{"type":"String","default":""},"executionTimeout":{"type":"String","default":"3600"}},
			"mainSteps":[
			{"action":"aws:downloadContent","name":"downloadContent","inputs":{"sourceType":"{{ sourceType }}","sourceInfo":"{{ sourceInfo }}","destinationPath":"{{ workingDirectory }}"}},
			{"precondition":{"StringEquals":["platformType","Windows"]},"action":"aws:runPowerShellScript","name":"runPowerShellScript","inputs":{"runCommand":[""]}},
			{"precondition":{"StringEquals":["platformType","Linux"]},"action":"aws:runShellScript","name":"runShellScript",
			 "inputs":{"runCommand":["","directory=$(pwd)","export PATH=$PATH:$directory"," {{ commandLine }} ",""],"workingDirectory":"{{ workingDirectory }}","timeoutSeconds":"{{ executionTimeout }}"}}]}`),
		Parameters: map[string]any{
			"sourceType": "S3", "commandLine": "hello+1.sh there",
			"sourceInfo": map[string]any{"path": "https://s3.eu-test-1.amazonaws.com/scripts/a+b/hello%2B1.sh"},
		},
	})
	last := b.over(job)
	if s := b.step(job, "runShellScript"); s.StandardOutput != "hello from hello+1.sh there\n" {
		t.Errorf("%+v", s)
	}
	if s := b.step(job, "downloadContent"); last.DocumentStatus != mgs.CommandSuccess ||
		!strings.Contains(s.StandardOutput, "Content downloaded to ") {
		t.Errorf("%s: %+v", last.DocumentStatus, s)
	}
}

func TestDownload(t *testing.T) {
	t.Parallel()
	web := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/dir/tool.sh":
			_, _ = w.Write([]byte("web\n"))
		case "/down":
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(web.Close)
	elsewhere := t.TempDir()
	for name, tt := range map[string]struct {
		kind   string
		info   any
		to     string
		want   string // a file in the command's directory, or an absolute one
		refuse string
	}{
		"a key": {"S3", `{"path":"https://s3.amazonaws.com/bucket/dir/one.txt"}`, "", "one.txt", ""},
		"sourceInfo as an object": {"S3",
			map[string]string{"path": " https://bucket.s3.eu-west-1.amazonaws.com/dir/one.txt "}, "", "one.txt", ""},
		"the server's own host":    {"S3", `{"path":"https://sekisho.example/bucket/dir/one.txt"}`, "", "one.txt", ""},
		"below the server's host":  {"S3", `{"path":"https://bucket.sekisho.example/dir/one.txt"}`, "", "one.txt", ""},
		"an s3 address":            {"S3", `{"path":"s3://bucket/dir/one.txt"}`, "", "one.txt", ""},
		"a folder":                 {"S3", `{"path":"https://s3.amazonaws.com/bucket/dir/"}`, "", "sub/two.txt", ""},
		"a folder without a slash": {"S3", `{"path":"https://s3.amazonaws.com/bucket/dir"}`, "to", "to/sub/two.txt", ""},
		"another name":             {"S3", `{"path":"s3://bucket/dir/one.txt"}`, "other.txt", "other.txt", ""},
		"into a directory":         {"S3", `{"path":"s3://bucket/dir/one.txt"}`, "into/", "into/one.txt", ""},
		"to elsewhere": {"S3", `{"path":"s3://bucket/dir/one.txt"}`, elsewhere,
			filepath.Join(elsewhere, "one.txt"), ""},
		"a web address": {"HTTP", map[string]any{"url": web.URL + "/dir/tool.sh", "authMethod": "None"}, "",
			"tool.sh", ""},

		"no such key":                   {"S3", `{"path":"s3://bucket/none"}`, "", "", "s3://bucket/none"},
		"keys with parent directories":  {"S3", `{"path":"s3://bucket/evil/"}`, "", "", "file name"},
		"a key with parent directories": {"S3", `{"path":"s3://bucket/evil/.."}`, "", "", "file name"},
		"climbing":                      {"S3", `{"path":"s3://bucket/dir/one.txt"}`, "../x", "", "../x"},
		"not an S3 address": {"S3", `{"path":"https://example.com/bucket/one.txt"}`, "", "",
			"https://example.com/bucket/one.txt"},
		"a host that looks like S3": {"S3", `{"path":"https://s3.amazonaws.com.evil.example/bucket/one.txt"}`, "", "",
			"https://s3.amazonaws.com.evil.example/bucket/one.txt"},
		"no path": {"S3", `{}`, "", "", "sourceInfo"},
		"no JSON": {"S3", `path`, "", "", "not a JSON object"},
		"a missing file": {"HTTP", map[string]any{"url": web.URL + "/none?X-Amz-Signature=secret"}, "", "",
			"/none answered 404"},
		"nobody": {"HTTP", map[string]any{"url": "https://127.0.0.1:1/x?X-Amz-Signature=secret"}, "", "",
			"connection refused"},
		"without TLS":              {"HTTP", map[string]any{"url": "http://127.0.0.1:1/x"}, "", "", "allowInsecureDownload"},
		"redirected away from TLS": {"HTTP", map[string]any{"url": web.URL + "/down"}, "", "", "without TLS"},
		"a URL with a password":    {"HTTP", map[string]any{"url": web.URL, "authMethod": "Basic"}, "", "", "authMethod"},
		"a file":                   {"HTTP", map[string]any{"url": "file:///etc/passwd"}, "", "", "https://"},
		"GitHub":                   {"GitHub", `{"owner":"o"}`, "", "", "GitHub"},
		"a document":               {"SSMDocument", `{"name":"x"}`, "", "", "SSMDocument"},
		"unknown":                  {"FTP", `{}`, "", "", `"FTP"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.open(func(c *Config) { c.Web = web.Client().Transport })
			b.services.objects = map[string]string{
				"bucket/dir/one.txt": "one\n", "bucket/dir/sub/two.txt": "two\n", "bucket/dir/folder/": "", "bucket/dire": "no\n",
				"bucket/evil/../../x": "evil\n",
			}
			file := tt.want
			job, _ := b.send(steps(
				downloadStep(tt.kind, tt.info, tt.to),
				scriptStep(
					"show",
					map[string]any{"runCommand": []string{"cat '" + file + "'; stat -c %a '" + file + "'"}},
				),
			))
			b.over(job)
			get, show := b.step(job, "get"), b.step(job, "show")
			if tt.refuse != "" {
				if outcome(get) != "Failed 1" || !strings.Contains(get.StandardError, tt.refuse) ||
					strings.Contains(get.StandardError, "secret") {
					t.Errorf("%+v", get)
				}
				return
			}
			if outcome(get) != "Success 0" {
				t.Errorf("%+v", get)
			}
			text := map[string]string{"two.txt": "two", "tool.sh": "web"}[filepath.Base(file)]
			if want := cmp.Or(text, "one") + "\n700\n"; show.StandardOutput != want {
				t.Errorf("%+v, want %q", show, want)
			}
		})
	}
}

func TestDownloadTooLarge(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	left := int64(10)
	err := save(file, func(w io.Writer) error {
		_, err := (&counted{w, &left}).Write([]byte("1234"))
		return err
	})
	if b, rerr := os.ReadFile(file); err != nil || rerr != nil || string(b) != "1234" || left != 6 {
		t.Errorf("%q, %d left, %v %v", b, left, err, rerr)
	}
	err = save(filepath.Join(dir, "g"), func(w io.Writer) error {
		return (&services{objects: map[string]string{"b/k": "too long"}}).GetObject(t.Context(), "b", "k", w, 3)
	})
	entries, _ := os.ReadDir(dir)
	if err == nil || len(entries) != 1 {
		t.Errorf("%v; %d files are left", err, len(entries))
	}
}

func TestMountedUnder(t *testing.T) {
	t.Parallel()
	const info = "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n22 21 8:2 / /var/a\\040b/c rw - ext4 /dev/sdb1 rw\n"
	for path, want := range map[string]string{"/var/a b": `/var/a\040b/c`, "/var/a b/c": `/var/a\040b/c`,
		"/var/a b/cc": "", "/var/a": "", "/home": ""} {
		if got := mountedUnder(info, path); got != want {
			t.Errorf("%s: %q", path, got)
		}
	}
}

func FuzzPlan(f *testing.F) {
	f.Add(
		`{"schemaVersion":"2.2","parameters":{"p":{"default":"x"}},"mainSteps":[{"action":"aws:runShellScript",`+
			`"name":"a","precondition":{"StringEquals":["platformType","Linux"]},"inputs":{"runCommand":["{{ p }}","{{q}}`+
			`"],"timeoutSeconds":5}}]}`,
		`{"q":["a"]}`,
	)
	f.Add(
		`{"schemaVersion":"1.2","runtimeConfig":{"aws:runShellScript":{"properties":[{"id":"0.x","runCommand":"{{ q }}"}]}}}`,
		`{"q":["a"]}`,
	)
	f.Add(
		`{"schemaVersion":"2.2","mainSteps":[{"action":"aws:downloadContent","name":"a","inputs":{"sourceType":"S3",`+
			`"sourceInfo":"{\"path\":\"s3://b/k\"}"}}]}`,
		`{}`,
	)
	f.Fuzz(func(t *testing.T, document, parameters string) {
		c := mgs.SendCommand{DocumentContent: json.RawMessage(document)}
		if json.Unmarshal([]byte(parameters), &c.Parameters) != nil {
			return
		}
		p, err := newPlan(c)
		if err != nil {
			return
		}
		if len(p.steps) == 0 || len(p.steps) > maxSteps {
			t.Fatalf("%d steps", len(p.steps))
		}
		for _, s := range p.steps {
			if s.skip == "" && s.fail == "" && (s.script == nil) == (s.download == nil) {
				t.Fatalf("a step with neither a script nor a download: %+v", s)
			}
			size := 0
			if s.script != nil {
				for _, l := range s.script.RunCommand {
					size += len(l)
				}
				if s.script.timeout() <= 0 {
					t.Fatal("no time")
				}
				interpreter(strings.Join(s.script.RunCommand, "\n"))
			}
			if size > 2*maxExpanded+len(document) {
				t.Fatalf("a script of %d bytes", size)
			}
			if s.download != nil {
				if from, err := s.download.source(); err == nil {
					if bucket, _, err := parseS3(from.Path, "sekisho.example"); err == nil && bucket == "" {
						t.Fatal("no bucket")
					}
				}
			}
		}
	})
}
