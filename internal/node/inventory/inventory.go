// Package inventory stores what agents report about their nodes: programs, network interfaces,
// services, and custom types. Nodes can report anything, so no decision depends on it, and its
// size is bounded.
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

// Entry holds the attributes of one thing, such as a program.
type Entry = map[string]string

// Item holds all entries of one type.
type Item struct {
	Type       string // AWS:Application, Custom:Racks
	Version    string // of the type's schema
	CapturedAt string // in the agent's form: 2026-01-31T23:59:59Z
	Hash       string // of the content, computed by the agent
	// Content is nil if it has not changed, according to the hash.
	Content []Entry
}

// Row is the stored form of an item.
type Row struct {
	Type, Version, CapturedAt, Hash string
	Attributes                      []string // that its entries have, sorted
	Size                            int      // of Content
	Content                         []byte   // the entries in JSON; nil in lists, and if unchanged
}

// Store keeps items. They are deleted with the node's record.
type Store interface {
	// UpdateInventory calls change with the rows of a node, without contents, and stores the
	// result, in one transaction. A row without content updates the time of the stored one. For
	// an unregistered node, the error has CodeNotFound.
	UpdateInventory(ctx context.Context, node sekisho.NodeID, change func(have []*Row) ([]*Row, error)) error
	// InventoryRow returns a node's row of a type, or CodeNotFound.
	InventoryRow(ctx context.Context, node sekisho.NodeID, typ string) (*Row, error)
	// InventoryTypes returns each combination of type, version and attributes
	// among all nodes, by type.
	InventoryTypes(ctx context.Context) ([]*Row, error)
	// DeleteInventory deletes all rows of a node.
	DeleteInventory(ctx context.Context, node sekisho.NodeID) error
}

// Limits, similar to AWS's.
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

// Reason is AWS's error code for a refused item.
type Reason string

// Values of Reason.
const (
	ItemTooLarge  Reason = "ItemSizeLimitExceededException"
	NodeTooLarge  Reason = "TotalSizeLimitExceededException"
	ManyTypes     Reason = "CustomSchemaCountLimitExceededException"
	OtherContent  Reason = "ItemContentMismatchException" // the hash differs from that of the stored content
	BadContent    Reason = "InvalidItemContentException"
	UnknownType   Reason = "InvalidTypeNameException"
	UnknownSchema Reason = "UnsupportedInventorySchemaVersionException"
)

// Refusal is the error for a refused item.
type Refusal struct {
	Reason Reason
	Type   string // of the item; empty if the refusal concerns all items
	Text   string
}

// Error returns the text.
func (r *Refusal) Error() string { return r.Text }

func refuse(reason Reason, typ, format string, args ...any) error {
	return &Refusal{reason, typ, fmt.Sprintf(format, args...)}
}

// Registry manages the inventory of all nodes.
type Registry struct{ store Store }

// New returns a Registry.
func New(store Store) *Registry { return &Registry{store} }

// Put stores items of a node, all or none of them. An item without content must
// have the hash of the stored content.
func (r *Registry) Put(ctx context.Context, node sekisho.NodeID, items []Item) error {
	rows := make([]*Row, 0, len(items))
	seen := map[string]bool{}
	for _, it := range items {
		if seen[it.Type] {
			return refuse(BadContent, it.Type, "The type %s appears twice.", it.Type)
		}
		seen[it.Type] = true
		row, err := it.row()
		if err != nil {
			return err
		}
		if it.Type != InstanceInformation { // the server provides this type itself
			rows = append(rows, row)
		}
	}
	if len(rows) == 0 {
		return nil
	}
	return r.store.UpdateInventory(ctx, node, func(have []*Row) ([]*Row, error) { return merge(have, rows) })
}

// merge returns the rows to store, given the rows that the node has.
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
			return nil, refuse(
				OtherContent,
				r.Type,
				"The stored content of %s has another hash, or there is none: send the content.",
				r.Type,
			)
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
		return nil, refuse(ManyTypes, "", "A node can have at most %d custom types.", MaxCustom)
	}
	if total > MaxNode {
		return nil, refuse(
			NodeTooLarge,
			"",
			"The inventory of the node would have %d bytes; the limit is %d.",
			total,
			MaxNode,
		)
	}
	return rows, nil
}

// row validates an item and returns it as a row.
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
		return r, refuse(
			ItemTooLarge,
			it.Type,
			"%s has %d entries; the limit is %d.",
			it.Type,
			len(it.Content),
			maxEntries,
		)
	}
	attributes := map[string]bool{}
	for _, e := range it.Content {
		if len(e) > maxKeys {
			return r, refuse(
				BadContent,
				it.Type,
				"An entry of %s has %d attributes; the limit is %d.",
				it.Type,
				len(e),
				maxKeys,
			)
		}
		for k, v := range e {
			if k == "" || len(k) > maxKey || len(v) > maxValue {
				return r, refuse(
					BadContent,
					it.Type,
					"An attribute of %s has a name or a value that is too long: names have 1 to %d bytes, values %d.",
					it.Type,
					maxKey,
					maxValue,
				)
			}
			attributes[k] = true
		}
		if len(attributes) > maxAttrsAll {
			return r, refuse(
				BadContent,
				it.Type,
				"The entries of %s have more than %d different attributes.",
				it.Type,
				maxAttrsAll,
			)
		}
	}
	text, err := json.Marshal(it.Content)
	if err != nil {
		return r, err
	}
	if len(text) > MaxItem {
		return r, refuse(ItemTooLarge, it.Type, "%s has %d bytes; the limit is %d.", it.Type, len(text), MaxItem)
	}
	r.Attributes, r.Content, r.Size = slices.Sorted(maps.Keys(attributes)), text, len(text)
	return r, nil
}

// Item returns a node's item of a type, or nil.
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

// Forget deletes the inventory of a node.
func (r *Registry) Forget(ctx context.Context, node sekisho.NodeID) error {
	return r.store.DeleteInventory(ctx, node)
}
