package servertest_test

import (
	"net/http"
	"testing"

	"sekisho/internal/servertest"
)

// BenchmarkStartSession measures StartSession from the client's request to its
// answer, over TLS, with the session and its recording begun and the audit event
// stored. Callers share the processors with the server; no agent answers.
func BenchmarkStartSession(b *testing.B) {
	s := servertest.Start(b)
	n := s.Node()
	n.Connect()
	in := map[string]any{"Target": n.ID}
	b.SetParallelism(8)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if a := s.JSON(s.Admin, "ssm", "StartSession", in); a.Status != http.StatusOK {
				b.Errorf("StartSession: %d %s", a.Status, a.Body)
				return
			}
		}
	})
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "sessions/s")
}
