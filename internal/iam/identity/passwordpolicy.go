package identity

import (
	"context"
	"time"
)

// PasswordPolicy is what the account requires of passwords. Without one,
// AWS's default policy applies: see checkPassword.
type PasswordPolicy struct {
	MinimumLength    int
	RequireSymbols   bool `json:",omitempty"`
	RequireNumbers   bool `json:",omitempty"`
	RequireUppercase bool `json:",omitempty"`
	RequireLowercase bool `json:",omitempty"`
	// UsersMayChange lets users change their own password without a grant of
	// iam:ChangePassword. An explicit deny still refuses.
	UsersMayChange bool `json:",omitempty"`
	// MaxAge is how long a password is valid; zero means forever. A user with an expired
	// password must change it at the next sign-in.
	MaxAge time.Duration `json:",omitempty"`
}

const (
	minPasswordLength = 6
	maxPasswordDays   = 1095
)

// Check refuses values outside the ranges of AWS.
func (p *PasswordPolicy) Check() error {
	if p.MinimumLength < minPasswordLength || p.MinimumLength > maxPassword {
		return invalid(
			"1 validation error detected: Value '%d' at 'minimumPasswordLength' failed to satisfy constraint: "+
				"Member must have value between %d and %d",
			p.MinimumLength,
			minPasswordLength,
			maxPassword,
		)
	}
	if days := p.MaxAge / (24 * time.Hour); p.MaxAge != 0 && (days < 1 || days > maxPasswordDays) {
		return invalid("1 validation error detected: Value '%d' at 'maxPasswordAge' failed to satisfy constraint: "+
			"Member must have value between 1 and %d", days, maxPasswordDays)
	}
	return nil
}

// PasswordPolicy returns the account's password policy, or an error of
// sekisho.CodeNotFound if it has none.
func (settings *AccountSettings) PasswordPolicy(ctx context.Context) (*PasswordPolicy, error) {
	return get(ctx, settings.account, func(s *state) (*PasswordPolicy, error) {
		if p := s.settings.Passwords; p != nil {
			return p, nil
		}
		return nil, notFound("The Password Policy with domain name %s cannot be found.", settings.id)
	})
}

// SetPasswordPolicy replaces the account's password policy; nil removes it.
// Existing passwords stay valid until they are changed or expire.
func (settings *AccountSettings) SetPasswordPolicy(ctx context.Context, p *PasswordPolicy) error {
	if p != nil {
		if err := p.Check(); err != nil {
			return err
		}
	}
	return settings.update(ctx, func(t *tx) error {
		if p == nil && t.settings.Passwords == nil {
			return notFound("The account policy with name PasswordPolicy cannot be found.")
		}
		set := edit(t.settings)
		set.Passwords = p
		t.put(set)
		return nil
	})
}

// expired reports whether a password must be changed because of its age.
func (s *state) expired(l *LoginProfile, now time.Time) bool {
	p := s.settings.Passwords
	if p == nil || p.MaxAge == 0 {
		return false
	}
	set := l.Changed
	if set.IsZero() {
		set = l.Created
	}
	return now.Sub(set) >= p.MaxAge
}

// Aliases returns the account's alias, if it has one.
func (settings *AccountSettings) Aliases(ctx context.Context) ([]string, error) {
	return get(ctx, settings.account, func(s *state) ([]string, error) {
		if s.settings.Alias == "" {
			return nil, nil
		}
		return []string{s.settings.Alias}, nil
	})
}

// SetAlias sets the account's alias, replacing any other.
func (settings *AccountSettings) SetAlias(ctx context.Context, alias string) error {
	if !validAlias(alias) {
		return invalid("1 validation error detected: Value '%s' at 'accountAlias' failed to satisfy constraint: "+
			"Member must satisfy regular expression pattern: ^[a-z0-9]([a-z0-9]|-(?!-)){1,61}[a-z0-9]$", printable(alias))
	}
	return settings.update(ctx, func(t *tx) error {
		set := edit(t.settings)
		set.Alias = alias
		t.put(set)
		return nil
	})
}

// DeleteAlias removes the account's alias.
func (settings *AccountSettings) DeleteAlias(ctx context.Context, alias string) error {
	return settings.update(ctx, func(t *tx) error {
		if t.settings.Alias != alias || alias == "" {
			return notFound("The Account Alias %s does not exist.", printable(alias))
		}
		set := edit(t.settings)
		set.Alias = ""
		t.put(set)
		return nil
	})
}

func validAlias(alias string) bool {
	if len(alias) < 3 || len(alias) > 63 {
		return false
	}
	for i, c := range []byte(alias) {
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		case c == '-' && i > 0 && i < len(alias)-1 && alias[i-1] != '-':
		default:
			return false
		}
	}
	return true
}
