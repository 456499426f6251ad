package identity

import (
	"context"
	"crypto/subtle"
	"encoding/base32"
	"slices"
	"strings"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"

	"sekisho"
)

const (
	totpPeriod = 30 // seconds
	totpSeed   = 20 // bytes
	// totpSkew is the tolerance for a device's clock, in steps in either direction.
	totpSkew = 1
	// enableSkew is the tolerance when a device is enabled, because the user types two codes one
	// after the other.
	enableSkew = 3
)

// MFADevices are the virtual devices that show one-time codes.
type MFADevices struct {
	*account

	lockouts *lockouts
}

// NewMFADevice is a device with its seed, which is shown once.
type NewMFADevice struct {
	*MFADevice
	Seed string // base32
}

// Create creates a virtual device. It belongs to nobody until it is
// enabled.
func (devices *MFADevices) Create(
	ctx context.Context,
	path, name string,
	tags map[string]string,
) (*NewMFADevice, error) {
	var n *NewMFADevice
	err := devices.update(ctx, func(t *tx) error {
		if err := checkName("virtualMFADeviceName", name, 226); err != nil {
			return err
		}
		path, err := checkPath(path)
		if err != nil {
			return err
		}
		tags, err := mergeTags(nil, tags)
		if err != nil {
			return err
		}
		m := &MFADevice{Name: name, Path: path, Serial: devices.arn("mfa", path, name), Created: t.now, Tags: tags}
		if t.devices[m.key()] != nil {
			return exists("MFADevice entity at the same path and name already exists.")
		}
		seed := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(random(totpSeed))
		if m.Sealed, err = devices.ring.Seal(purposeTOTP, []byte(seed), []byte(m.Serial)); err != nil {
			return err
		}
		n = &NewMFADevice{MFADevice: m, Seed: seed}
		t.put(m)
		return nil
	})
	return n, err
}

// Get returns a device by its serial number, and its user, who may be
// nil.
func (devices *MFADevices) Get(ctx context.Context, serial string) (*MFADevice, *User, error) {
	var u *User
	m, err := get(ctx, devices.account, func(s *state) (*MFADevice, error) {
		m, err := s.device(serial)
		if err == nil {
			u = s.userIDs[m.UserID]
		}
		return m, err
	})
	return m, u, err
}

// List returns every device, by name, and the users by ID.
func (devices *MFADevices) List(ctx context.Context) ([]*MFADevice, error) {
	return get(ctx, devices.account, func(s *state) ([]*MFADevice, error) { return sorted(s.devices), nil })
}

// ByID returns a user by AIDA ID.
func (users *Users) ByID(ctx context.Context, id string) (*User, error) {
	return get(ctx, users.account, func(s *state) (*User, error) {
		if u := s.userIDs[id]; u != nil {
			return u, nil
		}
		return nil, notFound("The user with ID %s cannot be found.", printable(id))
	})
}

// guessMFA counts a guess at the codes of a device that belongs to user, or to nobody if user is
// empty. A guess at another user's device always fails; counting it would let any signed-in user
// lock others out.
func (devices *MFADevices) guessMFA(ctx context.Context, user, serial string) error {
	theirs, err := get(ctx, devices.account, func(s *state) (bool, error) {
		m := s.serials[serial]
		if m == nil || user == "" {
			return m != nil && m.UserID == "", nil
		}
		u, err := s.user(user)
		return err == nil && u.ID == m.UserID, nil
	})
	if err != nil || !theirs {
		return err
	}
	return devices.lockouts.attempt(guess{kind: "mfa", name: serial}, devices.now())
}

// Enable assigns a device to a user, who proves possession with two
// consecutive codes.
func (devices *MFADevices) Enable(ctx context.Context, user, serial, code1, code2 string) error {
	if err := devices.guessMFA(ctx, "", serial); err != nil {
		return err
	}
	err := devices.update(ctx, func(t *tx) error {
		u, err := t.editUser(user)
		if err != nil {
			return err
		}
		m, err := t.device(serial)
		if err != nil {
			return err
		}
		if m.UserID != "" {
			return exists("MFA Device is already in use.")
		}
		if len(u.MFA) >= maxMFAPerUser {
			return limit("Cannot exceed quota for MFADevicesPerUser: %d", maxMFAPerUser)
		}
		step, err := devices.consecutive(m, code1, code2)
		if err != nil {
			return err
		}
		dev := edit(m)
		u.MFA = append(u.MFA, serial)
		dev.UserID, dev.Enabled, dev.LastStep = u.ID, t.now, step
		t.put(dev)
		return nil
	})
	if err == nil {
		devices.lockouts.succeeded(guess{kind: "mfa", name: serial}, devices.now())
	}
	return err
}

// Resync adjusts to a device's clock with two consecutive codes.
func (devices *MFADevices) Resync(ctx context.Context, user, serial, code1, code2 string) error {
	if err := devices.guessMFA(ctx, user, serial); err != nil {
		return err
	}
	err := devices.update(ctx, func(t *tx) error {
		u, err := t.user(user)
		if err != nil {
			return err
		}
		m, err := t.device(serial)
		if err != nil {
			return err
		}
		if m.UserID != u.ID {
			return notFound("MFA device with serial number %s does not exist.", printable(serial))
		}
		step, err := devices.consecutive(m, code1, code2)
		if err != nil {
			return err
		}
		dev := edit(m)
		dev.LastStep = step
		t.put(dev)
		return nil
	})
	if err == nil {
		devices.lockouts.succeeded(guess{kind: "mfa", name: serial}, devices.now())
	}
	return err
}

// Deactivate unassigns a device from its user.
func (devices *MFADevices) Deactivate(ctx context.Context, user, serial string) error {
	return devices.update(ctx, func(t *tx) error {
		u, err := t.editUser(user)
		if err != nil {
			return err
		}
		i := slices.Index(u.MFA, serial)
		if i < 0 {
			return notFound("MFA device with serial number %s does not exist.", printable(serial))
		}
		u.MFA = slices.Delete(u.MFA, i, i+1)
		if m := t.serials[serial]; m != nil {
			dev := edit(m)
			dev.UserID, dev.Enabled = "", time.Time{}
			t.put(dev)
		}
		return nil
	})
}

// Delete removes an unassigned device.
func (devices *MFADevices) Delete(ctx context.Context, serial string) error {
	return devices.update(ctx, func(t *tx) error {
		m, err := t.device(serial)
		if err != nil {
			return err
		}
		if m.UserID != "" {
			return inUse("Cannot delete entity, must deactivate MFA device first.")
		}
		t.drop(m)
		return nil
	})
}

// Verify accepts a code of one of user's devices, once, and returns the time.
func (devices *MFADevices) Verify(ctx context.Context, user, serial, code string) (time.Time, error) {
	u, err := devices.user(ctx, user)
	if err != nil {
		return time.Time{}, err
	}
	if !slices.Contains(u.MFA, serial) {
		return time.Time{}, wrongCode()
	}
	if err := devices.guessMFA(ctx, user, serial); err != nil {
		return time.Time{}, err
	}
	if err := devices.acceptCode(ctx, u, serial, code); err != nil {
		return time.Time{}, err
	}
	devices.lockouts.succeeded(guess{kind: "mfa", name: serial}, devices.now())
	return devices.now().UTC().Truncate(time.Second), nil
}

// acceptCode finds the device that the code belongs to (any of u's if serial is empty), and stores
// the step, so that the code works only once in the cluster.
func (devices *MFADevices) acceptCode(ctx context.Context, u *User, serial, code string) error {
	return devices.update(ctx, func(t *tx) error {
		now := t.acct.now().Unix() / totpPeriod
		for _, s := range u.MFA {
			m := t.serials[s]
			if m == nil || m.UserID != u.ID || (serial != "" && s != serial) {
				continue
			}
			for step := max(now-totpSkew, m.LastStep+1); step <= now+totpSkew; step++ {
				ok, err := devices.codeIs(m, step, code)
				if err != nil {
					return err
				}
				if ok {
					dev := edit(m)
					dev.LastStep = step
					t.put(dev)
					return nil
				}
			}
		}
		return wrongCode()
	})
}

func wrongCode() error {
	return &sekisho.Error{
		Code:    sekisho.CodeDenied,
		Err:     ErrMFACode,
		Message: "MultiFactorAuthentication failed with invalid MFA one time pass code.",
	}
}

// consecutive returns the step of code2, which must directly follow that of code1 and be newer than
// any step for which the device has been used.
func (devices *MFADevices) consecutive(m *MFADevice, code1, code2 string) (int64, error) {
	now := devices.now().Unix() / totpPeriod
	for step := max(now-enableSkew, m.LastStep+1); step <= now+totpSkew; step++ {
		first, err := devices.codeIs(m, step-1, code1)
		if err != nil {
			return 0, err
		}
		second, err := devices.codeIs(m, step, code2)
		if err != nil {
			return 0, err
		}
		if first && second {
			return step, nil
		}
	}
	return 0, &sekisho.Error{
		Code:    sekisho.CodeDenied,
		Err:     ErrMFACode,
		Message: "Authentication code for device is not valid.",
	}
}

// codeIs reports whether code is the device's code at a step.
func (devices *MFADevices) codeIs(m *MFADevice, step int64, code string) (bool, error) {
	if step < 0 {
		return false, nil
	}
	seed, err := devices.ring.Open(purposeTOTP, m.Sealed, []byte(m.Serial))
	if err != nil {
		return false, err
	}
	want, err := hotp.GenerateCodeCustom(
		string(seed),
		uint64(step),
		hotp.ValidateOpts{Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1},
	)
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare([]byte(want), []byte(strings.TrimSpace(code))) == 1, nil
}
