package doclibrary

import (
	"fmt"
	"testing"

	"sekisho/internal/ssmdoc"
)

func TestParsedDocumentsAreKept(t *testing.T) {
	t.Parallel()
	var kept parsedDocuments
	parsed := 0
	get := func(name, content string) {
		t.Helper()
		_, err := kept.get(
			ssmdoc.TypeSession,
			name,
			&Version{Format: JSON, Content: content},
			func() (*ssmdoc.Document, error) {
				parsed++
				return &ssmdoc.Document{}, nil
			},
		)
		if err != nil {
			t.Fatal(err)
		}
	}
	get("a", "1")
	get("b", "1") // the same content
	if parsed != 1 {
		t.Errorf("parsed %d times, want 1", parsed)
	}
	get("a", "2")
	get(ssmdoc.Default, "1") // preferences have more checks
	if parsed != 3 {
		t.Errorf("parsed %d times, want 3", parsed)
	}
	for i := range 2 * maxParsed {
		get("a", fmt.Sprint("content ", i))
	}
	if len(kept.kept) > maxParsed {
		t.Errorf("%d documents are kept, at most %d may be", len(kept.kept), maxParsed)
	}
}
