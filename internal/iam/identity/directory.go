package identity

import (
	"context"
	"time"

	"sekisho"
	"sekisho/internal/storage/keyring"
)

// Config is the configuration of a Directory.
type Config struct {
	Store   Store
	Keyring *keyring.Ring
	Account string // 12 digits
	// Refresh bounds how stale the view of other members' writes may be; zero
	// means one second.
	Refresh time.Duration
	// StaleLimit is how long the directory answers from memory while the store cannot be read; zero means ten
	// seconds. After that it refuses all callers.
	StaleLimit time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Directory holds the account: one part per kind of object, over one state.
type Directory struct {
	*account

	Users     *Users
	Keys      *AccessKeys
	Groups    *Groups
	Roles     *Roles
	Profiles  *InstanceProfiles
	Policies  *ManagedPolicies
	Holders   *Holders
	Tags      *Tags
	MFA       *MFADevices
	Passkeys  *Passkeys
	Logins    *Logins
	Calendars *Calendars
	Providers *OIDCProviders
	Settings  *AccountSettings

	SignIns     *SignIns
	Credentials *Credentials
	Sets        *PolicySets
	Uses        *Uses
}

// The parts that hold nothing but the account.
type (
	// Users are the account's users.
	Users struct{ *account }
	// AccessKeys are the long-term keys of users.
	AccessKeys struct{ *account }
	// Groups are the account's groups and their members.
	Groups struct{ *account }
	// Roles are the account's roles and their trust policies.
	Roles struct{ *account }
	// InstanceProfiles are the containers by which EC2 names a role.
	InstanceProfiles struct{ *account }
	// ManagedPolicies are the policies of the account and of AWS.
	ManagedPolicies struct{ *account }
	// Holders are users, groups and roles as holders of policies.
	Holders struct{ *account }
	// Tags are the tags of objects of any kind.
	Tags struct{ *account }
	// Passkeys are the passkeys of users.
	Passkeys struct{ *account }
	// Calendars are the calendars that policies refer to.
	Calendars struct{ *account }
	// OIDCProviders are the identity providers that roles may trust.
	OIDCProviders struct{ *account }
	// AccountSettings are the password policy, the alias and the quotas.
	AccountSettings struct{ *account }
)

// New loads the directory.
func New(ctx context.Context, c Config) (*Directory, error) {
	if len(c.Account) != 12 {
		return nil, sekisho.Errorf(sekisho.CodeInvalid, "the account ID %q does not have 12 digits", c.Account)
	}
	a, err := newAccount(ctx, c)
	if err != nil {
		return nil, err
	}
	d := &Directory{
		account: a,
		Users:   &Users{a}, Keys: &AccessKeys{a}, Groups: &Groups{a}, Roles: &Roles{a}, Profiles: &InstanceProfiles{a},
		Policies: &ManagedPolicies{a}, Holders: &Holders{a}, Tags: &Tags{a}, Passkeys: &Passkeys{a},
		Calendars: &Calendars{a}, Providers: &OIDCProviders{a}, Settings: &AccountSettings{a},
		Sets: &PolicySets{account: a},
		Uses: &Uses{store: c.Store, pending: map[string]Use{}, touched: make(chan struct{}, 1)},
	}
	guesses := newLockouts(a.now)
	d.MFA = &MFADevices{a, guesses}
	d.Logins = &Logins{account: a, lockouts: guesses, hashing: make(chan struct{}, hashesAtOnce)}
	d.SignIns = &SignIns{
		account: a, lockouts: guesses, logins: d.Logins, devices: d.MFA, passkeys: d.Passkeys, uses: d.Uses,
	}
	d.Credentials = &Credentials{account: a, devices: d.MFA, sets: d.Sets, uses: d.Uses}
	return d, nil
}

// Account returns the account ID.
func (d *Directory) Account() string { return d.id }
