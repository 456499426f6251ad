package ssmdoc

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"sekisho/internal/safetext"
)

// Limits of the timeouts, as in AWS.
const (
	defaultIdle = 20 * time.Minute
	maxIdle     = 60
	maxDuration = 1440
)

// Settings are the preferences of a session: the inputs of a document with the parameters
// substituted.
type Settings struct {
	S3BucketName                string
	S3KeyPrefix                 string
	S3EncryptionEnabled         bool
	CloudWatchLogGroupName      string
	CloudWatchEncryptionEnabled bool
	CloudWatchStreamingEnabled  bool
	KMSKeyID                    string
	RunAsEnabled                bool
	RunAsDefaultUser            string
	IdleTimeout                 time.Duration // 0 = not set
	MaxDuration                 time.Duration // 0 = none
	// ShellProfile is by platform: linux, macos, windows.
	ShellProfile map[string]string
	Extensions   Extensions
}

// Extensions are preferences that AWS lacks. They are in inputs.sekisho, which AWS's agent ignores.
type Extensions struct {
	ReasonRequired bool
	ReasonPattern  string
	Banner         string
	MaxPerOwner    int // 0 = no limit
	MaxPerNode     int // 0 = no limit
	FriendlyPrompt Switch
	PromptTag      string
	LoginShell     Switch
	// OmitInput keeps input out of recordings. Documents write it as
	// recordInput: false.
	OmitInput bool
	// RecordForwards keeps the bytes of forwarded connections in recordings.
	RecordForwards bool
	// DisableCopy and DisablePaste keep the console's terminal from copying output and from pasting.
	DisableCopy, DisablePaste bool
	// RecordingDays is how many days recordings are kept; 0 = as long as the
	// server keeps them.
	RecordingDays          int
	RequireServerRecording bool
	// EndWhenDenied ends a session when policy would no longer allow starting it.
	EndWhenDenied bool

	reason *regexp.Regexp
}

// Switch is On, Off, or Auto, which leaves the choice to the server.
type Switch int

// Values of Switch.
const (
	Auto Switch = iota
	On
	Off
)

// On reports whether s is on; auto is the result for Auto.
func (s Switch) On(auto bool) bool { return s == On || s == Auto && auto }

// inputs are a document's inputs before substitution.
type inputs struct {
	tree *object
}

// input is one preference: how it is checked and stored.
type input struct {
	name string
	set  func(s *Settings, v any) error
}

var errText = errors.New("must be a string")

func textInput(name string, check func(string) error, to func(s *Settings) *string) input {
	return input{name, func(s *Settings, v any) error {
		text, ok := v.(string)
		if v != nil && !ok {
			return errText
		}
		if text != "" {
			if err := check(text); err != nil {
				return err
			}
		}
		*to(s) = text
		return nil
	}}
}

func boolInput(name string, to func(s *Settings) *bool) input {
	return input{name, func(s *Settings, v any) error {
		value, ok := boolean(v)
		if !ok {
			return errors.New("must be true or false")
		}
		*to(s) = value
		return nil
	}}
}

func minutesInput(name string, most int, to func(s *Settings) *time.Duration) input {
	return input{name, func(s *Settings, v any) error {
		text, ok := v.(string)
		if n, isNumber := v.(json.Number); isNumber {
			text, ok = n.String(), true
		}
		if v != nil && !ok {
			return errText
		}
		if text == "" {
			return nil
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > most {
			return fmt.Errorf(
				"is %q: it must be a number of minutes from 1 to %d",
				safetext.Clip(text, maxQuoted),
				most,
			)
		}
		*to(s) = time.Duration(n) * time.Minute
		return nil
	}}
}

func matching(pattern, rule string) func(string) error {
	re := regexp.MustCompile(pattern)
	return func(s string) error {
		if !re.MatchString(s) {
			return fmt.Errorf("is %q: it must be %s", safetext.Clip(s, maxQuoted), rule)
		}
		return nil
	}
}

// allInputs are AWS's preferences.
var allInputs = []input{
	textInput(
		"s3BucketName",
		matching(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`, "the name of a bucket"),
		func(s *Settings) *string { return &s.S3BucketName },
	),
	textInput("s3KeyPrefix", keyPrefix, func(s *Settings) *string { return &s.S3KeyPrefix }),
	boolInput("s3EncryptionEnabled", func(s *Settings) *bool { return &s.S3EncryptionEnabled }),
	textInput(
		"cloudWatchLogGroupName",
		matching(`^[.\-_/#A-Za-z0-9]{1,512}$`, "the name of a log group"),
		func(s *Settings) *string { return &s.CloudWatchLogGroupName },
	),
	boolInput("cloudWatchEncryptionEnabled", func(s *Settings) *bool { return &s.CloudWatchEncryptionEnabled }),
	boolInput("cloudWatchStreamingEnabled", func(s *Settings) *bool { return &s.CloudWatchStreamingEnabled }),
	textInput(
		"kmsKeyId",
		matching(`^[a-zA-Z0-9:/_-]{1,512}$`, "a key's ID, ARN or alias"),
		func(s *Settings) *string { return &s.KMSKeyID },
	),
	boolInput("runAsEnabled", func(s *Settings) *bool { return &s.RunAsEnabled }),
	textInput("runAsDefaultUser", runAsUser, func(s *Settings) *string { return &s.RunAsDefaultUser }),
	minutesInput("idleSessionTimeout", maxIdle, func(s *Settings) *time.Duration { return &s.IdleTimeout }),
	minutesInput("maxSessionDuration", maxDuration, func(s *Settings) *time.Duration { return &s.MaxDuration }),
}

func keyPrefix(s string) error {
	if len(s) > 500 || strings.ContainsFunc(s, breaksLine) {
		return errors.New("must have at most 500 characters, without control characters")
	}
	for part := range strings.SplitSeq(s, "/") {
		if part == ".." || part == "." {
			return errors.New("must not have . or .. as a path element")
		}
	}
	return nil
}

// userName matches valid OS users of sessions: names without characters that are special in a
// shell, a path or a command line.
var userName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.@-]{0,63}$`)

// runAsUser refuses OS users under which sessions never run.
func runAsUser(name string) error {
	if !userName.MatchString(name) {
		return fmt.Errorf(
			"is %q: it must be the name of an OS user, of letters, digits and _ . @ -",
			safetext.Clip(name, maxQuoted),
		)
	}
	if name == "root" {
		return errors.New("is root: sessions do not run as root")
	}
	return nil
}

// maxProfile bounds a shell profile.
const maxProfile = 4096

func shellProfile(s *Settings, v any, fail func(where, format string, args ...any)) {
	if v == nil {
		return
	}
	o, ok := v.(*object)
	if !ok {
		fail("inputs.shellProfile", "must be an object with linux, windows or macos")
		return
	}
	s.ShellProfile = map[string]string{}
	for _, platform := range o.keys {
		where := "inputs.shellProfile." + safetext.Clip(platform, maxQuoted)
		text, ok := o.values[platform].(string)
		switch {
		case !contains([]string{"linux", "windows", "macos"}, platform):
			fail(where, "is unknown: a profile must be for linux, windows or macos")
		case !ok:
			fail(where, "must be a string")
		case utf8.RuneCountInString(text) > maxProfile || strings.ContainsRune(text, 0):
			fail(where, "must have at most %d characters, without NUL", maxProfile)
		default:
			s.ShellProfile[platform] = text
		}
	}
}

func (c *checker) inputs(v any) *inputs {
	o, ok := v.(*object)
	if !ok {
		c.failf("inputs", "must be an object")
		return nil
	}
	names := []string{"shellProfile", "sekisho"}
	for _, in := range allInputs {
		names = append(names, in.name)
	}
	c.known("inputs", o, names...)
	c.settings(o, c.isTemplate)
	return &inputs{o}
}

// settings parses inputs. later reports whether a text can only be checked when a session starts.
func (c *checker) settings(o *object, later func(string) bool) Settings {
	var s Settings
	for _, in := range allInputs {
		v, ok := o.get(in.name)
		if text, isText := v.(string); !ok || isText && later(text) {
			continue
		}
		if err := in.set(&s, v); err != nil {
			c.failf("inputs."+in.name, "%v", err)
		}
	}
	if v, ok := o.get("shellProfile"); ok {
		shellProfile(&s, v, c.failf)
	}
	if v, ok := o.get("sekisho"); ok && v != nil {
		s.Extensions = c.extensions(v)
		if s.Extensions.RequireServerRecording && s.KMSKeyID != "" {
			c.failf(
				"inputs.sekisho.requireServerRecording",
				"cannot be combined with kmsKeyId: sessions with a KMS key are encrypted end to end, so the server cannot "+
					"record their content",
			)
		}
	}
	return s
}

// maxRecordingDays bounds how long a recording is kept by its document.
const maxRecordingDays = 36500

// maxBanner bounds a banner, in characters.
const maxBanner = 4000

func (c *checker) extensions(v any) Extensions {
	const where = "inputs.sekisho"
	var h Extensions
	o, ok := v.(*object)
	if !ok {
		c.failf(where, "must be an object")
		return h
	}
	c.known(
		where,
		o,
		"reasonRequired",
		"reasonPattern",
		"banner",
		"maxConcurrentSessions",
		"friendlyPrompt",
		"promptTag",
		"loginShell",
		"recordInput",
		"recordForwards",
		"disableCopy",
		"disablePaste",
		"recordingDays",
		"requireServerRecording",
		"endWhenDenied",
	)
	walk(where, o, func(at, text string) {
		if HasReference(text) {
			c.failf(at, "contains a parameter reference: %s cannot depend on a request", where)
		}
	})
	h.ReasonRequired = c.flag(o, "reasonRequired")
	h.RequireServerRecording = c.flag(o, "requireServerRecording")
	h.EndWhenDenied = c.flag(o, "endWhenDenied")
	if h.ReasonPattern, _ = c.text(where+".reasonPattern", o, "reasonPattern"); h.ReasonPattern != "" {
		h.reason = c.pattern(where+".reasonPattern", h.ReasonPattern)
	}
	h.Banner, _ = c.text(where+".banner", o, "banner")
	if utf8.RuneCountInString(h.Banner) > maxBanner || strings.ContainsFunc(h.Banner, func(r rune) bool {
		return r != '\n' && r != '\t' && !safetext.Printable(r)
	}) {
		c.failf(
			where+".banner",
			"must have at most %d characters, without control characters other than line breaks and tabs",
			maxBanner,
		)
	}
	h.PromptTag, _ = c.text(where+".promptTag", o, "promptTag")
	if utf8.RuneCountInString(h.PromptTag) > 128 {
		c.failf(where+".promptTag", "must be a tag key")
	}
	h.FriendlyPrompt = c.switchOf(where, o, "friendlyPrompt")
	h.LoginShell = c.switchOf(where, o, "loginShell")
	if v, ok := o.get("recordInput"); ok && v != nil {
		h.OmitInput = !c.flag(o, "recordInput")
	}
	h.RecordForwards = c.flag(o, "recordForwards")
	h.DisableCopy, h.DisablePaste = c.flag(o, "disableCopy"), c.flag(o, "disablePaste")
	if n, ok := c.count(where, o, "recordingDays"); ok {
		if n < 1 || n > maxRecordingDays {
			c.failf(where+".recordingDays", "must be from 1 to %d; leave it out for the server's retention", maxRecordingDays)
		}
		h.RecordingDays = n
	}
	if v, ok := o.get("maxConcurrentSessions"); ok && v != nil {
		limits, ok := v.(*object)
		if !ok {
			c.failf(where+".maxConcurrentSessions", "must be an object with perOwner or perNode")
			return h
		}
		c.known(where+".maxConcurrentSessions", limits, "perOwner", "perNode")
		h.MaxPerOwner = c.limit(where+".maxConcurrentSessions", limits, "perOwner")
		h.MaxPerNode = c.limit(where+".maxConcurrentSessions", limits, "perNode")
	}
	return h
}

func (c *checker) flag(o *object, name string) bool {
	const where = "inputs.sekisho"
	v, _ := o.get(name)
	value, ok := v.(bool)
	if v != nil && !ok {
		c.failf(where+"."+name, "must be true or false")
	}
	return value
}

func (c *checker) switchOf(where string, o *object, name string) Switch {
	v, _ := o.get(name)
	switch v {
	case nil, "auto":
		return Auto
	case true:
		return On
	case false:
		return Off
	}
	c.failf(where+"."+name, `must be true, false or "auto"`)
	return Auto
}

func (c *checker) limit(where string, o *object, name string) int {
	n, ok := c.count(where, o, name)
	if ok && (n < 1 || n > 10000) {
		c.failf(where+"."+name, "must be from 1 to 10000; omit it for no limit")
	}
	return n
}
