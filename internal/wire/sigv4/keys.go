package sigv4

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"
)

// maxKeys bounds the signing keys that are kept, in each of two generations.
const maxKeys = 1024

// signingKeys caches the keys of recent callers: deriving one takes four HMACs, and it
// changes once a day. The cache key is a hash of all inputs, so entries of a replaced or
// deleted secret are never used.
var signingKeys keys

type keys struct {
	mu          sync.Mutex
	recent, old map[[sha256.Size]byte][]byte
}

// of returns the signing key. The caller must not modify it.
func (k *keys) of(secret string, c Credential) []byte {
	name := nameOf(secret, c)
	k.mu.Lock()
	defer k.mu.Unlock()
	if key := k.recent[name]; key != nil {
		return key
	}
	key := k.old[name]
	if key == nil {
		key = signingKey(secret, c)
	}
	if k.recent == nil || len(k.recent) >= maxKeys {
		k.old, k.recent = k.recent, make(map[[sha256.Size]byte][]byte)
	}
	k.recent[name] = key
	return key
}

// nameOf hashes what a signing key depends on.
func nameOf(secret string, c Credential) [sha256.Size]byte {
	b := make([]byte, 0, 128)
	for _, part := range [...]string{c.Date, c.Region, c.Service, secret} {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(part))), part...)
	}
	return sha256.Sum256(b)
}
