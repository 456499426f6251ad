package ssmdoc

import (
	"embed"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
)

//go:embed builtin/*.json builtin/command/*.json
var builtinFiles embed.FS

// Builtin is a built-in document of the server.
type Builtin struct {
	Name    string
	Content string // JSON
	*Document
}

// Owner returns the owner that DescribeDocument reports.
func (b *Builtin) Owner() string {
	if strings.HasPrefix(b.Name, "AWS-") {
		return "Amazon"
	}
	return "Sekisho"
}

// Builtins returns the built-in documents, sorted by name. Those with AWS's names do the same as
// AWS's, with our own text.
var Builtins = sync.OnceValue(func() []*Builtin {
	all := append(builtinsIn("builtin", Parse), builtinsIn("builtin/command", ParseCommand)...)
	slices.SortFunc(all, func(a, b *Builtin) int { return strings.Compare(a.Name, b.Name) })
	return all
})

func builtinsIn(dir string, parse func([]byte) (*Document, error)) []*Builtin {
	entries, err := builtinFiles.ReadDir(dir)
	if err != nil {
		panic(err) // cannot fail: they are part of the program
	}
	var all []*Builtin
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		text, err := builtinFiles.ReadFile(path.Join(dir, e.Name()))
		if err != nil {
			panic(err)
		}
		d, err := parse(text)
		if err != nil {
			panic(fmt.Errorf("%s: %w", e.Name(), err))
		}
		all = append(all, &Builtin{Name: strings.TrimSuffix(e.Name(), ".json"), Content: string(text), Document: d})
	}
	return all
}

// FindBuiltin returns the built-in document called name, or nil.
func FindBuiltin(name string) *Builtin {
	for _, b := range Builtins() {
		if b.Name == name {
			return b
		}
	}
	return nil
}

// Unsaved returns the default session document until preferences have been saved: a shell with
// every default.
func Unsaved() *Document {
	return &Document{
		Type:          TypeSession,
		SchemaVersion: SchemaVersion,
		Description:   "A shell on the node.",
		SessionType:   StandardStream,
	}
}

var _ json.Marshaler = (*object)(nil)
