package api

import (
	"context"
	"reflect"
	"strings"
)

// Auth is the way in which callers of an operation authenticate.
type Auth int

// Values of Auth.
const (
	Signed    Auth = iota // SigV4, or a console sign-in
	Anonymous             // the operation authenticates its callers itself, if at all
	NodeKey               // the RSA key of a managed node (RequestManagedInstanceRoleToken)
)

// Operation is one operation of a door. [Read], [Write] and [Issue] make one of
// a typed handler, [Routed] one that its door chooses by path and answers itself.
type Operation struct {
	Handle func(ctx context.Context, c *Call) (any, error)
	Auth   Auth
	// NoPolicy is the reason why the operation needs no policy decision; empty for all but a few
	// operations that are open in AWS too.
	NoPolicy string
	ReadOnly bool
	// AnswerOnly means that a call changes no stored state: its only effect is its answer, which is
	// withheld until its event is stored.
	AnswerOnly bool
	// Polled is the reason why a successful call leaves no audit event: pages make it by themselves.
	// Empty for all but a few operations that only read.
	Polled string
	// BusyCode is the error code of a throttled call; empty means ThrottlingException.
	BusyCode string
	// MaxBody bounds the request in bytes; 0 means 1 MiB.
	MaxBody int

	hidden  string   // a member that the audit trail never shows, in lower case
	members []string // of the request, in lower case
}

// Option changes an operation.
type Option func(op *Operation)

// By sets how callers authenticate.
func By(a Auth) Option { return func(op *Operation) { op.Auth = a } }

// NoPolicy sets the reason why an operation needs no policy decision.
func NoPolicy(reason string) Option { return func(op *Operation) { op.NoPolicy = reason } }

// Polled sets the reason why a successful call leaves no audit event.
func Polled(reason string) Option { return func(op *Operation) { op.Polled = reason } }

// Hide keeps a member of the request out of the audit trail.
func Hide(member string) Option {
	return func(op *Operation) { op.hidden = strings.ToLower(member) }
}

// BusyCode sets the error code of a throttled call.
func BusyCode(code string) Option { return func(op *Operation) { op.BusyCode = code } }

// MaxBody bounds the request, in bytes.
func MaxBody(n int) Option { return func(op *Operation) { op.MaxBody = n } }

// Read returns the operation of a handler that changes nothing.
func Read[In, Out any](f func(ctx context.Context, c *Call, in *In) (*Out, error), options ...Option) Operation {
	return typed(f, append(options, Reads))
}

// Write returns the operation of a handler that can change something.
func Write[In, Out any](f func(ctx context.Context, c *Call, in *In) (*Out, error), options ...Option) Operation {
	return typed(f, options)
}

// Issue returns the operation of a handler whose only effect is its answer, such as temporary
// credentials.
func Issue[In, Out any](f func(ctx context.Context, c *Call, in *In) (*Out, error), options ...Option) Operation {
	return typed(f, append(options, Issues))
}

// Routed is an operation without a handler here: the door chooses it by method
// and path, and answers it itself, because its body is a stream or the
// connection becomes a channel. The door passes the name of the operation to
// [Server.Enter] or [Server.EnterStream].
func Routed(options ...Option) Operation {
	var op Operation
	for _, o := range options {
		o(&op)
	}
	return op
}

// Reads is the option of [Routed] for an operation that changes nothing.
func Reads(op *Operation) { op.ReadOnly = true }

// Issues is the option of [Routed] for an operation whose only effect is its
// answer.
func Issues(op *Operation) { op.AnswerOnly = true }

// typed returns the operation of a typed handler: it decodes the request by the door's protocol and
// calls f.
func typed[In, Out any](f func(ctx context.Context, c *Call, in *In) (*Out, error), options []Option) Operation {
	op := Operation{members: membersOf(reflect.TypeFor[In]()), Handle: func(ctx context.Context, c *Call) (any, error) {
		in := new(In)
		if err := c.Decode(in); err != nil {
			return nil, err
		}
		return f(ctx, c, in)
	}}
	for _, o := range options {
		o(&op)
	}
	return op
}

// membersOf returns the names that the members of a request can have on the wire, in lower case.
func membersOf(t reflect.Type) []string {
	if t.Kind() != reflect.Struct {
		return nil
	}
	var names []string
	for f := range t.Fields() {
		if f.Anonymous && f.Type.Kind() == reflect.Struct {
			names = append(names, membersOf(f.Type)...)
			continue
		}
		if !f.IsExported() {
			continue
		}
		name := f.Name
		for _, key := range []string{"json", "query"} {
			if tagged, _, _ := strings.Cut(f.Tag.Get(key), ","); tagged != "" {
				name = tagged
			}
		}
		if name != "-" {
			names = append(names, strings.ToLower(name))
		}
	}
	return names
}
