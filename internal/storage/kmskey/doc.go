// Package kmskey stores symmetric keys that never leave the server. It encrypts,
// decrypts and makes data keys with them, as AWS's Key Management Service does. Its
// door authorizes the callers.
//
// # Material
//
// A key has one or more generations of material, 32 random bytes each, sealed
// under the keyring. Rotation adds a generation; older ones still decrypt. A key
// that was scheduled for deletion is removed permanently when its waiting period
// ends, and everything that it encrypted becomes unreadable.
//
// # Ciphertexts
//
// A ciphertext names the key and the generation that opens it:
//
//	"SKC" (3 bytes) | format (1 byte, 1) | key ID (16) | generation (4) | salt (16) | nonce (12) | ciphertext and tag
//
// It is AES-256-GCM under a key that HKDF-SHA-256 derives from the material and the salt.
// Everything before the ciphertext is authenticated with it, and so is the encryption
// context: its pairs, sorted by name, each part preceded by its length, so that no two
// contexts have the same encoding.
package kmskey
