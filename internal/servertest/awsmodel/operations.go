package awsmodel

import (
	"maps"
	"slices"
	"testing"
)

// Version names the models that [Load] reads, by botocore's version.
func Version(t testing.TB) string {
	t.Helper()
	Load(t, "sts") // skips or fails without models
	return "botocore " + botocore().version
}

// Names are the names of the operations.
func (m *Model) Names() []string { return slices.Sorted(maps.Keys(m.Operations)) }

// Member is a member of an operation's request.
type Member struct {
	Name string
	// Wire are the names that it can have in requests.
	Wire []string
}

// Request lists the members of an operation's request by name, without its body
// and without members that the model calls deprecated.
func (m *Model) Request(operation string) []Member {
	op := m.Operations[operation]
	if op == nil || op.Input == nil {
		return nil
	}
	input := m.Shapes[op.Input.Shape]
	members := input.Members
	var all []Member
	for _, name := range slices.Sorted(maps.Keys(members)) {
		r := members[name]
		if r.Deprecated || name == input.Payload {
			continue
		}
		one := Member{Name: name, Wire: []string{name}}
		for _, wire := range []string{r.LocationName, r.QueryName} {
			if wire != "" {
				one.Wire = append(one.Wire, wire)
			}
		}
		all = append(all, one)
	}
	return all
}
