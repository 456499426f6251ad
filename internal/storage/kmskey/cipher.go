package kmskey

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sekisho"
)

// ErrCiphertext reports that a ciphertext is not from this server, was altered, or was made
// with another encryption context. Which of these would not help an honest caller but could
// help an attacker.
var ErrCiphertext = sekisho.Errorf(sekisho.CodeInvalid,
	"The ciphertext was altered, or made with another encryption context, or is none of this server's.")

const (
	magic       = "SKC\x01"
	keyIDSize   = 16
	saltSize    = 16
	nonceSize   = 12
	headerSize  = len(magic) + keyIDSize + 4 + saltSize + nonceSize
	materialLen = 32
	deriveInfo  = "sekisho kms ciphertext v1"

	// AWS's limits.
	maxPlaintext  = 4096
	maxCiphertext = 6144
)

// Limits of an encryption context. AWS limits only its size.
const (
	maxContextPairs = 128
	maxContextBytes = 8192
)

// header is the decoded header of a ciphertext.
type header struct {
	keyID      string
	generation int // from 0
}

// readHeader reads the beginning of a ciphertext.
func readHeader(blob []byte) (header, error) {
	if len(blob) <= headerSize || len(blob) > maxCiphertext || string(blob[:len(magic)]) != magic {
		return header{}, ErrCiphertext
	}
	at := len(magic)
	id := blob[at : at+keyIDSize]
	generation := binary.BigEndian.Uint32(blob[at+keyIDSize:])
	if generation > 1<<20 {
		return header{}, ErrCiphertext
	}
	h := hex.EncodeToString(id)
	return header{strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-"), int(generation)}, nil
}

// seal encrypts under a generation of a key.
func seal(keyID string, generation int, material, plaintext []byte, context map[string]string) ([]byte, error) {
	id, err := parseUUID(keyID)
	if err != nil {
		return nil, fmt.Errorf("key %q: %w", keyID, err)
	}
	out := make([]byte, 0, headerSize+len(plaintext)+16)
	out = append(out, magic...)
	out = append(out, id...)
	out = binary.BigEndian.AppendUint32(out, uint32(generation))
	out = out[:headerSize]
	rand.Read(out[headerSize-saltSize-nonceSize:]) // never fails: see crypto/rand
	a, err := messageCipher(material, out)
	if err != nil {
		return nil, err
	}
	return a.Seal(out, out[headerSize-nonceSize:], plaintext, bound(out[:headerSize], context)), nil
}

// unseal decrypts what seal made.
func unseal(blob, material []byte, context map[string]string) ([]byte, error) {
	a, err := messageCipher(material, blob)
	if err != nil {
		return nil, err
	}
	plain, err := a.Open(
		nil,
		blob[headerSize-nonceSize:headerSize],
		blob[headerSize:],
		bound(blob[:headerSize], context),
	)
	if err != nil {
		return nil, ErrCiphertext
	}
	return plain, nil
}

// messageCipher derives the key of one ciphertext: the number of random nonces that are
// safe under one key is limited.
func messageCipher(material, head []byte) (cipher.AEAD, error) {
	salt := head[headerSize-nonceSize-saltSize : headerSize-nonceSize]
	key, err := hkdf.Key(sha256.New, material, salt, deriveInfo, materialLen)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// bound returns the data that is authenticated with a ciphertext.
func bound(head []byte, context map[string]string) []byte {
	out := slices.Clone(head)
	out = binary.BigEndian.AppendUint32(out, uint32(len(context)))
	for _, k := range slices.Sorted(maps.Keys(context)) {
		for _, s := range []string{k, context[k]} {
			out = binary.BigEndian.AppendUint32(out, uint32(len(s)))
			out = append(out, s...)
		}
	}
	return out
}

// CheckContext refuses an encryption context that is ambiguous to policies or too large.
func CheckContext(context map[string]string) error {
	if len(context) > maxContextPairs {
		return sekisho.Errorf(sekisho.CodeInvalid, "EncryptionContext has %d pairs; it may have %d.", len(context),
			maxContextPairs)
	}
	size := 0
	folded := make(map[string]bool, len(context))
	for k, v := range context {
		size += len(k) + len(v)
		if k == "" {
			return sekisho.Errorf(sekisho.CodeInvalid, "EncryptionContext has a pair without a name.")
		}
		// The names of condition keys are case-insensitive.
		fold := strings.ToLower(k)
		if folded[fold] {
			return sekisho.Errorf(
				sekisho.CodeInvalid,
				"EncryptionContext has two pairs named %q but for letter case: policies could not tell them apart.",
				fold,
			)
		}
		folded[fold] = true
	}
	if size > maxContextBytes {
		return sekisho.Errorf(sekisho.CodeInvalid, "EncryptionContext has more than %d bytes.", maxContextBytes)
	}
	return nil
}

// parseUUID returns the bytes of a UUID in its usual text form.
func parseUUID(s string) ([]byte, error) {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' || s != strings.ToLower(s) {
		return nil, sekisho.Errorf(sekisho.CodeInvalid, "not a key ID")
	}
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != keyIDSize {
		return nil, sekisho.Errorf(sekisho.CodeInvalid, "not a key ID")
	}
	return b, nil
}
