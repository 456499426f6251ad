// Package objects is a small object store: buckets of versioned objects,
// kept in a folder and encrypted at rest. It has what session logs and the
// S3 door over it need, and knows nothing of HTTP.
//
// # Where things are
//
// An [Index] (a SQL database) knows buckets, keys, versions and uploads, and
// is the only authority. The folder holds blobs, the content of objects and
// of parts, under names made at random: no key, bucket or upload ever becomes
// part of a path.
//
//	blobs/3f/3f9c…   content, see below
//	tmp/…            blobs being written; emptied at every start
//
// A blob is written and synced under tmp, renamed, and then named by the
// index in one transaction with the version it belongs to. One that the index
// does not name was left by a crash and is removed at the next start. A
// version that goes marks its blobs dead in the same transaction; the files
// follow, those that are being read when their last reader is done.
//
// # A blob
//
//	"SKB1" | length of the sealed key (2 bytes) | sealed key | chunk 0 | chunk 1 | …
//
// The key is 32 random bytes of this blob alone, sealed by the keyring and
// bound to the blob's name. A chunk is 64 KiB of content (the last one less)
// under AES-256-GCM, its nonce the chunk's number (11 bytes) and whether it
// is the last (1 byte): chunks cannot be swapped, left out or cut off
// unnoticed, and any range can be read by itself.
package objects
