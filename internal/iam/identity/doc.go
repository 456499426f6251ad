// Package identity manages users, groups, roles, instance profiles, managed policies, access keys,
// passwords and second factors. It verifies credentials, issues temporary ones, and returns the
// compiled policies of a principal.
//
// # One directory, in memory
//
// A [Directory] holds the whole account in memory as immutable objects. It has
// one part per kind of object ([Users], [Roles], [MFADevices] …) and one per use
// of them ([SignIns], [Credentials], [PolicySets]). All parts share one state,
// and a write of any part is one transaction on it. The [Store] behind it is a
// log of generations: a write takes generation G, and is accepted as G+1 only
// if no other write came first; otherwise it is recomputed from the newer
// state. Concurrent edits therefore never overwrite each other, whether they
// arrive at one member of a cluster or at several, and verifying a request
// touches no database. A member notices the writes of another within
// [Config.Refresh].
//
// # Names
//
// Names are unique without regard to case but looked up exactly as stored, so
// that user/ADMIN cannot bypass a policy on user/admin.
//
// # Secrets
//
// Secret access keys and TOTP seeds are sealed by the keyring; passwords are
// argon2id hashes. Temporary credentials are not stored: the session token
// holds them sealed, any member can open it, and it is refused once the user,
// key or role it was issued from is gone.
//
// # Locks
//
// write before mu. write serialises writers and refreshes; mu guards the maps and is held only for
// lookups.
package identity
