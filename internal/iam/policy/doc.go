// Package policy is the AWS IAM policy language: grammar, validation,
// compilation and evaluation. It is pure: no clock, no store, no network.
//
// A document is checked with [Validate] when it is saved and compiled with
// [Parse] when it is loaded. The documents that bear on one principal are
// joined by [Compile] into a [Set], which answers requests: [Set.Evaluate] on
// the hot path, [Set.Explain] when somebody wants to know why.
//
//	JSON text ──Validate──▶ stored ──Parse──▶ *Document ──Compile──▶ *Set
//	                                                        *Request ──▶ Evaluate ──▶ Decision
//
// # How evaluation stays flat
//
// Compile files every statement under its action patterns and, within one
// action, under the literal part of each resource pattern: a hash table for
// ARNs without wildcards, a radix tree of prefixes and one of suffixes for the
// others. A request then meets only the statements whose literal text already
// agrees with it. Everything that can be parsed is parsed at compile time,
// patterns are matched without backtracking, and nothing is allocated.
//
// # Which way it errs
//
// What is not understood is refused by Parse; a document that could not be
// loaded is represented by [Unusable], which denies everything, so that a
// Deny is never lost in silence. Where AWS's documentation is ambiguous the
// reading that denies is taken: a malformed pattern matches less in an Allow
// and more in a Deny.
package policy
