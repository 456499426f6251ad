package kmskey

import (
	"context"
	"slices"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/wire/id"
)

// ErrNoGrant says that a key has no such grant.
var ErrNoGrant = sekisho.Errorf(sekisho.CodeNotFound, "The key has no grant with this ID.")

// change alters a key that is not pending deletion.
func (s *Keys) change(ctx context.Context, keyID string, change func(k *Key) error) error {
	return s.alter(ctx, keyID, func(k *Key) error {
		if k.State == PendingDeletion {
			return s.pending(k)
		}
		return change(k)
	})
}

// alter alters a key in any state.
func (s *Keys) alter(ctx context.Context, keyID string, change func(k *Key) error) error {
	err := s.cfg.Store.UpdateKey(ctx, keyID, func(k *Key) error {
		if k.gone(s.cfg.Now()) {
			return s.noKey(keyID)
		}
		return change(k)
	})
	return s.missing(keyID, err)
}

// Enable makes a key usable, or unusable until it is enabled again.
func (s *Keys) Enable(ctx context.Context, keyID string, enabled bool) error {
	return s.change(ctx, keyID, func(k *Key) error {
		k.State = Disabled
		if enabled {
			k.State = Enabled
		}
		return nil
	})
}

// Describe replaces a key's description.
func (s *Keys) Describe(ctx context.Context, keyID, description string) error {
	if err := checkDescription(description); err != nil {
		return err
	}
	return s.change(ctx, keyID, func(k *Key) error {
		k.Description = description
		return nil
	})
}

// SetPolicy replaces a key's policy, which the caller has checked.
func (s *Keys) SetPolicy(ctx context.Context, keyID string, policy Policy) error {
	return s.alter(ctx, keyID, func(k *Key) error {
		k.Policy = policy
		return nil
	})
}

// SetRotation turns the rotation of a key's material on or off. A period of 0 keeps the
// current one.
func (s *Keys) SetRotation(ctx context.Context, keyID string, on bool, every time.Duration) error {
	if every != 0 && (every < minRotation || every > maxRotation) {
		return sekisho.Errorf(sekisho.CodeInvalid, "RotationPeriodInDays must be between 90 and 2560.")
	}
	return s.change(ctx, keyID, func(k *Key) error {
		if on && k.State == Disabled {
			return s.usable(k)
		}
		k.Rotates = on
		if every != 0 {
			k.RotateEvery = every
		}
		return nil
	})
}

// Retag changes a key's tags.
func (s *Keys) Retag(ctx context.Context, keyID string, change func(tags map[string]string) error) error {
	return s.change(ctx, keyID, func(k *Key) error {
		if k.Tags == nil {
			k.Tags = map[string]string{}
		}
		return change(k.Tags)
	})
}

// maxGrants bounds the grants of one key: every decision examines all of them.
const maxGrants = 1000

// AddGrant adds a grant to a key and returns its ID. policy makes the grant's policy once
// the ID is known. If the same grant already exists under the same name, AddGrant returns
// it.
func (s *Keys) AddGrant(ctx context.Context, keyID string, g Grant, policy func(Grant) (Policy,
	error)) (grantID string, err error) {
	g.ID, g.CreatedAt = strings.ReplaceAll(id.UUID()+id.UUID(), "-", ""), s.cfg.Now().UTC()
	if g.Policy, err = policy(g); err != nil {
		return "", err
	}
	err = s.change(ctx, keyID, func(k *Key) error {
		for _, have := range k.Grants {
			if g.Name != "" && have.same(g) {
				grantID = have.ID
				return nil
			}
		}
		if len(k.Grants) >= maxGrants {
			return sekisho.Errorf(sekisho.CodeLimit, "The key has %d grants, the most there can be.", maxGrants)
		}
		grantID = g.ID
		k.Grants = append(k.Grants, g)
		return nil
	})
	return grantID, err
}

// RemoveGrant removes a grant from a key, even if the key is pending deletion.
func (s *Keys) RemoveGrant(ctx context.Context, keyID, grantID string) error {
	return s.alter(ctx, keyID, func(k *Key) error {
		i := slices.IndexFunc(k.Grants, func(g Grant) bool { return g.ID == grantID })
		if i < 0 {
			return ErrNoGrant
		}
		k.Grants = slices.Delete(k.Grants, i, i+1)
		return nil
	})
}

// ScheduleDeletion removes a key after a waiting period, during which it cannot be
// used. Zero means 30 days.
func (s *Keys) ScheduleDeletion(ctx context.Context, keyID string, waiting time.Duration) (time.Time, error) {
	if waiting == 0 {
		waiting = maxWaiting
	}
	if waiting < minWaiting || waiting > maxWaiting {
		return time.Time{}, sekisho.Errorf(sekisho.CodeInvalid, "PendingWindowInDays must be between 7 and 30.")
	}
	at := s.cfg.Now().UTC().Add(waiting)
	return at, s.change(ctx, keyID, func(k *Key) error {
		k.State, k.DeletionAt = PendingDeletion, at
		return nil
	})
}

// CancelDeletion cancels a key's deletion. The key is disabled afterwards.
func (s *Keys) CancelDeletion(ctx context.Context, keyID string) error {
	return s.alter(ctx, keyID, func(k *Key) error {
		if k.State != PendingDeletion {
			return &sekisho.Error{
				Code:    sekisho.CodeInvalid,
				Message: s.ARN(k.ID) + " is not pending deletion.",
				Err:     ErrState,
			}
		}
		k.State, k.DeletionAt = Disabled, time.Time{}
		return nil
	})
}

// Sweep removes the keys whose waiting period has ended. The server calls it
// regularly.
func (s *Keys) Sweep(ctx context.Context) error {
	all, err := s.cfg.Store.Keys(ctx)
	if err != nil {
		return err
	}
	for _, k := range all {
		if k.gone(s.cfg.Now()) {
			if err := s.cfg.Store.DeleteKey(ctx, k.ID); err != nil && !sekisho.IsNotFound(err) {
				return err
			}
		}
	}
	return nil
}

// Reseal seals all material with the keyring's newest key, after a rotation of the
// keyring. It returns the number of keys that it changed.
func (s *Keys) Reseal(ctx context.Context) (int, error) {
	all, err := s.cfg.Store.Keys(ctx)
	if err != nil {
		return 0, err
	}
	resealed := 0
	for _, k := range all {
		stale := false
		for _, g := range k.Generations {
			stale = stale || !s.cfg.Sealer.Fresh(g.Sealed)
		}
		if !stale {
			continue
		}
		err := s.cfg.Store.UpdateKey(ctx, k.ID, func(k *Key) error {
			for i := range k.Generations {
				material, err := s.material(k, i)
				if err != nil {
					return err
				}
				if k.Generations[i].Sealed, err = s.cfg.Sealer.Seal(purposeMaterial, material, place(k.ID, i)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil && !sekisho.IsNotFound(err) {
			return resealed, err
		}
		resealed++
	}
	return resealed, nil
}

// CreateAlias gives a key an alias.
func (s *Keys) CreateAlias(ctx context.Context, name, keyID string) error {
	k, err := s.target(ctx, keyID)
	if err != nil {
		return err
	}
	now := s.cfg.Now().UTC()
	err = s.cfg.Store.CreateAlias(ctx, Alias{Name: name, KeyID: k.ID, CreatedAt: now, UpdatedAt: now})
	if sekisho.CodeOf(err) == sekisho.CodeConflict {
		return sekisho.Errorf(sekisho.CodeConflict, "An alias with the name %s already exists", s.AliasARN(name))
	}
	return s.missing(keyID, err)
}

// target returns a key that can have one more alias.
func (s *Keys) target(ctx context.Context, keyID string) (*Key, error) {
	k, err := s.Key(ctx, keyID)
	if err != nil {
		return nil, err
	}
	if k.State == PendingDeletion {
		return nil, s.pending(k)
	}
	names, err := s.AliasesOf(ctx, keyID)
	if err != nil {
		return nil, err
	}
	if len(names) >= maxAliases {
		return nil, sekisho.Errorf(sekisho.CodeLimit, "The key has %d aliases, the most there can be.", maxAliases)
	}
	return k, nil
}

// Alias returns an alias by its name.
func (s *Keys) Alias(ctx context.Context, name string) (*Alias, error) {
	a, err := s.cfg.Store.Alias(ctx, name)
	return a, s.noAlias(name, err)
}

func (s *Keys) noAlias(name string, err error) error {
	if sekisho.IsNotFound(err) {
		return sekisho.Errorf(sekisho.CodeNotFound, "Alias %s is not found.", s.AliasARN(name))
	}
	return err
}

// UpdateAlias points an alias to another key.
func (s *Keys) UpdateAlias(ctx context.Context, name, keyID string) error {
	if _, err := s.target(ctx, keyID); err != nil {
		return err
	}
	return s.noAlias(name, s.cfg.Store.UpdateAlias(ctx, name, keyID, s.cfg.Now().UTC()))
}

// DeleteAlias removes an alias.
func (s *Keys) DeleteAlias(ctx context.Context, name string) error {
	return s.noAlias(name, s.cfg.Store.DeleteAlias(ctx, name))
}

// Aliases returns all aliases, by name.
func (s *Keys) Aliases(ctx context.Context) ([]*Alias, error) { return s.cfg.Store.Aliases(ctx) }

// AliasesOf returns the aliases of a key.
func (s *Keys) AliasesOf(ctx context.Context, keyID string) ([]string, error) {
	all, err := s.cfg.Store.Aliases(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, a := range all {
		if a.KeyID == keyID {
			names = append(names, a.Name)
		}
	}
	return names, nil
}
