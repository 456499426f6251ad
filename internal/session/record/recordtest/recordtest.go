// Package recordtest helps to test code that uses recordings.
package recordtest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"errors"
)

// Sealer encrypts keys with a key that is not secret.
type Sealer struct{}

func (Sealer) aead(purpose string) cipher.AEAD {
	key := sha256.Sum256([]byte(purpose))
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // the key has the right size
	}
	a, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // AES has the right block size
	}
	return a
}

// Seal encrypts plaintext.
func (s Sealer) Seal(purpose string, plaintext, aad []byte) ([]byte, error) {
	a := s.aead(purpose)
	nonce := make([]byte, a.NonceSize())
	rand.Read(nonce) // never fails: see crypto/rand
	return a.Seal(nonce, nonce, plaintext, aad), nil
}

// Open decrypts what Seal made.
func (s Sealer) Open(purpose string, sealed, aad []byte) ([]byte, error) {
	a := s.aead(purpose)
	if len(sealed) < a.NonceSize() {
		return nil, errors.New("too short")
	}
	return a.Open(nil, sealed[:a.NonceSize()], sealed[a.NonceSize():], aad)
}
