package record

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"sekisho"
)

// BenchmarkLedger measures reading a ledger at the start of a server, and verifying it whole.
func BenchmarkLedger(b *testing.B) {
	const lines = 5000
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		b.Fatal(err)
	}
	keys := KeysOf(pub)
	f, err := os.Create(filepath.Join(b.TempDir(), LedgerFile))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	l, err := openLedger(f, key, Fingerprint(pub), keys)
	if err != nil {
		b.Fatal(err)
	}
	for i := range lines {
		e := entry{Kind: ledgerStarted, Session: sekisho.SessionID(fmt.Sprintf("alice-%026d", i)), Path: "2026/11/30"}
		if err := l.append(e); err != nil {
			b.Fatal(err)
		}
	}
	rewind := func(b *testing.B) {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			rewind(b)
			if l, err := openLedger(f, key, Fingerprint(pub), keys); err != nil || l.count != lines {
				b.Fatal(l, err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/lines, "µs/line")
	})
	b.Run("verify", func(b *testing.B) {
		for b.Loop() {
			rewind(b)
			w := newLedgerWalker(f, keys)
			for {
				if _, err := w.next(); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					b.Fatal(err)
				}
			}
		}
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/lines, "µs/line")
	})
}
