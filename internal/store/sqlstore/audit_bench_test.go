package sqlstore_test

import (
	"fmt"
	"testing"
	"time"

	"sekisho/internal/activity/audit"
	"sekisho/internal/wire/id"
)

// BenchmarkAppendAudit stores batches of one record, and of the size that eight callers produce.
func BenchmarkAppendAudit(b *testing.B) {
	batchAfter := func(last audit.Record, size int, newID func() string) audit.Batch {
		batch := audit.Batch{Records: make([]audit.Record, size)}
		for i := range batch.Records {
			seq := last.Seq + int64(i) + 1
			batch.Records[i] = audit.Record{Seq: seq, Hash: make([]byte, 32), Body: make([]byte, 600), Index: audit.Index{
				EventID: newID(), Time: time.Now(), EventName: fmt.Sprint("Name", seq%5), EventSource: "sts.amazonaws.com",
				Username: "admin", AccessKeyID: "AKIAIOSFODNN7EXAMPLE", ReadOnly: true,
			}}
		}
		return batch
	}
	for _, c := range []struct {
		name     string
		database func(b testing.TB) location
		newID    func() string
		inTurns  bool // as members of a cluster append
	}{
		{"SQLite, random IDs", sqliteFile, id.UUID, false},
		{"SQLite", sqliteFile, id.OrderedUUID, false},
		{"SQLite in turns", sqliteFile, id.OrderedUUID, true},
		{"PostgreSQL", postgresDatabase, id.OrderedUUID, false},
		{"PostgreSQL in turns", postgresDatabase, id.OrderedUUID, true},
	} {
		for _, size := range []int{1, 7} {
			b.Run(fmt.Sprintf("%s, batches of %d", c.name, size), func(b *testing.B) {
				s := c.database(b).mustOpen(b).Audit
				var last audit.Record
				for b.Loop() {
					var err error
					if c.inTurns {
						err = s.AppendAuditAfter(b.Context(), func(newest audit.Record) audit.Batch {
							return batchAfter(newest, size, c.newID)
						})
					} else {
						err = s.AppendAudit(b.Context(), batchAfter(last, size, c.newID))
					}
					if err != nil {
						b.Fatal(err)
					}
					last.Seq += int64(size)
				}
				b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(last.Seq), "µs/record")
			})
		}
	}
}
