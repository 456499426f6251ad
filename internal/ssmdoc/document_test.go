package ssmdoc_test

import (
	"encoding/json"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sekisho"
	"sekisho/internal/ssmdoc"
)

func parse(t *testing.T, text string) *ssmdoc.Document {
	t.Helper()
	d, err := ssmdoc.Parse([]byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return d
}

// content is the document of a plan as an agent reads it.
type content struct {
	SchemaVersion string
	SessionType   string
	Inputs        map[string]any
	Parameters    map[string]struct {
		Type, AllowedPattern string
		Default              any
	}
	Properties map[string]any
}

func read(t *testing.T, p *ssmdoc.Plan) content {
	t.Helper()
	var c content
	if err := json.Unmarshal(p.Content, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func wantError(t *testing.T, err error, texts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; want one with %q", texts)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("error %q lacks %q", err, text)
		}
	}
	if sekisho.CodeOf(err) != sekisho.CodeInvalid {
		t.Errorf("code %q of %v", sekisho.CodeOf(err), err)
	}
}

const shell = `{"schemaVersion":"1.0","sessionType":"Standard_Stream","inputs":{%}}`

// inputs returns a shell document with these inputs.
func inputs(text string) string { return strings.Replace(shell, "%", text, 1) }

// command returns a document that runs linux.commands with these parameters.
func command(commands, parameters string) string {
	c, err := json.Marshal(commands)
	if err != nil {
		panic(err)
	}
	return `{"schemaVersion":"1.0","sessionType":"InteractiveCommands","parameters":{` + parameters +
		`},"properties":{"linux":{"commands":` + string(
		c,
	) + `}}}`
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	port := func(properties string) string {
		return `{"schemaVersion":"1.0","sessionType":"Port","properties":` + properties + `}`
	}
	for _, c := range []struct{ name, text, want string }{
		{"not JSON", `{"schemaVersion":`, "not valid JSON"},
		{"empty", ``, "ends too early"},
		{"a list", `[]`, "must be an object"},
		{"two documents", `{} {}`, "not valid JSON"},
		{"a name twice", `{"schemaVersion":"1.0","schemaVersion":"1.0"}`, `"schemaVersion" appears twice`},
		{"not UTF-8", "{\"description\":\"\xff\"}", "not UTF-8"},
		{"too deep", strings.Repeat(`{"a":`, 40) + `1` + strings.Repeat(`}`, 40), "nested deeper"},
		{"too large", inputs(`"s3KeyPrefix":"` + strings.Repeat("a", ssmdoc.MaxSize) + `"`), "bytes"},
		{"schema 2.2", `{"schemaVersion":"2.2","sessionType":"Port","mainSteps":[]}`, ""},
		{"no session type", `{"schemaVersion":"1.0"}`, "sessionType"},
		{"unknown session type", `{"schemaVersion":"1.0","sessionType":"standard_stream"}`, `did you mean "Standard_Stream"`},
		{"unknown member", `{"schemaVersion":"1.0","sessionType":"Standard_Stream","input":{}}`, `did you mean "inputs"`},
		{"unknown input", inputs(`"idleSesionTimeout":"5"`), `did you mean "idleSessionTimeout"`},
		{"idle too long", inputs(`"idleSessionTimeout":"61"`), "from 1 to 60"},
		{"idle zero", inputs(`"idleSessionTimeout":"0"`), "from 1 to 60"},
		{"duration too long", inputs(`"maxSessionDuration":"1441"`), "from 1 to 1440"},
		{"bucket is a path", inputs(`"s3BucketName":"../x"`), "name of a bucket"},
		{"prefix climbs", inputs(`"s3KeyPrefix":"a/../b"`), ". or .."},
		{"run as root", inputs(`"runAsDefaultUser":"root"`), "do not run as root"},
		{"run as a command", inputs(`"runAsDefaultUser":"a;reboot"`), "name of an OS user"},
		{"run as an option", inputs(`"runAsDefaultUser":"-s"`), "name of an OS user"},
		{"run as an invalid value", inputs(`"runAsEnabled":"yes"`), "true or false"},
		{"profile for an unknown system", inputs(`"shellProfile":{"plan9":"x"}`), "plan9"},
		{"profile with NUL", inputs(`"shellProfile":{"linux":"a\u0000b"}`), "NUL"},
		{"reason pattern", inputs(`"sekisho":{"reasonPattern":"("}`), "reasonPattern cannot be used"},
		{"look-ahead", inputs(`"sekisho":{"reasonPattern":"(?!a)"}`), "RE2"},
		{"unknown preference", inputs(`"sekisho":{"reasonRequire":true}`), `did you mean "reasonRequired"`},
		{"preference of a request",
			`{"schemaVersion":"1.0","sessionType":"Standard_Stream","parameters":{"x":{"type":"String"}},` +
				`"inputs":{"sekisho":{"banner":"{{ x }}"}}}`, "inputs.sekisho.banner"},
		{"banner with escapes", inputs(`"sekisho":{"banner":"a\u001b[2J"}`), "control characters"},
		{"limit zero", inputs(`"sekisho":{"maxConcurrentSessions":{"perOwner":0}}`), "from 1 to 10000"},
		{"recording days zero", inputs(`"sekisho":{"recordingDays":0}`), "from 1 to 36500"},
		{"limit per user", inputs(`"sekisho":{"maxConcurrentSessions":{"perUser":1}}`), "perUser"},
		{"prompt with an invalid value", inputs(`"sekisho":{"friendlyPrompt":"maybe"}`), "friendlyPrompt"},
		{"recorded and encrypted", inputs(`"kmsKeyId":"alias/a","sekisho":{"requireServerRecording":true}`), "kmsKeyId"},
		{"Parameter Store", inputs(`"shellProfile":{"linux":"{{ ssm:secret }}"}`), "Parameter Store"},
		{"reference to an unknown parameter", command("echo {{ file }}", `"fil":{"type":"String"}`), `did you mean "fil"`},
		{"parameter with a hyphen", command("id", `"a-b":{"type":"String"}`), "letters and digits"},
		{"parameter of another type", command("id", `"a":{"type":"Boolean"}`), "String, StringList"},
		{"parameter with unknown rule", command("id", `"a":{"type":"String","allowedPatern":"x"}`),
			`did you mean "allowedPattern"`},
		{"pattern", command("id", `"a":{"type":"String","allowedPattern":"a)(b"}`), "allowedPattern cannot be used"},
		{"default against pattern", command("id", `"a":{"type":"String","allowedPattern":"[0-9]+","default":"x"}`),
			"must match the pattern"},
		{"default against values", command("id", `"a":{"type":"String","allowedValues":["x"],"default":"y"}`),
			"must be one of x"},
		{"default of the wrong type", command("id", `"a":{"type":"String","default":["x"]}`), "parameters.a.default must be"},
		{"bounds in the wrong order", command("id", `"a":{"type":"String","minChars":3,"maxChars":"2"}`), "larger than"},
		{"items of a text", command("id", `"a":{"type":"String","minItems":1}`), "StringList"},
		{"display", command("id", `"a":{"type":"String","displayType":"radio"}`), "textarea"},
		{"no commands", command(" ", ``), "must not be empty"},
		{"no platform", `{"schemaVersion":"1.0","sessionType":"InteractiveCommands","properties":{}}`,
			"linux, windows or macos"},
		{"no properties", `{"schemaVersion":"1.0","sessionType":"InteractiveCommands"}`, "properties must be an object"},
		{"elevated in quotes", `{"schemaVersion":"1.0","sessionType":"InteractiveCommands",` +
			`"properties":{"linux":{"commands":"id","runAsElevated":"true"}}}`, "without quotes"},
		{"streams of a terminal",
			`{"schemaVersion":"1.0","sessionType":"InteractiveCommands","properties":{"linux":{"commands":"id",` +
				`"separateOutputStream":true}}}`, "separateOutputStream"},
		{"properties of a shell", `{"schemaVersion":"1.0","sessionType":"Standard_Stream","properties":{"linux":{}}}`,
			"must be absent"},
		{"port 0", port(`{"portNumber":"0"}`), "1 to 65535"},
		{"port 65536", port(`{"portNumber":"65536"}`), "1 to 65535"},
		{"port as a number", port(`{"portNumber":80}`), "properties.portNumber must be"},
		{"no port", port(`{"type":"LocalPortForwarding"}`), "portNumber"},
		{"host with a space", port(`{"portNumber":"80","host":"a b"}`), "host name"},
		{"socket is relative", port(`{"socket":"run/x"}`), "absolute path"},
		{"forwarding with the wrong type", port(`{"portNumber":"80","type":"RemotePortForwarding"}`), "LocalPortForwarding"},
		{"quoted in double quotes", command(`echo "{{ a }}"`, `"a":{"type":"String","sekisho":{"quote":"shell"}}`),
			"between quotes"},
		{"quoted in single quotes", command(`echo '{{ a }}'`, `"a":{"type":"String","sekisho":{"quote":"shell"}}`),
			"between quotes"},
		{"quoted behind a backslash", command(`echo \{{ a }}`, `"a":{"type":"String","sekisho":{"quote":"shell"}}`),
			"backslash"},
		{"quoted behind a dollar", command(`echo ${{ a }}`, `"a":{"type":"String","sekisho":{"quote":"shell"}}`), "behind $"},
		{"quoted in a comment", command("id # {{ a }}", `"a":{"type":"String","sekisho":{"quote":"shell"}}`), "comment"},
		{"quoted in a here document", command("cat <<E\n{{ a }}\nE", `"a":{"type":"String","sekisho":{"quote":"shell"}}`),
			"<<"},
		{"quoted in arithmetic", command("echo $((1 + {{ a }}))", `"a":{"type":"String","sekisho":{"quote":"shell"}}`), "(("},
		{"quoted for eval", command("eval {{ a }}", `"a":{"type":"String","sekisho":{"quote":"shell"}}`), "eval"},
		{"quoted for PowerShell",
			`{"schemaVersion":"1.0","sessionType":"InteractiveCommands","parameters":{"a":{"type":"String",` +
				`"sekisho":{"quote":"shell"}}},"properties":{"windows":{"commands":"dir {{ a }}"}}}`,
			"linux.commands and macos.commands"},
		{"quoted in inputs", `{"schemaVersion":"1.0","sessionType":"Standard_Stream","parameters":{"a":{"type":"String",` +
			`"sekisho":{"quote":"shell"}}},"inputs":{"shellProfile":{"linux":"cd {{ a }}"}}}`,
			"linux.commands and macos.commands"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := ssmdoc.Parse([]byte(c.text))
			wantError(t, err, c.want)
			if got := errors.Is(err, ssmdoc.ErrSchemaVersion); got != (c.name == "schema 2.2") {
				t.Errorf("ErrSchemaVersion: %t for %v", got, err)
			}
		})
	}
}

func TestParseListsManyFaults(t *testing.T) {
	t.Parallel()
	var members []string
	for n := range strings.SplitSeq("abcdefghijklmn", "") {
		members = append(members, `"`+n+`":1`)
	}
	_, err := ssmdoc.Parse([]byte(inputs(strings.Join(members, ","))))
	wantError(t, err, `"a"`, `"b"`, "and 6 more")
}

// A value next to other text of a command is an argument, and cannot start
// another command, unless the author of the document allows it.
func TestValuesCannotInjectCommands(t *testing.T) {
	t.Parallel()
	attacks := []string{
		"x; id", "x & id", "x | id", "x > /etc/passwd", "x < /etc/shadow", "$(id)", "`id`", "${HOME}", "x' id '", `x" id "`,
		`x\`, "* ", "?", "[a]", "x # ",
		"x\nid",
	}
	type doc struct{ name, text string }
	for _, d := range []doc{
		{"a command", command("echo {{ v }} done", `"v":{"type":"String"}`)},
		{"a value in quotes", command("echo '{{ v }}'", `"v":{"type":"String"}`)},
		{"twice", command("{{ v }}{{ v }}", `"v":{"type":"String"}`)},
		{"a list", command("echo {{ v }} done", `"v":{"type":"StringList"}`)},
		{"a profile", `{"schemaVersion":"1.0","sessionType":"Standard_Stream","parameters":{"v":{"type":"String"}},` +
			`"inputs":{"shellProfile":{"linux":"cd {{ v }}"}}}`},
	} {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			doc := parse(t, d.text)
			for _, v := range attacks {
				_, err := doc.Plan(nil, ssmdoc.SessionRequest{Parameters: map[string][]string{"v": {v}}})
				wantError(t, err, `"v" has a value with`)
			}
			for _, v := range []string{"plain", "two words", "-l --all=yes", "/var/log/x_1.log", "a@b:c,d%e+f", "東京", "~"} {
				if _, err := doc.Plan(nil, ssmdoc.SessionRequest{Parameters: map[string][]string{"v": {v}}}); err != nil {
					t.Errorf("%q: %v", v, err)
				}
			}
		})
	}
	for _, d := range []doc{
		{"the whole command", command(" {{ v }} ", `"v":{"type":"String"}`)},
		{"allowed by a pattern", command("sh -c {{ v }}", `"v":{"type":"String","allowedPattern":".*"}`)},
		{"one of a list", command("sh -c {{ v }}", `"v":{"type":"String","allowedValues":["x; id"]}`)},
		{"the author's own default", command("sh -c {{ v }}", `"v":{"type":"String","default":"x; id"}`)},
		{"quoted", command("echo {{ v }}", `"v":{"type":"String","sekisho":{"quote":"shell"}}`)},
	} {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			req := ssmdoc.SessionRequest{Parameters: map[string][]string{"v": {"x; id"}}}
			if strings.HasPrefix(d.name, "the author") {
				req.Parameters = nil
			}
			if _, err := parse(t, d.text).Plan(nil, req); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestParametersRefused(t *testing.T) {
	t.Parallel()
	d := parse(t, command("run {{ n }} {{ mode }} {{ list }} {{ free }}", `
		"n":{"type":"String","allowedPattern":"[0-9]+|(?m)^ok$","maxChars":4},
		"mode":{"type":"String","allowedValues":["fast","slow"],"default":"fast"},
		"list":{"type":"StringList","minItems":1,"maxItems":"2","minChars":2,"default":["aa"]},
		"free":{"type":"String","default":""}`))
	for _, c := range []struct {
		name   string
		params map[string][]string
		want   []string
	}{
		{"missing", nil, []string{`parameter "n"`}},
		{"unknown", map[string][]string{"n": {"1"}, "fre": {"1"}}, []string{`no parameter "fre"`, `did you mean "free"`}},
		{"pattern", map[string][]string{"n": {"1; id"}}, []string{`"n" must match the pattern [0-9]+`}},
		{"one line of many matches", map[string][]string{"n": {"ok\nid"}}, []string{`"n" must match`}},
		{"a break at the end", map[string][]string{"n": {"1\n"}}, []string{`"n" must match`}},
		{"too long", map[string][]string{"n": {"12345"}}, []string{`"n" must have at most 4 characters`}},
		{"two values", map[string][]string{"n": {"1", "2"}}, []string{`"n" requires one value, not 2`}},
		{"no value", map[string][]string{"n": {}}, []string{`"n" requires one value, not 0`}},
		{"not listed", map[string][]string{"n": {"1"}, "mode": {"FAST"}}, []string{`"mode" must be one of fast, slow`}},
		{"too few items", map[string][]string{"n": {"1"}, "list": {}}, []string{`"list" must have at least 1 values`}},
		{"too many items", map[string][]string{"n": {"1"}, "list": {"aa", "bb", "cc"}},
			[]string{`"list" must have at most 2 values`}},
		{"short item", map[string][]string{"n": {"1"}, "list": {"aa", "b"}},
			[]string{`"list" must have at least 2 characters`}},
		{"line break", map[string][]string{"n": {"1"}, "free": {"a\nid"}}, []string{`"free" has a value with a line break`}},
		{"carriage return", map[string][]string{"n": {"1"}, "free": {"a\rid"}},
			[]string{`"free" has a value with a line break`}},
		{"escape", map[string][]string{"n": {"1"}, "free": {"\x1b]0;x\a"}},
			[]string{`"free" has a value with a line break or another control character`}},
		{"line separator", map[string][]string{"n": {"1"}, "free": {"a\u2028b"}}, []string{`"free" has a value`}},
		{"NUL", map[string][]string{"n": {"1"}, "free": {"a\x00"}}, []string{`"free" has a value with a NUL`}},
		{"not UTF-8", map[string][]string{"n": {"1"}, "free": {"\xff"}}, []string{`"free" has a value that is not UTF-8`}},
		{"enormous", map[string][]string{"n": {"1"}, "free": {strings.Repeat("a", 40<<10)}},
			[]string{`"free" has a value of`}},
		{"too large in total", map[string][]string{"n": {"1"},
			"list": {strings.Repeat("a", 30<<10), strings.Repeat("a", 30<<10)},
			"free": {strings.Repeat("a", 30<<10)}}, []string{"65536"}},
		{"Parameter Store", map[string][]string{"n": {"1"}, "free": {"{{ ssm:secret }}"}}, []string{"Parameter Store"}},
		{"Parameter Store in pieces", map[string][]string{"n": {"1"}, "list": {"{{ssm:x", "}}"}},
			[]string{"Parameter Store"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := d.Plan(nil, ssmdoc.SessionRequest{Parameters: c.params})
			wantError(t, err, c.want...)
			if !errors.Is(err, ssmdoc.ErrParameters) {
				t.Errorf("%v is not ErrParameters", err)
			}
		})
	}
	none := parse(t, inputs(""))
	_, err := none.Plan(nil, ssmdoc.SessionRequest{Parameters: map[string][]string{"x": {"1"}}})
	wantError(t, err, "has no parameters", `"x"`)
}

// Agents substitute the values; the server says which.
func TestParametersForAgents(t *testing.T) {
	t.Parallel()
	d := parse(t, command("run {{ a }} {{ b }} {{ c }}", `
		"a":{"type":"String","allowedPattern":"[\\s\\S]+"},"b":{"type":"StringList","default":["x","y"]},"c":{"type":"String","default":"d"}`))
	p, err := d.Plan(nil, ssmdoc.SessionRequest{Parameters: map[string][]string{"a": {"{{ c }}\nok"}}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]any{"a": "{{ c }}\nok", "b": []string{"x", "y"}, "c": "d"}, p.Parameters); diff != "" {
		t.Error(diff)
	}
	c := read(t, p)
	if got := c.Properties["linux"].(map[string]any)["commands"]; got != "run {{ a }} {{ b }} {{ c }}" {
		t.Errorf("commands %q; agents fill them in themselves", got)
	}
	if c.Parameters["a"].AllowedPattern != `[\s\S]+` || c.Parameters["c"].Default != "d" ||
		c.Parameters["b"].Type != "StringList" {
		t.Errorf("definitions %+v", c.Parameters)
	}
}

// A value is substituted in the inputs once: a value with a reference is
// refused, because agents would substitute it.
func TestInputsWithParameters(t *testing.T) {
	t.Parallel()
	d := parse(t, `{"schemaVersion":"1.0","sessionType":"Standard_Stream",
		"parameters":{"user":{"type":"String"},"idle":{"type":"String","default":"7"},"dir":{"type":"String","default":"/"}},
		"inputs":{"runAsEnabled":true,"runAsDefaultUser":"{{ user }}","idleSessionTimeout":"{{ idle }}","shellProfile":{"linux":"cd {{ dir }}"}}}`)
	p, err := d.Plan(nil, ssmdoc.SessionRequest{Parameters: map[string][]string{"user": {"alice"}}})
	if err != nil {
		t.Fatal(err)
	}
	c := read(t, p)
	if p.RunAsUser != "alice" || c.Inputs["runAsDefaultUser"] != "alice" || p.IdleTimeout != 7*time.Minute ||
		c.Inputs["shellProfile"].(map[string]any)["linux"] != "cd /" {
		t.Errorf("%+v %s", p, p.Content)
	}
	for _, params := range []map[string][]string{
		{"user": {"root"}}, {"user": {"a b"}}, {"user": {"a"}, "idle": {"0"}}, {"user": {"a"}, "idle": {"61"}},
		{"user": {"a"}, "dir": {"{{ user }}"}}, {"user": {"a"}, "dir": {"{{ssm:x}}"}},
	} {
		_, err := d.Plan(nil, ssmdoc.SessionRequest{Parameters: params})
		if !errors.Is(err, ssmdoc.ErrParameters) {
			t.Errorf("%v: %v", params, err)
		}
	}
}

// A parameter that the document quotes is one word, whatever it contains. A
// real shell confirms it.
func TestQuotedParameter(t *testing.T) {
	t.Parallel()
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no sh here")
	}
	d := parse(
		t,
		command(
			"printf '[%s]' --name={{ a }} {{ a }} end",
			`"a":{"type":"String","allowedPattern":"[^\\x00]*","sekisho":{"quote":"shell"}}`,
		),
	)
	for _, hostile := range []string{
		"", "plain", "a b", "'; id; '", `'"$(id)"'`, "`id`", "$(id)", "${HOME}", `\`, `'\''`, "*", "~", "a\nb; id", "{{ a }}",
		"-rf", "#", `"`, "$'\\x27'", "!!",
	} {
		p, err := d.Plan(nil, ssmdoc.SessionRequest{Parameters: map[string][]string{"a": {hostile}}})
		if err != nil {
			t.Errorf("%q: %v", hostile, err)
			continue
		}
		c := read(t, p)
		if c.Parameters["a"].AllowedPattern != "" {
			t.Error("the agent would hold the quoted value against the pattern")
		}
		line := strings.ReplaceAll(
			c.Properties["linux"].(map[string]any)["commands"].(string),
			"{{ a }}",
			p.Parameters["a"].(string),
		)
		if strings.Contains(hostile, "{{") { // the stand-in for an agent substitutes once, like agents
			continue
		}
		out, err := exec.CommandContext(t.Context(), sh, "-c", line).CombinedOutput()
		if want := "[--name=" + hostile + "][" + hostile + "][end]"; err != nil || string(out) != want {
			t.Errorf("%q became %q (%v), want %q", hostile, out, err, want)
		}
	}
}

func TestPreferences(t *testing.T) {
	t.Parallel()
	account := parse(
		t,
		inputs(
			`"s3BucketName":"logs-bucket","s3EncryptionEnabled":true,"kmsKeyId":"alias/k","idleSessionTimeout":"5",`+
				`"maxSessionDuration":60,
		"runAsEnabled":"True","runAsDefaultUser":"ops","shellProfile":{"linux":"date"},
		"sekisho":{"banner":"Behave.","reasonRequired":true,"maxConcurrentSessions":{"perOwner":2,"perNode":9},"recordInput":false,
		"recordForwards":true,"recordingDays":30}`,
		),
	)
	if err := account.CheckPreferences(); err != nil {
		t.Fatal(err)
	}
	req := ssmdoc.SessionRequest{Reason: "r", Node: "mi-1", Person: true}
	plan := func(d *ssmdoc.Document) *ssmdoc.Plan {
		t.Helper()
		p, err := d.Plan(account, req)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}

	own := plan(account)
	if own.IdleTimeout != 5*time.Minute || own.MaxDuration != time.Hour || own.RunAsUser != "ops" || !own.Encrypted ||
		own.MaxPerOwner != 2 || own.MaxPerNode != 9 || !own.OmitInput ||
		!own.RecordForwards || own.RecordingDays != 30 {
		t.Errorf("%+v", own)
	}
	in := read(t, own).Inputs
	want := map[string]any{
		"s3BucketName": "logs-bucket", "s3KeyPrefix": "", "s3EncryptionEnabled": true, "cloudWatchLogGroupName": "",
		"cloudWatchEncryptionEnabled": false, "cloudWatchStreamingEnabled": false, "kmsKeyId": "alias/k",
		"runAsEnabled": true, "runAsDefaultUser": "ops", "idleSessionTimeout": "5", "maxSessionDuration": "60",
		"shellProfile": map[string]any{"linux": "date", "windows": ""},
		"sekisho":      map[string]any{"loginShell": true, "prompt": "mi-1", "banner": "Behave."},
	}
	if diff := cmp.Diff(want, in); diff != "" {
		t.Error(diff)
	}

	// Another shell document has its own inputs. It replaces only those of the
	// account's preferences that it sets.
	other := plan(
		parse(t, inputs(`"idleSessionTimeout":"30","sekisho":{"banner":"","maxConcurrentSessions":{"perOwner":1}}`)),
	)
	if other.IdleTimeout != 30*time.Minute || other.MaxDuration != 0 || other.RunAsUser != "" || other.Encrypted ||
		other.MaxPerOwner != 1 ||
		other.MaxPerNode != 0 ||
		!other.OmitInput {
		t.Errorf("%+v", other)
	}
	if in := read(t, other).Inputs; in["s3BucketName"] != "" || in["sekisho"].(map[string]any)["banner"] != "" {
		t.Errorf("%v", in)
	}
	_, err := parse(t, inputs(``)).Plan(account, ssmdoc.SessionRequest{})
	wantError(t, err, "A reason is required")
	_, err = parse(t, inputs(`"sekisho":{"reasonRequired":false}`)).Plan(account, ssmdoc.SessionRequest{})
	if err != nil {
		t.Errorf("a document that asks for no reason: %v", err)
	}

	// Documents without inputs use those of the account.
	cmd := plan(parse(t, command("id", "")))
	if in := read(t, cmd).Inputs; cmd.RunAsUser != "ops" || in["s3BucketName"] != "logs-bucket" ||
		in["sekisho"].(map[string]any)["loginShell"] != false {
		t.Errorf("%+v %v", cmd, in)
	}

	// Port sessions use its timeouts and limits only.
	port := plan(ssmdoc.FindBuiltin("AWS-StartSSHSession").Document)
	if in := read(t, port).Inputs; port.Encrypted || port.RunAsUser != "" || in["s3BucketName"] != "" ||
		in["runAsEnabled"] != false ||
		in["sekisho"].(map[string]any)["banner"] != "" {
		t.Errorf("%+v %v", port, in)
	}
	socket, err := ssmdoc.FindBuiltin("Sekisho-StartPortForwardingSessionToSocket").
		Plan(account, ssmdoc.SessionRequest{Reason: "r", Parameters: map[string][]string{"socket": {"/run/docker.sock"}}})
	if err != nil || socket.RunAsUser != "ops" || socket.Encrypted ||
		socket.Parameters["socket"] != "/run/docker.sock" {
		t.Errorf("%+v %v", socket, err)
	}
	if port.IdleTimeout != 5*time.Minute || port.MaxDuration != time.Hour || port.MaxPerOwner != 2 {
		t.Errorf("%+v", port)
	}

	// A document cannot ask for encryption if the account requires recording.
	_, err = parse(
		t,
		inputs(`"kmsKeyId":"alias/k"`),
	).Plan(parse(t, inputs(`"sekisho":{"requireServerRecording":true}`)), ssmdoc.SessionRequest{})
	wantError(t, err, "requireServerRecording")
}

func TestUnsaved(t *testing.T) {
	t.Parallel()
	p, err := ssmdoc.Unsaved().Plan(nil, ssmdoc.SessionRequest{Node: "mi-1"})
	if err != nil {
		t.Fatal(err)
	}
	if p.SessionType != ssmdoc.StandardStream || p.IdleTimeout != 20*time.Minute || p.MaxDuration != 0 ||
		p.RunAsUser != "" ||
		p.MaxPerOwner != 0 {
		t.Errorf("%+v", p)
	}
	if c := read(t, p); c.SchemaVersion != "1.0" || c.Inputs["runAsEnabled"] != false {
		t.Errorf("%+v", c)
	}
}

func TestRunAs(t *testing.T) {
	t.Parallel()
	on := parse(t, inputs(`"runAsEnabled":true,"runAsDefaultUser":"ops"`))
	bare := parse(t, inputs(`"runAsEnabled":true`))
	off := parse(t, inputs(`"runAsEnabled":false,"runAsDefaultUser":"ops"`))
	for _, c := range []struct {
		d         *ssmdoc.Document
		tag, want string
		err       string
	}{
		{on, "", "ops", ""},
		{on, "alice", "alice", ""},
		{bare, "alice", "alice", ""},
		{off, "alice", "", ""},
		{bare, "", "", "has no tag SSMSessionRunAs, and the session preferences have no runAsDefaultUser"},
		{on, "root", "", "the tag SSMSessionRunAs of the IAM principal is root"},
		{on, "a;id", "", `is "a;id"`},
		{on, "../x", "", `is "../x"`},
		{on, "0", "", `is "0"`},
		{on, " ", "", `is " "`},
		{on, "a\nb", "", "name of an OS user"},
	} {
		p, err := c.d.Plan(nil, ssmdoc.SessionRequest{RunAs: c.tag})
		if c.err != "" {
			wantError(t, err, c.err)
		} else if err != nil || p.RunAsUser != c.want {
			t.Errorf("tag %q: %+v, %v", c.tag, p, err)
		}
	}
}

func TestReason(t *testing.T) {
	t.Parallel()
	d := parse(t, inputs(`"sekisho":{"reasonRequired":true,"reasonPattern":"^TICKET-[0-9]+$|(?i)none"}`))
	for reason, ok := range map[string]bool{
		"TICKET-1": true, "NONE": true, "": false, "TICKET-": false, "TICKET-1 and more": false, "x TICKET-1": false,
		"TICKET-1\nx": false,
	} {
		_, err := d.Plan(nil, ssmdoc.SessionRequest{Reason: reason})
		if (err == nil) != ok {
			t.Errorf("reason %q: %v", reason, err)
		}
	}
	free := parse(t, inputs(`"sekisho":{"reasonPattern":"T-[0-9]+"}`))
	if _, err := free.Plan(nil, ssmdoc.SessionRequest{}); err != nil {
		t.Errorf("no reason where none is required: %v", err)
	}
	_, err := free.Plan(nil, ssmdoc.SessionRequest{Reason: "because"})
	wantError(t, err, "T-[0-9]+")
}

func TestPrompt(t *testing.T) {
	t.Parallel()
	auto, on, off := inputs(
		"",
	), inputs(
		`"sekisho":{"friendlyPrompt":true,"loginShell":false,"promptTag":"Role"}`,
	), inputs(
		`"sekisho":{"friendlyPrompt":false,"loginShell":true}`,
	)
	host := map[string]string{"Role": "db"}
	for _, c := range []struct {
		doc    string
		req    ssmdoc.SessionRequest
		prompt string
		login  bool
	}{
		{auto, ssmdoc.SessionRequest{Person: true, NodeName: "MyEC2Instance", NodeTags: host, Node: "mi-1"},
			"MyEC2Instance", true},
		{auto, ssmdoc.SessionRequest{NodeTags: host, Node: "mi-1"}, "", false},
		{on, ssmdoc.SessionRequest{NodeTags: host, Node: "mi-1"}, "db", false},
		{off, ssmdoc.SessionRequest{Person: true, NodeTags: host, Node: "mi-1"}, "", true},
		{auto, ssmdoc.SessionRequest{Person: true, NodeName: "web-1", Node: "mi-1"}, "web-1", true},
		{auto, ssmdoc.SessionRequest{Person: true, NodeName: "私のサーバー", Node: "mi-1"}, "mi-1", true},
		{auto, ssmdoc.SessionRequest{Person: true, NodeName: "a\x1b[31m", Node: "mi-1"}, "mi-1", true},
		{auto, ssmdoc.SessionRequest{Person: true, NodeName: "two words", Node: "mi-1"}, "mi-1", true},
	} {
		p, err := parse(t, c.doc).Plan(nil, c.req)
		if err != nil {
			t.Fatal(err)
		}
		got := read(t, p).Inputs["sekisho"].(map[string]any)
		if got["prompt"] != c.prompt || got["loginShell"] != c.login {
			t.Errorf("%+v: %v, want %q %t", c.req, got, c.prompt, c.login)
		}
	}
}

func TestBuiltins(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, sessionType string
		params            map[string][]string
		want              map[string]any
	}{
		{"AWS-StartSSHSession", ssmdoc.Port, nil, map[string]any{"portNumber": "22"}},
		{"AWS-StartPortForwardingSession", ssmdoc.Port, map[string][]string{"localPortNumber": {"8080"}},
			map[string]any{"portNumber": "80", "localPortNumber": "8080"}},
		{"AWS-StartPortForwardingSessionToRemoteHost", ssmdoc.Port,
			map[string][]string{"host": {"db.internal"}, "portNumber": {"5432"}},
			map[string]any{"portNumber": "5432", "localPortNumber": "0", "host": "db.internal"}},
		{"AWS-StartPortForwardingSessionToSocket", ssmdoc.Port, map[string][]string{"localUnixSocket": {"/tmp/a b"}},
			map[string]any{"portNumber": "80", "host": "localhost", "localUnixSocket": "/tmp/a b"}},
		{"AWS-StartInteractiveCommand", ssmdoc.InteractiveCommands, map[string][]string{"command": {"ls -l | head;\nid"}},
			map[string]any{"command": "ls -l | head;\nid"}},
		{"AWS-StartNonInteractiveCommand", ssmdoc.NonInteractiveCommands,
			map[string][]string{"command": {"id"}, "separateOutputStream": {"true"}},
			map[string]any{"command": "id", "separateOutputStream": "true", "stdOutSeparatorPrefix": "",
				"stdErrSeparatorPrefix": ""}},
		{"AWS-PasswordReset", ssmdoc.InteractiveCommands, map[string][]string{"user": {"alice"}},
			map[string]any{"user": "alice"}},
	} {
		b := ssmdoc.FindBuiltin(c.name)
		if b == nil {
			t.Errorf("no %s", c.name)
			continue
		}
		p, err := b.Plan(nil, ssmdoc.SessionRequest{Parameters: c.params})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if diff := cmp.Diff(c.want, p.Parameters); p.SessionType != c.sessionType || diff != "" {
			t.Errorf("%s: %s %s", c.name, p.SessionType, diff)
		}
		if !ssmdoc.Reserved(c.name) || b.Owner() != "Amazon" {
			t.Errorf("%s is owned by %s", c.name, b.Owner())
		}
	}
	for name, params := range map[string]map[string][]string{
		"AWS-StartSSHSession":                        {"portNumber": {"22; id"}},
		"AWS-StartPortForwardingSession":             {"portNumber": {"65536"}},
		"AWS-StartPortForwardingSessionToRemoteHost": {"host": {"a b"}},
		"AWS-StartPortForwardingSessionToSocket":     {"localUnixSocket": {"/tmp/a\nb"}},
		"AWS-StartInteractiveCommand":                {},
		"AWS-StartNonInteractiveCommand":             {"command": {"id"}, "separateOutputStream": {"yes"}},
		"AWS-PasswordReset":                          {"user": {"a; id"}},
	} {
		if _, err := ssmdoc.FindBuiltin(name).Plan(nil, ssmdoc.SessionRequest{Parameters: params}); !errors.Is(
			err,
			ssmdoc.ErrParameters,
		) {
			t.Errorf("%s with %v: %v", name, params, err)
		}
	}
	if ssmdoc.FindBuiltin(ssmdoc.Default) != nil || ssmdoc.FindBuiltin("AWS-Nope") != nil {
		t.Error("documents that should not be there")
	}
}

func TestCheckPreferences(t *testing.T) {
	t.Parallel()
	wantError(t, parse(t, command("id", "")).CheckPreferences(), "sessionType must be Standard_Stream")
	wantError(
		t,
		parse(t, `{"schemaVersion":"1.0","sessionType":"Standard_Stream"}`).CheckPreferences(),
		"must have inputs",
	)
	wantError(
		t,
		parse(
			t,
			`{"schemaVersion":"1.0","sessionType":"Standard_Stream","parameters":{"a":{"type":"String"}},"inputs":{}}`,
		).CheckPreferences(),
		`"a" must have a default`,
	)
}

func TestPlatforms(t *testing.T) {
	t.Parallel()
	if got := parse(t, command("id", "")).Platforms(); !cmp.Equal(got, []string{"Linux"}) {
		t.Errorf("%v", got)
	}
	if got := parse(t, inputs("")).Platforms(); len(got) != 3 {
		t.Errorf("%v", got)
	}
}

// FuzzParse: a document that is accepted can be planned or is refused with an
// error, and the document that an agent receives is valid.
func FuzzParse(f *testing.F) {
	for _, b := range ssmdoc.Builtins() {
		f.Add(b.Content, "command", "id")
	}
	f.Add(
		inputs(`"runAsEnabled":true,"idleSessionTimeout":"5","sekisho":{"maxConcurrentSessions":{"perNode":1}}`),
		"",
		"",
	)
	f.Add(
		command("echo {{ a }}", `"a":{"type":"StringList","default":["{{a}}"],"sekisho":{"quote":"shell"}}`),
		"a",
		"{{ a }}",
	)
	f.Fuzz(func(t *testing.T, text, name, value string) {
		d, err := ssmdoc.Parse([]byte(text))
		if err != nil {
			return
		}
		p, err := d.Plan(
			d,
			ssmdoc.SessionRequest{Parameters: map[string][]string{name: {value}}, Reason: value, Node: "mi-1"},
		)
		if err != nil {
			if sekisho.CodeOf(err) != sekisho.CodeInvalid {
				t.Fatalf("%v", err)
			}
			return
		}
		if !json.Valid(p.Content) {
			t.Fatalf("not JSON: %s", p.Content)
		}
		if p.IdleTimeout <= 0 || p.IdleTimeout > time.Hour || p.MaxDuration > 24*time.Hour || p.RunAsUser == "root" {
			t.Fatalf("%+v", p)
		}
		for _, v := range p.Parameters {
			if s, ok := v.(string); ok && strings.ContainsRune(s, 0) {
				t.Fatalf("NUL reached the agent: %q", s)
			}
		}
	})
}
