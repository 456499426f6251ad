// Package sekisho is the vocabulary of Sekisho, the self-hosted Session
// Manager: nodes, sessions, activations, principals, errors. It imports the
// standard library only; every other package uses its types.
//
// # How a session runs
//
// A client (the aws CLI with session-manager-plugin, the sekisho command, or the
// console in a browser) calls StartSession. The request enters through a door of
// [sekisho/internal/api], is verified by [sekisho/internal/wire/sigv4], authorized
// by [sekisho/internal/iam/authz] with the rules of [sekisho/internal/iam/policy],
// and recorded by [sekisho/internal/activity/audit].
// [sekisho/internal/session/broker] creates the session and sends a task to the
// node's agent over its control channel ([sekisho/internal/node/control]). Both legs
// then meet in [sekisho/internal/session/relay], where
// [sekisho/internal/session/record] records output before the user sees it. On the
// node, [sekisho/internal/agent] opens the terminal.
package sekisho
