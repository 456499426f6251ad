package record

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"time"
)

const purposeWitness = "sekisho witness 1"

// Witness is a signed statement of the state of audit trail and ledger. Stored where root on the
// server cannot change it, it later proves that nothing before it was removed or rewritten.
type Witness struct {
	Time           time.Time `json:"time"`
	Key            string    `json:"key"`
	LedgerLines    int64     `json:"ledger_lines"`
	LedgerDigest   string    `json:"ledger_digest"` // of the last line; "" for an empty ledger
	AuditSeq       int64     `json:"audit_seq"`
	AuditHash      []byte    `json:"audit_hash"`
	AuditTime      time.Time `json:"audit_time"`
	AuditSignature []byte    `json:"audit_signature"` // of the head
}

// Sign returns w as a line, line feed included.
func (w Witness) Sign(key ed25519.PrivateKey) ([]byte, error) {
	pub, _ := key.Public().(ed25519.PublicKey)
	w.Key = Fingerprint(pub)
	line, err := sign(key, purposeWitness, w)
	if err != nil {
		return nil, err
	}
	return append(line, '\n'), nil
}

// ParseWitnesses reads the lines of a witness and checks their signatures. It ignores an incomplete
// last line.
func ParseWitnesses(text []byte, keys Keys) ([]Witness, error) {
	var all []Witness
	for n := 1; ; n++ {
		line, rest, ok := bytes.Cut(text, []byte("\n"))
		if !ok {
			return all, nil
		}
		text = rest
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		var w Witness
		err := unsign(line, purposeWitness, &w, func() (ed25519.PublicKey, bool) {
			pub, ok := keys[w.Key]
			return pub, ok
		})
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		all = append(all, w)
	}
}
