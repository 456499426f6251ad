package ssmagent

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
)

// ciphers are those of the agent's output and of the client's input.
func ciphers(dataKey []byte) (out, in cipher.AEAD, err error) {
	if len(dataKey) != 64 {
		return nil, nil, errors.New("the data key does not have 64 bytes")
	}
	half := func(key []byte) cipher.AEAD {
		block, err := aes.NewCipher(key)
		if err != nil {
			panic(err) // keys have 32 bytes
		}
		gcm, err := cipher.NewGCM(block)
		if err != nil {
			panic(err) // AES has the block size of GCM
		}
		return gcm
	}
	return half(dataKey[:32]), half(dataKey[32:]), nil
}

func sealed(c cipher.AEAD, p []byte) []byte {
	nonce := make([]byte, c.NonceSize())
	_, _ = rand.Read(nonce) // never fails
	return c.Seal(nonce, nonce, p, nil)
}

func unsealed(c cipher.AEAD, b []byte) ([]byte, error) {
	if len(b) < c.NonceSize() {
		return nil, errors.New("shorter than its nonce")
	}
	return c.Open(nil, b[:c.NonceSize()], b[c.NonceSize():], nil)
}
