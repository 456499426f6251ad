package runcommand_test

import (
	"context"
	"slices"
	"sync"
	"time"

	"sekisho"
	"sekisho/internal/runcommand"
)

// memStore is a store in memory. It stores and returns copies.
type memStore struct {
	mu       sync.Mutex
	fail     error // returned by the next write
	commands []*runcommand.Command
	parts    map[string][]*runcommand.Invocation
}

func newMemStore() *memStore { return &memStore{parts: map[string][]*runcommand.Invocation{}} }

func (s *memStore) failing() error {
	err := s.fail
	s.fail = nil
	return err
}

func copyOf(inv *runcommand.Invocation) *runcommand.Invocation {
	c := *inv
	c.Steps = slices.Clone(inv.Steps)
	return &c
}

func (s *memStore) CreateCommand(_ context.Context, c *runcommand.Command, invocations []*runcommand.Invocation) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.failing(); err != nil {
		return err
	}
	c.Seq = int64(len(s.commands) + 1)
	kept := *c
	s.commands = append(s.commands, &kept)
	for _, inv := range invocations {
		inv.Seq = c.Seq
		s.parts[c.ID] = append(s.parts[c.ID], copyOf(inv))
	}
	return nil
}

func (s *memStore) find(id string) (*runcommand.Command, error) {
	for _, c := range s.commands {
		if c.ID == id {
			return c, nil
		}
	}
	return nil, sekisho.Errorf(sekisho.CodeNotFound, "no command %s", id)
}

func (s *memStore) part(id string, node sekisho.NodeID) (*runcommand.Invocation, error) {
	for _, inv := range s.parts[id] {
		if inv.Node == node {
			return inv, nil
		}
	}
	return nil, sekisho.Errorf(sekisho.CodeNotFound, "no part of %s on %s", id, node)
}

func (s *memStore) SaveCommand(_ context.Context, ch runcommand.Change) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.failing(); err != nil {
		return err
	}
	c, err := s.find(ch.Command.ID)
	if err != nil {
		return err
	}
	*c = *ch.Command
	for _, inv := range ch.Invocations {
		p, err := s.part(c.ID, inv.Node)
		if err != nil {
			return err
		}
		steps := p.Steps
		*p = *inv
		p.Steps = steps
	}
	for _, st := range ch.Steps {
		p, err := s.part(c.ID, st.Node)
		if err != nil {
			return err
		}
		p.Steps = slices.DeleteFunc(p.Steps, func(o *runcommand.Step) bool { return o.Index == st.Step.Index })
		p.Steps = append(p.Steps, st.Step)
		slices.SortFunc(p.Steps, func(a, b *runcommand.Step) int { return a.Index - b.Index })
	}
	return nil
}

func (s *memStore) Command(_ context.Context, id string) (*runcommand.Command, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.find(id)
	if err != nil {
		return nil, err
	}
	out := *c
	return &out, nil
}

func (s *memStore) Commands(_ context.Context, q runcommand.Query) ([]*runcommand.Command, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*runcommand.Command
	for _, c := range s.commands {
		if !q.Active || !c.Status.Over() {
			out := *c
			all = append(all, &out)
		}
	}
	return all, nil
}

func (s *memStore) Invocation(_ context.Context, id string, node sekisho.NodeID) (*runcommand.Invocation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.part(id, node)
	if err != nil {
		return nil, err
	}
	return copyOf(p), nil
}

func (s *memStore) Invocations(_ context.Context, q runcommand.Query) ([]*runcommand.Invocation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*runcommand.Invocation
	for _, inv := range s.parts[q.Command] {
		all = append(all, copyOf(inv))
	}
	return all, nil
}

func (s *memStore) DropCommands(_ context.Context, t time.Time, _ int) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.commands)
	s.commands = slices.DeleteFunc(
		s.commands,
		func(c *runcommand.Command) bool { return c.Status.Over() && c.RequestedAt.Before(t) },
	)
	return int64(before - len(s.commands)), nil
}
