package imds

import (
	"fmt"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"sekisho"
)

// Allowed are the OS users and groups whose programs the service answers. The
// zero value allows every user. Root is always allowed: it can read the
// agent's memory anyway.
type Allowed struct {
	names []string // users; groups begin with "@"
	// lookup resolves a UID to the user's name and the names of its groups;
	// nil means the system's user database.
	lookup func(uid int) (name string, groups []string, err error)
}

// ParseAllowed reads a list of user names and, after "@", group names. Each must exist on this machine,
// so that a typo neither locks everyone out nor admits a user created later.
func ParseAllowed(list []string) (Allowed, error) {
	var a Allowed
	for _, name := range list {
		var err error
		if group, ok := strings.CutPrefix(name, "@"); ok {
			_, err = user.LookupGroup(group)
		} else {
			_, err = user.Lookup(name)
		}
		if err != nil {
			return Allowed{}, sekisho.Errorf(sekisho.CodeInvalid, "no user or group %.100q on this machine: %v", name, err).
				WithHint("Write users by name and groups as @NAME.")
		}
		a.names = append(a.names, name)
	}
	return a, nil
}

// check returns an error unless the user with this UID is allowed.
func (a Allowed) check(uid int) error {
	if len(a.names) == 0 || uid == 0 {
		return nil
	}
	lookup := a.lookup
	if lookup == nil {
		lookup = lookupUser
	}
	name, groups, err := lookup(uid)
	if err != nil {
		return fmt.Errorf("look up UID %d: %w", uid, err)
	}
	if slices.Contains(a.names, name) ||
		slices.ContainsFunc(groups, func(g string) bool { return slices.Contains(a.names, "@"+g) }) {
		return nil
	}
	return fmt.Errorf("user %s (UID %d) is not among the users that --imds-allow names", name, uid)
}

func lookupUser(uid int) (name string, groups []string, err error) {
	u, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return "", nil, err
	}
	ids, err := u.GroupIds()
	if err != nil {
		return "", nil, err
	}
	for _, gid := range ids {
		if g, err := user.LookupGroupId(gid); err == nil {
			groups = append(groups, g.Name)
		}
	}
	return u.Username, groups, nil
}
