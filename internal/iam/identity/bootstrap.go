package identity

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/base32"
	"errors"
	"path"
	"slices"
	"strings"
	"time"

	"sekisho"
)

//go:embed managed/*.json
var managedFiles embed.FS

const (
	awsPolicyPrefix = "arn:aws:iam::aws:policy/"

	// AdministratorAccess allows everything.
	AdministratorAccess = awsPolicyPrefix + "AdministratorAccess"
	// ManagedInstanceCore allows what an agent needs.
	ManagedInstanceCore = awsPolicyPrefix + "AmazonSSMManagedInstanceCore"

	// NodeRole is the role that nodes get when an activation names no other.
	NodeRole = "AmazonEC2RunCommandRoleForManagedInstances"

	nodeRolePath  = "/service-role/"
	nodeRoleTrust = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow",` +
		`"Principal":{"Service":"ssm.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
)

// managedSince is the creation date of the AWS-managed policies.
var managedSince = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// awsManaged returns the built-in AWS-managed policies. They are part of the program, not of the
// store, so that an update of the program updates them.
func awsManaged() ([]*Policy, error) {
	files, err := managedFiles.ReadDir("managed")
	if err != nil {
		return nil, err
	}
	out := make([]*Policy, 0, len(files))
	for _, f := range files {
		text, err := managedFiles.ReadFile(path.Join("managed", f.Name()))
		if err != nil {
			return nil, err
		}
		name := strings.TrimSuffix(f.Name(), ".json")
		sum := sha256.Sum256([]byte(name))
		out = append(out, &Policy{
			Path: "/", Name: name, ARN: awsPolicyPrefix + name,
			ID:      "ANPA" + base32.StdEncoding.EncodeToString(sum[:])[:17],
			Created: managedSince, Updated: managedSince,
			Versions: []PolicyVersion{
				{ID: "v1", Document: strings.TrimSpace(string(text)), Created: managedSince},
			}, Default: "v1",
		})
	}
	return out, nil
}

// FirstAdministrator holds the first credentials of an account. They are shown
// once.
type FirstAdministrator struct {
	AccessKeyID     string
	SecretAccessKey string
	Password        string
}

var errNotFirst = errors.New("the account already has users")

// Bootstrap creates the first administrator and the role of nodes in an
// account without users and roles; made is false otherwise.
func (d *Directory) Bootstrap(ctx context.Context, adminName string) (first FirstAdministrator, made bool, err error) {
	password := newPassword()
	hash := hashPassword(password)
	err = d.update(ctx, func(t *tx) error {
		if len(t.users)+len(t.roles) > 0 {
			return errNotFirst
		}
		h, err := t.newHolder(KindUser, "AIDA", "/", adminName, nil)
		if err != nil {
			return err
		}
		h.Attached = []string{AdministratorAccess}
		k, err := t.newKey()
		if err != nil {
			return err
		}
		role, err := t.newRole(NewRole{
			Path: nodeRolePath, Name: NodeRole, Trust: nodeRoleTrust,
			Description: "Default role of activations: permissions of managed nodes.",
		})
		if err != nil {
			return err
		}
		role.Attached = []string{ManagedInstanceCore}
		t.put(&Settings{FirstUserID: h.ID})
		t.put(&User{Holder: h, Keys: []AccessKey{k.AccessKey}, Login: &LoginProfile{Hash: hash, Created: t.now}})
		t.put(role)
		first = FirstAdministrator{AccessKeyID: k.ID, SecretAccessKey: k.Secret, Password: password}
		return nil
	})
	if errors.Is(err, errNotFirst) {
		return FirstAdministrator{}, false, nil
	}
	return first, err == nil, err
}

// ResetAdministrator makes the user called name an administrator with a new
// password, which it must change at the next sign-in: it creates the user if it
// is missing, attaches AdministratorAccess, removes the permissions boundary and
// unassigns MFA devices. Other policies of the user, and of its groups, stay:
// one that denies still denies.
func (d *Directory) ResetAdministrator(ctx context.Context, name string) (password string, err error) {
	password = newPassword()
	hash := hashPassword(password)
	err = d.update(ctx, func(t *tx) error {
		var u *User
		old, err := t.user(name)
		switch {
		case err == nil:
			u = edit(old)
		case sekisho.IsNotFound(err):
			h, err := t.newHolder(KindUser, "AIDA", "/", name, nil)
			if err != nil {
				return err
			}
			u = &User{Holder: h}
		default:
			return err
		}
		u.Boundary = ""
		if !slices.Contains(u.Attached, AdministratorAccess) {
			u.Attached = append(u.Attached, AdministratorAccess)
		}
		u.Login = &LoginProfile{Hash: hash, Created: t.now, Changed: t.now, ResetRequired: true}
		for _, serial := range u.MFA {
			if m := t.serials[serial]; m != nil {
				device := edit(m)
				device.UserID, device.Enabled = "", time.Time{}
				t.put(device)
			}
		}
		u.MFA = nil
		t.put(u)
		return nil
	})
	return password, err
}
