package ssmagent_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"testing"
)

// sealer is the client's end of an encrypted session.
type sealer struct{ in, out cipher.AEAD }

func newSealer(t testing.TB, key []byte) *sealer {
	t.Helper()
	if len(key) != 64 {
		t.Fatalf("a data key of %d bytes", len(key))
	}
	half := func(k []byte) cipher.AEAD {
		block, err := aes.NewCipher(k)
		if err != nil {
			t.Fatal(err)
		}
		gcm, err := cipher.NewGCM(block)
		if err != nil {
			t.Fatal(err)
		}
		return gcm
	}
	return &sealer{in: half(key[:32]), out: half(key[32:])}
}

func (s *sealer) seal(p []byte) []byte {
	nonce := make([]byte, 12)
	_, _ = rand.Read(nonce) // never fails
	return s.out.Seal(nonce, nonce, p, nil)
}

func (s *sealer) unseal(b []byte) ([]byte, error) {
	if len(b) < 12 {
		return nil, errors.New("no nonce")
	}
	return s.in.Open(nil, b[:12], b[12:], nil)
}
