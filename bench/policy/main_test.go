package main

import "testing"

func TestEqualAnswers(t *testing.T) {
	t.Parallel()
	for _, s := range shapes() {
		for _, n := range []int{1, 100} {
			for _, b := range builders() {
				e, err := b.build(s, n)
				if err != nil {
					t.Fatalf("%s: %v", b.name, err)
				}
				if d := disagreement(b.name, e, s, n); d != "" {
					t.Error(d)
				}
			}
		}
	}
}
