package imds

import (
	"errors"
	"testing"
)

func TestAllowedUsers(t *testing.T) {
	t.Parallel()
	lookup := func(uid int) (string, []string, error) {
		switch uid {
		case 1000:
			return "alice", []string{"alice", "wheel"}, nil
		case 1001:
			return "bob", []string{"bob"}, nil
		case 1002:
			return "wheel", nil, nil // a user named like the allowed group
		}
		return "", nil, errors.New("unknown user")
	}
	for _, tt := range []struct {
		name    string
		allowed []string
		uid     int
		want    bool
	}{
		{"everyone without a list", nil, 4711, true},
		{"a named user", []string{"bob"}, 1001, true},
		{"another user", []string{"bob"}, 1000, false},
		{"member of a group", []string{"@wheel"}, 1000, true},
		{"not a member of the group", []string{"@wheel"}, 1001, false},
		{"user named like the group", []string{"@wheel"}, 1002, false},
		{"unknown UID", []string{"bob"}, 4711, false},
		{"root", []string{"bob"}, 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := Allowed{names: tt.allowed, lookup: lookup}.check(tt.uid)
			if (err == nil) != tt.want {
				t.Errorf("UID %d with %q allowed: %v", tt.uid, tt.allowed, err)
			}
		})
	}
}

func TestParseAllowedRefusesUnknownNames(t *testing.T) {
	t.Parallel()
	if _, err := ParseAllowed([]string{"root", "@root"}); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"no-such-user-here", "@no-such-group-here", ""} {
		if _, err := ParseAllowed([]string{bad}); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
