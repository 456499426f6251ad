package page

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReplace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page.md")
	const around = "before\n<!-- x: begin -->\nold\n<!-- x: end -->\nafter\n"
	if err := os.WriteFile(path, []byte(around), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := Replace(path, "x", "new\n"); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if want := "before\n<!-- x: begin -->\n\nnew\n\n<!-- x: end -->\nafter\n"; err != nil || string(got) != want {
		t.Errorf("got %q, %v", got, err)
	}
	if err := Replace(path, "y", "new"); err == nil {
		t.Error("a page without the marks was changed")
	}
}

func TestPlot(t *testing.T) {
	svg := Plot("a <title>",
		[]Bar{{Label: "one & two", Value: 0.5, Target: 1, Text: "0.5"}, {Label: "zero"}, {Label: "large", Value: 2.6}})
	if svg != Plot("a <title>",
		[]Bar{{Label: "one & two", Value: 0.5, Target: 1, Text: "0.5"}, {Label: "zero"}, {Label: "large", Value: 2.6}}) {
		t.Error("equal data make different images")
	}
	bars := 0
	d := xml.NewDecoder(strings.NewReader(svg))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, svg)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "rect" {
			bars++
		}
	}
	if bars != 3 {
		t.Errorf("%d bars", bars)
	}
	if Plot("none", nil) == "" {
		t.Error("no image without data")
	}
}
