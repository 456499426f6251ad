// Package identity keeps who exists and what they may do: users, groups,
// roles, instance profiles, managed policies, access keys, passwords and
// second factors. It verifies credentials, issues temporary ones, and hands
// out the compiled policies of a principal.
//
// # One directory, in memory
//
// A [Directory] holds the whole account in memory as immutable objects, and
// the [Store] behind it is a log of generations: a write takes generation G,
// and is accepted as G+1 only when nobody else wrote meanwhile; otherwise it
// is computed anew from what the other wrote. So two administrators who edit
// at once lose nothing, on one database connection or on several members of a
// cluster, and verifying a request touches no database. A member notices the
// writes of another within [Config.Refresh].
//
// # Names
//
// Names are unique without regard to case, and looked up exactly as stored:
// a policy that names user/admin cannot be passed by asking for user/ADMIN.
//
// # Secrets
//
// Secret access keys and TOTP seeds are sealed by the keyring; passwords are
// argon2id hashes. Temporary credentials are not stored at all: the session
// token is a sealed statement of what they are, which any member can open,
// and which ends with the user, key or role it came from.
//
// # Locks
//
// write before mu. write serialises writers and refreshes; mu guards the maps
// and is held for look-ups only.
package identity
