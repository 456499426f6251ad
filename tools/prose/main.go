// Command prose finds phrases that do not read as plain English in the
// comments and string literals of Go files, and in the text of TypeScript,
// shell and Markdown files. It also finds lines of source files that have more
// than 120 columns. The phrases are in words.txt, the exceptions in allow.txt.
//
//	go run ./tools/prose [PATH...]
//
// It lists every hit as file:line and exits 1 if there are any.
package main

import (
	"context"
	_ "embed"
	"fmt"
	"go/scanner"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

//go:embed words.txt
var wordList string

//go:embed allow.txt
var allowList string

func main() {
	n, err := run(context.Background(), os.Args[1:])
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "prose:", err)
		os.Exit(2)
	case n > 0:
		fmt.Fprintf(
			os.Stderr,
			"prose: %d phrases or lines to rewrite (docs/style.md; exceptions go into tools/prose/allow.txt)\n",
			n,
		)
		os.Exit(1)
	}
}

// run checks the files git tracks below paths and returns the number of hits.
func run(ctx context.Context, paths []string) (int, error) {
	words, err := parseWords(wordList)
	if err != nil {
		return 0, err
	}
	allowed := parseAllowed(allowList)
	// Untracked files count too, so that the check works before a commit.
	args := append([]string{"ls-files", "-z", "-co", "--exclude-standard", "--"}, paths...)
	out, err := exec.CommandContext(ctx, "git", args...).Output()
	if err != nil {
		return 0, fmt.Errorf("git ls-files: %w", err)
	}
	total := 0
	for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		src, err := os.ReadFile(name)
		if os.IsNotExist(err) {
			continue // deleted, not committed yet
		}
		if err != nil {
			return total, err
		}
		for _, h := range append(find(textOf(name, src), words), longLines(name, src)...) {
			if allowed.has(name, h.phrase) {
				continue
			}
			total++
			fmt.Fprintf(os.Stdout, "%s:%d: %q: %s\n", name, h.line, h.phrase, h.instead)
		}
	}
	return total, nil
}

// word is one line of words.txt.
type word struct {
	expr    *regexp.Regexp
	instead string
}

func parseWords(list string) ([]word, error) {
	var words []word
	for line := range strings.Lines(list) {
		line = strings.TrimRight(line, "\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		expr, instead, ok := strings.Cut(line, "\t")
		if !ok {
			return nil, fmt.Errorf("words.txt: %q has no tab: want PHRASE, a tab, and what to write instead", line)
		}
		re, err := regexp.Compile(`(?i)\b(?:` + strings.ReplaceAll(expr, " ", `\s+`) + `)\b`)
		if err != nil {
			return nil, fmt.Errorf("words.txt: %w", err)
		}
		words = append(words, word{re, instead})
	}
	return words, nil
}

// allowed maps a path prefix to the phrases that may stand there; "*" is any.
type allowed map[string][]string

func parseAllowed(list string) allowed {
	a := allowed{}
	for line := range strings.Lines(list) {
		if f := strings.Split(strings.TrimRight(line, "\n"), "\t"); len(f) == 3 && !strings.HasPrefix(line, "#") {
			a[f[0]] = append(a[f[0]], f[1])
		}
	}
	return a
}

func (a allowed) has(name, phrase string) bool {
	for prefix, phrases := range a {
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		for _, p := range phrases {
			if p == "*" || p == strings.ToLower(phrase) {
				return true
			}
		}
	}
	return false
}

// piece is text that starts at a line of a file. Line breaks within it count.
type piece struct {
	line int
	text string
}

// textOf returns the prose of a file; none for kinds of files that have none.
func textOf(name string, src []byte) []piece {
	switch filepath.Ext(name) {
	case ".go":
		return goText(src)
	case ".ts", ".tsx", ".md", ".mjs", ".css", ".html", ".sh":
	default:
		if !strings.HasPrefix(name, "scripts/") && filepath.Base(name) != "Makefile" {
			return nil
		}
	}
	if strings.HasSuffix(name, ".ja.md") {
		return nil
	}
	return []piece{{1, string(src)}}
}

// goText returns the comments and string literals of a Go file. Adjacent line
// comments are one piece, so that phrases across line breaks are found.
func goText(src []byte) []piece {
	fset := token.NewFileSet()
	file := fset.AddFile("", fset.Base(), len(src))
	var s scanner.Scanner
	s.Init(file, src, func(token.Position, string) {}, scanner.ScanComments)
	var out []piece
	last := -1 // line on which the piece before ends, if it was a line comment
	for {
		pos, tok, lit := s.Scan()
		if tok == token.EOF {
			return out
		}
		line := file.Line(pos)
		switch tok {
		case token.COMMENT:
			if text, ok := strings.CutPrefix(lit, "//"); ok {
				if last == line-1 {
					out[len(out)-1].text += "\n" + text
				} else {
					out = append(out, piece{line, text})
				}
				last = line
				continue
			}
			out = append(out, piece{line, lit})
		case token.STRING:
			out = append(out, piece{line, lit})
		case token.SEMICOLON:
			continue // inserted at line ends; it does not separate comments
		}
		last = -1
	}
}

// hit is one phrase found.
type hit struct {
	line    int
	phrase  string
	instead string
}

func find(pieces []piece, words []word) []hit {
	var hits []hit
	for _, p := range pieces {
		for _, w := range words {
			for _, m := range w.expr.FindAllStringIndex(p.text, -1) {
				phrase := strings.Join(strings.Fields(p.text[m[0]:m[1]]), " ")
				hits = append(hits, hit{p.line + strings.Count(p.text[:m[0]], "\n"), phrase, w.instead})
			}
		}
	}
	return hits
}
