package main

import (
	"fmt"
	"strings"

	"sekisho/internal/iam/policy"
)

type sekishoEngine struct{ set *policy.Set }

func newSekisho(s shape, n int) (engine, error) {
	star := ""
	if s.prefix {
		star = "*"
	}
	var docs []*policy.Document
	load := func(statements []string) error {
		d, err := policy.Parse([]byte(`{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`))
		docs = append(docs, d)
		return err
	}
	for from := 0; from < n; from += 100 {
		var statements []string
		for i := from; i < min(n, from+100); i++ {
			statements = append(statements, fmt.Sprintf(`{"Effect":"Allow","Action":%q,"Resource":%q,
				"Condition":{"IpAddress":{"aws:SourceIp":%q},"Bool":{"aws:MultiFactorAuthPresent":"true"}}}`,
				action, s.resourceOf(i)+star, allowed))
		}
		if err := load(statements); err != nil {
			return nil, err
		}
	}
	err := load([]string{fmt.Sprintf(`{"Effect":"Deny","Action":"*","Resource":"*",`+
		`"Condition":{"IpAddress":{"aws:SourceIp":%q}}}`, denied)})
	return &sekishoEngine{policy.Compile(policy.Policies{Identity: docs})}, err
}

func (e *sekishoEngine) prepare(r request) func() bool {
	ctx := policy.NewContext()
	ctx.Set("aws:SourceIp", policy.Single(r.sourceIP))
	ctx.Set("aws:MultiFactorAuthPresent", policy.Bool(r.mfa))
	req := &policy.Request{Action: r.action, Resource: r.resource, Context: ctx}
	return func() bool { return e.set.Evaluate(req).Allowed() }
}
