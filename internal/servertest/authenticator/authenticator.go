// Package authenticator is a WebAuthn authenticator for tests: it does in
// software what a browser and a security key do.
package authenticator

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"net/url"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

// Flags of authenticator data (WebAuthn, section 6.1).
const (
	Present  = 0x01
	Verified = 0x04
	attested = 0x40
)

// Key is an authenticator with one credential.
type Key struct {
	t       testing.TB
	origin  string
	id      []byte
	key     *ecdsa.PrivateKey
	user    []byte
	counter uint32
	flags   byte
}

// New returns an authenticator in a browser that shows origin.
func New(t testing.TB, origin string) *Key {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id := make([]byte, 16)
	rand.Read(id)
	return &Key{t: t, origin: origin, id: id, key: key, counter: 1, flags: Present | Verified}
}

// Without returns the authenticator with a flag cleared.
func (k *Key) Without(flag byte) *Key {
	c := *k
	c.flags &^= flag
	return &c
}

// WithCounter returns the authenticator with another count of signatures.
func (k *Key) WithCounter(n uint32) *Key {
	c := *k
	c.counter = n
	return &c
}

// options are the members of the options that either ceremony needs.
type options struct {
	PublicKey struct {
		Challenge string `json:"challenge"`
		User      struct {
			ID string `json:"id"`
		} `json:"user"`
	} `json:"publicKey"`
}

func (k *Key) read(o any) options {
	k.t.Helper()
	b, err := json.Marshal(o)
	if err != nil {
		k.t.Fatal(err)
	}
	var out options
	if err := json.Unmarshal(b, &out); err != nil || out.PublicKey.Challenge == "" {
		k.t.Fatalf("options without a challenge: %v: %s", err, b)
	}
	return out
}

var b64 = base64.RawURLEncoding.EncodeToString

func (k *Key) client(kind, challenge string) []byte {
	b, err := json.Marshal(
		map[string]any{"type": kind, "challenge": challenge, "origin": k.origin, "crossOrigin": false},
	)
	if err != nil {
		k.t.Fatal(err)
	}
	return b
}

// data is the authenticator data, which is part of the signed data.
func (k *Key) data(flags byte) []byte {
	u, err := url.Parse(k.origin)
	if err != nil {
		k.t.Fatal(err)
	}
	rp := sha256.Sum256([]byte(u.Hostname()))
	return binary.BigEndian.AppendUint32(append(rp[:], flags), k.counter)
}

// Create returns the response to the options of a registration.
func (k *Key) Create(o any) []byte {
	k.t.Helper()
	in := k.read(o)
	user, err := base64.RawURLEncoding.DecodeString(in.PublicKey.User.ID)
	if err != nil {
		k.t.Fatal(err)
	}
	k.user = user
	point, err := k.key.PublicKey.Bytes()
	if err != nil {
		k.t.Fatal(err)
	}
	public, err := cbor.Marshal(map[int]any{1: 2, 3: -7, -1: 1, -2: point[1:33], -3: point[33:]}) // EC2, ES256, P-256
	if err != nil {
		k.t.Fatal(err)
	}
	data := append(k.data(k.flags|attested), make([]byte, 16)...) // no model identifier
	data = binary.BigEndian.AppendUint16(data, uint16(len(k.id)))
	data = append(append(data, k.id...), public...)
	object, err := cbor.Marshal(map[string]any{"fmt": "none", "attStmt": map[string]any{}, "authData": data})
	if err != nil {
		k.t.Fatal(err)
	}
	return k.answer(map[string]any{
		"clientDataJSON": b64(
			k.client("webauthn.create", in.PublicKey.Challenge),
		), "attestationObject": b64(object), "transports": []string{"internal"},
	})
}

// Get returns the response to the options of a sign-in.
func (k *Key) Get(o any) []byte {
	k.t.Helper()
	k.counter++
	return k.sign(k, o)
}

// Forge returns the response of other to the options of a sign-in, with a key
// of its own.
func (k *Key) Forge(other *Key, o any) []byte {
	k.t.Helper()
	return other.WithCounter(other.counter+1).sign(k, o)
}

func (k *Key) sign(by *Key, o any) []byte {
	k.t.Helper()
	client := k.client("webauthn.get", k.read(o).PublicKey.Challenge)
	data := k.data(k.flags)
	hash := sha256.Sum256(client)
	digest := sha256.Sum256(append(append([]byte(nil), data...), hash[:]...))
	signature, err := ecdsa.SignASN1(rand.Reader, by.key, digest[:])
	if err != nil {
		k.t.Fatal(err)
	}
	return k.answer(map[string]any{
		"clientDataJSON": b64(
			client,
		), "authenticatorData": b64(data), "signature": b64(signature), "userHandle": b64(k.user),
	})
}

func (k *Key) answer(response map[string]any) []byte {
	b, err := json.Marshal(
		map[string]any{
			"id":                     b64(k.id),
			"rawId":                  b64(k.id),
			"type":                   "public-key",
			"response":               response,
			"clientExtensionResults": map[string]any{},
		},
	)
	if err != nil {
		k.t.Fatal(err)
	}
	return b
}
