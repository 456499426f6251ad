// Package sekisho is the vocabulary of Sekisho, the self-hosted Session
// Manager: nodes, sessions, activations, principals, errors. It imports the
// standard library only, and everything else speaks its words.
//
// # The way of one session
//
// A person's client (the aws CLI with session-manager-plugin, the sekisho
// command, the console in a browser) calls StartSession. The request enters
// through a door of [sekisho/internal/api], is verified by
// [sekisho/internal/wire/sigv4], authorized by [sekisho/internal/iam/authz] with the
// rules of [sekisho/internal/iam/policy], and kept by [sekisho/internal/activity/audit].
// [sekisho/internal/session/broker] makes the session and tells the node's agent over
// its control channel ([sekisho/internal/node/control]). Both legs then meet in
// [sekisho/internal/session/relay], which has [sekisho/internal/session/record] write down
// what passes before the person sees it. On the node
// [sekisho/internal/agent] opens the terminal.
package sekisho
