package s3

import (
	"encoding/json"
	"slices"
	"strings"
)

// oneOrMany is a value that policies write alone or in a list.
type oneOrMany []json.RawMessage

// UnmarshalJSON implements [json.Unmarshaler].
func (o *oneOrMany) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '[' {
		return json.Unmarshal(b, (*[]json.RawMessage)(o))
	}
	*o = oneOrMany{slices.Clone(b)}
	return nil
}

// narrowing are the condition keys whose fixed values make a policy that
// names everybody not public ("The meaning of public", S3 User Guide).
var narrowing = []string{
	"aws:sourcearn", "aws:sourcevpc", "aws:sourcevpce", "aws:sourceaccount", "aws:sourceowner", "aws:sourceip", "aws:userid",
	"aws:principalorgid", "aws:principalarn", "aws:principalaccount", "s3:dataaccesspointaccount", "s3:dataaccesspointarn",
}

// isPublic reports whether a policy would let in callers it does not name.
// What it does not understand it takes for public.
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

// namesAll reports whether one of the principals is everybody.
func namesAll(principal json.RawMessage) bool {
	var alone string
	if json.Unmarshal(principal, &alone) == nil {
		return true // "*" is the only principal that may stand alone
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
			if slices.Contains(narrowing, strings.ToLower(key)) && len(values) > 0 && !slices.ContainsFunc(values, func(v json.RawMessage) bool { return !fixed(v) }) {
				return true
			}
		}
	}
	return false
}
