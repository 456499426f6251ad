package record

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
)

// A signed line is a JSON object whose last member is the signature of everything before it in the
// line:
//
//	{"n":1,…,"prev":"…","sig":"…"}
//	└── signed ───────┘
//
// The signature covers a purpose, a line feed, and those bytes. The purpose prevents a line of one
// file from being used in another.
const (
	purposeCheckpoint = "sekisho recording checkpoint 1"
	purposeSeal       = "sekisho recording seal 1"
	purposeLedger     = "sekisho recording ledger 1"

	sigOpen  = `,"sig":"`
	sigClose = `"}`

	// maxSignedLine limits a seal, and a line of the chain or the ledger, in bytes.
	maxSignedLine = MaxLedgerLine
)

// MaxLedgerLine limits a line of the ledger, in bytes.
const MaxLedgerLine = 16 << 10

var (
	errSignature  = errors.New("its signature does not match: it was altered, or signed with another key")
	errUnknownKey = errors.New("it is signed with a key that is not among those given")
	errForm       = errors.New("it is not a signed line")
)

// Keys are the public keys with which recordings are verified, by fingerprint.
type Keys map[string]ed25519.PublicKey

// KeysOf returns the keys by fingerprint.
func KeysOf(pub ...ed25519.PublicKey) Keys {
	k := make(Keys, len(pub))
	for _, p := range pub {
		k[Fingerprint(p)] = p
	}
	return k
}

// ParseKeys parses PEM blocks of type PUBLIC KEY.
func ParseKeys(text []byte) (Keys, error) {
	k := make(Keys)
	for {
		var block *pem.Block
		block, text = pem.Decode(text)
		if block == nil {
			break
		}
		pub, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("record: public key: %w", err)
		}
		ed, ok := pub.(ed25519.PublicKey)
		if !ok {
			return nil, errors.New("record: public key is not Ed25519")
		}
		k[Fingerprint(ed)] = ed
	}
	if len(k) == 0 {
		return nil, errors.New("record: no PEM public key found")
	}
	return k, nil
}

// Fingerprint returns the SHA-256 of the key's SubjectPublicKeyInfo in
// hexadecimal.
func Fingerprint(pub ed25519.PublicKey) string {
	return hexDigest(spki(pub))
}

// spkiPrefix is the part of an Ed25519 SubjectPublicKeyInfo before the key itself (RFC 8410).
const spkiPrefix = "\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00"

func spki(pub ed25519.PublicKey) []byte { return append([]byte(spkiPrefix), pub...) }

func pemOf(pub ed25519.PublicKey) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki(pub)})
}

func hexDigest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// sign returns v as a signed line, without line feed.
func sign(key ed25519.PrivateKey, purpose string, v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	body = body[:len(body)-1]
	sig := ed25519.Sign(key, signedText(purpose, body))
	line := append(body, sigOpen...)
	line = base64.StdEncoding.AppendEncode(line, sig)
	line = append(line, sigClose...)
	if len(line) > maxSignedLine {
		return nil, errors.New("record: signed line too long")
	}
	return line, nil
}

// unsign verifies a signed line and decodes it into v. It calls key to look up the public key once
// v is decoded. v must not be used unless the error is nil.
func unsign(line []byte, purpose string, v any, key func() (ed25519.PublicKey, bool)) error {
	body, sig, err := decodeSigned(line, v)
	if err != nil {
		return err
	}
	pub, ok := key()
	if !ok {
		return errUnknownKey
	}
	if !ed25519.Verify(pub, signedText(purpose, body), sig) {
		return errSignature
	}
	return nil
}

// decodeSigned decodes a signed line into v without verifying it. It returns what is signed and
// the signature.
func decodeSigned(line []byte, v any) (body, sig []byte, err error) {
	const sigLen = len(sigOpen) + (ed25519.SignatureSize+2)/3*4 + len(sigClose)
	if len(line) <= sigLen || len(line) > maxSignedLine {
		return nil, nil, errForm
	}
	body, tail := line[:len(line)-sigLen], line[len(line)-sigLen:]
	if !bytes.HasPrefix(tail, []byte(sigOpen)) || !bytes.HasSuffix(tail, []byte(sigClose)) {
		return nil, nil, errForm
	}
	sig, err = base64.StdEncoding.Strict().DecodeString(string(tail[len(sigOpen) : len(tail)-len(sigClose)]))
	if err != nil {
		return nil, nil, errForm
	}
	dec := json.NewDecoder(bytes.NewReader(append(bytes.Clone(body), '}')))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil || dec.More() {
		return nil, nil, errForm
	}
	return body, sig, nil
}

func signedText(purpose string, body []byte) []byte {
	return append(append([]byte(purpose), '\n'), body...)
}
