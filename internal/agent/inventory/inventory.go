// Package inventory reports the node's installed programs and network interfaces
// to the server, in the form that AWS's agent uses. It is off unless the node's
// administrator turns it on.
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
	"time"

	"sekisho"
	"sekisho/internal/agent/uplink"
	"sekisho/internal/safetext"
)

// Entry holds the attributes of one program or interface.
type Entry = map[string]string

// Item holds all entries of one inventory type.
type Item struct {
	TypeName      string
	SchemaVersion string
	CaptureTime   string
	ContentHash   string
	Content       []Entry `json:",omitzero"`
}

// Call calls an operation of SSM.
type Call func(ctx context.Context, operation string, in, out any) error

// Keeper reports the inventory to the server.
type Keeper struct {
	Node  sekisho.NodeID
	Call  Call
	Every time.Duration // between two reports; the first follows soon after the start
	// Find collects the inventory; nil means this machine's.
	Find func(ctx context.Context) []Item
	Log  *slog.Logger
}

// maxDelay bounds the random delay of the first report, so that machines that
// start together do not all report at once.
const maxDelay = 30 * time.Second

// retry is the pause after a failed report.
const retry = 5 * time.Minute

// Run reports the inventory periodically until ctx ends.
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
			k.Log.Warn("inventory report failed; retrying", "error", err, "in", next)
		}
		t.Reset(next)
	}
}

type request struct {
	InstanceID sekisho.NodeID `json:"InstanceId"`
	Items      []Item
}

// Tell reports the inventory. It sends items whose hash the server already has without content.
// Each item is a separate call, so that one refused item does not block the others.
func Tell(ctx context.Context, node sekisho.NodeID, call Call, found []Item) error {
	var errs []error
	for _, it := range found {
		whole := Fit(it)
		text, err := json.Marshal(whole.Content)
		if err != nil { // cannot fail: only strings
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

// The server's limits for one type.
const (
	maxContent = 1 << 20
	maxEntries = 10000
	maxValue   = 4096
)

// Fit shortens an item to the server's limits: first it clips long values, then it drops optional
// attributes, then the last entries.
func Fit(it Item) Item {
	content := make([]Entry, 0, len(it.Content))
	for _, e := range it.Content[:min(len(it.Content), maxEntries)] {
		c := make(Entry, len(e))
		for k, v := range e {
			c[k] = safetext.Text(v, maxValue)
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
	if err != nil { // cannot fail: only strings
		panic(err)
	}
	return len(b)
}

// Find collects the inventory of this machine.
func Find(ctx context.Context) []Item {
	now := time.Now().UTC().Format("2006-01-02T15:04:05Z")
	items := []Item{{TypeName: "AWS:Network", SchemaVersion: "1.0", CaptureTime: now, Content: interfaces()}}
	if programs := programs(ctx); programs != nil {
		items = append(
			items,
			Item{TypeName: "AWS:Application", SchemaVersion: "1.1", CaptureTime: now, Content: programs},
		)
	}
	for _, it := range items {
		// Sorted, because the hash depends on the order.
		slices.SortFunc(it.Content, func(a, b Entry) int {
			return cmp.Or(
				cmp.Compare(a["Name"], b["Name"]),
				cmp.Compare(a["Architecture"], b["Architecture"]),
				cmp.Compare(a["Version"], b["Version"]),
			)
		})
	}
	return items
}
