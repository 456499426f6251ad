package identity

import (
	"context"
	"slices"
)

// Create creates a group.
func (groups *Groups) Create(ctx context.Context, path, name string) (*Group, error) {
	var g *Group
	err := groups.update(ctx, func(t *tx) error {
		h, err := t.newHolder(KindGroup, "AGPA", path, name, nil)
		if err != nil {
			return err
		}
		g = &Group{Holder: h}
		if t.groups[g.key()] != nil {
			return exists("Group with name %s already exists.", name)
		}
		if len(t.groups) >= maxGroups {
			return limit("Cannot exceed quota for GroupsPerAccount: %d", maxGroups)
		}
		t.put(g)
		return nil
	})
	return g, err
}

// Get returns a group and its members, by name.
func (groups *Groups) Get(ctx context.Context, name string) (*Group, []*User, error) {
	var members []*User
	g, err := get(ctx, groups.account, func(s *state) (*Group, error) {
		g, err := s.group(name)
		if err != nil {
			return nil, err
		}
		for _, u := range sorted(s.users) {
			if slices.Contains(u.Groups, g.ID) {
				members = append(members, u)
			}
		}
		return g, nil
	})
	return g, members, err
}

// List returns every group, by name.
func (groups *Groups) List(ctx context.Context) ([]*Group, error) {
	return get(ctx, groups.account, func(s *state) ([]*Group, error) { return sorted(s.groups), nil })
}

// Of returns the groups of a user, by name.
func (groups *Groups) Of(ctx context.Context, user string) ([]*Group, error) {
	return get(ctx, groups.account, func(s *state) ([]*Group, error) {
		u, err := s.user(user)
		if err != nil {
			return nil, err
		}
		return s.groupsOf(u), nil
	})
}

// Update renames or moves a group; an empty argument changes nothing.
func (groups *Groups) Update(ctx context.Context, name, newPath, newName string) error {
	return groups.update(ctx, func(t *tx) error {
		old, err := t.group(name)
		if err != nil {
			return err
		}
		g := edit(old)
		if newName != "" {
			if err := checkName("newGroupName", newName, 128); err != nil {
				return err
			}
			g.Name = newName
			if other := t.groups[g.key()]; other != nil && other != old {
				return exists("Group with name %s already exists.", newName)
			}
		}
		if newPath != "" {
			if g.Path, err = checkPath(newPath); err != nil {
				return err
			}
		}
		g.ARN = groups.arn("group", g.Path, g.Name)
		if g.key() != old.key() {
			t.drop(old)
		}
		t.put(g)
		return nil
	})
}

// Delete removes a group without members and policies.
func (groups *Groups) Delete(ctx context.Context, name string) error {
	return groups.update(ctx, func(t *tx) error {
		g, err := t.group(name)
		if err != nil {
			return err
		}
		for _, u := range t.users {
			if slices.Contains(u.Groups, g.ID) {
				return inUse("Cannot delete entity, must remove users from group first.")
			}
		}
		switch {
		case len(g.Attached) > 0:
			return inUse("Cannot delete entity, must detach all policies first.")
		case len(g.Inline) > 0:
			return inUse("Cannot delete entity, must delete policies first.")
		}
		t.drop(g)
		return nil
	})
}

// AddUser makes a user a member of a group. It is idempotent.
func (groups *Groups) AddUser(ctx context.Context, user, group string) error {
	return groups.update(ctx, func(t *tx) error {
		g, err := t.group(group)
		if err != nil {
			return err
		}
		old, err := t.user(user)
		if err != nil || slices.Contains(old.Groups, g.ID) {
			return err
		}
		if len(old.Groups) >= maxGroupsPerUser {
			return limit("Cannot exceed quota for GroupsPerUser: %d", maxGroupsPerUser)
		}
		u := edit(old)
		u.Groups = append(u.Groups, g.ID)
		t.put(u)
		return nil
	})
}

// RemoveUser ends a user's membership of a group.
func (groups *Groups) RemoveUser(ctx context.Context, user, group string) error {
	return groups.update(ctx, func(t *tx) error {
		g, err := t.group(group)
		if err != nil {
			return err
		}
		u, err := t.editUser(user)
		if err != nil {
			return err
		}
		i := slices.Index(u.Groups, g.ID)
		if i < 0 {
			return notFound("User %s is not in group %s.", user, group)
		}
		u.Groups = slices.Delete(u.Groups, i, i+1)
		return nil
	})
}
