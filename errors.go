package sekisho

import (
	"errors"
	"fmt"
	"strings"
)

// Code classifies an [Error]. Engines return codes; each API door maps (code, operation) to the
// error name its AWS service uses.
type Code string

// Codes that engines return. Any other error is an internal fault.
const (
	CodeInvalid         Code = "invalid"         // the request is malformed or out of range
	CodeUnauthenticated Code = "unauthenticated" // the caller could not be identified
	CodeDenied          Code = "denied"          // a policy denies it
	CodeNotFound        Code = "not_found"
	CodeConflict        Code = "conflict"    // it already exists, or changed meanwhile
	CodeInUse           Code = "in_use"      // it cannot be deleted while something refers to it
	CodeLimit           Code = "limit"       // a quota is full
	CodeExpired         Code = "expired"     // a token, activation or credential is past its time
	CodeThrottled       Code = "throttled"   // too many attempts
	CodeUnreachable     Code = "unreachable" // the node is not connected
	CodeUnavailable     Code = "unavailable" // the server cannot do it now, and can later
	CodeMalformedPolicy Code = "malformed_policy"
	CodeNotImplemented  Code = "not_implemented"
	CodeInternal        Code = "internal"
)

// Error is the error type of every engine: a code for programs, a sentence for people and, if there
// is one, the remedy.
type Error struct {
	Code    Code
	Message string
	Hint    string // what the reader can do about it; may be empty
	Reason  string // for programs that offer a remedy, such as BucketMissing; may be empty
	// Failed lists the aspects that caused a denial by policy: Who, Where, Which, When, MFA.
	Failed []string
	Err    error // the cause; never shown to a caller
}

// Errorf builds an *Error. A %w verb sets the cause.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), Err: errors.Unwrap(err)}
}

// WithHint returns a copy of e with this remedy.
func (e *Error) WithHint(format string, args ...any) *Error {
	hinted := *e
	hinted.Hint = fmt.Sprintf(format, args...)
	return &hinted
}

// WithReason returns a copy of e with its reason set.
func (e *Error) WithReason(reason string) *Error {
	with := *e
	with.Reason = reason
	return &with
}

// Error returns the message followed by the remedy.
func (e *Error) Error() string {
	if e.Hint == "" {
		return e.Message
	}
	if strings.ContainsAny(e.Message[max(len(e.Message)-1, 0):], ".!?:") {
		return e.Message + " " + e.Hint
	}
	return e.Message + ". " + e.Hint
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// CodeOf returns the code of the first *Error in err's chain, CodeInternal
// for any other error, and "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return CodeInternal
}

// IsNotFound reports whether err says that something does not exist.
func IsNotFound(err error) bool { return CodeOf(err) == CodeNotFound }
