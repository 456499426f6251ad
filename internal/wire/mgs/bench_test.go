package mgs_test

import (
	"testing"

	"sekisho/internal/wire/mgs"
	"sekisho/internal/wire/mgs/mgstest"
)

// TestFramesCostNoMemory: writing and reading a frame, and an acknowledgement,
// allocates nothing.
func TestFramesCostNoMemory(t *testing.T) {
	m := mgstest.StreamData(mgs.TypeOutputStreamData, 7, mgs.PayloadOutput, make([]byte, 4096))
	frame := m.AppendTo(nil)
	ack := mgs.AppendAck(nil, mgs.Acknowledge{Type: m.Type, ID: m.ID, Seq: m.Seq, Sequential: true})
	buf := make([]byte, 0, len(frame))
	for name, do := range map[string]func() error{
		"AppendTo":          func() error { buf = m.AppendTo(buf[:0]); return nil },
		"AppendChecksummed": func() error { buf = m.AppendChecksummed(buf[:0]); return nil },
		"Parse":             func() error { _, err := mgs.Parse(frame); return err },
		"ParseClient":       func() error { _, err := mgs.ParseClient(frame); return err },
		"Peek":              func() error { _, err := mgs.Peek(frame); return err },
		"AppendAck": func() error {
			buf = mgs.AppendAck(buf[:0], mgs.Acknowledge{Type: m.Type, ID: m.ID, Seq: m.Seq})
			return nil
		},
		"ParseAck": func() error { _, err := mgs.ParseAck(ack); return err },
	} {
		if n := testing.AllocsPerRun(100, func() {
			if err := do(); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

func BenchmarkChecksums(b *testing.B) {
	m := mgstest.StreamData(mgs.TypeOutputStreamData, 7, mgs.PayloadOutput, make([]byte, mgs.JumboPayload))
	for name, encode := range map[string]func([]byte) []byte{"digest": m.AppendTo, "checksum": m.AppendChecksummed} {
		frame := encode(nil)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(m.Payload)))
			b.ReportAllocs()
			for b.Loop() {
				frame = encode(frame[:0])
				if _, err := mgs.Parse(frame); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
