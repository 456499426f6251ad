package s3

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
)

// oneOrMany is a JSON value that can be a single value or a list.
type oneOrMany []json.RawMessage

// UnmarshalJSON implements [json.Unmarshaler].
func (o *oneOrMany) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '[' {
		return json.Unmarshal(b, (*[]json.RawMessage)(o))
	}
	*o = oneOrMany{slices.Clone(b)}
	return nil
}

// policyFault checks the aspects of a bucket's policy that a policy parser does not: resources
// outside the bucket, actions of other services, and invalid addresses.
func policyFault(bucket string, text []byte) error {
	var doc struct{ Statement oneOrMany }
	if json.Unmarshal(text, &doc) != nil {
		return nil //nolint:nilerr // the policy package reports what is wrong
	}
	for _, raw := range doc.Statement {
		var st struct {
			Action, NotAction, Resource, NotResource oneOrMany
			Condition                                map[string]map[string]oneOrMany
		}
		if json.Unmarshal(raw, &st) != nil {
			continue
		}
		for _, action := range slices.Concat(st.Action, st.NotAction) {
			if a := strings.ToLower(textOf(action)); a != "*" && !strings.HasPrefix(a, "s3:") {
				return fault(
					"MalformedPolicy",
					"Policy has invalid action: %s is not an action of S3.",
					clip(textOf(action)),
				)
			}
		}
		for _, resource := range slices.Concat(st.Resource, st.NotResource) {
			if r := textOf(resource); !ofBucket(bucket, r) {
				return fault(
					"MalformedPolicy",
					"Policy has invalid resource: %s is not in the bucket %s.",
					clip(r),
					bucket,
				)
			}
		}
		for operator, keys := range st.Condition {
			_, op, qualified := strings.Cut(operator, ":")
			if !qualified {
				op = operator
			}
			if op = strings.TrimSuffix(op, "IfExists"); op != "IpAddress" && op != "NotIpAddress" {
				continue
			}
			for _, values := range keys {
				for _, v := range values {
					if t := textOf(v); !strings.Contains(t, "${") && !isAddress(t) {
						return fault(
							"MalformedPolicy",
							"Policy has an invalid condition: %s is neither an IP address nor a CIDR block.",
							clip(t),
						)
					}
				}
			}
		}
	}
	return nil
}

func textOf(raw json.RawMessage) string {
	var s string
	_ = json.Unmarshal(raw, &s) // not a string: the policy package reports that
	return s
}

// ofBucket reports whether a resource of a policy can be in a bucket. Wildcards can match parts of
// the bucket's name.
func ofBucket(bucket, resource string) bool {
	name, ok := strings.CutPrefix(resource, "arn:aws:s3:::")
	if !ok {
		return resource == "*"
	}
	name, _, _ = strings.Cut(name, "/")
	return name == bucket || strings.ContainsAny(name, "*?$")
}

func isAddress(s string) bool {
	if _, err := netip.ParsePrefix(s); err == nil {
		return true
	}
	_, err := netip.ParseAddr(s)
	return err == nil
}

// narrowing are the condition keys that, with fixed values, make a policy for everyone non-public
// ("The meaning of public", S3 User Guide).
var narrowing = []string{
	"aws:sourcearn", "aws:sourcevpc", "aws:sourcevpce", "aws:sourceaccount", "aws:sourceowner", "aws:sourceip",
	"aws:userid",
	"aws:principalorgid", "aws:principalarn", "aws:principalaccount", "s3:dataaccesspointaccount", "s3:dataaccesspointarn",
}

// isPublic reports whether a policy allows callers that it does not name. A malformed statement
// counts as public.
func isPublic(text []byte) bool {
	var doc struct{ Statement oneOrMany }
	if json.Unmarshal(text, &doc) != nil {
		return true
	}
	for _, raw := range doc.Statement {
		var st struct {
			Effect       string
			Principal    json.RawMessage
			NotPrincipal json.RawMessage
			Condition    map[string]map[string]oneOrMany
		}
		if json.Unmarshal(raw, &st) != nil {
			return true
		}
		if st.Effect != "Allow" || st.NotPrincipal == nil && !namesAll(st.Principal) {
			continue
		}
		if !narrowed(st.Condition) {
			return true
		}
	}
	return false
}

// namesAll reports whether a principal element means everyone.
func namesAll(principal json.RawMessage) bool {
	var alone string
	if json.Unmarshal(principal, &alone) == nil {
		return true // "*" is the only principal that can be a plain string
	}
	var by map[string]oneOrMany
	if json.Unmarshal(principal, &by) != nil {
		return true
	}
	for _, list := range by {
		for _, v := range list {
			if strings.Contains(string(v), "*") {
				return true
			}
		}
	}
	return false
}

func narrowed(conditions map[string]map[string]oneOrMany) bool {
	for operator, keys := range conditions {
		op := strings.ToLower(operator)
		if strings.Contains(op, "not") || strings.HasSuffix(op, "ifexists") || strings.Contains(op, ":") {
			continue
		}
		for key, values := range keys {
			fixed := func(v json.RawMessage) bool {
				return !strings.ContainsAny(string(v), "*?$") && !strings.Contains(string(v), "/0\"")
			}
			if slices.Contains(narrowing, strings.ToLower(key)) && len(values) > 0 && !slices.ContainsFunc(values,
				func(v json.RawMessage) bool { return !fixed(v) }) {
				return true
			}
		}
	}
	return false
}
