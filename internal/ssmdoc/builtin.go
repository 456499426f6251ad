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

// Builtin is a document that comes with the server.
type Builtin struct {
	Name    string
	Content string // JSON
	*Document
}

// Owner is who DescribeDocument says owns the document.
func (b *Builtin) Owner() string {
	if strings.HasPrefix(b.Name, "AWS-") {
		return "Amazon"
	}
	return "Sekisho"
}

// Builtins returns the documents that come with the server, by name. Those
// under AWS's names do what AWS's do, in our own words.
var Builtins = sync.OnceValue(func() []*Builtin {
	all := append(builtinsIn("builtin", Parse), builtinsIn("builtin/command", ParseCommand)...)
	slices.SortFunc(all, func(a, b *Builtin) int { return strings.Compare(a.Name, b.Name) })
	return all
})

func builtinsIn(dir string, parse func([]byte) (*Document, error)) []*Builtin {
	entries, err := builtinFiles.ReadDir(dir)
	if err != nil {
		panic(err) // they are part of the program
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

// FindBuiltin returns the document that comes with the server under name, or
// nil.
func FindBuiltin(name string) *Builtin {
	for _, b := range Builtins() {
		if b.Name == name {
			return b
		}
	}
	return nil
}

// Unsaved is the document of sessions that name none, as long as nobody has
// saved preferences: a shell with every default.
func Unsaved() *Document {
	return &Document{
		Type:          TypeSession,
		SchemaVersion: SchemaVersion,
		Description:   "A shell on the node.",
		SessionType:   StandardStream,
	}
}

var _ json.Marshaler = (*object)(nil)
