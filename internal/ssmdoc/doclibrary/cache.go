package doclibrary

import (
	"crypto/sha256"
	"sync"

	"sekisho/internal/ssmdoc"
)

// maxParsed bounds how many parsed documents are kept in memory.
const maxParsed = 256

// parsedDocuments keeps parsed documents, so that starting a session need not parse the document and compile its
// patterns again. Parsed documents are immutable. The zero value is ready for use.
type parsedDocuments struct {
	mu   sync.Mutex
	kept map[parsedKey]*ssmdoc.Document
}

// parsedKey identifies the source of a parsed document. It includes the content instead of the
// version, because a document can be deleted and created again under the same name.
type parsedKey struct {
	kind, format string
	preferences  bool // also checked as the account's preferences
	content      [sha256.Size]byte
}

func (p *parsedDocuments) get(
	kind, name string,
	v *Version,
	parse func() (*ssmdoc.Document, error),
) (*ssmdoc.Document, error) {
	key := parsedKey{kind, v.Format, name == ssmdoc.Default, sha256.Sum256([]byte(v.Content))}
	p.mu.Lock()
	d, ok := p.kept[key]
	p.mu.Unlock()
	if ok {
		return d, nil
	}
	d, err := parse()
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.kept == nil {
		p.kept = map[parsedKey]*ssmdoc.Document{}
	}
	for k := range p.kept { // remove any one: parsing again is cheap
		if len(p.kept) < maxParsed {
			break
		}
		delete(p.kept, k)
	}
	p.kept[key] = d
	return d, nil
}
