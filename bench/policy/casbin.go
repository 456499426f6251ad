package main

import (
	"fmt"

	"github.com/casbin/casbin/v2"
	"github.com/casbin/casbin/v2/model"
)

type casbinEngine struct{ e *casbin.Enforcer }

const casbinModel = `
[request_definition]
r = act, res, ip, mfa
[policy_definition]
p = act, res, net, mfa, eft
[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))
[matchers]
m = (p.act == "*" || r.act == p.act) && %s && (p.mfa == "*" || r.mfa == p.mfa) && ipMatch(r.ip, p.net)
`

func newCasbin(s shape, n int) (engine, error) {
	match, star := `(p.res == "*" || r.res == p.res)`, ""
	if s.prefix {
		match, star = `keyMatch(r.res, p.res)`, "*"
	}
	m, err := model.NewModelFromString(fmt.Sprintf(casbinModel, match))
	if err != nil {
		return nil, err
	}
	e, err := casbin.NewEnforcer(m)
	if err != nil {
		return nil, err
	}
	rules := [][]string{{"*", "*", denied, "*", "deny"}}
	for i := range n {
		rules = append(rules, []string{action, s.resourceOf(i) + star, allowed, "true", "allow"})
	}
	_, err = e.AddPolicies(rules)
	return &casbinEngine{e}, err
}

func (e *casbinEngine) prepare(r request) func() bool {
	mfa := fmt.Sprint(r.mfa)
	return func() bool {
		ok, err := e.e.Enforce(r.action, r.resource, r.sourceIP, mfa)
		if err != nil {
			panic(err)
		}
		return ok
	}
}
