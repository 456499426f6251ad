// Package policy implements the AWS IAM policy language: grammar, validation, compilation and
// evaluation. It is pure: no clock, no store, no network.
//
// A document is checked with [Validate] when it is saved and compiled with [Parse] when it is loaded. [Compile] joins
// the documents that apply to one principal into a [Set], which decides requests: [Set.Evaluate] on the hot path,
// [Set.Explain] with reasons.
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
// Parse refuses unknown elements. A document that could not be loaded is represented by
// [Unusable], which denies everything, so that no Deny is ever silently lost. Where AWS's
// documentation is ambiguous, the reading that denies applies: a malformed pattern matches less
// in an Allow and more in a Deny.
package policy
