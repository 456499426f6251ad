package storetest

import (
	"context"
	"errors"
	"testing"

	"sekisho"
	"sekisho/internal/node/fleet"
	"sekisho/internal/node/inventory"
)

// InventoryStores keep inventories, and the nodes that they describe.
type InventoryStores struct {
	inventory.Store
	Fleet fleet.Store
}

func found(typ, content string) *inventory.Row {
	return &inventory.Row{
		Type: typ, Version: "1.1", CapturedAt: "2026-01-31T23:59:59Z", Hash: "hash of " + content,
		Attributes: []string{"Name", "'; DROP TABLE inventory; --"}, Size: len(content), Content: []byte(content),
	}
}

// Inventory runs the conformance suite of [inventory.Store]; open returns an
// empty store.
func Inventory(t *testing.T, open func(t *testing.T) InventoryStores) {
	begin := func(t *testing.T) (InventoryStores, context.Context) {
		t.Helper()
		s, ctx := open(t), t.Context()
		must(t, s.Fleet.CreateActivation(ctx, activation("a", 1, 9)))
		for _, id := range []string{"mi-1", "mi-2"} {
			must(t, s.Fleet.RegisterNode(ctx, node(id, "a")))
		}
		return s, ctx
	}
	// put stores rows, and returns what was there before.
	put := func(t *testing.T, s InventoryStores, node sekisho.NodeID, rows ...*inventory.Row) []*inventory.Row {
		t.Helper()
		var before []*inventory.Row
		must(t, s.UpdateInventory(t.Context(), node, func(have []*inventory.Row) ([]*inventory.Row, error) {
			before = have
			return rows, nil
		}))
		return before
	}
	listed := func(r *inventory.Row) *inventory.Row {
		c := *r
		c.Content = nil
		return &c
	}

	t.Run("missing rows are not found", func(t *testing.T) {
		t.Parallel()
		s, ctx := begin(t)
		_, err := s.InventoryRow(ctx, "mi-1", "AWS:Application")
		wantCode(t, err, sekisho.CodeNotFound)
		must(t, s.DeleteInventory(ctx, "mi-1"))
		types, err := s.InventoryTypes(ctx)
		must(t, err)
		same(t, 0, len(types))
	})

	t.Run("an inventory needs a registered node", func(t *testing.T) {
		t.Parallel()
		s, ctx := begin(t)
		must(t, s.Fleet.UpdateNode(ctx, "mi-2", func(n *sekisho.Node) error { n.DeregisteredAt = at(1); return nil }))
		for _, node := range []sekisho.NodeID{"mi-9", "mi-2"} {
			wantCode(t, s.UpdateInventory(ctx, node, func([]*inventory.Row) ([]*inventory.Row, error) {
				return nil, errors.New("called")
			}), sekisho.CodeNotFound)
		}
	})

	t.Run("rows are returned unchanged", func(t *testing.T) {
		t.Parallel()
		s, ctx := begin(t)
		b, a := found("Custom:b", "[1]"), found("AWS:a", `[{"x":"\u0000"}]`)
		same(t, 0, len(put(t, s, "mi-1", b, a)))
		put(t, s, "mi-2", found("AWS:a", "[other]"))
		got, err := s.InventoryRow(ctx, "mi-1", "AWS:a")
		must(t, err)
		same(t, a, got)
		same(t, []*inventory.Row{listed(a), listed(b)}, put(t, s, "mi-1"))
	})

	t.Run("a row replaces the row of its type", func(t *testing.T) {
		t.Parallel()
		s, _ := begin(t)
		put(t, s, "mi-1", found("Custom:b", "[1]"))
		longer := found("Custom:b", "[2, 3]")
		longer.Version, longer.Attributes = "2.0", []string{}
		put(t, s, "mi-1", longer)
		same(t, []*inventory.Row{listed(longer)}, put(t, s, "mi-1"))
	})

	t.Run("a row without content confirms the stored content", func(t *testing.T) {
		t.Parallel()
		s, ctx := begin(t)
		want := found("AWS:a", "[1]")
		put(t, s, "mi-1", want)
		put(t, s, "mi-1", &inventory.Row{Type: "AWS:a", CapturedAt: "2026-02-01T00:00:00Z"})
		want.CapturedAt = "2026-02-01T00:00:00Z"
		got, err := s.InventoryRow(ctx, "mi-1", "AWS:a")
		must(t, err)
		same(t, want, got)
	})

	t.Run("an error of the change stores nothing", func(t *testing.T) {
		t.Parallel()
		s, ctx := begin(t)
		fault := errors.New("fault")
		if err := s.UpdateInventory(ctx, "mi-1", func([]*inventory.Row) ([]*inventory.Row, error) {
			return []*inventory.Row{found("AWS:a", "[]")}, fault
		}); !errors.Is(err, fault) {
			t.Errorf("%v", err)
		}
		same(t, 0, len(put(t, s, "mi-1")))
	})

	t.Run("each combination of type, version and attributes is listed once", func(t *testing.T) {
		t.Parallel()
		s, ctx := begin(t)
		other := found("Custom:a", "[9]")
		other.Attributes = []string{"More"}
		put(t, s, "mi-1", found("Custom:a", "[1]"), found("AWS:a", "[]"))
		put(t, s, "mi-2", other, found("AWS:a", "[2]"))
		types, err := s.InventoryTypes(ctx)
		must(t, err)
		var got []string
		for _, r := range types {
			got = append(got, r.Type+" "+r.Version+" "+r.Attributes[0])
		}
		same(t, []string{"AWS:a 1.1 Name", "Custom:a 1.1 More", "Custom:a 1.1 Name"}, got)
	})

	t.Run("the inventory of one node can be deleted", func(t *testing.T) {
		t.Parallel()
		s, ctx := begin(t)
		put(t, s, "mi-1", found("AWS:a", "[]"))
		put(t, s, "mi-2", found("AWS:a", "[]"))
		must(t, s.DeleteInventory(ctx, "mi-1"))
		same(t, 0, len(put(t, s, "mi-1")))
		same(t, 1, len(put(t, s, "mi-2")))
	})

	t.Run("a node that gets a used ID starts without an inventory", func(t *testing.T) {
		t.Parallel()
		s, ctx := begin(t)
		put(t, s, "mi-2", found("AWS:a", "[]"))
		must(t, s.Fleet.UpdateNode(ctx, "mi-2", func(n *sekisho.Node) error { n.DeregisteredAt = at(1); return nil }))
		must(t, s.Fleet.RegisterNode(ctx, node("mi-2", "a")))
		same(t, 0, len(put(t, s, "mi-2")))
	})
}
