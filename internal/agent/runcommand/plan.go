package runcommand

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/ssmdoc"
	"sekisho/internal/wire/mgs"
)

// Limits of a command.
const (
	maxSteps = 100
	// maxExpanded bounds the size of a document after substitution.
	maxExpanded = 1 << 20
)

// Plugins, by the names that steps use.
const (
	pluginShell    = "aws:runShellScript"
	pluginDownload = "aws:downloadContent"
)

// plan is a command that is ready to run.
type plan struct {
	steps []step
}

// step is one step of a plan.
type step struct {
	name   string // unique in the plan
	plugin string
	folder string // of its output in a bucket
	skip   string // why it is skipped, which is not a failure
	fail   string // why it fails without running

	script   *scriptInput   // of pluginShell
	download *downloadInput // of pluginDownload

	onFailure string // exit, successAndExit or another value
	onSuccess string // exit or another value
	last      bool   // runs even after a step has ended the document
}

// scriptInput is the input of aws:runShellScript. As with AWS's agent, the case of names does not
// matter.
type scriptInput struct {
	ID               string
	RunCommand       []string
	WorkingDirectory string
	TimeoutSeconds   any
	Environment      map[string]string
}

// timeout returns the script's timeout. Like AWS's agent, it ignores a value out of range.
func (in *scriptInput) timeout() time.Duration {
	const least, usual, most = 5, 3600, 172800
	n := 0.0
	switch v := in.TimeoutSeconds.(type) {
	case float64:
		n = v
	case string:
		if f, err := strconv.ParseFloat(strings.TrimSpace(v), 64); err == nil {
			n = f
		}
	}
	if !(n >= least && n <= most) { // written so that NaN fails
		n = usual
	}
	return time.Duration(int(n)) * time.Second
}

// content is a received command document.
type content struct {
	SchemaVersion string `json:"schemaVersion"`
	Parameters    map[string]struct {
		Default any `json:"default"`
	} `json:"parameters"`
	MainSteps []struct {
		Action       string              `json:"action"`
		Name         string              `json:"name"`
		Precondition map[string][]string `json:"precondition"`
		Inputs       any                 `json:"inputs"`
	} `json:"mainSteps"`
	RuntimeConfig map[string]struct {
		Properties any `json:"properties"`
	} `json:"runtimeConfig"`
}

var stepName = regexp.MustCompile(`^[A-Za-z0-9_.:-]{1,128}$`)

// refuse returns an error that tells the command's sender why a command or a step does not run.
func refuse(format string, args ...any) error {
	return sekisho.Errorf(sekisho.CodeInvalid, format, args...)
}

// newPlan parses a command.
func newPlan(c mgs.SendCommand) (*plan, error) {
	switch {
	case len(c.OutputS3BucketName) > 63 || len(c.OutputS3KeyPrefix) > 500:
		return nil, refuse("The bucket or the prefix for the command's output is longer than S3 allows.")
	case len(c.CloudWatchLogGroupName) > 512:
		return nil, refuse("The name of the log group for the command's output is longer than CloudWatch Logs allows.")
	}
	var doc content
	if t := bytes.TrimSpace(c.DocumentContent); len(t) == 0 || t[0] != '{' {
		return nil, refuse("The document is not a JSON object.")
	}
	if err := json.Unmarshal(c.DocumentContent, &doc); err != nil {
		return nil, refuse("The document is malformed: %w.", err)
	}
	v := newValues()
	for name, p := range doc.Parameters {
		v.Values[name] = p.Default
	}
	maps.Copy(v.Values, c.Parameters)
	p := new(plan)
	var err error
	switch doc.SchemaVersion {
	case "2.2", "2.0", "2.0.1", "2.0.2", "2.0.3":
		err = p.mainSteps(&doc, v)
	case "1.2", "1.0":
		err = p.runtimeConfig(&doc, v)
	default:
		err = refuse(
			"The document has the schemaVersion %.40q; this agent supports 2.2 and 1.2.",
			doc.SchemaVersion,
		)
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

func (p *plan) mainSteps(doc *content, v *values) error {
	if len(doc.MainSteps) == 0 {
		return refuse("The document has no mainSteps.")
	}
	if len(doc.MainSteps) > maxSteps {
		return refuse("The document has %d steps; the limit is %d.", len(doc.MainSteps), maxSteps)
	}
	for i := range doc.MainSteps {
		in := &doc.MainSteps[i]
		if !stepName.MatchString(in.Name) {
			return refuse("Step %d of the document has the invalid name %.100q.", i+1, in.Name)
		}
		if slices.ContainsFunc(p.steps, func(s step) bool { return s.name == in.Name }) {
			return refuse("Two steps of the document have the name %q.", in.Name)
		}
		s := step{name: in.Name, plugin: in.Action, folder: noColon(in.Name)}
		v.precondition(&s, in.Precondition, doc.SchemaVersion)
		if err := s.input(in.Inputs, v); err != nil {
			return err
		}
		if s.script != nil && s.name == s.plugin {
			s.folder = noColon(s.script.ID) // as in the old schema
		}
		p.steps = append(p.steps, s)
	}
	return nil
}

// runtimeConfig parses a document of the old schema, in which each plugin is a step.
func (p *plan) runtimeConfig(doc *content, v *values) error {
	if len(doc.RuntimeConfig) != 1 {
		return refuse("The document has %d plugins in runtimeConfig; this agent supports one.", len(doc.RuntimeConfig))
	}
	for plugin, config := range doc.RuntimeConfig {
		properties := config.Properties
		if list, ok := properties.([]any); ok {
			if len(list) != 1 {
				return refuse("The plugin %.100q has %d properties; this agent supports one.", plugin, len(list))
			}
			properties = list[0]
		}
		s := step{name: plugin, plugin: plugin}
		if err := s.input(properties, v); err != nil {
			return err
		}
		if s.script != nil {
			s.folder = noColon(s.script.ID)
		}
		p.steps = append(p.steps, s)
	}
	return nil
}

// noColon returns a name without colons, for keys in a bucket.
func noColon(s string) string { return strings.ReplaceAll(s, ":", "") }

// input parses the inputs of a step. A skipped step may have invalid inputs, because it may be for
// another platform.
func (s *step) input(raw any, v *values) error {
	if s.skip != "" || s.fail != "" {
		return nil
	}
	inputs, err := v.Tree(raw)
	if err != nil {
		return err
	}
	if m, ok := inputs.(map[string]any); ok {
		s.onFailure, s.onSuccess = word(m["onFailure"]), word(m["onSuccess"])
		s.last = word(m["finallyStep"]) == "true"
	}
	switch s.plugin {
	case pluginShell:
		s.script = new(scriptInput)
		err = remarshal(inputs, s.script)
	case pluginDownload:
		s.download, err = newDownload(inputs)
	default:
		s.fail = fmt.Sprintf(
			"Unknown plugin %.100q: this agent supports %s and %s.",
			s.plugin,
			pluginShell,
			pluginDownload,
		)
		return nil
	}
	if err != nil {
		return refuse("The inputs of the step %q are malformed: %w.", s.name, err)
	}
	return nil
}

func word(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	}
	return ""
}

// remarshal decodes a JSON value into out.
func remarshal(in, out any) error {
	b, err := json.Marshal(in)
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(b, []byte("{")) {
		return errors.New("they are not a JSON object")
	}
	return json.Unmarshal(b, out)
}

// values are the parameters of a command.
type values struct {
	ssmdoc.Substitution
	left int // bytes of text that can still be substituted
}

func newValues() *values {
	v := &values{left: maxExpanded}
	v.Values, v.Check = make(map[string]any), v.take
	return v
}

// take counts substituted text.
func (v *values) take(text string) error {
	if ref := ssmdoc.StoreReference(text); ref != "" {
		return refuse("The command refers to Parameter Store (%.100q), which this agent does not support.", ref)
	}
	if v.left -= len(text); v.left < 0 {
		return refuse("The command with its parameters is larger than %d bytes.", maxExpanded)
	}
	return nil
}

func asText(value any) (string, error) {
	if s, ok := value.(string); ok {
		return s, nil
	}
	b, err := json.Marshal(value)
	if err != nil {
		return "", refuse("A parameter is malformed: %w.", err)
	}
	return string(b), nil
}

// precondition decides whether a step runs: a step is skipped if its precondition does not hold,
// and fails if its precondition is unknown.
func (v *values) precondition(s *step, all map[string][]string, schema string) {
	if len(all) > 0 && schema != "2.2" {
		s.fail = "Preconditions require schemaVersion 2.2."
		return
	}
	for operator, args := range all {
		if operator != "StringEquals" {
			s.fail = fmt.Sprintf("Unknown precondition %.40q.", operator)
			continue
		}
		if len(args) != 2 {
			s.fail = "The precondition StringEquals requires two values."
			continue
		}
		holds, err := v.equal(args[0], args[1])
		if err != nil {
			s.fail = err.Error()
		} else if !holds {
			s.skip = fmt.Sprintf("Step execution skipped due to unsatisfied preconditions: '\"StringEquals\": [%.100s, "+
				"%.100s]'. Step name: %s", args[0], args[1], s.name)
		}
	}
	if s.skip != "" {
		s.fail = ""
	}
}

const platformType = "platformType"

func (v *values) equal(a, b string) (bool, error) {
	if b == platformType {
		a, b = b, a
	}
	if a == b {
		return false, refuse("The precondition compares a value with itself.")
	}
	if ssmdoc.StoreReference(a) != "" || ssmdoc.StoreReference(b) != "" {
		return false, refuse("The precondition refers to Parameter Store.")
	}
	if a == platformType {
		if ssmdoc.HasReference(b) {
			return false, refuse("The precondition on platformType cannot use a parameter.")
		}
		return strings.EqualFold(b, runtime.GOOS), nil
	}
	x, err := v.argument(a)
	if err != nil {
		return false, err
	}
	y, err := v.argument(b)
	if err != nil {
		return false, err
	}
	if x == a && y == b {
		return false, refuse("The precondition refers neither to platformType nor to a parameter.")
	}
	return x == y, nil
}

func (v *values) argument(s string) (string, error) {
	value, err := v.Text(s)
	if err != nil {
		return "", err
	}
	return asText(value)
}
