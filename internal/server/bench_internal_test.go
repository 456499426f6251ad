package server

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"sekisho/internal/wire/sigv4"
)

// BenchmarkGetCallerIdentity measures a signed call from its request to its
// answer, audit event included: without a network, TLS and HTTP. Eight callers
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
