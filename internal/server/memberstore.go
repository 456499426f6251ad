package server

import (
	"context"
	"io"
	"iter"
	"strings"

	"sekisho/internal/session/record"
	"sekisho/internal/session/record/recstore"
)

// memberStore is a store of recordings that several members share. The recordings are the same for all; each member
// has its own ledger, below prefix.
type memberStore struct {
	recstore.Store
	prefix string
}

func (m memberStore) name(name string) string {
	if strings.HasPrefix(name, record.LedgerFile) {
		return m.prefix + name
	}
	return name
}

// Put implements [recstore.Store].
func (m memberStore) Put(ctx context.Context, name string, content io.ReaderAt, size int64) error {
	return m.Store.Put(ctx, m.name(name), content, size)
}

// Stat implements [recstore.Store].
func (m memberStore) Stat(ctx context.Context, name string) (recstore.Info, error) {
	info, err := m.Store.Stat(ctx, m.name(name))
	info.Name = strings.TrimPrefix(info.Name, m.prefix)
	return info, err
}

// ReadAt implements [recstore.Store].
func (m memberStore) ReadAt(ctx context.Context, info recstore.Info, p []byte, off int64) error {
	info.Name = m.name(info.Name)
	return m.Store.ReadAt(ctx, info, p, off)
}

// List implements [recstore.Store].
func (m memberStore) List(ctx context.Context, prefix string) iter.Seq2[recstore.Info, error] {
	return func(yield func(recstore.Info, error) bool) {
		for info, err := range m.Store.List(ctx, m.name(prefix)) {
			info.Name = strings.TrimPrefix(info.Name, m.prefix)
			if !yield(info, err) {
				return
			}
		}
	}
}

// Remove implements [recstore.Store].
func (m memberStore) Remove(ctx context.Context, name string) error {
	return m.Store.Remove(ctx, m.name(name))
}
