package sqlstore_test

import (
	"testing"
	"time"

	"sekisho"
)

func TestConsoleSignIns(t *testing.T) {
	t.Parallel()
	onEngines(t, testConsoleSignIns)
}

func testConsoleSignIns(t *testing.T, database func(t testing.TB) location) {
	t.Helper()
	ctx := t.Context()
	where := database(t)
	db, err := where.open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	want := func(hash, data string) {
		t.Helper()
		got, err := db.SignIns.ConsoleSignIn(ctx, []byte(hash))
		if data == "" {
			if !sekisho.IsNotFound(err) {
				t.Errorf("%s: got %q, %v, want not found", hash, got, err)
			}
		} else if err != nil || string(got) != data {
			t.Errorf("%s: got %q, %v, want %q", hash, got, err, data)
		}
	}
	now := time.Now()
	must(db.SignIns.PutConsoleSignIn(ctx, []byte("a"), []byte("1"), now.Add(time.Hour), now))
	must(db.SignIns.PutConsoleSignIn(ctx, []byte("b"), []byte("2"), now.Add(3*time.Hour), now))
	must(db.SignIns.UpdateConsoleSignIn(ctx, []byte("b"), []byte("3")))
	must(db.SignIns.UpdateConsoleSignIn(ctx, []byte("gone"), []byte("x")))

	must(db.Close())
	db, err = where.open(ctx)
	must(err)
	t.Cleanup(func() { db.Close() })
	want("a", "1")
	want("b", "3")
	want("gone", "")

	// A later sign-in removes expired ones.
	must(db.SignIns.PutConsoleSignIn(ctx, []byte("c"), []byte("4"), now.Add(9*time.Hour), now.Add(2*time.Hour)))
	want("a", "")
	want("b", "3")
	for _, first := range []bool{true, false} {
		deleted, err := db.SignIns.DeleteConsoleSignIn(ctx, []byte("b"))
		must(err)
		if deleted != first {
			t.Errorf("deleted = %v, want %v", deleted, first)
		}
	}
	want("b", "")
	want("c", "4")
}
