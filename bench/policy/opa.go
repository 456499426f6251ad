package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
)

type opaEngine struct{ query rego.PreparedEvalQuery }

// newOPA writes one rule per statement: OPA indexes rules by the equalities they test, so
// this form is its fastest.
func newOPA(s shape, n int) (engine, error) {
	var b strings.Builder
	b.WriteString("package bench\nimport rego.v1\ndefault allow := false\nallow if { permit; not forbid }\ndefault " +
		"permit := false\n")
	for i := range n {
		match := fmt.Sprintf("input.resource == %q", s.resourceOf(i))
		if s.prefix {
			match = fmt.Sprintf("startswith(input.resource, %q)", s.resourceOf(i))
		}
		fmt.Fprintf(&b, "permit if { input.action == %q; %s; input.mfa == true; net.cidr_contains(%q, input.ip) }\n", action,
			match, allowed)
	}
	fmt.Fprintf(&b, "forbid if net.cidr_contains(%q, input.ip)\n", denied)
	q, err := rego.New(rego.Query("data.bench.allow"),
		rego.Module("bench.rego", b.String())).PrepareForEval(context.Background())
	return &opaEngine{q}, err
}

func (e *opaEngine) prepare(r request) func() bool {
	input, err := ast.InterfaceToValue(map[string]any{"action": r.action, "resource": r.resource, "ip": r.sourceIP,
		"mfa": r.mfa})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	return func() bool {
		rs, err := e.query.Eval(ctx, rego.EvalParsedInput(input))
		if err != nil {
			panic(err)
		}
		return rs.Allowed()
	}
}
