package server

import (
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sekisho/internal/session/record"
	"sekisho/internal/wire/sigv4"
)

// BenchmarkGetCallerIdentity measures a signed call from request to response,
// including its audit event, without network, TLS and HTTP. Eight callers
// share the processors with the server.
func BenchmarkGetCallerIdentity(b *testing.B) {
	s, err := New(b.Context(), killConfig(b.TempDir()))
	if err != nil {
		b.Fatal(err)
	}
	first, _, err := s.Directory.Bootstrap(b.Context(), adminUser)
	if err != nil {
		b.Fatal(err)
	}
	admin := sigv4.Credentials{AccessKeyID: first.AccessKeyID, SecretAccessKey: first.SecretAccessKey}
	const body = "Action=GetCallerIdentity&Version=2011-06-15"
	hash := sigv4.HashBody([]byte(body))
	signed := httptest.NewRequest(http.MethodPost, "https://sekisho.test/", http.NoBody)
	signed.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	sigv4.Sign(signed, admin, "us-east-1", "sts", time.Now(), hash)
	b.SetParallelism(4)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r := httptest.NewRequest(http.MethodPost, "https://sekisho.test/", strings.NewReader(body))
			r.Header = signed.Header.Clone()
			w := httptest.NewRecorder()
			if s.handler.ServeHTTP(w, r); w.Code != http.StatusOK {
				b.Fatal(w.Body)
			}
		}
	})
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkStart measures a start after a crash that left a large recording open: until the server
// can serve, and until it has read the recording in the background.
func BenchmarkStart(b *testing.B) {
	const size = 64 << 20
	d := newDataDir(b, 1)
	recorder, err := record.Open(d.dir, d.ring.Signer(), record.Options{Sealer: d.ring})
	must(b, err)
	rec, err := recorder.Start(record.Header{SessionID: d.ids[0]})
	must(b, err)
	noise := make([]byte, 1<<16)
	random := rand.NewChaCha8([32]byte{1})
	for range size / len(noise) {
		_, _ = random.Read(noise) // never fails
		must(b, rec.Output(noise))
	}
	must(b, recorder.Close())
	var start, resume time.Duration
	for b.Loop() {
		b.StopTimer()
		c := d.copy(b)
		must(b, os.Chmod(filepath.Join(c.dir, filepath.FromSlash(masterKey)), 0o600))
		b.StartTimer()
		at := time.Now()
		s, err := New(b.Context(), killConfig(c.dir))
		must(b, err)
		start += time.Since(at)
		at = time.Now()
		s.resume(b.Context())
		resume += time.Since(at)
		b.StopTimer()
		must(b, s.Close())
		b.StartTimer()
	}
	b.ReportMetric(start.Seconds()/float64(b.N), "s/start")
	b.ReportMetric(resume.Seconds()/float64(b.N)*float64(1<<30)/size, "s/GiB")
}
