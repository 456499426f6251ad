package recstoretest

import (
	"context"
	"errors"
	"io"
	"iter"
	"sync"

	"sekisho/internal/session/record/recstore"
)

// Fault is the way in which a call goes wrong.
type Fault int

// Values of Fault.
const (
	None         Fault = iota
	Refuse             // the call fails and has no effect
	LoseResponse       // the call takes effect and fails
	DropPut            // a Put is acknowledged and has no effect
	AlterPut           // a Put is acknowledged, but one byte of the object is altered
	AlterRead          // one byte that is read is altered
)

// ErrFault is returned by failing calls of a [Faulty] store.
var ErrFault = errors.New("the store fails on purpose")

// Faulty is a store whose calls fail on request.
type Faulty struct {
	recstore.Store

	mu    sync.Mutex
	fault func(op, name string) Fault
	calls map[string]int
}

// NewFaulty returns a store that has no faults yet.
func NewFaulty(s recstore.Store) *Faulty { return &Faulty{Store: s, calls: make(map[string]int)} }

// Fail sets what goes wrong from now on; nil = nothing.
func (f *Faulty) Fail(fault func(op, name string) Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
}

// FailAll makes every call go wrong.
func (f *Faulty) FailAll(fault Fault) { f.Fail(func(string, string) Fault { return fault }) }

// Calls returns how many calls of an operation there were: put, stat, read, list
// or remove.
func (f *Faulty) Calls(op string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[op]
}

func (f *Faulty) call(op, name string) Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls[op]++
	if f.fault == nil {
		return None
	}
	return f.fault(op, name)
}

func (f *Faulty) failed(op, name string) error {
	return &recstore.Error{Store: f.String(), Op: op, Name: name, Err: ErrFault}
}

// do makes a call that changes something.
func (f *Faulty) do(op, name string, call func() error) error {
	switch f.call(op, name) {
	case Refuse:
		return f.failed(op, name)
	case LoseResponse:
		return errors.Join(call(), f.failed(op, name))
	case None, DropPut, AlterPut, AlterRead:
	}
	return call()
}

// Put implements recstore.Store.
func (f *Faulty) Put(ctx context.Context, name string, content io.ReaderAt, size int64) error {
	switch f.call("put", name) {
	case Refuse:
		return f.failed("put", name)
	case LoseResponse:
		return errors.Join(f.Store.Put(ctx, name, content, size), f.failed("put", name))
	case DropPut:
		return nil
	case AlterPut:
		return f.Store.Put(ctx, name, altered{content}, size)
	case None, AlterRead:
	}
	return f.Store.Put(ctx, name, content, size)
}

// altered is content whose first byte is changed.
type altered struct{ io.ReaderAt }

// ReadAt implements io.ReaderAt.
func (a altered) ReadAt(p []byte, off int64) (int, error) {
	n, err := a.ReaderAt.ReadAt(p, off)
	if off == 0 && n > 0 {
		p[0] ^= 1
	}
	return n, err
}

// Stat implements recstore.Store.
func (f *Faulty) Stat(ctx context.Context, name string) (info recstore.Info, err error) {
	err = f.do("stat", name, func() error {
		info, err = f.Store.Stat(ctx, name)
		return err
	})
	return info, err
}

// ReadAt implements recstore.Store.
func (f *Faulty) ReadAt(ctx context.Context, info recstore.Info, p []byte, off int64) error {
	switch f.call("read", info.Name) {
	case Refuse, LoseResponse:
		return f.failed("read", info.Name)
	case AlterRead:
		err := f.Store.ReadAt(ctx, info, p, off)
		p[len(p)/2] ^= 1
		return err
	case None, DropPut, AlterPut:
	}
	return f.Store.ReadAt(ctx, info, p, off)
}

// List implements recstore.Store.
func (f *Faulty) List(ctx context.Context, prefix string) iter.Seq2[recstore.Info, error] {
	if fault := f.call("list", prefix); fault == Refuse || fault == LoseResponse {
		return func(yield func(recstore.Info, error) bool) { yield(recstore.Info{}, f.failed("list", prefix)) }
	}
	return f.Store.List(ctx, prefix)
}

// Remove implements recstore.Store.
func (f *Faulty) Remove(ctx context.Context, name string) error {
	return f.do("remove", name, func() error { return f.Store.Remove(ctx, name) })
}
