package ssmdoc

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"sekisho"
	"sekisho/internal/safetext"
	"sekisho/internal/shellquote"
)

// RunAsTag is the tag of an IAM principal with its OS user.
const RunAsTag = "SSMSessionRunAs"

// SessionRequest is a request for a session, with the attributes of its principal and of
// the node.
type SessionRequest struct {
	Parameters map[string][]string
	Reason     string
	RunAs      string // the principal's tag RunAsTag; "" without one
	// Person means that the request is from an interactive program, not automation.
	Person   bool
	Node     sekisho.NodeID
	NodeName string // the display name
	NodeTags map[string]string
}

// Plan is a session that is ready to run.
type Plan struct {
	SessionType string
	// Content, Parameters and RunAsUser are for the agent.
	Content     json.RawMessage
	Parameters  map[string]any
	RunAsUser   string
	IdleTimeout time.Duration
	MaxDuration time.Duration // 0 = none
	MaxPerOwner int           // 0 = no limit
	MaxPerNode  int           // 0 = no limit
	OmitInput   bool          // keep input out of the recording
	// RecordForwards keeps the bytes of forwarded connections in the recording.
	RecordForwards bool
	// DisableCopy and DisablePaste are for the console's terminal.
	DisableCopy, DisablePaste bool
	RecordingDays             int // to keep the recording; 0 = as long as the server does
	// EndWhenDenied ends the session when policy would no longer allow starting it.
	EndWhenDenied bool
	// Encrypted means that agent and client encrypt the session's data, so that the server cannot
	// record it.
	Encrypted bool
}

// CheckPreferences returns an error if d cannot contain the account's preferences, which are used
// without a request's parameters.
func (d *Document) CheckPreferences() error {
	if d.SessionType != StandardStream {
		return sekisho.Errorf(
			sekisho.CodeInvalid,
			"The document %s contains the account's preferences: its sessionType must be %s.",
			Default,
			StandardStream,
		)
	}
	if d.inputs == nil {
		return sekisho.Errorf(
			sekisho.CodeInvalid,
			"The document %s contains the account's preferences: it must have inputs.",
			Default,
		)
	}
	for _, p := range d.Parameters {
		if !p.HasDefault {
			return sekisho.Errorf(
				sekisho.CodeInvalid,
				"The document %s contains the account's preferences: its parameter %q must have a default.",
				Default,
				p.Name,
			)
		}
	}
	return nil
}

// hasSocket reports whether a Port session connects to a Unix socket on the node.
func (d *Document) hasSocket() bool {
	o, ok := d.properties.(*object)
	if !ok {
		return false
	}
	_, ok = o.get("socket")
	return ok
}

func never(string) bool { return false }

// Plan checks a request against the document and builds the session. account is the document with
// the account's preferences, nil if none have been saved. They apply if the document itself has no
// inputs. Each preference in inputs.sekisho applies unless the document overrides it, so that a
// document cannot drop a restriction by omitting it.
func (d *Document) Plan(account *Document, req SessionRequest) (*Plan, error) {
	bound, err := d.bind(req.Parameters)
	if err != nil {
		return nil, err
	}
	for _, p := range d.Parameters {
		if p.quote {
			bound[p.Name] = shellquote.Quote(bound[p.Name].(string))
		}
	}
	if err := d.checkFilledIn(bound); err != nil {
		return nil, err
	}
	s, err := d.settings(account, bound)
	if err != nil {
		return nil, err
	}
	if err := s.Extensions.checkReason(req.Reason); err != nil {
		return nil, err
	}
	p := &Plan{
		SessionType: d.SessionType, Parameters: bound,
		IdleTimeout: s.IdleTimeout, MaxDuration: s.MaxDuration, MaxPerOwner: s.Extensions.MaxPerOwner,
		MaxPerNode: s.Extensions.MaxPerNode,
		OmitInput:  s.Extensions.OmitInput, RecordForwards: s.Extensions.RecordForwards,
		RecordingDays: s.Extensions.RecordingDays, EndWhenDenied: s.Extensions.EndWhenDenied,
		DisableCopy: s.Extensions.DisableCopy, DisablePaste: s.Extensions.DisablePaste,
	}
	if p.IdleTimeout == 0 {
		p.IdleTimeout = defaultIdle
	}
	if d.SessionType == Port {
		// Port sessions are neither logged nor encrypted. No process runs as a user, but a socket
		// checks the connecting user.
		s.RunAsEnabled = s.RunAsEnabled && d.hasSocket()
		s = Settings{
			IdleTimeout:      s.IdleTimeout,
			MaxDuration:      s.MaxDuration,
			RunAsEnabled:     s.RunAsEnabled,
			RunAsDefaultUser: s.RunAsDefaultUser,
		}
	}
	if p.RunAsUser, err = s.runAs(req.RunAs); err != nil {
		return nil, err
	}
	p.Encrypted = s.KMSKeyID != ""
	p.Content, err = d.content(&s, req)
	return p, err
}

// checkFilledIn checks the properties after substitution.
func (d *Document) checkFilledIn(bound values) error {
	var c checker
	filled, err := bound.into(d.properties)
	if err != nil {
		return err
	}
	walk("properties", filled, func(where, text string) {
		// Agents resolve these after they have substituted the values.
		if StoreReference(text) != "" {
			c.failf(where, "names a parameter of Parameter Store, which Sekisho does not have")
		}
	})
	c.properties(d, filled, never)
	return c.withParameters()
}

func (c *checker) withParameters() error {
	err := c.err()
	if e, ok := errors.AsType[*sekisho.Error](err); ok {
		e.Err = ErrParameters
		e.Message = "With these parameters the session cannot be started: " + e.Message
	}
	return err
}

// settings returns the preferences of a session with d.
func (d *Document) settings(account *Document, bound values) (Settings, error) {
	var own, others *object
	if d.inputs != nil {
		var err error
		if own, err = bound.intoObject(d.inputs.tree); err != nil {
			return Settings{}, err
		}
	}
	if account != nil && account.inputs != nil {
		defaults, err := account.bind(nil)
		if err != nil {
			return Settings{}, err
		}
		if others, err = defaults.intoObject(account.inputs.tree); err != nil {
			return Settings{}, err
		}
	}
	tree := own
	if tree == nil {
		tree = others
	}
	if tree == nil {
		return Settings{}, nil
	}
	var c checker
	walk("inputs", tree, func(where, text string) {
		if HasReference(text) || StoreReference(text) != "" {
			c.failf(where, "has a parameter reference in the value of a parameter")
		}
	})
	s := c.settings(withExtensions(tree, others), never)
	return s, c.withParameters()
}

// withExtensions returns tree with the members of inputs.sekisho in base that tree lacks.
func withExtensions(tree, base *object) *object {
	if base == nil || base == tree {
		return tree
	}
	below, ok := base.values["sekisho"].(*object)
	if !ok {
		return tree
	}
	merged := &object{keys: append([]string{}, below.keys...), values: map[string]any{}}
	for k, v := range below.values {
		merged.values[k] = v
	}
	if above, ok := tree.values["sekisho"].(*object); ok {
		for _, k := range above.keys {
			if _, ok := merged.values[k]; !ok {
				merged.keys = append(merged.keys, k)
			}
			merged.values[k] = above.values[k]
		}
	}
	out := &object{keys: append([]string{}, tree.keys...), values: map[string]any{}}
	for k, v := range tree.values {
		out.values[k] = v
	}
	if _, ok := out.values["sekisho"]; !ok {
		out.keys = append(out.keys, "sekisho")
	}
	out.values["sekisho"] = merged
	return out
}

func (h *Extensions) checkReason(reason string) error {
	if reason == "" {
		if !h.ReasonRequired {
			return nil
		}
		e := sekisho.Errorf(sekisho.CodeInvalid, "A reason is required to start a session.")
		if h.ReasonPattern != "" {
			return e.WithHint(
				"Give one that matches %s (aws ssm start-session --reason).",
				safetext.Clip(h.ReasonPattern, 300),
			)
		}
		return e.WithHint("Give one (aws ssm start-session --reason).")
	}
	if h.reason != nil && !h.reason.MatchString(reason) {
		return sekisho.Errorf(
			sekisho.CodeInvalid,
			"The reason does not match %s, which the account's session preferences require.",
			safetext.Clip(h.ReasonPattern, 300),
		)
	}
	return nil
}

// runAs returns the OS user of the session, or "" for the agent's default, which applies only if
// run-as is off.
func (s *Settings) runAs(tag string) (string, error) {
	if !s.RunAsEnabled {
		return "", nil
	}
	name, from := tag, "the tag "+RunAsTag+" of the IAM principal"
	if name == "" {
		name, from = s.RunAsDefaultUser, "runAsDefaultUser in the session preferences"
	}
	if name == "" {
		return "", sekisho.Errorf(sekisho.CodeInvalid,
			"Run as is enabled, but no OS user is named for this session: the IAM principal has no tag %s, and the session "+
				"preferences have no runAsDefaultUser.", RunAsTag).
			WithHint("Tag the user or role with %s, or set runAsDefaultUser.", RunAsTag)
	}
	if err := runAsUser(name); err != nil {
		return "", sekisho.Errorf(sekisho.CodeInvalid, "Run as: %s %v.", from, err)
	}
	return name, nil
}

// agentContent is a document in the form that agents expect: with all inputs, because AWS's agent
// requires them, and without parameters substituted in the properties.
type agentContent struct {
	SchemaVersion string                     `json:"schemaVersion"`
	Description   string                     `json:"description"`
	SessionType   string                     `json:"sessionType"`
	Inputs        agentInputs                `json:"inputs"`
	Parameters    map[string]*agentParameter `json:"parameters"`
	Properties    any                        `json:"properties,omitempty"`
}

type agentInputs struct {
	S3BucketName                string            `json:"s3BucketName"`
	S3KeyPrefix                 string            `json:"s3KeyPrefix"`
	S3EncryptionEnabled         bool              `json:"s3EncryptionEnabled"`
	CloudWatchLogGroupName      string            `json:"cloudWatchLogGroupName"`
	CloudWatchEncryptionEnabled bool              `json:"cloudWatchEncryptionEnabled"`
	CloudWatchStreamingEnabled  bool              `json:"cloudWatchStreamingEnabled"`
	KMSKeyID                    string            `json:"kmsKeyId"`
	RunAsEnabled                bool              `json:"runAsEnabled"`
	RunAsDefaultUser            string            `json:"runAsDefaultUser"`
	IdleSessionTimeout          string            `json:"idleSessionTimeout"`
	MaxSessionDuration          string            `json:"maxSessionDuration"`
	ShellProfile                map[string]string `json:"shellProfile"`
	Sekisho                     agentExtensions   `json:"sekisho"`
}

// agentExtensions are settings that only Sekisho's agent uses.
type agentExtensions struct {
	LoginShell bool   `json:"loginShell"`
	Prompt     string `json:"prompt"` // the node's name in the prompt; "" for the shell's own prompt
	Banner     string `json:"banner"`
}

type agentParameter struct {
	Type           string   `json:"type"`
	Description    string   `json:"description,omitempty"`
	Default        any      `json:"default,omitempty"`
	AllowedPattern string   `json:"allowedPattern,omitempty"`
	AllowedValues  []string `json:"allowedValues,omitempty"`
}

func (d *Document) content(s *Settings, req SessionRequest) (json.RawMessage, error) {
	out := agentContent{
		SchemaVersion: SchemaVersion, Description: d.Description, SessionType: d.SessionType, Properties: d.properties,
		Inputs: agentInputs{
			S3BucketName: s.S3BucketName, S3KeyPrefix: s.S3KeyPrefix, S3EncryptionEnabled: s.S3EncryptionEnabled,
			CloudWatchLogGroupName: s.CloudWatchLogGroupName, CloudWatchEncryptionEnabled: s.CloudWatchEncryptionEnabled,
			CloudWatchStreamingEnabled: s.CloudWatchStreamingEnabled, KMSKeyID: s.KMSKeyID,
			RunAsEnabled: s.RunAsEnabled, RunAsDefaultUser: s.RunAsDefaultUser,
			IdleSessionTimeout: minutes(s.IdleTimeout), MaxSessionDuration: minutes(s.MaxDuration),
			ShellProfile: map[string]string{"linux": "", "windows": ""},
			Sekisho:      s.Extensions.forAgent(d.SessionType, req),
		},
		Parameters: map[string]*agentParameter{},
	}
	for platform, profile := range s.ShellProfile {
		out.Inputs.ShellProfile[platform] = profile
	}
	for _, p := range d.Parameters {
		out.Parameters[p.Name] = p.forAgent()
	}
	b, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("document: %w", err)
	}
	return b, nil
}

func (p *Parameter) forAgent() *agentParameter {
	a := &agentParameter{Type: p.Type, Description: p.Description}
	if p.quote { // a quoted value is no longer one of the allowed values
		return a
	}
	a.AllowedPattern, a.AllowedValues = p.patternText, p.allowed
	switch {
	case !p.HasDefault:
	case p.Type == TypeString:
		a.Default = p.defaults[0]
	case p.Type == TypeStringList:
		a.Default = p.defaults
	default:
		a.Default = json.RawMessage(p.defaults[0])
	}
	return a
}

func minutes(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return strconv.Itoa(int(d / time.Minute))
}

func (h *Extensions) forAgent(sessionType string, req SessionRequest) agentExtensions {
	var out agentExtensions
	if sessionType == StandardStream || sessionType == InteractiveCommands {
		out.Banner = h.Banner
	}
	if sessionType == StandardStream {
		out.LoginShell = h.LoginShell.On(req.Person)
		if h.FriendlyPrompt.On(req.Person) {
			out.Prompt = h.promptName(req)
		}
	}
	return out
}

// promptName returns the node's name for the prompt: the tag that the document selects, the node's
// display name or its ID, the first that contains only plain printable characters.
func (h *Extensions) promptName(req SessionRequest) string {
	for _, name := range []string{req.NodeTags[h.PromptTag], req.NodeName} {
		if plain(name) {
			return name
		}
	}
	return string(req.Node)
}

func plain(s string) bool {
	for _, r := range s {
		if r < '!' || r > '~' {
			return false
		}
	}
	return s != "" && len(s) <= 64
}
