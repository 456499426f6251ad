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

// Bounds of a command.
const (
	maxSteps = 100
	// maxExpanded bounds the text that parameters may grow a document to.
	maxExpanded = 1 << 20
)

// Plugins, by the names that steps use.
const (
	pluginShell    = "aws:runShellScript"
	pluginDownload = "aws:downloadContent"
)

// plan is a command, ready to be run.
type plan struct {
	steps []step
}

// step is one step of a plan.
type step struct {
	name   string // unique in the plan
	plugin string
	folder string // of its output in a bucket
	skip   string // why it is not run, which is no fault
	fail   string // why it cannot be run

	script   *scriptInput   // of pluginShell
	download *downloadInput // of pluginDownload

	onFailure string // exit, successAndExit or something else
	onSuccess string // exit or something else
	last      bool   // runs even after a step that ended the document
}

// scriptInput is what aws:runShellScript is given. Names are read whatever
// their case, as AWS's agent does.
type scriptInput struct {
	ID               string
	RunCommand       []string
	WorkingDirectory string
	TimeoutSeconds   any
	Environment      map[string]string
}

// timeout is how long the script may run. Like AWS's agent, it takes no
// notice of a value that is out of bounds.
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
	if !(n >= least && n <= most) { // not a number is neither
		n = usual
	}
	return time.Duration(int(n)) * time.Second
}

// content is a command document as it comes.
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

// refuse says why a command or a step is not run, to who sent it.
func refuse(format string, args ...any) error {
	return sekisho.Errorf(sekisho.CodeInvalid, format, args...)
}

// newPlan reads what a command is to do.
func newPlan(c mgs.SendCommand) (*plan, error) {
	switch {
	case len(c.OutputS3BucketName) > 63 || len(c.OutputS3KeyPrefix) > 500:
		return nil, refuse("The bucket and the prefix for the command's output are longer than those of S3.")
	case len(c.CloudWatchLogGroupName) > 512:
		return nil, refuse("The log group for the command's output has a name longer than those of CloudWatch Logs.")
	}
	var doc content
	if t := bytes.TrimSpace(c.DocumentContent); len(t) == 0 || t[0] != '{' {
		return nil, refuse("The document is not a JSON object.")
	}
	if err := json.Unmarshal(c.DocumentContent, &doc); err != nil {
		return nil, refuse("The document cannot be read: %w.", err)
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
			"The document has the schemaVersion %.40q; this agent runs commands of 2.2 and 1.2.",
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
		return refuse("The document has %d steps; this agent runs up to %d.", len(doc.MainSteps), maxSteps)
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
			s.folder = noColon(s.script.ID) // as in the older schema
		}
		p.steps = append(p.steps, s)
	}
	return nil
}

// runtimeConfig reads a document of the older schema, whose plugins are their
// own steps.
func (p *plan) runtimeConfig(doc *content, v *values) error {
	if len(doc.RuntimeConfig) != 1 {
		return refuse("The document has %d plugins in runtimeConfig; this agent runs one.", len(doc.RuntimeConfig))
	}
	for plugin, config := range doc.RuntimeConfig {
		properties := config.Properties
		if list, ok := properties.([]any); ok {
			if len(list) != 1 {
				return refuse("The plugin %.100q has %d properties; this agent runs one.", plugin, len(list))
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

// noColon is how a name is written in the keys of a bucket.
func noColon(s string) string { return strings.ReplaceAll(s, ":", "") }

// input reads the inputs of a step. A step that is not run needs none that
// can be read: it may be another platform's.
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
			"This agent does not know the plugin %.100q; it runs %s and %s.",
			s.plugin,
			pluginShell,
			pluginDownload,
		)
		return nil
	}
	if err != nil {
		return refuse("The inputs of the step %q cannot be read: %w.", s.name, err)
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

// remarshal reads what is JSON already into out.
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
	left int // bytes of text that may still be put in
}

func newValues() *values {
	v := &values{left: maxExpanded}
	v.Values, v.Check = make(map[string]any), v.take
	return v
}

// take counts text that goes into the document.
func (v *values) take(text string) error {
	if ref := ssmdoc.StoreReference(text); ref != "" {
		return refuse("The command refers to Parameter Store (%.100q), which this agent does not read.", ref)
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
		return "", refuse("A parameter cannot be read: %w.", err)
	}
	return string(b), nil
}

// precondition decides whether a step is run: a step whose precondition does
// not hold is skipped, and one whose precondition is not understood fails.
func (v *values) precondition(s *step, all map[string][]string, schema string) {
	if len(all) > 0 && schema != "2.2" {
		s.fail = "Preconditions need a document of schemaVersion 2.2."
		return
	}
	for operator, args := range all {
		if operator != "StringEquals" {
			s.fail = fmt.Sprintf("The precondition %.40q is not known.", operator)
			continue
		}
		if len(args) != 2 {
			s.fail = "The precondition StringEquals takes two values."
			continue
		}
		holds, err := v.equal(args[0], args[1])
		if err != nil {
			s.fail = err.Error()
		} else if !holds {
			s.skip = fmt.Sprintf("Step execution skipped due to unsatisfied preconditions: '\"StringEquals\": [%.100s, %.100s]'. Step name: %s", args[0], args[1], s.name)
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
			return false, refuse("The precondition on platformType takes no parameter.")
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
