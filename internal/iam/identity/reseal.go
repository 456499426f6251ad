package identity

import "context"

// Reseal seals every stored secret with the keyring's newest data key, after a
// rotation. It returns the number of resealed secrets.
func (d *Directory) Reseal(ctx context.Context) (int, error) {
	sealed := 0
	err := d.update(ctx, func(t *tx) error {
		sealed = 0
		for _, old := range t.users {
			var u *User
			for i, k := range old.Keys {
				if d.ring.Fresh(k.Sealed) {
					continue
				}
				if u == nil {
					u = edit(old)
					t.put(u)
				}
				var err error
				if u.Keys[i].Sealed, err = d.reseal(purposeAccessKey, k.Sealed, k.ID); err != nil {
					return err
				}
				sealed++
			}
		}
		for _, old := range t.devices {
			if d.ring.Fresh(old.Sealed) {
				continue
			}
			m := edit(old)
			t.put(m)
			var err error
			if m.Sealed, err = d.reseal(purposeTOTP, old.Sealed, old.Serial); err != nil {
				return err
			}
			sealed++
		}
		return nil
	})
	return sealed, err
}

func (a *account) reseal(purpose string, old []byte, place string) ([]byte, error) {
	plain, err := a.ring.Open(purpose, old, []byte(place))
	if err != nil {
		return nil, err
	}
	return a.ring.Seal(purpose, plain, []byte(place))
}
