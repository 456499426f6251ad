// Package settings manages the account's Systems Manager service settings. Each has a name defined
// by AWS, a default, and a set of values.
package settings

import (
	"context"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"sekisho"
	"sekisho/internal/safetext"
)

// Settings that have an effect.
const (
	// HostRole is the default role, as name or path/name, of instances that have no role of their
	// own; None if such instances get no credentials.
	HostRole = "/ssm/managed-instance/default-ec2-instance-management-role"
	// ActivationTier is always advanced: Sekisho has no charges.
	ActivationTier = "/ssm/managed-instance/activation-tier"
	// PublicSharing is whether documents can be shared publicly.
	PublicSharing = "/ssm/documents/console/public-sharing-permission"
	// NameTag is the key of the tag that names nodes, in lists, prompts, events and recordings.
	// It is Sekisho's own.
	NameTag = "/sekisho/managed-instance/name-tag"
)

// Values of settings.
const (
	None    = "$None" // of HostRole
	Enable  = "Enable"
	Disable = "Disable"
)

// Setting is a setting with its value.
type Setting struct {
	ID, Value  string
	ModifiedAt time.Time // zero while the setting has its default
	ModifiedBy string    // ARN
}

// Store keeps the settings that were changed.
type Store interface {
	// ServiceSetting returns a setting, or CodeNotFound if it has its default.
	ServiceSetting(ctx context.Context, id string) (*Setting, error)
	PutServiceSetting(ctx context.Context, s *Setting) error
	// DeleteServiceSetting restores the default. It is not an error if the
	// setting has its default already.
	DeleteServiceSetting(ctx context.Context, id string) error
}

// kind describes a setting.
type kind struct {
	id, value string
	// allowed are its values; nil if the caller of Set checks the value.
	allowed []string
	// check returns what is wrong with a value; nil if every value is valid.
	check func(value string) string
	// why explains why the value cannot be changed.
	why string
}

// maxTagKey is the longest key of a tag, in characters.
const maxTagKey = 128

// tagKey returns what is wrong with the key of a tag; "" if nothing is.
func tagKey(value string) string {
	switch {
	case utf8.RuneCountInString(value) > maxTagKey:
		return "a tag key has at most 128 characters"
	case safetext.Line(value, len(value)) != value || strings.TrimSpace(value) != value:
		return "a tag key has no control characters, and no space at its ends"
	}
	return ""
}

const noParameters = "Sekisho has no Parameter Store, so the setting would have no effect."

func kinds() []kind {
	return []kind{
		{id: HostRole, value: None},
		{
			id:      ActivationTier,
			value:   "advanced",
			allowed: []string{"advanced"},
			why:     "Every node has the advanced tier, which Sekisho does not charge for.",
		},
		{id: PublicSharing, value: Enable, allowed: []string{Enable, Disable}},
		{id: NameTag, value: "Hostname", check: tagKey},
		{
			id:      "/ssm/parameter-store/default-parameter-tier",
			value:   "Standard",
			allowed: []string{"Standard"},
			why:     noParameters,
		},
		{
			id:      "/ssm/parameter-store/high-throughput-enabled",
			value:   "false",
			allowed: []string{"false"},
			why:     noParameters,
		},
	}
}

// Settings manages the account's settings.
type Settings struct {
	store Store
	now   func() time.Time
}

// New returns the settings that store keeps; now is nil for time.Now.
func New(store Store, now func() time.Time) *Settings {
	if now == nil {
		now = time.Now
	}
	return &Settings{store, now}
}

func find(id string) (kind, error) {
	all := kinds()
	if i := slices.IndexFunc(all, func(k kind) bool { return k.id == id }); i >= 0 {
		return all[i], nil
	}
	return kind{}, sekisho.Errorf(sekisho.CodeNotFound, "There is no service setting %.200q.", id)
}

// Get returns a setting, or CodeNotFound for an unknown name.
func (s *Settings) Get(ctx context.Context, id string) (*Setting, error) {
	k, err := find(id)
	if err != nil {
		return nil, err
	}
	held, err := s.store.ServiceSetting(ctx, id)
	if sekisho.IsNotFound(err) {
		return &Setting{ID: id, Value: k.value}, nil
	}
	return held, err
}

// Set changes a setting. The caller checks the names of roles.
func (s *Settings) Set(ctx context.Context, id, value, by string) error {
	k, err := find(id)
	if err != nil {
		return err
	}
	if k.allowed != nil && !slices.Contains(k.allowed, value) {
		e := sekisho.Errorf(
			sekisho.CodeInvalid,
			"The setting %s must be %s, not %.100q.",
			id,
			strings.Join(k.allowed, " or "),
			value,
		)
		if k.why != "" {
			e = e.WithHint("%s", k.why)
		}
		return e
	}
	if k.check != nil {
		if wrong := k.check(value); wrong != "" {
			return sekisho.Errorf(sekisho.CodeInvalid, "The setting %s cannot be %.100q: %s.", id, value, wrong)
		}
	}
	if k.why != "" || value == k.value {
		return s.store.DeleteServiceSetting(ctx, id)
	}
	return s.store.PutServiceSetting(ctx, &Setting{ID: id, Value: value, ModifiedAt: s.now(), ModifiedBy: by})
}

// Reset restores the default of a setting and returns it.
func (s *Settings) Reset(ctx context.Context, id string) (*Setting, error) {
	if _, err := find(id); err != nil {
		return nil, err
	}
	if err := s.store.DeleteServiceSetting(ctx, id); err != nil {
		return nil, err
	}
	return s.Get(ctx, id)
}
