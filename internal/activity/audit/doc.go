// Package audit implements the audit trail of all calls: append-only and hash-chained, with events
// in the shape of CloudTrail's.
//
// # The chain
//
// Records are numbered from 1 without gaps. The hash of a record is
//
//	hash(n) = SHA-256( hash(n-1) || body(n) ),  hash(0) = 32 zero bytes
//
// where body is the event as JSON, stored byte for byte. Altering, removing, inserting or swapping
// records breaks the chain there, and [Trail.Verify] reports the place. Columns that a store uses
// for lookups are derived from the body and checked against it.
//
// # Heads
//
// A chain alone cannot reveal that its end was removed, or that all of it was recomputed. So every
// few records, and when it closes, a trail signs a [Head]: the number and hash of its newest
// record. Heads are stored, and passed to a witness that keeps them where an intruder in the
// database has no access; Verify compares the trail with those.
//
// # Intents
//
// A call that can change something first stores an [Intent]. Its event replaces the intent in one transaction, so
// that a crash or a full disk can leave an unknown outcome, but never a change without a record.
//
// # Secrets
//
// Records contain no secrets: members with secret names are redacted ([Redact]) before a record is
// created, because they could not be removed later.
package audit
