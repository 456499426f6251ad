package main

import (
	"fmt"
	"strings"
	"testing"
)

// BenchmarkSekisho measures Sekisho's engine alone, to compare it with earlier
// versions of itself.
func BenchmarkSekisho(b *testing.B) {
	for _, s := range shapes() {
		for _, n := range []int{1, 100, 10000} {
			e, err := newSekisho(s, n)
			if err != nil {
				b.Fatal(err)
			}
			for _, r := range s.requests(n)[:2] {
				decide := e.prepare(r)
				name := strings.ReplaceAll(fmt.Sprintf("%s/%d/%s", s.name, n, r.name), " ", "-")
				b.Run(name, func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						decide()
					}
				})
			}
		}
	}
}
