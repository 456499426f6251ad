package ssmdoc

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/safetext"
)

// Types of documents.
const (
	TypeSession = "Session"
	TypeCommand = "Command"
	// TypeAutoApproval is a policy for just-in-time access, in Cedar. Its text is
	// not parsed here: see package autoapproval.
	TypeAutoApproval = "AutoApprovalPolicy"
)

// CommandSchemaVersion is the schema version of command documents.
const CommandSchemaVersion = "2.2"

// Actions of a command's steps.
const (
	RunShellScript      = "aws:runShellScript"
	RunPowerShellScript = "aws:runPowerShellScript"
	DownloadContent     = "aws:downloadContent"
)

var actions = []string{RunShellScript, RunPowerShellScript, DownloadContent}

// Step is one step of a command document.
type Step struct {
	Name   string
	Action string

	inputs   *object
	platform string // of its precondition; "" without one
}

// Limits of command documents.
const (
	maxSteps = 50
	// defaultStepTimeout is the agents' timeout for a step without one.
	defaultStepTimeout = 3600
	maxStepTimeout     = 172800
	// leastTimeout is the shortest timeout: agents ignore a shorter one, and wait for an hour.
	leastTimeout = 5
)

// stepName matches step names, which agents use as file names and in their reports.
var stepName = regexp.MustCompile(`^[a-zA-Z0-9_:.\-]{1,128}$`)

// ParseCommand parses and checks a document of type Command in JSON. The error lists the problems
// and their places.
func ParseCommand(text []byte) (*Document, error) {
	c := checker{command: true}
	return c.parse(text, c.commandDocument)
}

func (c *checker) commandDocument(root *object) *Document {
	d := &Document{Type: TypeCommand}
	d.SchemaVersion, _ = c.text("schemaVersion", root, "schemaVersion")
	if d.SchemaVersion != CommandSchemaVersion && len(c.problems) == 0 {
		c.cause = ErrSchemaVersion
		c.failf(
			"schemaVersion",
			"is %q: documents of type Command must have schema version %q",
			safetext.Clip(d.SchemaVersion, maxQuoted),
			CommandSchemaVersion,
		)
		return d
	}
	c.known("", root, "schemaVersion", "description", "parameters", "mainSteps")
	d.Description, _ = c.text("description", root, "description")
	d.Parameters = c.parameters(root)
	list, _ := root.values["mainSteps"].([]any)
	if len(list) == 0 || len(list) > maxSteps {
		c.failf("mainSteps", "must be a list of 1 to %d steps", maxSteps)
		return d
	}
	names := map[string]bool{}
	for i, v := range list {
		where := fmt.Sprintf("mainSteps[%d]", i)
		o, ok := v.(*object)
		if !ok {
			c.failf(where, "must be an object")
			continue
		}
		s := c.step(where, o)
		if names[s.Name] {
			c.failf(where+".name", "is %q, the name of another step", safetext.Clip(s.Name, maxQuoted))
		}
		names[s.Name] = true
		d.Steps = append(d.Steps, s)
	}
	if len(c.problems) > 0 {
		return d
	}
	for i, s := range d.Steps {
		where := fmt.Sprintf("mainSteps[%d].inputs", i)
		c.referencesIn(d, where, s.inputs)
		c.stepInputs(where, s, s.inputs, c.isTemplate)
	}
	return d
}

func (c *checker) step(where string, o *object) *Step {
	c.known(where, o, "action", "name", "inputs", "precondition")
	s := &Step{}
	s.Action, _ = c.text(where+".action", o, "action")
	c.oneOf(where+".action", s.Action, actions...)
	s.Name, _ = c.text(where+".name", o, "name")
	if !stepName.MatchString(s.Name) {
		c.failf(where+".name", "must have 1 to 128 characters: letters, digits, and _ : . -")
	}
	var ok bool
	if s.inputs, ok = o.values["inputs"].(*object); !ok {
		c.failf(where+".inputs", "must be an object")
	}
	if v, ok := o.get("precondition"); ok {
		s.platform = c.precondition(where+".precondition", v)
	}
	return s
}

var platforms = []string{"Windows", "Linux", "MacOS"}

// precondition parses the only supported precondition: the platform of a step.
func (c *checker) precondition(where string, v any) string {
	o, ok := v.(*object)
	if ok {
		c.known(where, o, "StringEquals")
		if list, isList := o.values["StringEquals"].([]any); isList && len(list) == 2 {
			for i, p := range list {
				name, _ := p.(string)
				if other := list[1-i]; contains(platforms, name) && other == "platformType" {
					return name
				}
			}
		}
	}
	c.failf(where, `must be {"StringEquals": ["platformType", PLATFORM]}, where PLATFORM is Linux, MacOS or Windows`)
	return ""
}

// stepInputs checks the inputs of a step. later reports whether a text can only be checked when the
// command is sent.
func (c *checker) stepInputs(where string, s *Step, o *object, later func(string) bool) {
	text := func(name string, required bool) {
		v, ok := o.get(name)
		if t, isText := v.(string); ok && !isText || required && t == "" {
			c.failf(where+"."+name, "must be a string")
		}
	}
	c.modifiers(where, o)
	if s.Action == DownloadContent {
		c.known(where, o, append([]string{"sourceType", "sourceInfo", "destinationPath"}, modifiers...)...)
		text("sourceType", true)
		text("destinationPath", false)
		switch v := o.values["sourceInfo"].(type) {
		case *object:
		case string:
			if later(v) {
				break
			}
			if _, err := decode([]byte(v)); err != nil {
				c.failf(where+".sourceInfo", "must be a JSON object: %v", err)
			}
		default:
			c.failf(where+".sourceInfo", "must be an object, or a string with the JSON of an object")
		}
		return
	}
	c.known(where, o, append([]string{"id", "runCommand", "workingDirectory", "timeoutSeconds"}, modifiers...)...)
	text("id", false)
	text("workingDirectory", false)
	switch v := o.values["runCommand"].(type) {
	case []any:
		c.texts(where+".runCommand", v)
	case []string:
	case string:
		if !later(v) {
			c.failf(where+".runCommand", "must be a list of lines")
		}
	default:
		c.failf(where+".runCommand", "must be a list of lines")
	}
	c.stepTimeout(where, o, later)
}

// modifiers are inputs of every step that control the next steps.
var modifiers = []string{"onFailure", "onSuccess", "finallyStep"}

func (c *checker) modifiers(where string, o *object) {
	if v, ok := o.get("onFailure"); ok && v != "exit" && v != "successAndExit" {
		c.failf(where+".onFailure", "must be exit or successAndExit")
	}
	if v, ok := o.get("onSuccess"); ok && v != "exit" {
		c.failf(where+".onSuccess", "must be exit")
	}
	if v, ok := o.get("finallyStep"); ok && v != true && v != false && v != "true" && v != "false" {
		c.failf(where+".finallyStep", "must be true or false")
	}
}

// stepTimeout parses the time in seconds after which a step is stopped.
func (c *checker) stepTimeout(where string, o *object, later func(string) bool) int {
	v, ok := o.get("timeoutSeconds")
	text, _ := v.(string)
	if n, isNumber := v.(json.Number); isNumber {
		text = n.String()
	}
	if !ok || v == "" || text != "" && later(text) {
		return defaultStepTimeout
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxStepTimeout {
		c.failf(where+".timeoutSeconds", "must be a number of seconds from 1 to %d", maxStepTimeout)
		return defaultStepTimeout
	}
	return n
}

// platforms returns the operating systems on which a step does something.
func (s *Step) platforms() []string {
	switch {
	case s.platform != "":
		return []string{s.platform}
	case s.Action == RunShellScript:
		return []string{"Linux", "MacOS"}
	}
	return platforms
}

// commandPlatforms returns the operating systems of the steps that run something.
func (d *Document) commandPlatforms() []string {
	var some []string
	for _, p := range platforms {
		for _, s := range d.Steps {
			if s.Action != DownloadContent && contains(s.platforms(), p) && !contains(some, p) {
				some = append(some, p)
			}
		}
	}
	if len(some) == 0 {
		return platforms
	}
	return some
}

// CommandPlan is a command that is ready to run.
type CommandPlan struct {
	// Content and Parameters are for the agent.
	Content    json.RawMessage
	Parameters map[string]any
	// Timeout bounds the time of all steps together.
	Timeout time.Duration
	Steps   []*Step
}

// Command checks a request's parameters against the document and builds the command.
func (d *Document) Command(given map[string][]string) (*CommandPlan, error) {
	if d.Type != TypeCommand {
		return nil, sekisho.Errorf(
			sekisho.CodeInvalid,
			"The document is of type %s: it starts sessions and cannot be sent as a command.",
			d.Type,
		)
	}
	bound, err := d.bind(given)
	if err != nil {
		return nil, err
	}
	var c checker
	p := &CommandPlan{Parameters: bound, Steps: d.Steps}
	for name, v := range bound {
		walkValue(v, func(text string) {
			// Agents also resolve references within the values.
			if StoreReference(text) != "" {
				c.failf("the parameter "+name, "names a parameter of Parameter Store, which Sekisho does not have")
			}
		})
	}
	inputs := make([]*object, len(d.Steps))
	for i, s := range d.Steps {
		where := fmt.Sprintf("mainSteps[%d].inputs", i)
		filled, err := bound.intoObject(s.inputs)
		if err != nil {
			return nil, err
		}
		c.stepInputs(where, s, filled, never)
		inputs[i] = s.inputs
		n := c.stepTimeout(where, filled, never)
		if n < leastTimeout {
			n = leastTimeout
			inputs[i] = s.inputs.with("timeoutSeconds", strconv.Itoa(n))
		}
		p.Timeout += time.Duration(n) * time.Second
	}
	if err := c.withParameters(); err != nil {
		return nil, err
	}
	p.Content, err = d.commandContent(inputs)
	return p, err
}

func walkValue(v any, f func(text string)) {
	switch v := v.(type) {
	case string:
		f(v)
	case []string:
		for _, s := range v {
			f(s)
		}
	case *object, []any:
		walk("", v, func(_, text string) { f(text) })
	}
}

// commandContent returns the document for agents, which substitute the parameters themselves.
// inputs are those of its steps.
func (d *Document) commandContent(inputs []*object) (json.RawMessage, error) {
	type step struct {
		Action       string              `json:"action"`
		Name         string              `json:"name"`
		Inputs       *object             `json:"inputs"`
		Precondition map[string][]string `json:"precondition,omitempty"`
	}
	out := struct {
		SchemaVersion string                     `json:"schemaVersion"`
		Description   string                     `json:"description"`
		Parameters    map[string]*agentParameter `json:"parameters"`
		MainSteps     []step                     `json:"mainSteps"`
	}{d.SchemaVersion, d.Description, map[string]*agentParameter{}, nil}
	for _, p := range d.Parameters {
		out.Parameters[p.Name] = p.forAgent()
	}
	for i, s := range d.Steps {
		to := step{Action: s.Action, Name: s.Name, Inputs: inputs[i]}
		if s.platform != "" {
			to.Precondition = map[string][]string{"StringEquals": {"platformType", s.platform}}
		}
		out.MainSteps = append(out.MainSteps, to)
	}
	b, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("document: %w", err)
	}
	return b, nil
}

// stringMap parses a value of type StringMap: an object of strings.
func stringMap(text string) (*object, error) {
	if strings.TrimSpace(text) == "" {
		text = "{}"
	}
	return decode([]byte(text))
}
