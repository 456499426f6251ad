// Package inventory finds out what is on the node, its programs and network
// interfaces, and tells the server, in the form that AWS's agent uses. It is
// off unless the node's administrator turns it on.
package inventory

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/agent/uplink"
)

// Entry is one thing that was found: its attributes.
type Entry = map[string]string

// Item is all that was found of one type.
type Item struct {
	TypeName      string
	SchemaVersion string
	CaptureTime   string
	ContentHash   string
	Content       []Entry `json:",omitzero"`
}

// Call calls an operation of SSM.
type Call func(ctx context.Context, operation string, in, out any) error

// Keeper tells the server what is on the node.
type Keeper struct {
	Node  sekisho.NodeID
	Call  Call
	Every time.Duration // how often; the first time is soon after the start
	// Find finds it; nil means on this machine.
	Find func(ctx context.Context) []Item
	Log  *slog.Logger
}

// maxDelay is how long the first report waits at most: machines that start
// together do not tell all at once.
const maxDelay = 30 * time.Second

// retry is how soon what could not be told is told again.
const retry = 5 * time.Minute

// Run tells the server now and then, until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	find := k.Find
	if find == nil {
		find = Find
	}
	t := time.NewTimer(rand.N(min(maxDelay, k.Every/10) + 1))
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		next := k.Every
		if err := Tell(ctx, k.Node, k.Call, find(ctx)); err != nil && ctx.Err() == nil {
			next = min(next, retry)
			k.Log.Warn("the inventory was not taken", "error", err, "again_in", next)
		}
		t.Reset(next)
	}
}

type request struct {
	InstanceID sekisho.NodeID `json:"InstanceId"`
	Items      []Item
}

// Tell tells the server what was found. What it has already, by its hash, is
// not sent again. Each item goes by itself: one that is refused is no reason
// to keep back another.
func Tell(ctx context.Context, node sekisho.NodeID, call Call, found []Item) error {
	var errs []error
	for _, it := range found {
		whole := Fit(it)
		text, err := json.Marshal(whole.Content)
		if err != nil { // texts always marshal
			panic(err)
		}
		sum := sha256.Sum256(text)
		whole.ContentHash = base64.StdEncoding.EncodeToString(sum[:])
		short := whole
		short.Content = nil
		err = call(ctx, "PutInventory", request{node, []Item{short}}, &struct{}{})
		if e, ok := errors.AsType[*uplink.APIError](err); ok && e.Code == "ItemContentMismatchException" {
			err = call(ctx, "PutInventory", request{node, []Item{whole}}, &struct{}{})
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// What the server takes of one type.
const (
	maxContent = 1 << 20
	maxEntries = 10000
	maxValue   = 4096
)

// Fit shortens an item to what the server takes: first long texts go, then
// what one can do without, then the last entries.
func Fit(it Item) Item {
	content := make([]Entry, 0, len(it.Content))
	for _, e := range it.Content[:min(len(it.Content), maxEntries)] {
		c := make(Entry, len(e))
		for k, v := range e {
			c[k] = clip(v)
		}
		content = append(content, c)
	}
	for _, luxury := range []string{"Summary", "URL", "Publisher", "PackageId"} {
		if size(content) <= maxContent {
			break
		}
		for _, e := range content {
			delete(e, luxury)
		}
	}
	for size(content) > maxContent {
		content = content[:len(content)*9/10]
	}
	it.Content = content
	return it
}

func size(content []Entry) int {
	b, err := json.Marshal(content)
	if err != nil { // texts always marshal
		panic(err)
	}
	return len(b)
}

// clip cuts s to what one value may have, between characters.
func clip(s string) string {
	if len(s) <= maxValue {
		return s
	}
	return strings.ToValidUTF8(s[:maxValue], "")
}

// Find looks at this machine.
func Find(ctx context.Context) []Item {
	now := time.Now().UTC().Format("2006-01-02T15:04:05Z")
	items := []Item{{TypeName: "AWS:Network", SchemaVersion: "1.0", CaptureTime: now, Content: interfaces()}}
	if programs := programs(ctx); programs != nil {
		items = append(items, Item{TypeName: "AWS:Application", SchemaVersion: "1.1", CaptureTime: now, Content: programs})
	}
	for _, it := range items {
		// In one order, or the hash of the same things would change.
		slices.SortFunc(it.Content, func(a, b Entry) int {
			return cmp.Or(cmp.Compare(a["Name"], b["Name"]), cmp.Compare(a["Architecture"], b["Architecture"]), cmp.Compare(a["Version"], b["Version"]))
		})
	}
	return items
}
