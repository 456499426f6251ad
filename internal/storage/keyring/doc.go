// Package keyring keeps the keys that protect everything else at rest.
//
// # The folder
//
// A keyring is a folder with two files. master.key holds 32 random bytes and is the only
// secret an operator must keep; the keyring is refused if anyone but its owner can read
// that file. keyring.json holds the data keys and the seed of the signing key, each wrapped
// under the master key, and is useless without it. Members of a cluster share both files.
//
// # Sealing
//
// [Ring.Seal] encrypts with AES-256-GCM under a key derived by HKDF-SHA-256 from the newest
// data key and the purpose, so that a value sealed for one purpose never opens for another.
// The sealed form is
//
//	version (1 byte, 1) | data key ID (4) | nonce (12) | ciphertext and tag
//
// and the fields before the ciphertext are authenticated with it. The caller's additional
// data binds a secret to its location.
//
// # Rotation
//
// [Ring.Rotate] makes a new master key and a new data key, and wraps every data key under
// the new master. Older data keys stay readable; new seals use the newest. The old master
// key no longer opens anything. The signing key does not change, so old signatures still
// verify.
package keyring
