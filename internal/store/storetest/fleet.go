package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sekisho"
	"sekisho/internal/node/fleet"
)

// at is a time that every store keeps whole: to the microsecond, in UTC.
func at(minutes int) time.Time {
	return time.Date(2026, 11, 23, 10, minutes, 5, 123456000, time.UTC)
}

func wantCode(t *testing.T, err error, want sekisho.Code) {
	t.Helper()
	if got := sekisho.CodeOf(err); got != want {
		t.Errorf("got %v (%q), want %q", err, got, want)
	}
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func same(t *testing.T, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

func activation(id string, minute, limit int) *sekisho.Activation {
	return &sekisho.Activation{
		ID: id, CodeHash: []byte("hash\x00of " + id), Description: "für die Büros", DefaultInstanceName: "office",
		IAMRole: "path/role", RegistrationLimit: limit, ExpiresAt: at(59), CreatedAt: at(minute),
		CreatedBy: "arn:aws:iam::123456789012:user/alice",
		Tags:      map[string]string{"Env": "prod", "naïve": "'; DROP TABLE nodes; --"},
		NodeKind:  sekisho.NodeInstance, NodeID: "i-01234567890abcdef",
	}
}

func node(id, activation string) *sekisho.Node {
	return &sekisho.Node{
		ID: sekisho.NodeID(id), Name: "office", ActivationID: activation, IAMRole: "role", RegisteredAt: at(1),
		PublicKey: []byte{0, 1, 2, 0xff}, Fingerprint: "print",
		AgentName: "agent", AgentVersion: "1.2", AgentStatus: "Active",
		PlatformType: "Linux", PlatformName: "Debian", PlatformVersion: "13", ComputerName: "büro", Architecture: "arm64",
		IPAddress: "10.0.0.9", LastPingAt: at(2), LastSourceIP: "192.0.2.1",
		ConnectedAt: at(3), DisconnectedAt: at(4), DisconnectReason: "why",
		Tags: map[string]string{"k": "v"},
		Profile: &sekisho.NodeProfile{
			Association: "iip-assoc-1",
			ID:          "AIPA",
			ARN:         "arn:x",
			Role:        "role",
			RoleBefore:  "'before'",
			Since:       at(5),
		},
	}
}

// Fleet runs the conformance suite of [fleet.Store]; open returns an empty
// store.
func Fleet(t *testing.T, open func(t *testing.T) fleet.Store) {
	t.Run("missing activations and nodes are not found", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		_, err := s.Activation(ctx, "nope")
		wantCode(t, err, sekisho.CodeNotFound)
		wantCode(t, s.DeleteActivation(ctx, "nope"), sekisho.CodeNotFound)
		_, err = s.Node(ctx, "mi-nope")
		wantCode(t, err, sekisho.CodeNotFound)
		err = s.UpdateNode(ctx, "mi-nope", func(*sekisho.Node) error { return errors.New("called") })
		wantCode(t, err, sekisho.CodeNotFound)
	})

	t.Run("an empty store lists nothing", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		activations, err := s.Activations(ctx, fleet.ActivationQuery{})
		must(t, err)
		same(t, 0, len(activations))
		nodes, err := s.Nodes(ctx)
		must(t, err)
		same(t, 0, len(nodes))
		must(t, s.CloseConnections(ctx, at(9), "the server stopped"))
	})

	t.Run("a node without an activation is not stored", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		wantCode(t, s.RegisterNode(ctx, node("mi-1", "nope")), sekisho.CodeNotFound)
		_, err := s.Node(ctx, "mi-1")
		wantCode(t, err, sekisho.CodeNotFound)
	})

	t.Run("activations are returned unchanged, newest first", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		want := []*sekisho.Activation{
			activation("new", 9, 3),
			activation("mid-a", 5, 1),
			activation("mid-b", 5, 1),
			activation("old", 1, 1000),
		}
		want[3].Tags = nil
		for _, i := range []int{1, 3, 0, 2} {
			must(t, s.CreateActivation(ctx, want[i]))
		}
		all, err := s.Activations(ctx, fleet.ActivationQuery{})
		must(t, err)
		same(t, want, all)
		one, err := s.Activation(ctx, "new")
		must(t, err)
		same(t, want[0], one)
	})

	t.Run("a deleted activation is not found", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		must(t, s.CreateActivation(ctx, activation("a", 1, 1)))
		must(t, s.DeleteActivation(ctx, "a"))
		_, err := s.Activation(ctx, "a")
		wantCode(t, err, sekisho.CodeNotFound)
		wantCode(t, s.DeleteActivation(ctx, "a"), sekisho.CodeNotFound)
	})

	t.Run("activations are selected and paged", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		for i := range 12 {
			a := activation(fmt.Sprintf("a-%02d", i), i/2, 1) // pairs have the same time
			a.DefaultInstanceName, a.IAMRole = fmt.Sprint("name-", i%3), fmt.Sprint("role-", i%2)
			a.NodeID = sekisho.NodeID(fmt.Sprint("i-", i))
			must(t, s.CreateActivation(ctx, a))
		}
		for name, c := range map[string]struct {
			q    fleet.ActivationQuery
			want string
		}{
			"all":         {fleet.ActivationQuery{}, "10 11 08 09 06 07 04 05 02 03 00 01"},
			"IDs":         {fleet.ActivationQuery{IDs: []string{"a-01", "a-05", "a-05", "none"}}, "05 01"},
			"node IDs":    {fleet.ActivationQuery{NodeIDs: []string{"i-7"}}, "07"},
			"names":       {fleet.ActivationQuery{Names: []string{"name-0", "name-2"}}, "11 08 09 06 05 02 03 00"},
			"role":        {fleet.ActivationQuery{Roles: []string{"role-1"}}, "11 09 07 05 03 01"},
			"two filters": {fleet.ActivationQuery{Names: []string{"name-0"}, Roles: []string{"role-0", "x"}}, "06 00"},
			"ID and role": {fleet.ActivationQuery{IDs: []string{"a-01", "a-02"}, Roles: []string{"role-0"}}, "02"},
			"no values":   {fleet.ActivationQuery{Names: []string{}}, ""},
			"none of two": {fleet.ActivationQuery{Names: []string{"name-0"}, Roles: []string{}}, ""},
		} {
			t.Run(name, func(t *testing.T) {
				for _, limit := range []int{0, 1, 5} {
					var got []string
					q := c.q
					for q.Limit = limit; ; {
						page, err := s.Activations(ctx, q)
						must(t, err)
						for _, a := range page {
							got = append(got, a.ID[2:])
							q.After = fleet.ActivationPlace{CreatedAt: a.CreatedAt, ID: a.ID}
						}
						if limit == 0 || len(page) < limit {
							break
						}
					}
					same(t, c.want, strings.Join(got, " "))
				}
			})
		}
	})

	t.Run("nodes are returned unchanged, sorted by ID", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		must(t, s.CreateActivation(ctx, activation("a", 1, 9)))
		full := node("mi-b", "a")
		bare := &sekisho.Node{ID: "mi-a", ActivationID: "a", RegisteredAt: at(0), PublicKey: []byte{1}}
		must(t, s.RegisterNode(ctx, full))
		must(t, s.RegisterNode(ctx, bare))
		got, err := s.Node(ctx, "mi-b")
		must(t, err)
		same(t, full, got)
		all, err := s.Nodes(ctx)
		must(t, err)
		same(t, []*sekisho.Node{bare, full}, all)
	})

	t.Run("a deregistered node is found by its ID and not listed", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		must(t, s.CreateActivation(ctx, activation("a", 1, 9)))
		gone := node("mi-c", "a")
		gone.DeregisteredAt = at(8)
		must(t, s.RegisterNode(ctx, gone))
		got, err := s.Node(ctx, "mi-c")
		must(t, err)
		same(t, gone, got)
		all, err := s.Nodes(ctx)
		must(t, err)
		same(t, 0, len(all))
	})

	t.Run("registrations are counted", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		must(t, s.CreateActivation(ctx, activation("a", 1, 9)))
		for _, id := range []string{"mi-1", "mi-2", "mi-3"} {
			must(t, s.RegisterNode(ctx, node(id, "a")))
		}
		a, err := s.Activation(ctx, "a")
		must(t, err)
		same(t, 3, a.RegistrationCount)
	})

	t.Run("nodes outlive their activation", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		must(t, s.CreateActivation(ctx, activation("a", 1, 9)))
		must(t, s.RegisterNode(ctx, node("mi-b", "a")))
		must(t, s.DeleteActivation(ctx, "a"))
		_, err := s.Node(ctx, "mi-b")
		must(t, err)
	})

	t.Run("changes since a revision are listed", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		must(t, s.CreateActivation(ctx, activation("a", 1, 9)))
		revision := int64(0)
		changes := func(want ...*sekisho.Node) {
			t.Helper()
			got, next, err := s.NodeChanges(ctx, revision)
			must(t, err)
			slices.SortFunc(got, func(a, b *sekisho.Node) int { return strings.Compare(string(a.ID), string(b.ID)) })
			var listed []*sekisho.Node
			for _, n := range want {
				n := *n
				n.PublicKey = nil // lists omit keys
				listed = append(listed, &n)
			}
			same(t, listed, got)
			if next < revision {
				t.Errorf("revision %d follows %d", next, revision)
			}
			revision = next
		}
		changes()
		x, y := node("mi-x", "a"), node("mi-y", "a")
		must(t, s.RegisterNode(ctx, x))
		must(t, s.RegisterNode(ctx, y))
		changes(x, y)
		changes()
		must(t, s.UpdateNode(ctx, "mi-y", func(n *sekisho.Node) error { n.ComputerName = "other"; return nil }))
		y.ComputerName = "other"
		changes(y)
		if s.UpdateNode(ctx, "mi-y", func(*sekisho.Node) error { return errors.New("no") }) == nil {
			t.Error("the error of the change was lost")
		}
		changes()
		must(t, s.UpdateNode(ctx, "mi-x", func(n *sekisho.Node) error { n.DeregisteredAt = at(9); return nil }))
		x.DeregisteredAt = at(9)
		changes(x)
		must(t, s.UpdateNode(ctx, "mi-x", func(n *sekisho.Node) error { n.ConnectedAt = time.Time{}; return nil }))
		x.ConnectedAt = time.Time{}
		changes(x)
		must(t, s.CloseConnections(ctx, at(10), "the server stopped"))
		y.ConnectedAt, y.DisconnectedAt, y.DisconnectReason = time.Time{}, at(10), "the server stopped"
		changes(y)
		changes()
	})

	t.Run("the same ID cannot register twice", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		must(t, s.CreateActivation(ctx, activation("a", 1, 9)))
		must(t, s.RegisterNode(ctx, node("mi-1", "a")))
		other := node("mi-1", "a")
		other.Fingerprint = "another"
		if err := s.RegisterNode(ctx, other); err == nil {
			t.Error("a second node took the ID of the first")
		}
		got, err := s.Node(ctx, "mi-1")
		must(t, err)
		same(t, node("mi-1", "a"), got)
		a, err := s.Activation(ctx, "a")
		must(t, err)
		if a.RegistrationCount != 1 {
			t.Errorf("a failed registration was counted: %d", a.RegistrationCount)
		}
	})

	t.Run("the ID of a deregistered node can be registered again", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		must(t, s.CreateActivation(ctx, activation("act", 1, 3)))
		must(t, s.RegisterNode(ctx, node("i-01234567890abcdef", "act")))
		wantCode(t, s.RegisterNode(ctx, node("i-01234567890abcdef", "act")), sekisho.CodeConflict)
		deregister := func(n *sekisho.Node) error { n.DeregisteredAt = at(7); return nil }
		must(t, s.UpdateNode(ctx, "i-01234567890abcdef", deregister))
		next := node("i-01234567890abcdef", "act")
		next.Name = "the next"
		must(t, s.RegisterNode(ctx, next))
		all, err := s.Nodes(ctx)
		must(t, err)
		same(t, []*sekisho.Node{next}, all)
		a, err := s.Activation(ctx, "act")
		must(t, err)
		if a.RegistrationCount != 2 {
			t.Errorf("counted %d registrations, not 2", a.RegistrationCount)
		}
	})

	t.Run("the limit of an activation holds for simultaneous registrations", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		const limit, machines = 3, 12
		must(t, s.CreateActivation(ctx, activation("a", 1, limit)))
		var admitted atomic.Int32
		var wg sync.WaitGroup
		for i := range machines {
			wg.Go(func() {
				switch err := s.RegisterNode(ctx, node(fmt.Sprintf("mi-%02d", i), "a")); sekisho.CodeOf(err) {
				case "":
					admitted.Add(1)
				case sekisho.CodeLimit:
				default:
					t.Errorf("machine %d: %v", i, err)
				}
			})
		}
		wg.Wait()
		all, err := s.Nodes(ctx)
		must(t, err)
		a, err := s.Activation(ctx, "a")
		must(t, err)
		if admitted.Load() != limit || len(all) != limit || a.RegistrationCount != limit {
			t.Errorf("%d admitted, %d stored, %d counted; want %d of each",
				admitted.Load(), len(all), a.RegistrationCount, limit)
		}
	})

	t.Run("an update stores every field and no other node", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		must(t, s.CreateActivation(ctx, activation("a", 1, 9)))
		bare := &sekisho.Node{ID: "mi-1", ActivationID: "a", RegisteredAt: at(0), PublicKey: []byte{1}}
		must(t, s.RegisterNode(ctx, bare))
		must(t, s.RegisterNode(ctx, node("mi-2", "a")))
		want := node("mi-1", "a")
		want.DeregisteredAt = at(7)
		must(t, s.UpdateNode(ctx, "mi-1", func(n *sekisho.Node) error { *n = *want; return nil }))
		got, err := s.Node(ctx, "mi-1")
		must(t, err)
		same(t, want, got)
		got, err = s.Node(ctx, "mi-2")
		must(t, err)
		same(t, node("mi-2", "a"), got)
	})

	t.Run("an update that fails changes nothing", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		must(t, s.CreateActivation(ctx, activation("a", 1, 9)))
		must(t, s.RegisterNode(ctx, node("mi-1", "a")))
		no := sekisho.Errorf(sekisho.CodeDenied, "no")
		err := s.UpdateNode(ctx, "mi-1", func(n *sekisho.Node) error { n.Name = "changed"; return no })
		wantCode(t, err, sekisho.CodeDenied)
		got, err := s.Node(ctx, "mi-1")
		must(t, err)
		same(t, node("mi-1", "a"), got)
	})

	t.Run("simultaneous updates are all kept", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		must(t, s.CreateActivation(ctx, activation("a", 1, 9)))
		must(t, s.RegisterNode(ctx, node("mi-1", "a")))
		const writers = 8
		var wg sync.WaitGroup
		for range writers {
			wg.Go(func() {
				if err := s.UpdateNode(ctx, "mi-1", func(n *sekisho.Node) error { n.Name += "x"; return nil }); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		got, err := s.Node(ctx, "mi-1")
		must(t, err)
		same(t, "office"+strings.Repeat("x", writers), got.Name)
	})

	t.Run("an update that panics leaves the store usable", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		must(t, s.CreateActivation(ctx, activation("a", 1, 9)))
		must(t, s.RegisterNode(ctx, node("mi-1", "a")))
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic was swallowed")
				}
			}()
			_ = s.UpdateNode(ctx, "mi-1", func(n *sekisho.Node) error { panic("change") })
		}()
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		must(t, s.UpdateNode(ctx, "mi-1", func(n *sekisho.Node) error { n.Name = "after"; return nil }))
	})

	t.Run("closing all connections changes connected nodes only", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		must(t, s.CreateActivation(ctx, activation("a", 1, 9)))
		up, down := node("mi-1", "a"), node("mi-2", "a")
		down.ConnectedAt = time.Time{}
		must(t, s.RegisterNode(ctx, up))
		must(t, s.RegisterNode(ctx, down))
		must(t, s.CloseConnections(ctx, at(30), "the server stopped"))
		up.ConnectedAt, up.DisconnectedAt, up.DisconnectReason = time.Time{}, at(30), "the server stopped"
		all, err := s.Nodes(ctx)
		must(t, err)
		same(t, []*sekisho.Node{up, down}, all)
	})
}
