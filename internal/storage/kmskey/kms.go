package kmskey

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"sekisho"
	"sekisho/internal/safetext"
	"sekisho/internal/wire/id"
)

// Errors that callers distinguish, besides [ErrCiphertext].
var (
	// ErrDisabled reports that a key is disabled.
	ErrDisabled = errors.New("the key is disabled")
	// ErrState reports that a key's state does not allow the operation.
	ErrState = errors.New("the key's state does not allow it")
	// ErrWrongKey reports that a ciphertext was made with a key other than the one in the
	// request.
	ErrWrongKey = errors.New("another key made the ciphertext")
	// ErrARN reports that an ARN belongs to another service, region or account.
	ErrARN = errors.New("the ARN leads elsewhere")
)

// Store keeps keys and aliases.
type Store interface {
	CreateKey(ctx context.Context, k *Key) error
	Key(ctx context.Context, id string) (*Key, error)
	// Keys returns all keys, by ID.
	Keys(ctx context.Context) ([]*Key, error)
	// UpdateKey atomically reads the key, lets change alter it, and stores it. If change
	// returns an error, nothing is stored and the error is returned.
	UpdateKey(ctx context.Context, id string, change func(k *Key) error) error
	// DeleteKey removes a key and its aliases.
	DeleteKey(ctx context.Context, id string) error

	// CreateAlias returns CodeConflict for a name in use, and CodeNotFound for a key that
	// does not exist.
	CreateAlias(ctx context.Context, a Alias) error
	Alias(ctx context.Context, name string) (*Alias, error)
	// Aliases returns all aliases, by name.
	Aliases(ctx context.Context) ([]*Alias, error)
	// UpdateAlias points a name to another key.
	UpdateAlias(ctx context.Context, name, keyID string, at time.Time) error
	DeleteAlias(ctx context.Context, name string) error
}

// Sealer protects material at rest.
type Sealer interface {
	Seal(purpose string, plaintext, aad []byte) ([]byte, error)
	Open(purpose string, sealed, aad []byte) ([]byte, error)
	// Fresh reports whether sealed was made with the newest key.
	Fresh(sealed []byte) bool
}

// Config configures Keys.
type Config struct {
	Store  Store
	Sealer Sealer
	// ARNs of keys and aliases begin with these: "arn:aws:kms:REGION:ACCOUNT:".
	Region, Account string
	Now             func() time.Time // nil = time.Now
}

// Keys are the keys of an account. They are safe for concurrent use.
type Keys struct {
	cfg    Config
	prefix string
}

// New returns the keys in cfg.Store.
func New(cfg Config) *Keys {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Keys{cfg: cfg, prefix: "arn:aws:kms:" + cfg.Region + ":" + cfg.Account + ":"}
}

const (
	purposeMaterial = "kms-key-material"

	maxDescription = 8192
	maxKeys        = 10_000
	maxAliases     = 50 // of one key
	minWaiting     = 7 * 24 * time.Hour
	maxWaiting     = 30 * 24 * time.Hour

	// DefaultRotation is how often a key rotates by default.
	DefaultRotation = 365 * 24 * time.Hour
	minRotation     = 90 * 24 * time.Hour
	maxRotation     = 2560 * 24 * time.Hour
)

// ARN is the ARN of a key.
func (s *Keys) ARN(keyID string) string { return s.prefix + "key/" + keyID }

// AliasARN is the ARN of an alias.
func (s *Keys) AliasARN(name string) string { return s.prefix + name }

// NewKey is the input of [Keys.Create].
type NewKey struct {
	Description string
	Policy      func(keyARN string) (Policy, error) // called with the new key's ARN
	Tags        map[string]string
}

// Create makes a key.
func (s *Keys) Create(ctx context.Context, in NewKey) (*Key, error) {
	if err := checkDescription(in.Description); err != nil {
		return nil, err
	}
	all, err := s.cfg.Store.Keys(ctx)
	if err != nil {
		return nil, err
	}
	if len(all) >= maxKeys {
		return nil, sekisho.Errorf(sekisho.CodeLimit, "The account has %d keys, the most there can be.", maxKeys)
	}
	now := s.cfg.Now().UTC()
	k := &Key{
		ID: id.UUID(), Description: in.Description, State: Enabled, CreatedAt: now,
		RotateEvery: DefaultRotation, Tags: in.Tags,
	}
	if k.Policy, err = in.Policy(s.ARN(k.ID)); err != nil {
		return nil, err
	}
	if err := s.grow(k, now); err != nil {
		return nil, err
	}
	return k, s.cfg.Store.CreateKey(ctx, k)
}

func checkDescription(text string) error {
	if utf8.RuneCountInString(text) > maxDescription {
		return sekisho.Errorf(sekisho.CodeInvalid, "Description must have at most %d characters.", maxDescription)
	}
	return nil
}

// grow adds a generation of material to k.
func (s *Keys) grow(k *Key, now time.Time) error {
	material := make([]byte, materialLen)
	rand.Read(material) // cannot fail: see crypto/rand
	sealed, err := s.cfg.Sealer.Seal(purposeMaterial, material, place(k.ID, len(k.Generations)))
	if err != nil {
		return fmt.Errorf("seal the material of a key: %w", err)
	}
	k.Generations = append(k.Generations, Generation{MadeAt: now, Sealed: sealed})
	return nil
}

// place is the associated data that binds material to its key and generation.
func place(keyID string, generation int) []byte {
	return binary.BigEndian.AppendUint32([]byte(keyID), uint32(generation))
}

func (s *Keys) material(k *Key, generation int) ([]byte, error) {
	material, err := s.cfg.Sealer.Open(purposeMaterial, k.Generations[generation].Sealed, place(k.ID, generation))
	if err != nil {
		return nil, fmt.Errorf("material of the key %s: %w", k.ID,
			errors.New(err.Error())) // an internal error, regardless of err's code
	}
	return material, nil
}

// Key returns a key by its ID.
func (s *Keys) Key(ctx context.Context, keyID string) (*Key, error) {
	k, err := s.cfg.Store.Key(ctx, keyID)
	if err != nil {
		return nil, s.missing(keyID, err)
	}
	if k.gone(s.cfg.Now()) {
		return nil, s.noKey(keyID)
	}
	return k, nil
}

func (s *Keys) missing(keyID string, err error) error {
	if sekisho.IsNotFound(err) {
		return s.noKey(keyID)
	}
	return err
}

func (s *Keys) noKey(keyID string) error {
	return sekisho.Errorf(sekisho.CodeNotFound, "Key '%s' does not exist", s.ARN(keyID))
}

// List returns all keys, by ID.
func (s *Keys) List(ctx context.Context) ([]*Key, error) {
	all, err := s.cfg.Store.Keys(ctx)
	if err != nil {
		return nil, err
	}
	now := s.cfg.Now()
	live := all[:0]
	for _, k := range all {
		if !k.gone(now) {
			live = append(live, k)
		}
	}
	return live, nil
}

// Resolved is the key that a request's key identifier refers to.
type Resolved struct {
	KeyID string
	ARN   string
	Alias string // that the identifier named; empty if it named the key
}

// Resolve reads a key identifier: a key's ID or ARN, an alias or its ARN. An alias must
// exist. The key need not exist: [Keys.Key] checks that.
func (s *Keys) Resolve(ctx context.Context, keyID string) (Resolved, error) {
	name := keyID
	if strings.HasPrefix(keyID, "arn:") {
		rest, ok := strings.CutPrefix(keyID, s.prefix)
		if !ok {
			return Resolved{}, &sekisho.Error{
				Code:    sekisho.CodeInvalid,
				Message: "Invalid arn " + printable(keyID),
				Err:     ErrARN,
			}
		}
		if name, ok = strings.CutPrefix(rest, "key/"); !ok && !strings.HasPrefix(rest, aliasPrefix) {
			return Resolved{}, &sekisho.Error{
				Code:    sekisho.CodeInvalid,
				Message: "Invalid arn " + printable(keyID),
				Err:     ErrARN,
			}
		} else if !ok {
			name = rest
		}
	}
	if strings.HasPrefix(name, aliasPrefix) {
		if len(name) > 256 {
			return Resolved{}, sekisho.Errorf(sekisho.CodeInvalid, "Invalid keyId %s", printable(keyID))
		}
		a, err := s.cfg.Store.Alias(ctx, name)
		if sekisho.IsNotFound(err) {
			err = sekisho.Errorf(sekisho.CodeNotFound, "Alias %s is not found.", s.AliasARN(printable(name)))
		}
		if err != nil {
			return Resolved{}, err
		}
		return Resolved{a.KeyID, s.ARN(a.KeyID), a.Name}, nil
	}
	if !validKeyID(name) {
		return Resolved{}, sekisho.Errorf(sekisho.CodeNotFound, "Invalid keyId '%s'", printable(keyID))
	}
	return Resolved{name, s.ARN(name), ""}, nil
}

// printable limits a value for quoting in an error.
func printable(s string) string { return safetext.Line(s, 100) }

// usable reports why k cannot encrypt or decrypt now.
func (s *Keys) usable(k *Key) error {
	switch k.State {
	case Enabled:
		return nil
	case Disabled:
		return &sekisho.Error{Code: sekisho.CodeInvalid, Message: s.ARN(k.ID) + " is disabled.", Err: ErrDisabled}
	case PendingDeletion:
	}
	return s.pending(k)
}

func (s *Keys) pending(k *Key) error {
	return &sekisho.Error{Code: sekisho.CodeInvalid, Message: s.ARN(k.ID) + " is pending deletion.", Err: ErrState}
}

// Encrypt encrypts up to 4096 bytes.
func (s *Keys) Encrypt(ctx context.Context, keyID string, plaintext []byte, context map[string]string) ([]byte, error) {
	if n := len(plaintext); n < 1 || n > maxPlaintext {
		return nil, sekisho.Errorf(sekisho.CodeInvalid, "Plaintext must have 1 to %d bytes.", maxPlaintext)
	}
	if err := CheckContext(context); err != nil {
		return nil, err
	}
	k, err := s.Key(ctx, keyID)
	if err != nil {
		return nil, err
	}
	if err := s.usable(k); err != nil {
		return nil, err
	}
	if k, err = s.rotated(ctx, k); err != nil {
		return nil, err
	}
	newest := len(k.Generations) - 1
	material, err := s.material(k, newest)
	if err != nil {
		return nil, err
	}
	return seal(k.ID, newest, material, plaintext, context)
}

// rotated returns k, with new material if its material was due for rotation.
func (s *Keys) rotated(ctx context.Context, k *Key) (*Key, error) {
	now := s.cfg.Now().UTC()
	due := func(k *Key) bool {
		next := k.NextRotation()
		return !next.IsZero() && !now.Before(next)
	}
	if !due(k) {
		return k, nil
	}
	var out *Key
	err := s.cfg.Store.UpdateKey(ctx, k.ID, func(k *Key) error {
		out = k
		if !due(k) { // another call has rotated it
			return nil
		}
		return s.grow(k, now)
	})
	return out, s.missing(k.ID, err)
}

// DataKey generates n random bytes and returns them as plaintext and encrypted.
func (s *Keys) DataKey(ctx context.Context, keyID string, n int, context map[string]string) (plain, sealed []byte,
	err error) {
	if n < 1 || n > 1024 {
		return nil, nil, sekisho.Errorf(sekisho.CodeInvalid, "NumberOfBytes must be between 1 and 1024.")
	}
	plain = make([]byte, n)
	rand.Read(plain) // cannot fail: see crypto/rand
	sealed, err = s.Encrypt(ctx, keyID, plain, context)
	return plain, sealed, err
}

// MadeBy returns the ID of the key that a ciphertext says it was made with.
func MadeBy(blob []byte) (keyID string, err error) {
	h, err := readHeader(blob)
	return h.keyID, err
}

// Decrypt opens a ciphertext. When keyID is not empty, that key must have made
// it.
func (s *Keys) Decrypt(ctx context.Context, keyID string, blob []byte, context map[string]string) ([]byte, error) {
	h, err := readHeader(blob)
	if err != nil {
		return nil, err
	}
	if keyID != "" && keyID != h.keyID {
		return nil, &sekisho.Error{Code: sekisho.CodeInvalid,
			Message: "The key ID in the request does not identify the key that made the ciphertext.", Err: ErrWrongKey}
	}
	if err := CheckContext(context); err != nil {
		return nil, err
	}
	k, err := s.Key(ctx, h.keyID)
	if err != nil {
		return nil, err
	}
	if err := s.usable(k); err != nil {
		return nil, err
	}
	if h.generation >= len(k.Generations) {
		return nil, ErrCiphertext
	}
	material, err := s.material(k, h.generation)
	if err != nil {
		return nil, err
	}
	return unseal(blob, material, context)
}
