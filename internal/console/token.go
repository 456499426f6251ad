package console

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
)

// tokenBytes is the length of the secrets in cookies and of programs.
const tokenBytes = 32

// newToken returns a random token and the hash under which the store keeps what
// belongs to it, so that the store does not contain the token.
func newToken() (token, hash []byte) {
	token = make([]byte, tokenBytes)
	rand.Read(token) // never fails: see crypto/rand
	sum := sha256.Sum256(token)
	return token, sum[:]
}

// encodeToken returns a token as it is sent.
func encodeToken(token []byte) string { return base64.RawURLEncoding.EncodeToString(token) }

// parseToken returns a token that was sent, and its hash. ok is false if text does not
// have the form of a token.
func parseToken(text string) (token, hash []byte, ok bool) {
	token, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(token) != tokenBytes {
		return nil, nil, false
	}
	sum := sha256.Sum256(token)
	return token, sum[:], true
}
