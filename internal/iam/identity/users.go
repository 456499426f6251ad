package identity

import (
	"context"
	"slices"

	"sekisho"
)

// newHolder checks the parts of a new user, group or role.
func (t *tx) newHolder(kind Kind, prefix, path, name string, tags map[string]string) (Holder, error) {
	most := 64
	if kind == KindGroup {
		most = 128
	}
	if err := checkName(string(kind)+"Name", name, most); err != nil {
		return Holder{}, err
	}
	path, err := checkPath(path)
	if err != nil {
		return Holder{}, err
	}
	if tags, err = mergeTags(nil, tags); err != nil {
		return Holder{}, err
	}
	return Holder{
		Path: path, Name: name, ID: newEntityID(prefix), ARN: t.acct.arn(string(kind), path, name),
		Created: t.now, Tags: tags,
	}, nil
}

// Create creates a user; boundary may be empty.
func (users *Users) Create(
	ctx context.Context,
	path, name, boundary string,
	tags map[string]string,
) (*User, error) {
	var u *User
	err := users.update(ctx, func(t *tx) error {
		h, err := t.newHolder(KindUser, "AIDA", path, name, tags)
		if err != nil {
			return err
		}
		if t.users[(&User{Holder: h}).key()] != nil {
			return exists("User with name %s already exists.", name)
		}
		if len(t.users) >= maxUsers {
			return limit("Cannot exceed quota for UsersPerAccount: %d", maxUsers)
		}
		if h.Boundary, err = t.boundary(boundary); err != nil {
			return err
		}
		if err := t.checkSessionOwner(name, ""); err != nil {
			return err
		}
		u = &User{Holder: h}
		t.put(u)
		return nil
	})
	return u, err
}

// Get returns a user.
func (users *Users) Get(ctx context.Context, name string) (*User, error) {
	return users.user(ctx, name)
}

// Owner returns the user an access key belongs to.
func (keys *AccessKeys) Owner(ctx context.Context, accessKeyID string) (*User, error) {
	return get(ctx, keys.account, func(s *state) (*User, error) {
		if u := s.keyOwners[accessKeyID]; u != nil {
			return u, nil
		}
		return nil, notFound("The Access Key with id %s cannot be found.", printable(accessKeyID))
	})
}

// List returns every user, by name.
func (users *Users) List(ctx context.Context) ([]*User, error) {
	return get(ctx, users.account, func(s *state) ([]*User, error) { return sorted(s.users), nil })
}

// Update renames or moves a user; an empty argument changes nothing.
func (users *Users) Update(ctx context.Context, name, newPath, newName string) error {
	return users.update(ctx, func(t *tx) error {
		old, err := t.user(name)
		if err != nil {
			return err
		}
		u := edit(old)
		if newName != "" {
			if err := checkName("newUserName", newName, 64); err != nil {
				return err
			}
			u.Name = newName
			if other := t.users[u.key()]; other != nil && other != old {
				return exists("User with name %s already exists.", newName)
			}
			if err := t.checkSessionOwner(newName, u.ID); err != nil {
				return err
			}
		}
		if newPath != "" {
			if u.Path, err = checkPath(newPath); err != nil {
				return err
			}
		}
		u.ARN = users.arn("user", u.Path, u.Name)
		if u.key() != old.key() {
			t.drop(old)
		}
		t.put(u)
		return nil
	})
}

// Delete removes a user without credentials, policies and groups.
func (users *Users) Delete(ctx context.Context, name string) error {
	return users.update(ctx, func(t *tx) error {
		u, err := t.user(name)
		if err != nil {
			return err
		}
		switch {
		case len(u.Keys) > 0:
			return inUse("Cannot delete entity, must delete access keys first.")
		case len(u.Attached) > 0:
			return inUse("Cannot delete entity, must detach all policies first.")
		case len(u.Inline) > 0:
			return inUse("Cannot delete entity, must delete policies first.")
		case len(u.Groups) > 0:
			return inUse("Cannot delete entity, must remove users from group first.")
		case u.Login != nil:
			return inUse("Cannot delete entity, must delete login profile first.")
		case len(u.MFA) > 0 || len(t.passkeysOf(u.ID)) > 0:
			return inUse("Cannot delete entity, must delete MFA device first.")
		}
		t.drop(u)
		return nil
	})
}

// NewAccessKey is a key with its secret, which is shown once.
type NewAccessKey struct {
	AccessKey
	Secret string
}

// Create gives a user another access key.
func (keys *AccessKeys) Create(ctx context.Context, user string) (*NewAccessKey, error) {
	var k *NewAccessKey
	err := keys.update(ctx, func(t *tx) error {
		u, err := t.editUser(user)
		if err != nil {
			return err
		}
		if len(u.Keys) >= maxKeysPerUser {
			return limit("Cannot exceed quota for AccessKeysPerUser: %d", maxKeysPerUser)
		}
		if k, err = t.newKey(); err != nil {
			return err
		}
		u.Keys = append(u.Keys, k.AccessKey)
		return nil
	})
	return k, err
}

func (t *tx) newKey() (*NewAccessKey, error) {
	k := &NewAccessKey{AccessKey: AccessKey{ID: newID("AKIA", 16), Active: true, Created: t.now}, Secret: newSecret()}
	var err error
	k.Sealed, err = t.acct.ring.Seal(purposeAccessKey, []byte(k.Secret), []byte(k.ID))
	return k, err
}

func (t *tx) editKey(user, id string) (*User, int, error) {
	u, err := t.editUser(user)
	if err != nil {
		return nil, 0, err
	}
	i := slices.IndexFunc(u.Keys, func(k AccessKey) bool { return k.ID == id })
	if i < 0 {
		return nil, 0, notFound("The Access Key with id %s cannot be found.", printable(id))
	}
	return u, i, nil
}

// SetActive activates or deactivates a key. Deactivating a key revokes
// the temporary credentials issued from it.
func (keys *AccessKeys) SetActive(ctx context.Context, user, id string, active bool) error {
	return keys.update(ctx, func(t *tx) error {
		u, i, err := t.editKey(user, id)
		if err != nil {
			return err
		}
		u.Keys[i].Active = active
		return nil
	})
}

// Delete removes a key.
func (keys *AccessKeys) Delete(ctx context.Context, user, id string) error {
	return keys.update(ctx, func(t *tx) error {
		u, i, err := t.editKey(user, id)
		if err != nil {
			return err
		}
		u.Keys = slices.Delete(u.Keys, i, i+1)
		return nil
	})
}

// Principal returns the principal of a user without access key and second
// factor.
func (users *Users) Principal(ctx context.Context, name string) (sekisho.Principal, error) {
	return get(ctx, users.account, func(s *state) (sekisho.Principal, error) {
		u, err := s.user(name)
		if err != nil {
			return sekisho.Principal{}, err
		}
		return users.userPrincipal(u), nil
	})
}

func (a *account) userPrincipal(u *User) sekisho.Principal {
	return sekisho.Principal{
		Type: sekisho.PrincipalUser, Account: a.id, ARN: u.ARN, PolicyARN: u.ARN,
		UserID: u.ID, UserName: u.Name, Tags: u.Tags,
	}
}
