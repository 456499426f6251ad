package keyring

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"sekisho"
)

const (
	masterFile = "master.key"
	nextFile   = "master.key.next"
	ringFile   = "keyring.json"

	keySize       = 32
	nonceSize     = 12
	sealVersion   = 1
	headerSize    = 1 + 4 + nonceSize
	maxRingFile   = 1 << 20
	maxKeyPurpose = 128
)

// errSealed is Open's error for every failure: the reason would not help an honest caller
// but could help an attacker.
var errSealed = sekisho.Errorf(sekisho.CodeInvalid,
	"the sealed value cannot be opened: it was altered, or sealed under another keyring or for another purpose")

// Ring is an open keyring. Its methods may be called from many goroutines.
type Ring struct {
	dir string

	mu     sync.RWMutex
	looked time.Time // when the files were last read for an unknown key
	master []byte
	keys   []dataKey // oldest first; the last one seals
	aeads  map[aeadName]cipher.AEAD
	seed   []byte
	signer ed25519.PrivateKey
}

type dataKey struct {
	id     uint32
	made   time.Time
	secret []byte
}

type aeadName struct {
	id      uint32
	purpose string
}

// onDisk is keyring.json.
type onDisk struct {
	Version int       `json:"version"`
	Master  string    `json:"master"` // fingerprint of the master key that wraps the other keys
	Keys    []wrapped `json:"keys"`
	Signing wrapped   `json:"signing"`
}

type wrapped struct {
	ID   string    `json:"id"`
	Made time.Time `json:"made"`
	Key  []byte    `json:"key"` // nonce and ciphertext
}

// Load opens the keyring in dir. It creates dir and a new keyring if there is none.
func Load(dir string) (*Ring, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the keyring folder: %w", err)
	}
	r := &Ring{dir: dir, aeads: map[aeadName]cipher.AEAD{}}
	if err := r.locked(r.load); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Ring) load() error {
	_, ringErr := os.Stat(r.path(ringFile))
	_, masterErr := os.Stat(r.path(masterFile))
	switch {
	case errors.Is(ringErr, fs.ErrNotExist) && errors.Is(masterErr, fs.ErrNotExist):
		if err := r.create(); err != nil {
			return err
		}
	case errors.Is(ringErr, fs.ErrNotExist):
		return sekisho.Errorf(sekisho.CodeInvalid, "%s is there, but %s is missing.", r.path(masterFile), ringFile).
			WithHint("Restore it from a backup: without it nothing that was sealed can be read. If this was a first start "+
				"that was cut short, remove %s and start again.", masterFile)
	case ringErr != nil:
		return fmt.Errorf("read the keyring: %w", ringErr)
	}
	return r.read()
}

func (r *Ring) path(name string) string { return filepath.Join(r.dir, name) }

// create writes a new keyring. It writes the master key first and never replaces one.
func (r *Ring) create() error {
	now := time.Now().UTC()
	r.master = random(keySize)
	r.keys = []dataKey{{id: newKeyID(nil), made: now, secret: random(keySize)}}
	r.seed = random(ed25519.SeedSize)
	doc, err := r.marshal(r.master, r.keys, now)
	if err != nil {
		return err
	}
	if err := putNew(r.path(masterFile), r.master); err != nil {
		return fmt.Errorf("make the master key: %w", err)
	}
	return replace(r.path(ringFile), doc)
}

func (r *Ring) read() error {
	master, err := readSecret(r.path(masterFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	next, err := readSecret(r.path(nextFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	raw, err := readBounded(r.path(ringFile), maxRingFile)
	if err != nil {
		return err
	}
	var doc onDisk
	if err := json.Unmarshal(raw, &doc); err != nil {
		return fmt.Errorf("read %s: %w", r.path(ringFile), err)
	}
	if doc.Version != 1 {
		return sekisho.Errorf(sekisho.CodeInvalid, "%s has version %d; this program reads version 1", r.path(ringFile),
			doc.Version)
	}
	// An interrupted rotation is finished if keyring.json was already replaced, and
	// discarded otherwise.
	switch {
	case next != nil && doc.Master == fingerprint(next):
		if err := rename(r.path(nextFile), r.path(masterFile)); err != nil {
			return fmt.Errorf("finish the rotation of the master key: %w", err)
		}
		master = next
	case next != nil && master != nil && doc.Master == fingerprint(master):
		if err := os.Remove(r.path(nextFile)); err != nil {
			return fmt.Errorf("forget an unfinished rotation: %w", err)
		}
	}
	if master == nil {
		return sekisho.Errorf(sekisho.CodeInvalid, "the master key %s is missing.", r.path(masterFile)).
			WithHint("Restore it from your backup: nothing that was sealed can be read without it.")
	}
	if doc.Master != fingerprint(master) {
		return sekisho.Errorf(sekisho.CodeInvalid, "%s is not the master key that %s was wrapped under.",
			r.path(masterFile), ringFile).
			WithHint("Restore the two files from the same backup.")
	}
	r.master = master
	return r.unwrapAll(doc)
}

func (r *Ring) unwrapAll(doc onDisk) error {
	if len(doc.Keys) == 0 {
		return sekisho.Errorf(sekisho.CodeInvalid, "%s holds no data key", r.path(ringFile))
	}
	kek, err := wrapAEAD(r.master)
	if err != nil {
		return err
	}
	keys := make([]dataKey, 0, len(doc.Keys))
	for _, w := range doc.Keys {
		n, err := parseKeyID(w.ID)
		if err != nil {
			return fmt.Errorf("%s: %w", r.path(ringFile), err)
		}
		secret, err := unwrap(kek, w)
		if err != nil {
			return fmt.Errorf("%s: data key %s: %w", r.path(ringFile), w.ID, err)
		}
		keys = append(keys, dataKey{id: n, made: w.Made, secret: secret})
	}
	seed, err := unwrap(kek, doc.Signing)
	if err != nil {
		return fmt.Errorf("%s: signing key: %w", r.path(ringFile), err)
	}
	r.keys, r.seed, r.signer = keys, seed, ed25519.NewKeyFromSeed(seed)
	return nil
}

func (r *Ring) marshal(master []byte, keys []dataKey, now time.Time) ([]byte, error) {
	kek, err := wrapAEAD(master)
	if err != nil {
		return nil, err
	}
	doc := onDisk{Version: 1, Master: fingerprint(master), Signing: wrap(kek, "signing", now, r.seed)}
	for _, k := range keys {
		doc.Keys = append(doc.Keys, wrap(kek, keyIDText(k.id), k.made, k.secret))
	}
	return json.MarshalIndent(doc, "", "  ")
}

// Seal encrypts plaintext for a purpose. The same aad must be given to Open.
func (r *Ring) Seal(purpose string, plaintext, aad []byte) ([]byte, error) {
	r.mu.RLock()
	newest := r.keys[len(r.keys)-1].id
	r.mu.RUnlock()
	a, err := r.aead(newest, purpose)
	if err != nil {
		return nil, err
	}
	out := make([]byte, headerSize, headerSize+len(plaintext)+a.Overhead())
	out[0] = sealVersion
	binary.BigEndian.PutUint32(out[1:], newest)
	rand.Read(out[5:headerSize]) // never fails: see crypto/rand
	return a.Seal(out, out[5:headerSize], plaintext, bind(out[:headerSize], aad)), nil
}

// Open decrypts what Seal made for the same purpose with the same aad.
func (r *Ring) Open(purpose string, sealed, aad []byte) ([]byte, error) {
	if len(sealed) < headerSize || sealed[0] != sealVersion {
		return nil, errSealed
	}
	a, err := r.aead(binary.BigEndian.Uint32(sealed[1:]), purpose)
	if err != nil {
		return nil, err
	}
	plain, err := a.Open(nil, sealed[5:headerSize], sealed[headerSize:], bind(sealed[:headerSize], aad))
	if err != nil {
		return nil, errSealed
	}
	return plain, nil
}

// Fresh reports whether sealed was made with the newest data key. Otherwise the value
// should be resealed when it is next written.
func (r *Ring) Fresh(sealed []byte) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(sealed) >= headerSize && sealed[0] == sealVersion &&
		binary.BigEndian.Uint32(sealed[1:]) == r.keys[len(r.keys)-1].id
}

func bind(header, aad []byte) []byte {
	out := make([]byte, 0, len(header)+len(aad))
	return append(append(out, header...), aad...)
}

func (r *Ring) aead(id uint32, purpose string) (cipher.AEAD, error) {
	if purpose == "" || len(purpose) > maxKeyPurpose {
		return nil, sekisho.Errorf(sekisho.CodeInternal, "keyring: a purpose has 1 to %d bytes", maxKeyPurpose)
	}
	name := aeadName{id, purpose}
	r.mu.RLock()
	a := r.aeads[name]
	var secret []byte
	for _, k := range r.keys {
		if k.id == id {
			secret = k.secret
		}
	}
	r.mu.RUnlock()
	if a != nil {
		return a, nil
	}
	if secret == nil {
		if secret = r.reload(id); secret == nil {
			return nil, errSealed
		}
	}
	a, err := deriveAEAD(secret, "sekisho data "+purpose)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	r.aeads[name] = a
	r.mu.Unlock()
	return a, nil
}

// reload reads the files again for an unknown data key, because another process may have
// rotated the keyring. It reads at most once a second, regardless of the key IDs.
func (r *Ring) reload(id uint32) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); now.Sub(r.looked) >= time.Second {
		r.looked = now
		before, master := r.keys, r.master
		if err := r.locked(r.read); err != nil {
			r.keys, r.master = before, master
		}
	}
	for _, k := range r.keys {
		if k.id == id {
			return k.secret
		}
	}
	return nil
}

// Rotate replaces the master key and adds a data key that seals from now on.
func (r *Ring) Rotate() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.locked(r.rotate)
}

func (r *Ring) rotate() error {
	if err := r.read(); err != nil { // another process may have rotated it
		return err
	}
	now := time.Now().UTC()
	master := random(keySize)
	keys := append(append([]dataKey(nil), r.keys...), dataKey{id: newKeyID(r.keys), made: now, secret: random(keySize)})
	doc, err := r.marshal(master, keys, now)
	if err != nil {
		return err
	}
	// This order leaves a usable keyring after a crash at any point: see read.
	if err := putNew(r.path(nextFile), master); err != nil {
		return fmt.Errorf("rotate the master key: %w", err)
	}
	if err := replace(r.path(ringFile), doc); err != nil {
		return fmt.Errorf("rotate the master key: %w", err)
	}
	r.master, r.keys = master, keys
	if err := rename(r.path(nextFile), r.path(masterFile)); err != nil {
		return fmt.Errorf("rotate the master key: %w", err)
	}
	return nil
}

// Sign signs message with the signing key.
func (r *Ring) Sign(message []byte) []byte { return ed25519.Sign(r.Signer(), message) }

// Signer returns the signing key, for recordings and audit heads.
func (r *Ring) Signer() ed25519.PrivateKey {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.signer
}

// PublicKey returns the public half of the signing key.
func (r *Ring) PublicKey() ed25519.PublicKey {
	pub, _ := r.Signer().Public().(ed25519.PublicKey)
	return pub
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails: see crypto/rand
	return b
}

func newKeyID(taken []dataKey) uint32 {
next:
	for {
		id := binary.BigEndian.Uint32(random(4))
		for _, k := range taken {
			if k.id == id {
				continue next
			}
		}
		return id
	}
}

func keyIDText(id uint32) string { return fmt.Sprintf("%08x", id) }

func parseKeyID(s string) (uint32, error) {
	var id uint32
	if _, err := fmt.Sscanf(s, "%08x", &id); err != nil || keyIDText(id) != s {
		return 0, sekisho.Errorf(sekisho.CodeInvalid, "%q is not a data key ID", s)
	}
	return id, nil
}

// fingerprint identifies a master key without revealing anything about it.
func fingerprint(master []byte) string {
	sum := sha256.Sum256(append([]byte("sekisho master key "), master...))
	return fmt.Sprintf("%x", sum[:8])
}

func deriveAEAD(secret []byte, info string) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, secret, nil, info, keySize)
	if err != nil {
		return nil, fmt.Errorf("derive a key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func wrapAEAD(master []byte) (cipher.AEAD, error) { return deriveAEAD(master, "sekisho wrap") }

func wrap(kek cipher.AEAD, id string, made time.Time, secret []byte) wrapped {
	nonce := random(nonceSize)
	return wrapped{ID: id, Made: made, Key: kek.Seal(nonce, nonce, secret, []byte(id))}
}

func unwrap(kek cipher.AEAD, w wrapped) ([]byte, error) {
	if len(w.Key) < nonceSize {
		return nil, errSealed
	}
	secret, err := kek.Open(nil, w.Key[:nonceSize], w.Key[nonceSize:], []byte(w.ID))
	if err != nil || len(secret) != keySize {
		return nil, errSealed
	}
	return secret, nil
}
