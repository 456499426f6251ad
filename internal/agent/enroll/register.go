package enroll

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"sekisho"
	"sekisho/internal/agent/uplink"
	"sekisho/internal/wire/id"
)

// keyBits is the size of a node's key, the same as AWS's agent uses.
const keyBits = 2048

// Registration is a request to become a managed node.
type Registration struct {
	Server         uplink.Server
	ActivationID   string
	ActivationCode string
	Force          bool // replace the current identity
}

// Registered is the outcome of Register.
type Registered struct {
	Node        sekisho.NodeID
	OldIdentity string // file the old identity was moved to; may be empty
}

type registerRequest struct {
	ActivationCode string
	ActivationID   string `json:"ActivationId"`
	Fingerprint    string
	PublicKey      string // base64 of the DER SubjectPublicKeyInfo
	PublicKeyType  string
}

type registerResponse struct {
	InstanceID sekisho.NodeID `json:"InstanceId"`
}

// Register makes this machine a node and stores its new identity in v, which must be locked.
func Register(ctx context.Context, v *Vault, r Registration) (Registered, error) {
	_, err := v.Identity()
	switch {
	case r.Force || sekisho.IsNotFound(err):
	case err != nil:
		return Registered{}, err
	default:
		return Registered{}, sekisho.Errorf(sekisho.CodeConflict, "this machine is already registered (%s).", v.path).
			WithHint("Use --force to register it again; the old identity is kept in a backup file.")
	}
	if r.ActivationID == "" || r.ActivationCode == "" {
		return Registered{}, sekisho.Errorf(sekisho.CodeInvalid, "an activation ID and an activation code are required.").
			WithHint("aws ssm create-activation prints both.")
	}
	client, err := uplink.New(r.Server, nil)
	if err != nil {
		return Registered{}, err
	}
	defer client.Close()
	key, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return Registered{}, fmt.Errorf("create a key: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return Registered{}, fmt.Errorf("create a key: %w", err)
	}
	// Check that the directory is writable before the activation is used up.
	const probe = "probe.json"
	if err := errors.Join(v.write(probe, r.Server), v.root.Remove(probe)); err != nil {
		return Registered{}, err
	}
	ident := Identity{Fingerprint: id.UUID(), Key: key}
	var answer registerResponse
	err = client.Register(ctx, registerRequest{
		ActivationCode: r.ActivationCode,
		ActivationID:   r.ActivationID,
		Fingerprint:    ident.Fingerprint,
		PublicKey:      base64.StdEncoding.EncodeToString(public),
		PublicKeyType:  "Rsa",
	}, &answer)
	if err != nil {
		return Registered{}, registerError(err)
	}
	ident.Node = answer.InstanceID
	if !id.ValidNode(string(ident.Node)) {
		return Registered{}, sekisho.Errorf(
			sekisho.CodeInternal,
			"the server returned %.40q, which is not a node ID",
			ident.Node,
		)
	}
	done := Registered{Node: ident.Node}
	if done.OldIdentity, err = v.retire(); err != nil {
		return Registered{}, err
	}
	if err := v.write(configFile, r.Server); err != nil {
		return Registered{}, err
	}
	return done, v.saveIdentity(ident)
}

// registerError adds a remedy to a refusal.
func registerError(err error) error {
	api, ok := errors.AsType[*uplink.APIError](err)
	if !ok {
		return err
	}
	e := sekisho.Errorf(sekisho.CodeDenied, "%w", err)
	remedy := ""
	switch api.Code {
	case "InvalidActivation", "InvalidActivationId":
		remedy = "Check the activation's ID and code, and the region."
	case "ActivationExpired":
		remedy = "Create a new activation."
	}
	// Sekisho's server includes the remedy, AWS's does not.
	if remedy == "" ||
		strings.Contains(strings.ToLower(api.Message), strings.ToLower(strings.TrimSuffix(remedy, "."))) {
		return e
	}
	return e.WithHint("%s", remedy)
}
