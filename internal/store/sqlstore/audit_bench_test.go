package sqlstore_test

import (
	"fmt"
	"testing"
	"time"

	"sekisho/internal/activity/audit"
	"sekisho/internal/wire/id"
)

// BenchmarkAppendAudit stores batches of the size that eight callers produce.
func BenchmarkAppendAudit(b *testing.B) {
	for name, newID := range map[string]func() string{"random IDs": id.UUID, "ordered IDs": id.OrderedUUID} {
		b.Run(name, func(b *testing.B) {
			s := sqliteFile(b).mustOpen(b).Audit
			const size = 7
			body := make([]byte, 600)
			seq := int64(0)
			for b.Loop() {
				batch := audit.Batch{Records: make([]audit.Record, size)}
				for i := range batch.Records {
					seq++
					batch.Records[i] = audit.Record{Seq: seq, Hash: make([]byte, 32), Body: body, Index: audit.Index{
						EventID: newID(), Time: time.Now(), EventName: fmt.Sprint("Name", seq%5), EventSource: "sts.amazonaws.com",
						Username: "admin", AccessKeyID: "AKIAIOSFODNN7EXAMPLE", ReadOnly: true,
					}}
				}
				if err := s.AppendAudit(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(seq), "µs/record")
		})
	}
}
