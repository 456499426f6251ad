// Command policy compares Sekisho's policy engine with Cedar, Casbin and OPA
// on equal policies. It first checks that all engines give equal answers, then
// measures one decision at a time and prints a table of times and ratios.
//
// It is a separate module, so that the other engines never become dependencies of Sekisho:
//
//	cd bench/policy && go run .
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"testing"
	"text/tabwriter"
)

// engine decides requests against the policies it was built with.
type engine interface {
	// prepare returns a function that decides r, with all the work done that a server can
	// do once per request.
	prepare(r request) func() bool
}

// request is a request in engine-neutral form.
type request struct {
	name     string
	action   string
	resource string
	sourceIP string
	mfa      bool
}

// shape is how the statements name their resources.
type shape struct {
	name   string
	prefix bool // arn:…/web-00017-* instead of arn:…/web-00017
}

const (
	action  = "ssm:StartSession"
	allowed = "10.0.0.0/8"
	denied  = "10.9.0.0/16"
)

// resourceOf returns the literal part of statement i's resource.
func (s shape) resourceOf(i int) string {
	id := fmt.Sprintf("arn:aws:ec2:us-east-1:111111111111:instance/web-%05d", i)
	if s.prefix {
		id += "-"
	}
	return id
}

func (s shape) requests(n int) []request {
	hit := s.resourceOf(n - 1)
	if s.prefix {
		hit += "blue"
	}
	return []request{
		{"allowed", action, hit, "10.1.2.3", true},
		{"no such resource", action, "arn:aws:ec2:us-east-1:111111111111:instance/db-1", "10.1.2.3", true},
		{"no MFA", action, hit, "10.1.2.3", false},
		{"denied address", action, hit, "10.9.2.3", true},
		{"unknown address", action, hit, "192.0.2.1", true},
		{"other action", "ssm:SendCommand", hit, "10.1.2.3", true},
	}
}

var wants = map[string]bool{"allowed": true}

func builders() []struct {
	name  string
	build func(shape, int) (engine, error)
} {
	return []struct {
		name  string
		build func(shape, int) (engine, error)
	}{{"sekisho", newSekisho}, {"cedar-go", newCedar}, {"opa", newOPA}, {"casbin", newCasbin}}
}

func shapes() []shape {
	return []shape{{name: "exact ARN"}, {name: "ARN prefix", prefix: true}}
}

// disagreement returns a sentence if an engine answers otherwise than wanted.
func disagreement(name string, e engine, s shape, n int) string {
	for _, r := range s.requests(n) {
		if got := e.prepare(r)(); got != wants[r.name] {
			return fmt.Sprintf("%s, %s, %d statements: %q is %v", name, s.name, n, r.name, got)
		}
	}
	return ""
}

func main() {
	log.SetFlags(0)
	testing.Init()
	if err := flag.Set("test.benchtime", "150ms"); err != nil {
		log.Fatal(err)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "resources\tstatements\trequest\tengine\tns/op\tB/op\tallocs/op\tx sekisho\t")
	for _, s := range shapes() {
		for _, n := range []int{1, 100, 10000} {
			type built struct {
				name string
				engine
			}
			var engines []built
			for _, b := range builders() {
				e, err := b.build(s, n)
				if err != nil {
					log.Fatalf("%s: %v", b.name, err)
				}
				if d := disagreement(b.name, e, s, n); d != "" {
					log.Fatal(d)
				}
				engines = append(engines, built{b.name, e})
			}
			for _, r := range s.requests(n)[:2] {
				best := make([]testing.BenchmarkResult, len(engines))
				// The engines alternate and the best round counts, so that other load on
				// the machine affects all engines equally and only slightly.
				for range rounds {
					for i, e := range engines {
						if res := measure(e.prepare(r)); best[i].N == 0 || perOp(res) < perOp(best[i]) {
							best[i] = res
						}
					}
				}
				for i, e := range engines {
					fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%.0f\t%d\t%d\t%.1f\t\n", s.name, n, r.name, e.name,
						perOp(best[i]), best[i].AllocedBytesPerOp(), best[i].AllocsPerOp(), perOp(best[i])/perOp(best[0]))
				}
			}
			w.Flush()
		}
	}
}

const rounds = 5

func measure(decide func() bool) testing.BenchmarkResult {
	return testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			decide()
		}
	})
}

func perOp(r testing.BenchmarkResult) float64 { return float64(r.T.Nanoseconds()) / float64(r.N) }
