package ssmdoc_test

import (
	"encoding/json"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sekisho/internal/ssmdoc"
)

// commandDoc returns a command document whose only step has inputs, and whose
// parameters are params.
func commandDoc(params, inputs string) string {
	return `{"schemaVersion":"2.2","parameters":` + params +
		`,"mainSteps":[{"action":"aws:runShellScript","name":"run","inputs":` + inputs + `}]}`
}

func TestCommandBuiltins(t *testing.T) {
	t.Parallel()
	shell := ssmdoc.FindBuiltin("AWS-RunShellScript")
	if shell.Type != ssmdoc.TypeCommand || shell.Owner() != "Amazon" {
		t.Fatalf("%+v", shell)
	}
	if diff := cmp.Diff([]string{"Linux", "MacOS"}, shell.Platforms()); diff != "" {
		t.Error(diff)
	}
	p, err := shell.Command(map[string][]string{"commands": {"echo 'a\nb'", "id"}, "executionTimeout": {"60"}})
	if err != nil {
		t.Fatal(err)
	}
	if p.Timeout != time.Minute {
		t.Errorf("timeout %s", p.Timeout)
	}
	want := map[string]any{"commands": []string{"echo 'a\nb'", "id"}, "executionTimeout": "60", "workingDirectory": ""}
	if diff := cmp.Diff(want, p.Parameters); diff != "" {
		t.Error(diff)
	}
	// Agents accept no less than five seconds.
	p, err = shell.Command(map[string][]string{"commands": {"id"}, "executionTimeout": {"1"}})
	if err != nil || p.Timeout != 5*time.Second || !strings.Contains(string(p.Content), `"timeoutSeconds":"5"`) {
		t.Errorf("%s %s, %v", p.Timeout, p.Content, err)
	}
	remote := ssmdoc.FindBuiltin("AWS-RunRemoteScript")
	p, err = remote.Command(
		map[string][]string{"sourceType": {"S3"}, "sourceInfo": {`{"path":"https://h/b/k"}`}, "commandLine": {"k"}},
	)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(p.Parameters)
	if err != nil || !strings.Contains(string(b), `"sourceInfo":{"path":"https://h/b/k"}`) {
		t.Errorf("%s, %v", b, err)
	}
	if p.Timeout != 2*time.Hour || len(p.Steps) != 2 || p.Steps[1].Name != "runShellScript" {
		t.Errorf("%+v", p)
	}
	var content struct {
		MainSteps []struct {
			Action, Name string
			Precondition map[string][]string
		}
		Parameters map[string]struct{ Default any }
	}
	if err := json.Unmarshal(p.Content, &content); err != nil {
		t.Fatal(err)
	}
	if len(content.MainSteps) != 2 || content.MainSteps[1].Precondition["StringEquals"][1] != "Linux" ||
		content.Parameters["executionTimeout"].Default != "3600" {
		t.Errorf("%s", p.Content)
	}
	if !cmp.Equal(remote.Platforms(), []string{"Linux"}) {
		t.Errorf("%v", remote.Platforms())
	}
}

func TestCommandParameters(t *testing.T) {
	t.Parallel()
	d, err := ssmdoc.ParseCommand(
		[]byte(
			commandDoc(
				`{"who":{"type":"String","displayType":"textarea"},"note":{"type":"String","displayType":"textarea",`+
					`"default":""},"wait":{"type":"String","default":"5"},"more":{"type":"StringMap","default":{}}}`,
				`{"runCommand":["echo {{ who }}"," {{note}} "],"timeoutSeconds":"{{ wait }}"}`,
			),
		),
	)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		given map[string][]string
		want  string // "" = valid
	}{
		"fits":                     {map[string][]string{"who": {"you, -n"}, "note": {"a; $(b)\nc"}}, ""},
		"another command":          {map[string][]string{"who": {"a; reboot"}}, `has a value with ';'`},
		"a map":                    {map[string][]string{"who": {"you"}, "more": {`{"a":1}`}}, ""},
		"a text in place of a map": {map[string][]string{"who": {"you"}, "more": {`[1]`}}, "JSON object"},
		"missing":                  {nil, `parameter "who"`},
		"unknown":                  {map[string][]string{"who": {"you"}, "whoo": {"me"}}, `did you mean "who"?`},
		"two values":               {map[string][]string{"who": {"a", "b"}}, "not 2"},
		"a second line":            {map[string][]string{"who": {"a\nrm -rf /"}}, "line break"},
		"not a number":             {map[string][]string{"who": {"a"}, "wait": {"soon"}}, "must be a number of seconds"},
		"too long":                 {map[string][]string{"who": {"a"}, "wait": {"172801"}}, "must be a number of seconds"},
		"Parameter Store":          {map[string][]string{"who": {"{{ssm:secret}}"}}, "Parameter Store"},
	} {
		_, err := d.Command(c.given)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !errors.Is(err, ssmdoc.ErrParameters)):
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	session, err := ssmdoc.Parse([]byte(`{"schemaVersion":"1.0","sessionType":"Standard_Stream"}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := session.Command(nil); err == nil {
		t.Error("a session's document was sent as a command")
	}
}

func TestCommandDocumentsRefused(t *testing.T) {
	t.Parallel()
	run := `{"runCommand":["id"]}`
	for name, c := range map[string]struct{ text, want string }{
		"JSON":           {`{`, "not valid JSON"},
		"schema":         {`{"schemaVersion":"1.2","mainSteps":[]}`, `have schema version "2.2"`},
		"no steps":       {`{"schemaVersion":"2.2"}`, "must be a list of 1 to 50 steps"},
		"a step of text": {`{"schemaVersion":"2.2","mainSteps":["a"]}`, "must be an object"},
		"action": {`{"schemaVersion":"2.2","mainSteps":[{"action":"aws:runDocker","name":"a","inputs":{}}]}`,
			"must be one of aws:runShellScript"},
		"name": {`{"schemaVersion":"2.2","mainSteps":[{"action":"aws:runShellScript","name":"../a","inputs":` +
			run + `}]}`, "must have 1 to 128"},
		"two of one name": {`{"schemaVersion":"2.2","mainSteps":[{"action":"aws:runShellScript","name":"a","inputs":` +
			run + `},{"action":"aws:runShellScript","name":"a","inputs":` + run + `}]}`, "mainSteps[1].name is"},
		"no inputs": {`{"schemaVersion":"2.2","mainSteps":[{"action":"aws:runShellScript","name":"a"}]}`,
			"inputs must be an object"},
		"unknown member of a step": {`{"schemaVersion":"2.2","mainSteps":[{"action":"aws:runShellScript","name":"a",` +
			`"inputs":` +
			run + `,"isEnd":true}]}`, `"isEnd"`},
		"precondition": {`{"schemaVersion":"2.2","mainSteps":[{"action":"aws:runShellScript","name":"a","inputs":` +
			run + `,"precondition":{"StringEquals":["platformType","Linx"]}}]}`, "where PLATFORM is"},
		"input":              {commandDoc(`{}`, `{"runComand":["id"]}`), `did you mean "runCommand"?`},
		"a script as a text": {commandDoc(`{}`, `{"runCommand":"id"}`), "must be a list of lines"},
		"a line as a number": {commandDoc(`{}`, `{"runCommand":[1]}`), "must be a string"},
		"timeout":            {commandDoc(`{}`, `{"runCommand":["id"],"timeoutSeconds":"0"}`), "must be a number of seconds"},
		"modifier":           {commandDoc(`{}`, `{"runCommand":["id"],"onFailure":"shrug"}`), "must be exit"},
		"reference": {commandDoc(`{"name":{"type":"String"}}`, `{"runCommand":["{{ nmae }}"]}`),
			`did you mean "name"?`},
		"Parameter Store": {commandDoc(`{}`, `{"runCommand":["{{ssm:a}}"]}`), "Parameter Store"},
		"quoting": {commandDoc(`{"a":{"type":"String","sekisho":{"quote":"shell"}}}`, run),
			"parameters.a.sekisho is"},
		"type": {commandDoc(`{"a":{"type":"Float"}}`, run), "must be one of String, StringList, Integer"},
		"integer default": {commandDoc(`{"a":{"type":"Integer","default":true}}`, run),
			"does not fit the parameter's type"},
		"boolean default":  {commandDoc(`{"a":{"type":"Boolean","default":"maybe"}}`, run), "true or false"},
		"map list default": {commandDoc(`{"a":{"type":"MapList","default":["x"]}}`, run), "JSON objects"},
		"allowed value": {commandDoc(`{"a":{"type":"Integer","default":3,"allowedValues":[1,2]}}`, run),
			"must be one of 1, 2"},
		"default": {commandDoc(`{"a":{"type":"StringMap","default":"{}"}}`, run),
			"does not fit the parameter's type"},
		"source": {`{"schemaVersion":"2.2","mainSteps":[{"action":"aws:downloadContent","name":"a",` +
			`"inputs":{"sourceType":"S3","sourceInfo":"nope"}}]}`, "must be a JSON object"},
		"size": {commandDoc(`{}`, `{"runCommand":["`+strings.Repeat("a", ssmdoc.MaxSize)+`"]}`), "65536"},
	} {
		_, err := ssmdoc.ParseCommand([]byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestTypedCommandParameters(t *testing.T) {
	t.Parallel()
	d, err := ssmdoc.ParseCommand([]byte(commandDoc(`{
		"count":{"type":"Integer","default":3,"allowedValues":[3,"4",50]},
		"force":{"type":"Boolean","default":false},
		"disks":{"type":"MapList","default":[{"name":"a"}],"maxItems":2},
		"wait":{"type":"Integer"}}`,
		`{"runCommand":["echo {{ count }} {{force}}"],"timeoutSeconds":"{{ wait }}"}`)))
	if err != nil {
		t.Fatal(err)
	}
	p, err := d.Command(map[string][]string{"wait": {"60"}})
	if err != nil || p.Timeout != time.Minute {
		t.Fatalf("%+v, %v", p, err)
	}
	got, err := json.Marshal(p.Parameters)
	if diff := cmp.Diff(`{"count":3,"disks":[{"name":"a"}],"force":false,"wait":60}`, string(got)); err != nil ||
		diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	p, err = d.Command(
		map[string][]string{
			"wait":  {"60"},
			"count": {"50"},
			"force": {"true"},
			"disks": {`{"name":"a"}`, `{"name":"b"}`},
		},
	)
	if err != nil {
		t.Fatal(err)
	}
	got, err = json.Marshal(p.Parameters)
	if diff := cmp.Diff(`{"count":50,"disks":[{"name":"a"},{"name":"b"}],"force":true,"wait":60}`,
		string(got)); err != nil ||
		diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	for name, bad := range map[string]map[string][]string{
		"fraction":             {"count": {"3.5"}},
		"value not allowed":    {"count": {"5"}},
		"two integers":         {"count": {"3", "4"}},
		"text for a boolean":   {"force": {"yes"}},
		"text for a map list":  {"disks": {"a"}},
		"number in a map list": {"disks": {"[1]"}},
		"list among values":    {"disks": {"[]", "{}"}},
		"too many values":      {"disks": {"{}", "{}", "{}"}},
		"integer too large":    {"wait": {"99999999999999999999"}},
	} {
		given := map[string][]string{"wait": {"60"}}
		for k, v := range bad {
			given[k] = v
		}
		if _, err := d.Command(given); !errors.Is(err, ssmdoc.ErrParameters) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPatternSizeIsBounded: short patterns whose counts expand to millions of
// instructions are refused before they are compiled.
func TestPatternSizeIsBounded(t *testing.T) { // not in parallel: it measures memory
	document := func(patterns ...string) []byte {
		params := map[string]any{}
		for i, p := range patterns {
			params["p"+string(rune('a'+i))] = map[string]any{"type": "String", "allowedPattern": p}
		}
		b, err := json.Marshal(params)
		if err != nil {
			t.Fatal(err)
		}
		return []byte(commandDoc(string(b), `{"runCommand":["id"]}`))
	}
	large := strings.Repeat("(x{30}){30}", 1400)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := ssmdoc.ParseCommand(document(large)); err == nil {
		t.Error("a pattern of a million instructions was accepted")
	}
	runtime.ReadMemStats(&after)
	if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 32<<20 {
		t.Errorf("refusing a pattern allocated %d bytes", allocated)
	}
	for name, patterns := range map[string][]string{
		"one pattern": {strings.Repeat("(a{30}){30}", 12)},
		"many patterns": {strings.Repeat("(a{30}){30}", 9), strings.Repeat("(b{30}){30}", 9),
			strings.Repeat("(c{30}){30}", 9)},
		"classes of Unicode": {`[\p{L}\p{N}]{1000}`},
	} {
		if _, err := ssmdoc.ParseCommand(document(patterns...)); err == nil ||
			!strings.Contains(err.Error(), "allowedPattern is too large") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ssmdoc.ParseCommand(document(`^[\w.@:+/-]{1,1000}$`,
		`^([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3})$`)); err != nil {
		t.Errorf("usual patterns: %v", err)
	}
}

func FuzzParseCommand(f *testing.F) {
	for _, b := range ssmdoc.Builtins() {
		f.Add([]byte(b.Content))
	}
	f.Add(
		[]byte(
			commandDoc(
				`{"a":{"type":"StringMap","default":{"b":["c"]}}}`,
				`{"runCommand":["{{ a }}"],"timeoutSeconds":1}`,
			),
		),
	)
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := ssmdoc.ParseCommand(text)
		if err != nil {
			return
		}
		given := map[string][]string{}
		for _, p := range d.Parameters {
			given[p.Name] = []string{"1"}
		}
		p, err := d.Command(given)
		if err == nil && !json.Valid(p.Content) {
			t.Errorf("%s", p.Content)
		}
	})
}
