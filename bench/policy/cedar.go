package main

import (
	"fmt"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
)

type cedarEngine struct{ set *cedar.PolicySet }

func newCedar(s shape, n int) (engine, error) {
	var b strings.Builder
	for i := range n {
		head, extra := fmt.Sprintf("resource == Node::%q", s.resourceOf(i)), ""
		if s.prefix {
			head, extra = "resource", fmt.Sprintf("context.arn like %q && ", s.resourceOf(i)+"*")
		}
		fmt.Fprintf(&b, "permit(principal, action == Action::%q, %s) when { %scontext.ip.isInRange(ip(%q)) && "+
			"context.mfa };\n", action, head, extra, allowed)
	}
	fmt.Fprintf(&b, "forbid(principal, action, resource) when { context.ip.isInRange(ip(%q)) };\n", denied)
	set, err := cedar.NewPolicySetFromBytes("bench.cedar", []byte(b.String()))
	return &cedarEngine{set}, err
}

func (e *cedarEngine) prepare(r request) func() bool {
	ip, err := types.ParseIPAddr(r.sourceIP)
	if err != nil {
		panic(err)
	}
	req := cedar.Request{
		Principal: cedar.NewEntityUID("User", "alice"),
		Action:    cedar.NewEntityUID("Action", cedar.String(r.action)),
		Resource:  cedar.NewEntityUID("Node", cedar.String(r.resource)),
		Context:   cedar.NewRecord(cedar.RecordMap{"ip": ip, "mfa": cedar.Boolean(r.mfa), "arn": cedar.String(r.resource)}),
	}
	return func() bool {
		d, _ := cedar.Authorize(e.set, nil, req)
		return d == cedar.Allow
	}
}
