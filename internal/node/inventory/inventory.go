// Package inventory keeps what agents find on their nodes: programs, network
// interfaces, services, and what operators have them collect besides. All of
// it is what a node says of itself, and none of it decides anything; it is
// bounded, so that no node can fill the disk.
package inventory

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sekisho"
)

// Entry is one thing that was found: its attributes.
type Entry = map[string]string

// Item is all that was found of one type.
type Item struct {
	Type       string // AWS:Application, Custom:Racks
	Version    string // of the type's schema
	CapturedAt string // as the agent writes it: 2026-01-31T23:59:59Z
	Hash       string // of the content, made by the agent; nobody else knows how
	// Content is nil when it is what it was, by its hash.
	Content []Entry
}

// Row is an item as it is kept.
type Row struct {
	Type, Version, CapturedAt, Hash string
	Attributes                      []string // that its entries have, sorted
	Size                            int      // of Content
	Content                         []byte   // the entries in JSON; nil in lists, and when it stays
}

// Store keeps items. Whatever a node has goes with its record.
type Store interface {
	// UpdateInventory lets change see what a node has, without contents, and
	// stores what it returns, as one step. A row without content changes the
	// time of the one that is there. A node that is not registered is
	// CodeNotFound.
	UpdateInventory(ctx context.Context, node sekisho.NodeID, change func(have []*Row) ([]*Row, error)) error
	// InventoryRow returns what a node has of a type, or CodeNotFound.
	InventoryRow(ctx context.Context, node sekisho.NodeID, typ string) (*Row, error)
	// InventoryTypes returns each combination of type, version and attributes
	// that some node has, by type.
	InventoryTypes(ctx context.Context) ([]*Row, error)
	// DeleteInventory forgets all that a node has.
	DeleteInventory(ctx context.Context, node sekisho.NodeID) error
}

// The bounds. AWS's own are of the same order.
const (
	MaxItem     = 1 << 20 // bytes of one type, as JSON
	MaxNode     = 5 << 20 // bytes of one node
	MaxCustom   = 20      // types of one node that are not AWS's
	maxEntries  = 10000
	maxKeys     = 50
	maxKey      = 64
	maxValue    = 4096
	maxAttrsAll = 50 // attributes of one type, over all of its entries
)

// Reason is why an item was not taken, by AWS's name for it.
type Reason string

// The reasons.
const (
	ItemTooLarge  Reason = "ItemSizeLimitExceededException"
	NodeTooLarge  Reason = "TotalSizeLimitExceededException"
	ManyTypes     Reason = "CustomSchemaCountLimitExceededException"
	OtherContent  Reason = "ItemContentMismatchException" // the hash is not that of what is kept
	BadContent    Reason = "InvalidItemContentException"
	UnknownType   Reason = "InvalidTypeNameException"
	UnknownSchema Reason = "UnsupportedInventorySchemaVersionException"
)

// Refusal is why an item was not taken.
type Refusal struct {
	Reason Reason
	Type   string // of the item; empty when it is about all of them
	Text   string
}

// Error returns the text.
func (r *Refusal) Error() string { return r.Text }

func refuse(reason Reason, typ, format string, args ...any) error {
	return &Refusal{reason, typ, fmt.Sprintf(format, args...)}
}

// Registry is the inventory of all nodes.
type Registry struct{ store Store }

// New returns a Registry.
func New(store Store) *Registry { return &Registry{store} }

// Put takes what a node has found, all of it or nothing. What does not come
// with content must be known by its hash.
func (r *Registry) Put(ctx context.Context, node sekisho.NodeID, items []Item) error {
	rows := make([]*Row, 0, len(items))
	seen := map[string]bool{}
	for _, it := range items {
		if seen[it.Type] {
			return refuse(BadContent, it.Type, "%s is there twice.", it.Type)
		}
		seen[it.Type] = true
		row, err := it.row()
		if err != nil {
			return err
		}
		if it.Type != InstanceInformation { // the server has better facts of its own
			rows = append(rows, row)
		}
	}
	if len(rows) == 0 {
		return nil
	}
	return r.store.UpdateInventory(ctx, node, func(have []*Row) ([]*Row, error) { return merge(have, rows) })
}

// merge is what to store of rows when the node has these already.
func merge(have, rows []*Row) ([]*Row, error) {
	sizes, custom := map[string]int{}, 0
	kept := map[string]*Row{}
	for _, h := range have {
		kept[h.Type], sizes[h.Type] = h, h.Size
	}
	for _, r := range rows {
		held, ok := kept[r.Type]
		same := ok && r.Hash != "" && held.Hash == r.Hash
		if r.Content == nil && !same {
			return nil, refuse(OtherContent, r.Type, "What is kept of %s has another hash, or there is none: send its content.", r.Type)
		}
		if same {
			r.Content, r.Attributes, r.Size, r.Version = nil, held.Attributes, held.Size, held.Version
		}
		sizes[r.Type] = r.Size
	}
	total := 0
	for typ, n := range sizes {
		if total += n; strings.HasPrefix(typ, customPrefix) {
			custom++
		}
	}
	if custom > MaxCustom {
		return nil, refuse(ManyTypes, "", "A node may have %d types of its own.", MaxCustom)
	}
	if total > MaxNode {
		return nil, refuse(NodeTooLarge, "", "The inventory of a node may have %d bytes; with this it would have %d.", MaxNode, total)
	}
	return rows, nil
}

// row checks an item by itself.
func (it *Item) row() (*Row, error) {
	r := &Row{Type: it.Type, Version: it.Version, CapturedAt: it.CapturedAt, Hash: it.Hash}
	if err := checkType(it.Type, it.Version); err != nil {
		return r, err
	}
	if it.Content == nil {
		if it.Hash == "" {
			return r, refuse(BadContent, it.Type, "%s has neither content nor a hash.", it.Type)
		}
		return r, nil
	}
	if len(it.Content) > maxEntries {
		return r, refuse(ItemTooLarge, it.Type, "%s has %d entries; it may have %d.", it.Type, len(it.Content), maxEntries)
	}
	attributes := map[string]bool{}
	for _, e := range it.Content {
		if len(e) > maxKeys {
			return r, refuse(BadContent, it.Type, "An entry of %s has %d attributes; it may have %d.", it.Type, len(e), maxKeys)
		}
		for k, v := range e {
			if k == "" || len(k) > maxKey || len(v) > maxValue {
				return r, refuse(BadContent, it.Type, "An attribute of %s has a name or a value that is too long: names have 1 to %d bytes, values %d.", it.Type, maxKey, maxValue)
			}
			attributes[k] = true
		}
		if len(attributes) > maxAttrsAll {
			return r, refuse(BadContent, it.Type, "The entries of %s have more than %d different attributes.", it.Type, maxAttrsAll)
		}
	}
	text, err := json.Marshal(it.Content)
	if err != nil {
		return r, err
	}
	if len(text) > MaxItem {
		return r, refuse(ItemTooLarge, it.Type, "%s has %d bytes; it may have %d.", it.Type, len(text), MaxItem)
	}
	r.Attributes, r.Content, r.Size = slices.Sorted(maps.Keys(attributes)), text, len(text)
	return r, nil
}

// Item returns what a node has of a type; nil when it has nothing of it.
func (r *Registry) Item(ctx context.Context, node sekisho.NodeID, typ string) (*Item, error) {
	row, err := r.store.InventoryRow(ctx, node, typ)
	if sekisho.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	it := &Item{Type: row.Type, Version: row.Version, CapturedAt: row.CapturedAt, Hash: row.Hash}
	if err := json.Unmarshal(row.Content, &it.Content); err != nil {
		return nil, fmt.Errorf("stored inventory of %s, %s: %w", node, typ, err)
	}
	return it, nil
}

// Forget removes all that a node has.
func (r *Registry) Forget(ctx context.Context, node sekisho.NodeID) error {
	return r.store.DeleteInventory(ctx, node)
}
