package identity

import (
	"context"
	"strings"

	"sekisho"
)

// checkSessionOwner refuses the name of a new user or role session if the
// policies of another user, who is not selfID, would cover its sessions: see
// [policy.Document.CoversSessions].
func (s *state) checkSessionOwner(name, selfID string) error {
	for i := 1; i <= len(name); i++ { // a role session can also have exactly a user's name
		u := s.users[strings.ToLower(name[:i])]
		if u == nil || u.Name != name[:i] || u.ID == selfID {
			continue
		}
		covering, err := s.coversSessions(u, name)
		if err != nil {
			return err
		}
		if covering != "" {
			return sekisho.Errorf(sekisho.CodeInvalid,
				"The name %s cannot be used: a policy of the user %s would cover its sessions.", name, u.Name).
				WithHint("Choose another name, or use ${aws:userid} instead of ${aws:username} in that policy.")
		}
	}
	return nil
}

// coversSessions returns the statement of u's policies that covers owner's sessions because the
// names are similar; "" if there is none.
func (s *state) coversSessions(u *User, owner string) (string, error) {
	src := &sources{}
	if err := s.userSources(src, u); err != nil {
		return "", err
	}
	for _, text := range src.identity {
		doc, err := text.parse()
		if err != nil {
			return "", err
		}
		if ref, covers := doc.CoversSessions(u.Name, owner); covers {
			return ref.Name(), nil
		}
	}
	return "", nil
}

// CoversSessions returns the statement of a user's policies that covers owner's sessions only
// because owner's name begins with the user's; "" if there is none.
func (sets *PolicySets) CoversSessions(ctx context.Context, p *sekisho.Principal, owner string) (string, error) {
	if p.Type != sekisho.PrincipalUser || !strings.HasPrefix(owner, p.UserName+"-") {
		return "", nil
	}
	return get(ctx, sets.account, func(s *state) (string, error) {
		u := s.userIDs[p.UserID]
		if u == nil {
			return "", nil
		}
		return s.coversSessions(u, owner)
	})
}

// maxLookAlikes bounds the warnings about look-alike names.
const maxLookAlikes = 20

// LookAlikes returns a sentence for each pair of users where one's policies cover the other's
// sessions only because of a common prefix of their names.
func (sets *PolicySets) LookAlikes(ctx context.Context) ([]string, error) {
	return get(ctx, sets.account, func(s *state) ([]string, error) {
		var out []string
		for _, owner := range sorted(s.users) {
			for i := range owner.Name {
				if owner.Name[i] != '-' || len(out) >= maxLookAlikes {
					continue
				}
				u := s.users[strings.ToLower(owner.Name[:i])]
				if u == nil || u.Name != owner.Name[:i] {
					continue
				}
				covering, err := s.coversSessions(u, owner.Name)
				if err != nil {
					return nil, err
				}
				if covering != "" {
					out = append(out, u.Name+" can act on the sessions of "+owner.Name+": "+covering+
						" uses ${aws:username}; use ${aws:userid} instead")
				}
			}
		}
		return out, nil
	})
}
