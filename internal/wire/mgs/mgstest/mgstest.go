// Package mgstest builds messages for tests and for test doubles of AWS's programs.
package mgstest

import "sekisho/internal/wire/mgs"

// StreamData returns message number seq of a stream, of type
// [mgs.TypeInputStreamData] or [mgs.TypeOutputStreamData].
func StreamData(typ string, seq int64, pt mgs.PayloadType, payload []byte) mgs.Message {
	m := mgs.New(typ, payload)
	m.Seq, m.PayloadType = seq, pt
	if seq == 0 && typ == mgs.TypeOutputStreamData {
		m.Flags = mgs.FlagSYN // agents do, clients never do
	}
	return m
}
