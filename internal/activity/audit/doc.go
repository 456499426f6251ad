// Package audit keeps the trail of every call: append-only, hash-chained, its
// events shaped as CloudTrail's.
//
// # The chain
//
// Records are numbered from 1 without gaps. The hash of a record is
//
//	hash(n) = SHA-256( hash(n-1) || body(n) ),  hash(0) = 32 zero bytes
//
// where body is the event as JSON, kept byte for byte. Whoever alters, drops,
// inserts or swaps records breaks the chain there, and [Trail.Verify] names
// the place. Columns that a store keeps for look-ups are derived from the
// body and checked against it.
//
// # Heads
//
// A chain alone cannot show that its tail was cut off, or that all of it was
// recomputed. So every few records, and when it closes, a trail signs a
// [Head]: number and hash of its newest record. Heads are kept in the store,
// and handed to a witness who keeps them where an intruder of the database
// does not reach; Verify takes those back.
//
// # Intents
//
// A call that may change something begins by storing an [Intent]. Its event
// replaces the intent in one transaction, so that a crash or a full disk can
// leave an outcome unknown but never a change without a record.
//
// # Secrets
//
// Nothing secret enters: values are replaced by their names ([Redact]) before
// a record is made, since afterwards it could not be removed.
package audit
