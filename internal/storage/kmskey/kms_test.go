package kmskey_test

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sekisho"
	"sekisho/internal/storage/keyring"
	"sekisho/internal/storage/kmskey"
)

// memory is a [kmskey.Store] without a database.
type memory struct {
	mu      sync.Mutex
	keys    map[string]kmskey.Key
	aliases map[string]kmskey.Alias
}

var errMissing = sekisho.Errorf(sekisho.CodeNotFound, "not there")

func clone(k kmskey.Key) *kmskey.Key {
	k.Generations = slices.Clone(k.Generations)
	k.Tags = maps.Clone(k.Tags)
	return &k
}

func (m *memory) CreateKey(_ context.Context, k *kmskey.Key) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keys[k.ID] = *clone(*k)
	return nil
}

func (m *memory) Key(_ context.Context, id string) (*kmskey.Key, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k, ok := m.keys[id]
	if !ok {
		return nil, errMissing
	}
	return clone(k), nil
}

func (m *memory) Keys(context.Context) ([]*kmskey.Key, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []*kmskey.Key
	for _, id := range slices.Sorted(maps.Keys(m.keys)) {
		all = append(all, clone(m.keys[id]))
	}
	return all, nil
}

func (m *memory) UpdateKey(_ context.Context, id string, change func(k *kmskey.Key) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	k, ok := m.keys[id]
	if !ok {
		return errMissing
	}
	n := clone(k)
	if err := change(n); err != nil {
		return err
	}
	m.keys[id] = *n
	return nil
}

func (m *memory) DeleteKey(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.keys, id)
	maps.DeleteFunc(m.aliases, func(_ string, a kmskey.Alias) bool { return a.KeyID == id })
	return nil
}

func (m *memory) CreateAlias(_ context.Context, a kmskey.Alias) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.aliases[a.Name]; ok {
		return sekisho.Errorf(sekisho.CodeConflict, "there")
	}
	m.aliases[a.Name] = a
	return nil
}

func (m *memory) Alias(_ context.Context, name string) (*kmskey.Alias, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a, ok := m.aliases[name]
	if !ok {
		return nil, errMissing
	}
	return &a, nil
}

func (m *memory) Aliases(context.Context) ([]*kmskey.Alias, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []*kmskey.Alias
	for _, name := range slices.Sorted(maps.Keys(m.aliases)) {
		a := m.aliases[name]
		all = append(all, &a)
	}
	return all, nil
}

func (m *memory) UpdateAlias(_ context.Context, name, keyID string, at time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	a, ok := m.aliases[name]
	if !ok {
		return errMissing
	}
	a.KeyID, a.UpdatedAt = keyID, at
	m.aliases[name] = a
	return nil
}

func (m *memory) DeleteAlias(_ context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.aliases[name]; !ok {
		return errMissing
	}
	delete(m.aliases, name)
	return nil
}

// bench is an account with a clock that tests advance.
type bench struct {
	*kmskey.Keys
	store *memory
	ring  *keyring.Ring
	now   time.Time
}

func newBench(t *testing.T) *bench {
	t.Helper()
	ring, err := keyring.Load(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{
		store: &memory{keys: map[string]kmskey.Key{}, aliases: map[string]kmskey.Alias{}},
		ring:  ring, now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC),
	}
	b.Keys = kmskey.New(kmskey.Config{
		Store: b.store, Sealer: ring, Region: "us-east-1", Account: "123456789012", Now: func() time.Time { return b.now },
	})
	return b
}

func (b *bench) key(t *testing.T) *kmskey.Key {
	t.Helper()
	k, err := b.Create(t.Context(), kmskey.NewKey{Policy: func(arn string) (kmskey.Policy,
		error) {
		return kmskey.Policy{Document: arn}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if k.Policy.Document != b.ARN(k.ID) {
		t.Errorf("the policy was made for %s", k.Policy.Document)
	}
	return k
}

func (b *bench) encrypt(t *testing.T, keyID, text string, context map[string]string) []byte {
	t.Helper()
	blob, err := b.Encrypt(t.Context(), keyID, []byte(text), context)
	if err != nil {
		t.Fatal(err)
	}
	return blob
}

func (b *bench) wantPlain(t *testing.T, blob []byte, context map[string]string, want string) {
	t.Helper()
	got, err := b.Decrypt(t.Context(), "", blob, context)
	if err != nil || string(got) != want {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}

func TestContextIsBound(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	k := b.key(t)
	blob := b.encrypt(t, k.ID, "secret", map[string]string{"a": "bc", "d": "e"})
	b.wantPlain(t, blob, map[string]string{"d": "e", "a": "bc"}, "secret")
	for name, context := range map[string]map[string]string{
		"none":               nil,
		"one pair fewer":     {"a": "bc"},
		"one pair more":      {"a": "bc", "d": "e", "f": "g"},
		"another value":      {"a": "bc", "d": "f"},
		"another case":       {"A": "bc", "d": "e"},
		"shifted separators": {"ab": "c", "d": "e"},
		"joined":             {"a": "bcde"},
	} {
		if got, err := b.Decrypt(t.Context(), "", blob, context); !errors.Is(err, kmskey.ErrCiphertext) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	// No context and an empty one are the same.
	b.wantPlain(t, b.encrypt(t, k.ID, "x", nil), map[string]string{}, "x")
}

func TestTampering(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	k, other := b.key(t), b.key(t)
	blob := b.encrypt(t, k.ID, "secret", nil)
	if bytes.Contains(blob, []byte("secret")) {
		t.Fatal("the plaintext shows")
	}
	for i := range blob {
		bad := bytes.Clone(blob)
		bad[i] ^= 1
		got, err := b.Decrypt(t.Context(), "", bad, nil)
		if err == nil {
			t.Errorf("byte %d altered: opened as %q", i, got)
		}
	}
	for n := range blob {
		if _, err := b.Decrypt(t.Context(), "", blob[:n], nil); !errors.Is(err, kmskey.ErrCiphertext) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
	// A ciphertext moved to another key of the same account.
	moved := bytes.Clone(blob)
	copy(moved[4:20], b.encrypt(t, other.ID, "x", nil)[4:20])
	if got, err := b.Decrypt(t.Context(), "", moved, nil); !errors.Is(err, kmskey.ErrCiphertext) {
		t.Errorf("moved to another key: %q, %v", got, err)
	}
	if _, err := b.Decrypt(t.Context(), other.ID, blob, nil); !errors.Is(err, kmskey.ErrWrongKey) {
		t.Errorf("wrong key named: %v", err)
	}
	if got, err := b.Decrypt(t.Context(), k.ID, blob, nil); err != nil || string(got) != "secret" {
		t.Errorf("right key named: %q, %v", got, err)
	}
	// Material sealed for another location.
	if err := b.store.UpdateKey(t.Context(), k.ID, func(k *kmskey.Key) error {
		k.Generations[0].Sealed = other.Generations[0].Sealed
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Decrypt(t.Context(), "", blob, nil); err == nil || sekisho.CodeOf(err) != sekisho.CodeInternal {
		t.Errorf("material of another key: %v", err)
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	k := b.key(t)
	for n, ok := range map[int]bool{0: false, 1: true, 4096: true, 4097: false} {
		blob, err := b.Encrypt(t.Context(), k.ID, make([]byte, n), nil)
		if (err == nil) != ok {
			t.Errorf("%d bytes: %v", n, err)
		}
		if err == nil && len(blob) > 6144 {
			t.Errorf("%d bytes became %d", n, len(blob))
		}
	}
	for name, context := range map[string]map[string]string{
		"twice, in different case": {"Team": "a", "team": "b"},
		"no name":                  {"": "a"},
		"too large":                {"a": strings.Repeat("x", 8192)},
	} {
		if _, err := b.Encrypt(t.Context(), k.ID, []byte("x"), context); sekisho.CodeOf(err) != sekisho.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, n := range []int{0, 1025} {
		if _, _, err := b.DataKey(t.Context(), k.ID, n, nil); sekisho.CodeOf(err) != sekisho.CodeInvalid {
			t.Errorf("a data key of %d bytes: %v", n, err)
		}
	}
	plain, sealed, err := b.DataKey(t.Context(), k.ID, 64, map[string]string{"s": "1"})
	if err != nil || len(plain) != 64 {
		t.Fatalf("%d bytes, %v", len(plain), err)
	}
	b.wantPlain(t, sealed, map[string]string{"s": "1"}, string(plain))
}

func TestStates(t *testing.T) {
	t.Parallel()
	b, ctx := newBench(t), t.Context()
	k := b.key(t)
	blob := b.encrypt(t, k.ID, "x", nil)
	check := func(want error) {
		t.Helper()
		_, enc := b.Encrypt(ctx, k.ID, []byte("x"), nil)
		_, dec := b.Decrypt(ctx, "", blob, nil)
		if !errors.Is(enc, want) || !errors.Is(dec, want) {
			t.Errorf("encrypt %v, decrypt %v; want %v", enc, dec, want)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(b.Enable(ctx, k.ID, false))
	check(kmskey.ErrDisabled)
	must(b.Enable(ctx, k.ID, true))
	check(nil)
	if err := b.CancelDeletion(ctx, k.ID); !errors.Is(err, kmskey.ErrState) {
		t.Errorf("cancelled what was not under way: %v", err)
	}
	if _, err := b.ScheduleDeletion(ctx, k.ID, 6*24*time.Hour); sekisho.CodeOf(err) != sekisho.CodeInvalid {
		t.Errorf("six days: %v", err)
	}
	at, err := b.ScheduleDeletion(ctx, k.ID, 7*24*time.Hour)
	if err != nil || !at.Equal(b.now.AddDate(0, 0, 7)) {
		t.Fatalf("%s, %v", at, err)
	}
	check(kmskey.ErrState)
	for name, err := range map[string]error{
		"enable": b.Enable(ctx, k.ID, true), "rotate": b.SetRotation(ctx, k.ID, true, 0),
		"alias": b.CreateAlias(ctx, "alias/x", k.ID), "describe": b.Describe(ctx, k.ID, "x"),
	} {
		if !errors.Is(err, kmskey.ErrState) {
			t.Errorf("%s while pending deletion: %v", name, err)
		}
	}
	must(b.CancelDeletion(ctx, k.ID))
	check(kmskey.ErrDisabled) // as in AWS: the key must be enabled again
	must(b.Enable(ctx, k.ID, true))
	check(nil)

	must(b.CreateAlias(ctx, "alias/x", k.ID))
	_, err = b.ScheduleDeletion(ctx, k.ID, 0)
	must(err)
	b.now = b.now.AddDate(0, 0, 30).Add(-time.Second)
	must(b.Sweep(ctx))
	check(kmskey.ErrState)
	b.now = b.now.Add(time.Second)
	if _, err := b.Key(ctx, k.ID); !sekisho.IsNotFound(err) {
		t.Errorf("its day has come, before the sweep: %v", err)
	}
	if err := b.CancelDeletion(ctx, k.ID); !sekisho.IsNotFound(err) {
		t.Errorf("cancelled too late: %v", err)
	}
	if all, err := b.List(ctx); err != nil || len(all) != 0 {
		t.Errorf("listed %v, %v", all, err)
	}
	must(b.Sweep(ctx))
	if len(b.store.keys) != 0 || len(b.store.aliases) != 0 {
		t.Error("material or names were left behind")
	}
}

func TestRotation(t *testing.T) {
	t.Parallel()
	b, ctx := newBench(t), t.Context()
	k := b.key(t)
	old := b.encrypt(t, k.ID, "old", nil)
	for _, every := range []time.Duration{89 * 24 * time.Hour, 2561 * 24 * time.Hour} {
		if err := b.SetRotation(ctx, k.ID, true, every); sekisho.CodeOf(err) != sekisho.CodeInvalid {
			t.Errorf("every %s: %v", every, err)
		}
	}
	if err := b.SetRotation(ctx, k.ID, true, 90*24*time.Hour); err != nil {
		t.Fatal(err)
	}
	generations := func() int {
		t.Helper()
		k, err := b.Key(ctx, k.ID)
		if err != nil {
			t.Fatal(err)
		}
		return len(k.Generations)
	}
	b.now = b.now.AddDate(0, 0, 90).Add(-time.Second)
	b.encrypt(t, k.ID, "x", nil)
	if n := generations(); n != 1 {
		t.Errorf("%d generations before the day", n)
	}
	b.now = b.now.Add(time.Second)
	fresh := b.encrypt(t, k.ID, "new", nil)
	b.encrypt(t, k.ID, "x", nil)
	if n := generations(); n != 2 {
		t.Errorf("%d generations after it", n)
	}
	b.wantPlain(t, old, nil, "old")
	b.wantPlain(t, fresh, nil, "new")
	if err := b.SetRotation(ctx, k.ID, false, 0); err != nil {
		t.Fatal(err)
	}
	b.now = b.now.AddDate(1, 0, 0)
	b.encrypt(t, k.ID, "x", nil)
	if n := generations(); n != 2 {
		t.Errorf("%d generations of a key that rotates no more", n)
	}

	if err := b.ring.Rotate(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{1, 0} {
		if n, err := b.Reseal(ctx); err != nil || n != want {
			t.Errorf("resealed %d, %v; want %d", n, err, want)
		}
	}
	b.wantPlain(t, old, nil, "old")
	b.wantPlain(t, fresh, nil, "new")
}

func TestResolve(t *testing.T) {
	t.Parallel()
	b, ctx := newBench(t), t.Context()
	k := b.key(t)
	if err := b.CreateAlias(ctx, "alias/team/x", k.ID); err != nil {
		t.Fatal(err)
	}
	if err := b.CreateAlias(ctx, "alias/team/x", k.ID); sekisho.CodeOf(err) != sekisho.CodeConflict {
		t.Errorf("a name given twice: %v", err)
	}
	for name, alias := range map[string]string{
		k.ID: "", b.ARN(k.ID): "", "alias/team/x": "alias/team/x", b.AliasARN("alias/team/x"): "alias/team/x",
	} {
		if r, err := b.Resolve(ctx, name); err != nil || r.KeyID != k.ID || r.ARN != b.ARN(k.ID) || r.Alias != alias {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	for _, name := range []string{"", "nonsense", "alias/nobody", strings.ToUpper(k.ID), k.ID + "0", "../" + k.ID,
		"alias/\x00"} {
		if r, err := b.Resolve(ctx, name); !sekisho.IsNotFound(err) {
			t.Errorf("%q: %+v, %v", name, r, err)
		}
	}
	for _, name := range []string{
		"arn:aws:kms:eu-west-1:123456789012:key/" + k.ID, "arn:aws:kms:us-east-1:999999999999:key/" + k.ID,
		"arn:aws:s3:::bucket", "arn:aws:kms:us-east-1:123456789012:" + k.ID,
	} {
		if r, err := b.Resolve(ctx, name); !errors.Is(err, kmskey.ErrARN) {
			t.Errorf("%q: %+v, %v", name, r, err)
		}
	}
	for name, ok := range map[string]bool{
		"alias/a": true, "alias/A-b_c/9": true, "alias/": false, "a": false, "alias/aws/s3": false, "alias/a b": false,
		"alias/é": false, "alias/" + strings.Repeat("a", 251): false,
	} {
		if kmskey.ValidAlias(name) != ok {
			t.Errorf("%q: %v", name, !ok)
		}
	}
}

func FuzzDecrypt(f *testing.F) {
	ring, err := keyring.Load(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	keys := kmskey.New(kmskey.Config{Store: &memory{keys: map[string]kmskey.Key{}, aliases: map[string]kmskey.Alias{}},
		Sealer: ring, Region: "r", Account: "1"})
	k, err := keys.Create(f.Context(), kmskey.NewKey{Policy: func(string) (kmskey.Policy,
		error) {
		return kmskey.Policy{}, nil
	}})
	if err != nil {
		f.Fatal(err)
	}
	blob, err := keys.Encrypt(f.Context(), k.ID, []byte("secret"), nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(blob)
	f.Add(blob[:53])
	f.Add([]byte("SKC\x01"))
	f.Fuzz(func(t *testing.T, in []byte) {
		plain, err := keys.Decrypt(t.Context(), "", in, nil)
		if err == nil && !bytes.Equal(in, blob) {
			t.Errorf("a forged ciphertext opened as %q", plain)
		}
	})
}
