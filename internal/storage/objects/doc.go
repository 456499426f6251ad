// Package objects is a small object store: buckets of versioned objects, kept in a folder
// and encrypted at rest. It serves session logs and the S3 door, and is independent of
// HTTP.
//
// # Where things are
//
// An [Index] (a SQL database) holds buckets, keys, versions and uploads, and is the only
// source of truth. The folder holds blobs, the content of objects and parts, under random
// names: no key, bucket or upload ID becomes part of a path.
//
//	blobs/3f/3f9c…   content, see below
//	tmp/…            blobs being written; emptied at every start
//
// A blob is written and synced under tmp, renamed, and then entered in the index in one
// transaction with its version. A crash can leave a blob without an entry; the next start
// removes it. Removing a version marks its blobs dead in the same transaction. The files
// are removed afterwards. A blob that is being read is removed when its last reader closes
// it.
//
// # A blob
//
//	"SKB1" | length of the sealed key (2 bytes) | sealed key | chunk 0 | chunk 1 | …
//
// Each blob has its own key of 32 random bytes, sealed by the keyring and bound to
// the blob's name. A chunk is 64 KiB of content (the last one less) under
// AES-256-GCM. Its nonce is the chunk's number (11 bytes) and whether it is the
// last (1 byte), so that swapped, missing and truncated chunks are detected, and
// any range can be read by itself.
package objects
