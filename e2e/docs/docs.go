// Package docs reads the Markdown pages of this project: their headings and their blocks of code. The first word
// after a block's language is its kind, which says how the block is tested:
//
//	```sh run                   executed by the walk of the page (walks/*.sh)
//	```json file=policy.json    written to this file by the walk, in the order of the page
//	```sh test=TestShell        executed by this test
//	```json policy              must be a valid policy, or a part of one
//	```yaml config              must be a part of a valid configuration of the server
//	```json data                must parse
//	```console output           what a program prints
//	```sh shown: REASON         not tested
package docs

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Kind says how a block is tested.
type Kind string

// Kinds of blocks.
const (
	Run    Kind = "run"
	File   Kind = "file"
	Test   Kind = "test"
	Policy Kind = "policy"
	Config Kind = "config"
	Data   Kind = "data"
	Output Kind = "output"
	Shown  Kind = "shown"
	// Unmarked is the kind of a block that says nothing, or nothing known.
	Unmarked Kind = ""
)

// Block is a block of code.
type Block struct {
	Line    int    // of its first line of text
	Heading string // of its section
	Name    string // of its section and, after the first block there, its number: "install", "install_2"
	Lang    string
	Kind    Kind
	Arg     string // the file, the test or the reason
	Text    string // with a newline at the end
}

// Heading is a heading with its level.
type Heading struct {
	Level int
	Text  string
}

// Page is a Markdown page.
type Page struct {
	Path     string // below the root of the repository
	Headings []Heading
	Blocks   []Block
}

var (
	fence   = regexp.MustCompile("^( *)(```+|~~~+)(.*)$")
	heading = regexp.MustCompile(`^(#+) +(.*)$`)
	item    = regexp.MustCompile(`^ *([-*]|\d+\.) `)
	notWord = regexp.MustCompile(`[^a-z0-9]+`)
)

// Parse reads a page. Root is the root of the repository.
func Parse(root, path string) (*Page, error) {
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		return nil, err
	}
	p := &Page{Path: path}
	names := map[string]int{}
	add := func(b Block) {
		if len(p.Headings) > 0 {
			b.Heading = p.Headings[len(p.Headings)-1].Text
		}
		b.Name = strings.Trim(notWord.ReplaceAllString(strings.ToLower(b.Heading), "_"), "_")
		if names[b.Name]++; names[b.Name] > 1 {
			b.Name = fmt.Sprintf("%s_%d", b.Name, names[b.Name])
		}
		p.Blocks = append(p.Blocks, b)
	}
	lines := strings.Split(string(text), "\n")
	inItem, blank := false, true
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		switch m := fence.FindStringSubmatch(line); {
		case m != nil:
			b := Block{Line: i + 2}
			b.Lang, b.Kind, b.Arg = info(m[3])
			for i++; i < len(lines) && strings.TrimSpace(lines[i]) != m[2]; i++ {
				b.Text += strings.TrimPrefix(lines[i], m[1]) + "\n"
			}
			if i == len(lines) {
				return nil, fmt.Errorf("%s:%d: the block does not end", path, b.Line)
			}
			add(b)
		case heading.MatchString(line):
			h := heading.FindStringSubmatch(line)
			p.Headings = append(p.Headings, Heading{len(h[1]), h[2]})
			inItem = false
		case blank && !inItem && strings.HasPrefix(line, "    "):
			b := Block{Line: i + 1}
			for ; i < len(lines) && (strings.HasPrefix(lines[i], "    ") || lines[i] == ""); i++ {
				b.Text += strings.TrimPrefix(lines[i], "    ") + "\n"
			}
			i--
			add(b)
		case item.MatchString(line):
			inItem = true
		case line != "" && line[0] != ' ':
			inItem = false
		}
		blank = i < len(lines) && lines[i] == ""
	}
	return p, nil
}

// info splits what follows the fence of a block.
func info(text string) (lang string, kind Kind, arg string) {
	lang, rest, _ := strings.Cut(strings.TrimSpace(text), " ")
	rest = strings.TrimSpace(rest)
	if lang == "mermaid" && rest == "" {
		return lang, Output, ""
	}
	if reason, ok := strings.CutPrefix(rest, "shown: "); ok {
		return lang, Shown, reason
	}
	word, arg, hasArg := strings.Cut(rest, "=")
	switch kind = Kind(word); kind {
	case File, Test:
		if !hasArg || arg == "" {
			return lang, Unmarked, ""
		}
		return lang, kind, arg
	case Run, Policy, Config, Data, Output:
		if !hasArg {
			return lang, kind, ""
		}
	}
	return lang, Unmarked, ""
}

// Pages returns the paths of all pages: the Markdown files of the root and of docs.
func Pages(root string) ([]string, error) {
	paths, err := filepath.Glob(filepath.Join(root, "*.md"))
	if err != nil {
		return nil, err
	}
	err = filepath.WalkDir(filepath.Join(root, "docs"), func(path string, _ fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".md" {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	for i, path := range paths {
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return nil, err
		}
		paths[i] = filepath.ToSlash(rel)
	}
	return paths, nil
}

// WalkOf returns the file that says how to execute the blocks of a page: README.sh of README.md, and client.sh of
// docs/client.md. The file need not exist.
func WalkOf(page string) string {
	return "e2e/docs/walks/" + strings.TrimSuffix(strings.TrimPrefix(page, "docs/"), ".md") + ".sh"
}

// Companion returns the page in Japanese of an English one.
func Companion(page string) string { return strings.TrimSuffix(page, ".md") + ".ja.md" }
