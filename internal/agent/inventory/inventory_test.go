package inventory_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"sekisho/internal/agent/inventory"
	"sekisho/internal/agent/uplink"
)

const status = `Package: bash
Status: install ok installed
Section: shells
Maintainer: Somebody <s@example.com>
Architecture: amd64
Version: 5.2.15-2
Homepage: http://example.com/bash
Description: GNU Bourne Again SHell
 Package: not-this
 Bash is a shell.

Package: gone
Status: deinstall ok config-files
Version: 1

Package: last
Status: hold ok installed
Architecture: all
Version: 0.1`

func TestParseDpkg(t *testing.T) {
	t.Parallel()
	want := []inventory.Entry{{
		"Name": "bash", "Version": "5.2.15-2", "Architecture": "x86_64", "Publisher": "Somebody <s@example.com>",
		"ApplicationType": "shells",
		"URL":             "http://example.com/bash", "Summary": "GNU Bourne Again SHell",
		"PackageId": "bash_5.2.15-2_amd64.deb",
	}, {"Name": "last", "Version": "0.1", "Architecture": "all", "PackageId": "last_0.1_all.deb"}}
	if d := cmp.Diff(want, inventory.ParseDpkg(strings.NewReader(status))); d != "" {
		t.Error(d)
	}
	if got := inventory.ParseDpkg(strings.NewReader("")); got == nil || len(got) != 0 {
		t.Errorf("%v", got)
	}
}

func TestParseRPM(t *testing.T) {
	t.Parallel()
	text := "bash\n5.2.26\n3.fc40\n(none)\nx86_64\nFedora Project\nUnspecified\nhttps://example.com\nThe " +
		"shell\nbash-5.2.26-3.fc40.src.rpm\nMon Nov 23 2026\ncut\n1"
	want := []inventory.Entry{{
		"Name": "bash", "Version": "5.2.26", "Release": "3.fc40", "Architecture": "x86_64", "Publisher": "Fedora Project",
		"ApplicationType": "Unspecified",
		"URL":             "https://example.com", "Summary": "The shell", "PackageId": "bash-5.2.26-3.fc40.src.rpm",
		"InstalledTime": "Mon Nov 23 2026",
	}}
	if d := cmp.Diff(want, inventory.ParseRPM([]byte(text))); d != "" {
		t.Error(d)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(status))
	f.Add([]byte("a\n\xff\n\n: \n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, e := range append(inventory.ParseDpkg(strings.NewReader(string(b))), inventory.ParseRPM(b)...) {
			if _, err := json.Marshal(e); err != nil {
				t.Error(err)
			}
			for k, v := range e {
				if v == "" || strings.ToValidUTF8(v, "") != v || strings.Contains(v, "\n") {
					t.Errorf("%s: %q", k, v)
				}
			}
		}
	})
}

// An item over the server's limits loses its least useful parts first.
func TestFit(t *testing.T) {
	t.Parallel()
	measure := func(it inventory.Item) int {
		b, err := json.Marshal(it.Content)
		if err != nil {
			t.Fatal(err)
		}
		return len(b)
	}
	long := strings.Repeat("ü", 4000)
	entries := func(n int, e inventory.Entry) inventory.Item {
		it := inventory.Item{TypeName: "AWS:Application"}
		for range n {
			it.Content = append(it.Content, e)
		}
		return it
	}
	small := entries(2, inventory.Entry{"Name": "n", "Summary": "s"})
	if got := inventory.Fit(small); cmp.Diff(small, got) != "" {
		t.Errorf("an item within the limits was changed: %v", got)
	}
	if v := inventory.Fit(entries(1, inventory.Entry{"Name": long})).Content[0]["Name"]; v != strings.Repeat(
		"ü",
		2046,
	)+"…" {
		t.Errorf("a long text has %d bytes", len(v))
	}
	it := entries(1000, inventory.Entry{"Name": "n", "Version": "1", "Summary": long})
	if got := inventory.Fit(it); len(got.Content) != 1000 || got.Content[0]["Version"] != "1" ||
		got.Content[0]["Summary"] != "" ||
		it.Content[0]["Summary"] != long {
		t.Errorf("%d entries, the first %.100v", len(got.Content), got.Content[0])
	}
	if got := inventory.Fit(entries(20000, inventory.Entry{"Name": strings.Repeat("n", 200)})); measure(got) > 1<<20 ||
		len(got.Content) < 4000 {
		t.Errorf("%d entries in %d bytes", len(got.Content), measure(got))
	}
	if got := inventory.Fit(entries(20000, inventory.Entry{"Name": "n"})); len(got.Content) != 10000 {
		t.Errorf("%d entries", len(got.Content))
	}
}

// server implements PutInventory.
type server struct {
	mu     sync.Mutex
	hashes map[string]string
	whole  []string // types that were sent with content
	calls  int
	err    error
}

func (s *server) call(_ context.Context, operation string, in, _ any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if s.err != nil {
		return s.err
	}
	b, err := json.Marshal(in)
	if err != nil {
		return err
	}
	var r struct {
		InstanceID string `json:"InstanceId"`
		Items      []struct {
			TypeName, ContentHash, CaptureTime, SchemaVersion string
			Content                                           *[]map[string]string
		}
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return err
	}
	if operation != "PutInventory" || r.InstanceID != "mi-1" || len(r.Items) == 0 {
		return errors.New("what is this? " + string(b))
	}
	for _, it := range r.Items {
		switch {
		case it.Content != nil:
			s.hashes[it.TypeName] = it.ContentHash
			s.whole = append(s.whole, it.TypeName)
		case s.hashes[it.TypeName] != it.ContentHash:
			return &uplink.APIError{Code: "ItemContentMismatchException"}
		}
	}
	return nil
}

// Content that the server already has is not sent again, even after a restart.
func TestReport(t *testing.T) {
	t.Parallel()
	s := &server{hashes: map[string]string{}}
	found := func(version string) []inventory.Item {
		return []inventory.Item{
			{TypeName: "AWS:Network", SchemaVersion: "1.0", Content: []inventory.Entry{}},
			{
				TypeName:      "AWS:Application",
				SchemaVersion: "1.1",
				Content:       []inventory.Entry{{"Name": "bash", "Version": version}},
			},
		}
	}
	for _, tc := range []struct {
		version, want string
	}{{"1", "AWS:Network AWS:Application"}, {"1", ""}, {"2", "AWS:Application"}, {"2", ""}} {
		s.whole = nil
		if err := inventory.Tell(t.Context(), "mi-1", s.call, found(tc.version)); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(s.whole, " "); got != tc.want {
			t.Errorf("%s: %q; want %q", tc.version, got, tc.want)
		}
	}
	s.err = errors.New("down")
	if err := inventory.Tell(t.Context(), "mi-1", s.call, found("3")); !errors.Is(err, s.err) {
		t.Errorf("%v", err)
	}
}

func TestKeeper(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &server{hashes: map[string]string{}}
		k := inventory.Keeper{
			Node:  "mi-1",
			Call:  s.call,
			Every: time.Hour,
			Log:   slog.New(slog.DiscardHandler),
			Find: func(context.Context) []inventory.Item {
				return []inventory.Item{{TypeName: "AWS:Network", Content: []inventory.Entry{}}}
			},
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			k.Run(ctx)
		}()
		after := func(d time.Duration, want int) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.calls != want {
				t.Errorf("%d calls; want %d", s.calls, want)
			}
		}
		after(31*time.Second, 2)
		after(time.Hour, 3)
		fail := func(err error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.err = err
		}
		fail(errors.New("down"))
		after(time.Hour, 4)
		after(5*time.Minute, 5)
		fail(nil)
		after(5*time.Minute, 6)
		after(30*time.Minute, 6)
		cancel()
		<-done
	})
}

// Every machine that runs the tests has interfaces, and most have packages:
// the result of Find must have the form that the server accepts.
func TestFind(t *testing.T) {
	t.Parallel()
	items := inventory.Find(t.Context())
	if len(items) == 0 || items[0].TypeName != "AWS:Network" {
		t.Fatalf("%v", items)
	}
	for _, it := range items {
		if it.Content == nil {
			t.Errorf("%s has no content", it.TypeName)
		}
		for _, e := range it.Content {
			if e["Name"] == "" {
				t.Errorf("%s: %v", it.TypeName, e)
			}
		}
		if !slices.IsSortedFunc(
			it.Content,
			func(a, b inventory.Entry) int { return strings.Compare(a["Name"], b["Name"]) },
		) {
			t.Errorf("%s is not sorted, so its hash would change", it.TypeName)
		}
	}
}
