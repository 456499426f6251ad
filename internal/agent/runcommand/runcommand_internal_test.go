package runcommand

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sekisho/internal/agent/uplink"
	"sekisho/internal/wire/id"
	"sekisho/internal/wire/mgs"
)

const testNode = "mi-0123456789abcdef0"

// patience limits how long a test waits for an event that must happen.
const patience = 30 * time.Second

// services are a bucket service and a log service in memory.
type services struct {
	mu      sync.Mutex
	objects map[string]string // bucket/key
	logs    map[string]string // group stream
	groups  map[string]bool
	fail    error
	held    chan struct{} // awaited by PutObject, if not nil
}

func newServices() *services {
	return &services{objects: map[string]string{}, logs: map[string]string{}, groups: map[string]bool{}}
}

func (d *services) Host() string   { return "sekisho.example" }
func (d *services) Region() string { return "eu-test-1" }

func (d *services) BucketEncryption(context.Context, string) (string, error) { return "AES256", nil }

func (d *services) PutObject(
	ctx context.Context,
	bucket, key string,
	content io.ReaderAt,
	size int64,
	h http.Header,
) error {
	if h.Get("X-Amz-Server-Side-Encryption") != "AES256" {
		return errors.New("not encrypted")
	}
	if d.held != nil {
		select {
		case <-d.held:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	b, err := io.ReadAll(io.NewSectionReader(content, 0, size))
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail != nil {
		return d.fail
	}
	d.objects[bucket+"/"+key] = string(b)
	return err
}

func (d *services) GetObject(_ context.Context, bucket, key string, w io.Writer, limit int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	o, ok := d.objects[bucket+"/"+key]
	if !ok {
		return &uplink.APIError{Op: "GetObject", Status: 404, Code: "NoSuchKey", Message: "no such key"}
	}
	if int64(len(o)) > limit {
		return uplink.ErrTooLarge
	}
	_, err := io.WriteString(w, o)
	return err
}

func (d *services) ListObjects(_ context.Context, bucket, prefix string, limit int) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var keys []string
	for _, k := range slices.Sorted(maps.Keys(d.objects)) {
		if key, ok := strings.CutPrefix(k, bucket+"/"); ok && strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	if len(keys) > limit {
		return nil, errors.New("too many")
	}
	return keys, nil
}

func (d *services) Logs(_ context.Context, op string, in, _ any) error {
	var call struct {
		LogGroupName, LogStreamName string
		LogEvents                   []struct{ Message string }
	}
	b, err := json.Marshal(in)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, &call); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch op {
	case "CreateLogGroup":
		if d.groups[call.LogGroupName] {
			return &uplink.APIError{Op: op, Status: 400, Code: "ResourceAlreadyExistsException"}
		}
		d.groups[call.LogGroupName] = true
	case "PutLogEvents":
		for _, e := range call.LogEvents {
			d.logs[call.LogGroupName+" "+call.LogStreamName] += e.Message
		}
	}
	return nil
}

// bench is a runner and its replies.
type bench struct {
	t        *testing.T
	dir      string
	services *services
	runner   *Runner

	mu      sync.Mutex
	changed chan struct{}
	replies map[string][]said // by job
}

type said struct {
	id   mgs.UUID
	load func() (mgs.CommandReply, error)
	mgs.CommandReply
}

func newBench(t *testing.T) *bench {
	t.Helper()
	return &bench{
		t:        t,
		dir:      filepath.Join(t.TempDir(), "commands"),
		services: newServices(),
		changed:  make(chan struct{}),
		replies:  map[string][]said{},
	}
}

// open starts a runner on the bench's directory, until the test ends or stop
// is called.
func (b *bench) open(change func(*Config)) (stop func()) {
	b.t.Helper()
	cfg := Config{
		Dir: b.dir, Node: testNode, Services: b.services, Log: slog.New(slog.DiscardHandler),
		Environment: map[string]string{"AWS_SSM_INSTANCE_ID": testNode},
		Reply: func(job string, reply mgs.UUID, load func() (mgs.CommandReply, error)) {
			r, err := load()
			if err != nil {
				b.t.Errorf("a reply cannot be read back: %v", err)
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			b.replies[job] = append(b.replies[job], said{reply, load, r})
			close(b.changed)
			b.changed = make(chan struct{})
		},
	}
	if change != nil {
		change(&cfg)
	}
	r, err := Open(b.t.Context(), cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	b.runner = r
	r.Resume()
	stop = sync.OnceFunc(func() {
		r.Stop()
		r.Close()
	})
	b.t.Cleanup(stop)
	return stop
}

// send sends a command to the runner and returns its job and the code of the
// response.
func (b *bench) send(c mgs.SendCommand) (job, code string) {
	b.t.Helper()
	if c.CommandID == "" {
		c.CommandID = id.UUID()
	}
	m, err := mgs.NewSendCommand(testNode, c)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.give(m)
}

func (b *bench) give(m mgs.Message) (job, code string) {
	b.t.Helper()
	j, err := mgs.ParseBody[mgs.AgentJob](m.Payload)
	if err != nil {
		b.t.Fatal(err)
	}
	b.runner.Job(j, func(c string) { code = c })
	return j.JobID, code
}

// await waits for a reply that cond accepts.
func (b *bench) await(what, job string, cond func(said) bool) said {
	b.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		b.mu.Lock()
		i := slices.IndexFunc(b.replies[job], cond)
		changed := b.changed
		var found said
		if i >= 0 {
			found = b.replies[job][i]
		}
		b.mu.Unlock()
		if i >= 0 {
			return found
		}
		select {
		case <-changed:
		case <-deadline.C:
			b.t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

func (b *bench) over(job string) said {
	b.t.Helper()
	return b.await("the end of "+job, job, func(s said) bool { return s.DocumentStatus != mgs.CommandInProgress })
}

// step waits for the reply about a step.
func (b *bench) step(job, name string) mgs.StepStatus {
	b.t.Helper()
	return *b.await("the step "+name, job, func(s said) bool {
		return s.DocumentStatus == mgs.CommandInProgress && s.RuntimeStatus[name] != nil
	}).RuntimeStatus[name]
}

// awaitFile waits for a non-empty file and returns its content.
func awaitFile(t *testing.T, path string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if b, err := os.ReadFile(path); err == nil && bytes.HasSuffix(b, []byte("\n")) {
			return strings.TrimSpace(string(b))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited %v for %s", patience, path)
		}
	}
}

func awaitGone(t *testing.T, pid string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		b, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil || strings.Contains(string(b), ") Z ") {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("process %s still runs", pid)
		}
	}
}

// shell returns a document with one script.
func shell(lines ...string) mgs.SendCommand {
	return steps(scriptStep("run", map[string]any{"runCommand": lines}))
}

func scriptStep(name string, inputs map[string]any) map[string]any {
	return map[string]any{"action": pluginShell, "name": name, "inputs": inputs}
}

func steps(all ...map[string]any) mgs.SendCommand {
	b, err := json.Marshal(map[string]any{"schemaVersion": "2.2", "description": "", "mainSteps": all})
	if err != nil {
		panic(err) // only strings
	}
	return mgs.SendCommand{DocumentName: "Test", DocumentContent: b}
}

func TestScript(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.open(nil)
	c := shell(
		"echo out $SSM_COMMAND_ID $AWS_SSM_INSTANCE_ID",
		"echo err >&2",
		"pwd",
		"ls -A",
		`[ -t 0 ] || echo "no terminal"`,
		"cat",
	)
	c.CommandID = "2b196342-d7d4-436e-8f09-3883a1116ac3"
	job, code := b.send(c)
	if code != mgs.JobAccepted || job != "aws.ssm."+c.CommandID+"."+testNode {
		t.Fatalf("%s: %s", job, code)
	}
	last := b.over(job)
	s := last.RuntimeStatus["run"]
	if last.DocumentStatus != mgs.CommandSuccess || s == nil || s.Status != mgs.CommandSuccess || s.Code != 0 ||
		s.Name != pluginShell {
		t.Fatalf("%+v %+v", last, s)
	}
	work := filepath.Join(b.dir, "work", c.CommandID, "downloads")
	if want := "out " + c.CommandID + " " + testNode + "\n" + work + "\nno terminal\n"; s.StandardOutput != want {
		t.Errorf("stdout %q, want %q", s.StandardOutput, want)
	}
	if s.StandardError != "err\n" || s.Output != s.StandardOutput+"\n----------ERROR-------\nerr\n" {
		t.Errorf("stderr %q, output %q", s.StandardError, s.Output)
	}
	if _, err := time.Parse(mgs.JobTime, s.StartDateTime); err != nil || s.EndDateTime < s.StartDateTime {
		t.Errorf("from %s to %s", s.StartDateTime, s.EndDateTime)
	}
	b.mu.Lock()
	var order []string
	for _, r := range b.replies[job] {
		order = append(order, fmt.Sprint(r.DocumentStatus, len(r.RuntimeStatus)))
	}
	b.mu.Unlock()
	if want := []string{"InProgress0", "InProgress1", "Success1"}; !slices.Equal(order, want) {
		t.Errorf("replies %q, want %q", order, want)
	}
	b.runner.Stop()
	if _, err := os.Stat(filepath.Dir(work)); !os.IsNotExist(err) {
		t.Errorf("the directory of the command: %v", err)
	}
}

// TestOutcomes: exit codes of scripts, and what happens to the following
// steps.
func TestOutcomes(t *testing.T) {
	t.Parallel()
	type in = map[string]any
	for name, tt := range map[string]struct {
		first      in
		second     in
		status     string // of the command
		one, two   string // of the steps, with their exit codes
		stdout     string // parts of the first step's output
		stderr     string
		runs       bool // the second step ran
		exactError bool
	}{
		"a failed step does not stop the command": {in{"runCommand": []string{"echo no >&2; exit 3"}}, nil, "Failed",
			"Failed 3",
			"Success 0", "", "no\nfailed to run commands: exit status 3", true, true},
		"exit on failure": {in{"runCommand": []string{"exit 3"}, "onFailure": "exit"}, nil, "Failed", "Failed 3",
			"Skipped 0", "", "onFailure", false, false},
		"success on failure": {in{"runCommand": []string{"exit 3"}, "onFailure": "successAndExit"}, nil, "Success",
			"Success 168", "Skipped 0", "onFailure", "", false, false},
		"exit on success": {in{"runCommand": []string{"true"}, "onSuccess": "exit"}, nil, "Success", "Success 0",
			"Skipped 0", "", "", false, true},
		"168": {in{"runCommand": []string{"echo x >&2; exit 168"}}, nil, "Success", "Success 168",
			"Skipped 0", "code 168", "", false, true},
		"169": {in{"runCommand": []string{"exit 169"}}, nil, "Failed", "Failed 169", "Skipped 0",
			"code 169", "code 169", false, false},
		"194": {in{"runCommand": []string{"exit 194"}}, nil, "Failed", "Failed 194", "Success 0", "",
			"reboot", true, false},
		"the last step after an exit": {in{"runCommand": []string{"exit 3"}, "onFailure": "exit"}, in{"finallyStep": true},
			"Failed", "Failed 3", "Success 0", "", "onFailure", true, false},
		"a signal": {in{"runCommand": []string{"kill -TERM $$"}}, nil, "Failed", "Failed 143", "Success 0",
			"", "143", true, false},
		"no such interpreter": {in{"runCommand": []string{"#!/no/such", "x"}}, nil, "Failed", "Failed 1",
			"Success 0", "", "/no/such", true, false},
		"a missing directory": {in{"runCommand": []string{"true"}, "workingDirectory": "/no/such"}, nil, "Failed",
			"Failed 1", "Success 0", "", `workingDirectory "/no/such"`, true, false},
		"a directory outside": {in{"runCommand": []string{"true"}, "workingDirectory": "../.."}, nil, "Failed",
			"Failed 1", "Success 0", "", `workingDirectory "../.."`, true, false},
		"a directory in the command's own": {in{"runCommand": []string{"basename $PWD"}, "workingDirectory": "here"}, nil,
			"Success", "Success 0", "Success 0", "here\n", "", true, true},
		"another interpreter": {in{"runCommand": []string{"#!/usr/bin/env -S sh -eu", "false", "echo not"}}, nil,
			"Failed", "Failed 1", "Success 0", "", "exit status 1", true, false},
		"its own environment variables": {in{"runCommand": []string{"echo $GREETING $SSM_COMMAND_ID"},
			"environment": map[string]string{"GREETING": "hello", "SSM_COMMAND_ID": "x"}}, nil, "Success", "Success 0",
			"Success 0", "hello ", "", true, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.open(nil)
			mark := filepath.Join(t.TempDir(), "ran")
			second := in{"runCommand": []string{"echo ran > " + mark}}
			maps.Copy(second, tt.second)
			job, _ := b.send(steps(scriptStep("one", tt.first), scriptStep("two", second)))
			last := b.over(job)
			one, two := b.step(job, "one"), b.step(job, "two")
			if got := []string{last.DocumentStatus, outcome(one), outcome(two)}; !slices.Equal(
				got,
				[]string{tt.status, tt.one, tt.two},
			) {
				t.Errorf("got %q", got)
			}
			if len(last.RuntimeStatus) != 0 {
				t.Errorf("the last reply has steps: %+v", last.RuntimeStatus)
			}
			if !strings.Contains(one.StandardOutput, tt.stdout) || !strings.Contains(one.StandardError, tt.stderr) ||
				tt.exactError && one.StandardError != tt.stderr {
				t.Errorf("stdout %q, stderr %q", one.StandardOutput, one.StandardError)
			}
			if _, err := os.Stat(mark); (err == nil) != tt.runs {
				t.Errorf("the second step ran: %t", err == nil)
			}
		})
	}
}

func outcome(s mgs.StepStatus) string { return s.Status + " " + strconv.Itoa(s.Code) }

// TestRefused has commands that are not run. Each reports its reason where
// users look for it.
func TestRefused(t *testing.T) {
	t.Parallel()
	one := func(step string) string { return `{"schemaVersion":"2.2","mainSteps":[` + step + `]}` }
	for name, tt := range map[string]struct{ document, want string }{
		"nothing":                      {`null`, "not a JSON object"},
		"a list instead of a document": {`[]`, "not a JSON object"},
		"no version":                   {`{}`, `schemaVersion ""`},
		"a session document":           {`{"schemaVersion":"1.0","sessionType":"Standard_Stream"}`, "0 plugins"},
		"no steps":                     {`{"schemaVersion":"2.2"}`, "no mainSteps"},
		"steps of no known kind":       {`{"schemaVersion":"2.2","mainSteps":5}`, "document"},
		"no name":                      {one(`{"action":"aws:runShellScript","inputs":{"runCommand":[]}}`), `name ""`},
		"a name as a path":             {one(`{"action":"aws:runShellScript","name":"../x","inputs":{}}`), `name "../x"`},
		"one name twice":               {one(`{"action":"x","name":"a"},{"action":"x","name":"a"}`), `have the name "a"`},
		"no inputs":                    {one(`{"action":"aws:runShellScript","name":"a"}`), "not a JSON object"},
		"a text in place of a list": {one(`{"action":"aws:runShellScript","name":"a","inputs":{"runCommand":"id"}}`),
			"inputs of the step"},
		"lists in the list": {one(`{"action":"aws:runShellScript","name":"a","inputs":{"runCommand":[["id"]]}}`),
			"inputs of the step"},
		"a missing value": {`{"schemaVersion":"2.2","parameters":{"p":{"type":"String"}},` +
			`"mainSteps":[{"action":"aws:runShellScript","name":"a","inputs":{"runCommand":["{{ p }}"]}}]}`,
			`parameter "p" has no value`},
		"Parameter Store": {one(`{"action":"aws:runShellScript","name":"a","inputs":{"runCommand":["echo ` +
			`{{ssm:secret}}"]}}`), "Parameter Store"},
		"a secure parameter": {one(`{"action":"aws:runShellScript","name":"a","inputs":{"runCommand":["echo {{ ` +
			`ssm-secure:secret }}"]}}`), "Parameter Store"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.open(nil)
			job, code := b.send(mgs.SendCommand{DocumentName: "Test", DocumentContent: json.RawMessage(tt.document)})
			last := b.over(job)
			if code != mgs.JobAccepted || last.DocumentStatus != mgs.CommandFailed ||
				!strings.Contains(last.DocumentTraceOutput, tt.want) {
				t.Errorf("%s: %+v", code, last.CommandReply)
			}
			for _, s := range last.RuntimeStatus {
				if s.Status != mgs.CommandFailed || s.Code == 0 || !strings.Contains(s.StandardError, tt.want) {
					t.Errorf("%+v", s)
				}
			}
			if len(last.RuntimeStatus) != 1 {
				t.Errorf("%d steps", len(last.RuntimeStatus))
			}
		})
	}
}

func TestRefusedJobs(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.open(nil)
	content := `{"DocumentContent":{}}`
	for name, tt := range map[string]struct {
		job  mgs.AgentJob
		want string
	}{
		"no job ID": {mgs.AgentJob{Topic: mgs.TopicSendCommand, Content: content}, mgs.JobInvalid},
		"a path as a job ID": {mgs.AgentJob{Topic: mgs.TopicSendCommand, Content: content,
			JobID: "aws.ssm.../../x." + testNode}, mgs.JobInvalid},
		"another node's job": {mgs.AgentJob{Topic: mgs.TopicSendCommand, Content: content, JobID: "aws.ssm.c.mi-1"},
			mgs.JobInvalid},
		"an unknown topic": {mgs.AgentJob{Topic: "aws.ssm.fly", Content: content, JobID: "aws.ssm.c." + testNode},
			mgs.JobUnexpected},
		"a cancellation without a job": {mgs.AgentJob{Topic: mgs.TopicCancelCommand, Content: "{}",
			JobID: "aws.ssm.c." + testNode},
			mgs.JobUnreadable},
	} {
		var codes []string
		b.runner.Job(tt.job, func(c string) { codes = append(codes, c) })
		if !slices.Equal(codes, []string{tt.want}) {
			t.Errorf("%s: %q, want %s", name, codes, tt.want)
		}
	}
	job := mgs.AgentJob{Topic: mgs.TopicSendCommand, Content: "{", JobID: "aws.ssm.unreadable." + testNode}
	b.runner.Job(job, func(string) {})
	if last := b.over(job.JobID); !strings.Contains(last.DocumentTraceOutput, "malformed") {
		t.Errorf("%+v", last)
	}
	b.runner.Stop()
	if _, code := b.send(shell("true")); code != mgs.JobClosed {
		t.Errorf("after the stop: %s", code)
	}
}

func TestOff(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.open(func(c *Config) { c.Off = true })
	mark := filepath.Join(t.TempDir(), "ran")
	job, code := b.send(shell("echo > " + mark))
	b.runner.Stop()
	if _, err := os.Stat(mark); code != mgs.JobUnsupported || err == nil || len(b.replies[job]) != 0 {
		t.Errorf("code %s, replies %v, ran %t", code, b.replies[job], err == nil)
	}
}

func TestParameters(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.open(nil)
	document := `{"schemaVersion":"2.2","parameters":{"commands":{"type":"StringList"},"who":{"type":"String",` +
		`"default":"all"},"executionTimeout":{"type":"String","default":"3600"}},
		"mainSteps":[
		{"action":"aws:runPowerShellScript","name":"other","precondition":{"StringEquals":["platformType","Windows"]},"inputs":{"runCommand":["{{ssm:nothing}}"]}},
		{"action":"aws:runShellScript","name":"list","precondition":{"StringEquals":["platformType","Linux"]},"inputs":{"runCommand":"{{ commands }}","timeoutSeconds":"{{ executionTimeout }}"}},
		{"action":"aws:runShellScript","name":"text","precondition":{"StringEquals":["{{ who }}","all"]},"inputs":{"runCommand":["echo '{{who}} {{ commands }} {{ unknown }} {{x'"]}},
		{"action":"aws:runShellScript","name":"not","precondition":{"StringEquals":["nobody","{{ who }}"]},"inputs":{"runCommand":["echo not"]}},
		{"action":"aws:configurePackage","name":"package","inputs":{}},
		{"action":"aws:runShellScript","name":"strange","precondition":{"NumberEquals":["1","1"]},"inputs":{}},
		{"action":"aws:runShellScript","name":"same","precondition":{"StringEquals":["a","a"]},"inputs":{}},
		{"action":"aws:runShellScript","name":"constant","precondition":{"StringEquals":["a","b"]},"inputs":{}}
		]}`
	job, _ := b.send(mgs.SendCommand{
		DocumentContent: json.RawMessage(document),
		Parameters:      map[string]any{"commands": []any{"echo one '{{ who }}'", "echo two $((20+2))"}},
	})
	last := b.over(job)
	for name, want := range map[string]struct{ outcome, stdout, text string }{
		"other":    {"Skipped 0", "", "unsatisfied preconditions"},
		"list":     {"Success 0", "one {{ who }}\ntwo 22\n", ""}, // references in values are not substituted
		"text":     {"Success 0", `all ["echo one '{{ who }}'","echo two $((20+2))"] {{ unknown }} {{x` + "\n", ""},
		"not":      {"Skipped 0", "", "unsatisfied preconditions"},
		"package":  {"Failed 1", "", "aws:configurePackage"},
		"strange":  {"Failed 1", "", "NumberEquals"},
		"same":     {"Failed 1", "", "with itself"},
		"constant": {"Failed 1", "", "neither to platformType nor to a parameter"},
	} {
		s := b.step(job, name)
		if name == "text" { // quotes in the value end those of the script
			want.stdout = strings.ReplaceAll(want.stdout, "'", "")
		}
		if outcome(s) != want.outcome || s.StandardOutput != want.stdout || !strings.Contains(s.Output, want.text) {
			t.Errorf("%s: %s, stdout %q, output %q", name, outcome(s), s.StandardOutput, s.Output)
		}
	}
	counts := map[string]int{"Success": 2, "Skipped": 2, "Failed": 4}
	if last.DocumentStatus != mgs.CommandFailed || !maps.Equal(last.AdditionalInfo.RuntimeStatusCounts, counts) {
		t.Errorf("%+v", last.CommandReply)
	}
}

// TestStepsNamedAsPlugins has AWS-RunShellScript as AWS defines it, and as it
// is here: the output is where AWS's agent puts it.
func TestStepsNamedAsPlugins(t *testing.T) {
	t.Parallel()
	inputs := `{"id":"0.aws:runShellScript","runCommand":"{{ commands }}"}`
	for schema, body := range map[string]string{
		"1.2": `"runtimeConfig":{"aws:runShellScript":{"properties":[` + inputs + `]}}`,
		"1.0": `"runtimeConfig":{"aws:runShellScript":{"properties":` + inputs + `}}`,
		"2.2": `"mainSteps":[{"action":"aws:runShellScript","name":"aws:runShellScript","inputs":` + inputs + `}]`,
	} {
		b := newBench(t)
		b.open(nil)
		job, _ := b.send(mgs.SendCommand{
			DocumentContent: json.RawMessage(
				`{"schemaVersion":"` + schema + `","parameters":{"commands":{"type":"StringList"}},` + body + `}`,
			),
			Parameters:         map[string]any{"commands": []any{"echo old"}},
			OutputS3BucketName: "bucket", OutputS3KeyPrefix: "pre/fix",
		})
		s := b.over(job).RuntimeStatus[pluginShell]
		if s == nil || s.StandardOutput != "old\n" || s.StepName != "0.awsrunShellScript" {
			t.Fatalf("%s: %+v", schema, s)
		}
		command, _, _ := mgs.ParseJobID(job)
		key := "bucket/pre/fix/" + command + "/" + testNode + "/awsrunShellScript/0.awsrunShellScript/stdout"
		if b.services.objects[key] != "old\n" || len(b.services.objects) != 1 {
			t.Errorf("%s: bucket: %q", schema, b.services.objects)
		}
	}
}

func TestOutputIsDelivered(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.open(nil)
	c := shell("i=0; while [ $i -lt 6000 ]; do echo line-$i; i=$((i+1)); done; echo bad >&2; exit 4")
	c.OutputS3BucketName, c.OutputS3KeyPrefix = "bucket", "logs"
	c.CloudWatchOutputEnabled, c.DocumentName = "true", "AWS:Test"
	job, _ := b.send(c)
	s := b.over(job).RuntimeStatus["run"]
	command, _, _ := mgs.ParseJobID(job)
	prefix := "logs/" + command + "/" + testNode + "/awsrunShellScript"
	if s.OutputS3BucketName != "bucket" || s.OutputS3KeyPrefix != prefix || s.StepName != "run" {
		t.Errorf("%+v", s)
	}
	out, err := b.services.objects["bucket/"+prefix+"/run/stdout"], b.services.objects["bucket/"+prefix+"/run/stderr"]
	if !strings.HasPrefix(out, "line-0\n") || !strings.HasSuffix(out, "line-5999\n") ||
		err != "bad\nfailed to run commands: exit status 4" {
		t.Errorf("stdout of %d bytes, stderr %q", len(out), err)
	}
	stream := "/aws/ssm/AWS.Test " + command + "/" + testNode + "/run/"
	if b.services.logs[stream+"stdout"] != out || b.services.logs[stream+"stderr"] != err {
		t.Errorf("log groups: %d streams", len(b.services.logs))
	}
	if len(s.StandardOutput) != maxStdout || !strings.HasSuffix(s.StandardOutput, truncated) ||
		!strings.HasPrefix(s.StandardOutput, "line-0\n") {
		t.Errorf("the reply has %d bytes of it", len(s.StandardOutput))
	}
	if len(s.Output) > maxBoth || !strings.Contains(s.Output, "Output truncated") ||
		!strings.Contains(s.Output, "exit status 4") {
		t.Errorf("output %q", s.Output)
	}

	// Output that cannot be delivered does not fail the command, but is
	// reported.
	b.services.mu.Lock()
	b.services.fail = &uplink.APIError{Op: "PutObject", Status: 403, Code: "AccessDenied", Message: "not allowed"}
	b.services.mu.Unlock()
	c = shell("echo fine")
	c.OutputS3BucketName = "bucket"
	job, _ = b.send(c)
	last := b.over(job)
	if last.DocumentStatus != mgs.CommandSuccess || !strings.Contains(last.DocumentTraceOutput, "not allowed") ||
		!strings.Contains(last.DocumentTraceOutput, "s3://bucket/") {
		t.Errorf("%+v", last.CommandReply)
	}
}

// TestOutputIsBounded: replies shorten output over the limit.
func TestOutputIsBounded(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.open(nil)
	job, _ := b.send(shell(`head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2`))
	last := b.over(job)
	if _, err := mgs.NewJobReply(job, last.CommandReply); err != nil {
		t.Error(err)
	}
	if s := last.RuntimeStatus["run"]; s.Status != mgs.CommandSuccess || len(s.StandardOutput) < 1000 {
		t.Errorf("%s with %d bytes", s.Status, len(s.StandardOutput))
	}
}

// TestTimeout: the script and the processes it started are ended.
func TestTimeout(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.open(nil)
	pids := t.TempDir()
	c := steps(
		scriptStep("slow", map[string]any{"timeoutSeconds": "5", "runCommand": []string{
			"sleep 1000 & echo $! > " + pids + "/child", "echo $$ > " + pids + "/self", "echo begun", "trap '' TERM", "wait",
		}}),
		scriptStep("after", map[string]any{"runCommand": []string{"echo after"}}),
	)
	job, _ := b.send(c)
	child, self := awaitFile(t, pids+"/child"), awaitFile(t, pids+"/self")
	last := b.over(job)
	s := b.step(job, "slow")
	if outcome(s) != "TimedOut 137" || s.StandardOutput != "begun\n" ||
		!strings.Contains(s.StandardError, "timeoutSeconds") {
		t.Errorf("%+v", s)
	}
	if last.DocumentStatus != mgs.CommandTimedOut || outcome(b.step(job, "after")) != "Success 0" {
		t.Errorf("%+v", last.CommandReply)
	}
	awaitGone(t, child)
	awaitGone(t, self)
}

func TestCancel(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.open(func(c *Config) { c.Workers = 1 })
	pids := t.TempDir()
	running, _ := b.send(steps(
		scriptStep("one", map[string]any{"runCommand": []string{"sleep 1000 & echo $! > " + pids + "/child; wait"}}),
		scriptStep("two", map[string]any{"runCommand": []string{"echo two > " + pids + "/two"}}),
	))
	child := awaitFile(t, pids+"/child")
	waiting, _ := b.send(shell("echo waiting > " + pids + "/waiting"))
	other, _ := b.send(shell("echo other"))
	for _, job := range []string{waiting, running} {
		command, _, _ := mgs.ParseJobID(job)
		if _, code := b.give(mgs.NewCancelCommand(testNode, command)); code != mgs.JobAccepted {
			t.Errorf("cancel: %s", code)
		}
	}
	if last := b.over(running); last.DocumentStatus != mgs.CommandCancelled {
		t.Errorf("%+v", last.CommandReply)
	}
	if one, two := b.step(running, "one"), b.step(running, "two"); outcome(one) != "Cancelled 137" ||
		outcome(two) != "Cancelled 1" {
		t.Errorf("%+v %+v", one, two)
	}
	awaitGone(t, child)
	if last := b.over(waiting); last.DocumentStatus != mgs.CommandCancelled ||
		outcome(*last.RuntimeStatus["run"]) != "Cancelled 1" {
		t.Errorf("%+v", last.CommandReply)
	}
	if last := b.over(other); last.DocumentStatus != mgs.CommandSuccess {
		t.Errorf("%+v", last.CommandReply)
	}
	for _, f := range []string{"two", "waiting"} {
		if _, err := os.Stat(filepath.Join(pids, f)); err == nil {
			t.Errorf("%s ran although its command was cancelled", f)
		}
	}
	// Cancelling a command that has ended, or never existed, does nothing.
	for _, command := range []string{strings.Split(other, ".")[2], "none"} {
		if _, code := b.give(mgs.NewCancelCommand(testNode, command)); code != mgs.JobAccepted {
			t.Errorf("cancel of %s: %s", command, code)
		}
	}
}

// TestWorkers: as many commands as allowed run at once, and the others run
// afterwards.
func TestWorkers(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.open(func(c *Config) { c.Workers = 2 })
	dir := t.TempDir()
	fifo := filepath.Join(dir, "go")
	wait := func(n int) string {
		return fmt.Sprintf("echo begun > %s/%d; until [ -e %s ]; do sleep 0.02; done", dir, n, fifo)
	}
	var jobs []string
	for i := range 2 + maxWaiting {
		job, code := b.send(shell(wait(i)))
		if code != mgs.JobAccepted {
			t.Fatalf("command %d: %s", i, code)
		}
		jobs = append(jobs, job)
	}
	refused := shell("true")
	refused.CommandID = "one-too-many"
	if _, code := b.send(refused); code != mgs.JobBufferFull {
		t.Errorf("a command beyond the limit: code %s", code)
	}
	begun := func() (n int) {
		for i := range jobs {
			if _, err := os.Stat(filepath.Join(dir, strconv.Itoa(i))); err == nil {
				n++
			}
		}
		return n
	}
	b.await("two commands to begin", jobs[0], func(said) bool { return true })
	deadline := time.Now().Add(patience)
	for begun() < 2 && time.Now().Before(deadline) {
		awaitAny(t, dir)
	}
	if n := begun(); n != 2 {
		t.Errorf("%d commands run at once", n)
	}
	if err := os.WriteFile(fifo, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, job := range jobs {
		if last := b.over(job); last.DocumentStatus != mgs.CommandSuccess {
			t.Errorf("%+v", last.CommandReply)
		}
	}
	// The refused command may be sent again.
	if job, code := b.send(refused); code != mgs.JobAccepted || b.over(job).DocumentStatus != mgs.CommandSuccess {
		t.Errorf("sent again: %s", code)
	}
}

// awaitAny waits a moment for a change in dir.
func awaitAny(t *testing.T, dir string) {
	t.Helper()
	before, _ := os.ReadDir(dir)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		now, _ := os.ReadDir(dir)
		if len(now) != len(before) || len(now) >= 2 {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("no job finished in time")
		}
	}
}

// TestNeverTwice: a command is sent again while it runs, after its end, and to
// a restarted agent.
func TestNeverTwice(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	stop := b.open(nil)
	mark := filepath.Join(t.TempDir(), "ran")
	c := shell("echo once >> " + mark)
	c.CommandID = id.UUID()
	job, _ := b.send(c)
	if _, code := b.send(c); code != mgs.JobDuplicate {
		t.Errorf("while it runs: %s", code)
	}
	b.over(job)
	if _, code := b.send(c); code != mgs.JobDuplicate {
		t.Errorf("when it is over: %s", code)
	}
	stop()
	b.open(nil)
	if _, code := b.send(c); code != mgs.JobDuplicate {
		t.Errorf("after a restart: %s", code)
	}
	if got := awaitFile(t, mark); got != "once" {
		t.Errorf("it ran: %q", got)
	}
}

// TestRepliesAreKept: replies survive restarts of the agent until they are
// acknowledged.
func TestRepliesAreKept(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	stop := b.open(nil)
	job, _ := b.send(shell("echo kept"))
	b.over(job)
	stop()
	first := b.replies[job]
	b.replies = map[string][]said{}
	stop = b.open(nil)
	again := b.replies[job]
	if len(again) != 3 {
		t.Fatalf("%d replies after a restart", len(again))
	}
	for i, r := range again {
		if r.id != first[i].id || r.DocumentStatus != first[i].DocumentStatus {
			t.Errorf("reply %d is another: %+v", i, r.CommandReply)
		}
	}
	if got := again[2].RuntimeStatus["run"].StandardOutput; got != "kept\n" {
		t.Errorf("stdout %q", got)
	}
	for _, r := range again {
		b.runner.Acknowledged(job, r.id)
		if _, err := r.load(); err == nil {
			t.Error("an acknowledged reply is still there")
		}
	}
	stop()
	b.replies = map[string][]said{}
	b.open(nil)
	if len(b.replies) != 0 {
		t.Errorf("acknowledged replies came again: %v", b.replies)
	}
	entries, err := os.ReadDir(b.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", e.Name(), info.Mode())
		}
		if !strings.HasSuffix(e.Name(), seenSuffix) && e.Name() != workDir {
			t.Errorf("%s is left", e.Name())
		}
	}
}

func TestStop(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	stop := b.open(func(c *Config) { c.Workers = 1 })
	pids := t.TempDir()
	running, _ := b.send(shell("echo so far; sleep 1000 & echo $! > " + pids + "/child; wait"))
	child := awaitFile(t, pids+"/child")
	waiting, _ := b.send(shell("echo > " + pids + "/waiting"))
	stop()
	last := b.over(running)
	s := last.RuntimeStatus["run"]
	if last.DocumentStatus != mgs.CommandFailed || !strings.Contains(last.DocumentTraceOutput, "agent was stopped") ||
		s.Status != mgs.CommandFailed ||
		s.StandardOutput != "so far\n" {
		t.Errorf("%+v %+v", last.CommandReply, s)
	}
	awaitGone(t, child)
	if last := b.over(waiting); last.DocumentStatus != mgs.CommandFailed {
		t.Errorf("%+v", last.CommandReply)
	}
	if _, err := os.Stat(pids + "/waiting"); err == nil {
		t.Error("the waiting command ran")
	}
}

// TestRestartAfterAKill: an agent was killed while a command ran, and the command
// still runs.
func TestRestartAfterAKill(t *testing.T) {
	t.Parallel()
	t.Run("noted", func(t *testing.T) { t.Parallel(); testBackAgain(t, true) })
	t.Run("not noted yet", func(t *testing.T) { t.Parallel(); testBackAgain(t, false) })
}

func testBackAgain(t *testing.T, noted bool) {
	b := newBench(t)
	stop := b.open(nil)
	pids := t.TempDir()
	job, _ := b.send(steps(
		scriptStep("done", map[string]any{"runCommand": []string{"echo done"}}),
		scriptStep("under-way", map[string]any{"runCommand": []string{"echo $$ > " + pids + "/self; exec sleep 1000"}}),
		scriptStep("never", map[string]any{"runCommand": []string{"echo never"}}),
	))
	self := awaitFile(t, pids+"/self")
	command, _, _ := mgs.ParseJobID(job)
	// After a kill, the files and the process remain as they are.
	left := filepath.Join(t.TempDir(), "commands")
	var rec record
	deadline := time.Now().Add(patience)
	for rec.Group == 0 || rec.Number != 1 {
		if err := os.RemoveAll(left); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(left, os.DirFS(b.dir)); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(left, command+jobSuffix))
		if err == nil {
			err = json.Unmarshal(text, &rec)
		}
		if time.Now().After(deadline) {
			t.Fatalf("no record of the step: %v", err)
		}
	}
	if strconv.Itoa(rec.Group) != self {
		t.Errorf("the record has process group %d, want %s", rec.Group, self)
	}
	if !noted { // the agent was killed at this point
		rec.Group = 0
		text, err := json.Marshal(rec)
		if err == nil {
			err = os.WriteFile(filepath.Join(left, command+jobSuffix), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}

	back := newBench(t)
	back.dir = left
	back.open(nil)
	awaitGone(t, self)
	last := back.over(job)
	why := "The agent restarted"
	if last.DocumentStatus != mgs.CommandFailed || !strings.Contains(last.DocumentTraceOutput, why) {
		t.Errorf("%+v", last.CommandReply)
	}
	if s := back.step(job, "under-way"); outcome(s) != "Failed 1" || !strings.Contains(s.StandardError, why) ||
		s.Name != pluginShell {
		t.Errorf("%+v", s)
	}
	if s := back.step(job, "done"); s.StandardOutput != "done\n" {
		t.Errorf("%+v", s)
	}
	if _, err := os.Stat(filepath.Join(left, workDir, command)); !os.IsNotExist(err) {
		t.Errorf("the directory of the command: %v", err)
	}
	c := shell("echo > " + pids + "/again")
	c.CommandID = command
	if _, code := back.send(c); code != mgs.JobDuplicate {
		t.Errorf("sent again: %s", code)
	}
	stop()
}

// TestDamagedDirectory has every kind of garbage in the directory.
func TestDamagedDirectory(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for name, text := range map[string]string{
		"a.job": "{", "b.job": `{"Job":"aws.ssm.other.` + testNode + `"}`, "c.job": "null", "d.x.reply": "[]",
		"e.f.reply": `{"Job":"x"}`, ".temp": "x", "noise": "", ".seen": "", "..seen": "",
	} {
		if err := os.MkdirAll(filepath.Join(b.dir, workDir, "old", "sub"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(b.dir, "g.job")); err != nil {
		t.Fatal(err)
	}
	b.open(nil)
	if len(b.replies) != 0 {
		t.Errorf("replies %v", b.replies)
	}
	if job, _ := b.send(shell("echo fine")); b.over(job).DocumentStatus != mgs.CommandSuccess {
		t.Error("commands are not run")
	}
	if _, err := os.Stat(filepath.Join(b.dir, workDir, "old")); err == nil {
		t.Error("the directory of an old command still exists")
	}
}

func TestStoreIsBounded(t *testing.T) {
	t.Parallel()
	s, _, _, err := openStore(filepath.Join(t.TempDir(), "c"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	first := mgs.NewUUID()
	load := s.keep(storedReply{Job: "aws.ssm.first.n", ID: first})
	if _, err := load(); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.bytes += maxReplyBytes // as if there were many
	s.mu.Unlock()
	s.keep(storedReply{Job: "aws.ssm.second.n", ID: mgs.NewUUID()})
	if _, err := load(); err == nil {
		t.Error("the oldest reply is kept although there are too many")
	}
	s.seen = nil
	for i := range maxSeen + 3 {
		s.seen = append(s.seen, "c"+strconv.Itoa(i))
	}
	if news, err := s.take("new", record{Job: "aws.ssm.new.n"}); !news || err != nil {
		t.Errorf("%t, %v", news, err)
	}
	if len(s.seen) != maxSeen || s.seen[maxSeen-1] != "new" {
		t.Errorf("%d commands are remembered", len(s.seen))
	}
}

// TestBackgroundProgramsDoNotDelayTheEnd: a background program that holds the
// script's output open neither delays the end of the command nor is ended.
func TestBackgroundProgramsDoNotDelayTheEnd(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.open(nil)
	pidFile := filepath.Join(t.TempDir(), "pid")
	job, _ := b.send(shell("sleep 1000 & echo $! > " + pidFile + "; echo done; exit 3"))
	if s := b.over(job).RuntimeStatus["run"]; s.StandardOutput != "done\n" || s.Code != 3 {
		t.Errorf("stdout %q, code %d", s.StandardOutput, s.Code)
	}
	text, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Errorf("the program in the background: %v", err)
	}
}
