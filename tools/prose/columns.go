package main

import (
	"fmt"
	"go/scanner"
	"go/token"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// maxColumns is the longest permitted line of a source file, in characters.
const maxColumns = 120

// tooLong is the phrase of long lines in allow.txt.
const tooLong = "long line"

// longLines returns the lines of a source file that are too long. Lines of raw
// strings in tests are data of other languages, and may have any length.
func longLines(name string, src []byte) []hit {
	data := map[int]bool{}
	switch filepath.Ext(name) {
	case ".go":
		if strings.HasSuffix(name, "_test.go") {
			data = rawStringLines(src)
		}
	case ".ts", ".tsx", ".mjs", ".sh":
	default:
		return nil
	}
	var hits []hit
	n := 0
	for line := range strings.Lines(string(src)) {
		n++
		if columns := utf8.RuneCountInString(strings.TrimRight(line, "\n")); columns > maxColumns && !data[n] {
			hits = append(hits, hit{n, tooLong, fmt.Sprintf("%d columns, at most %d", columns, maxColumns)})
		}
	}
	return hits
}

// rawStringLines returns the lines of raw strings that span several lines.
func rawStringLines(src []byte) map[int]bool {
	fset := token.NewFileSet()
	file := fset.AddFile("", fset.Base(), len(src))
	var s scanner.Scanner
	s.Init(file, src, func(token.Position, string) {}, 0)
	lines := map[int]bool{}
	for {
		pos, tok, lit := s.Scan()
		if tok == token.EOF {
			return lines
		}
		if n := strings.Count(lit, "\n"); tok == token.STRING && n > 0 {
			first := file.Line(pos)
			for line := first; line <= first+n; line++ {
				lines[line] = true
			}
		}
	}
}
