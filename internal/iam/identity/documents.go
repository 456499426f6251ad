package identity

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"sekisho"
	"sekisho/internal/iam/policy"
)

// checkDocument refuses a policy document as IAM does.
func checkDocument(document string, kind policy.Kind) error {
	if document == "" {
		return invalid(
			"1 validation error detected: Value '' at 'policyDocument' failed to satisfy constraint: Member must have " +
				"length greater than or equal to 1",
		)
	}
	err := policy.Validate([]byte(document), kind)
	if v, ok := errors.AsType[*policy.ValidationError](err); ok {
		code := sekisho.CodeMalformedPolicy
		if v.Code == policy.CodeValidation {
			code = sekisho.CodeInvalid
		}
		return &sekisho.Error{Code: code, Message: v.Error(), Err: v}
	}
	return err
}

// setTrust checks a trust policy and records the IDs of the principals it
// names.
func (t *tx) setTrust(r *Role, document string) error {
	if err := t.checkDocument(document, policy.KindTrust); err != nil {
		return err
	}
	if policy.Size([]byte(document)) > maxTrustSize {
		return limit("Cannot exceed quota for ACLSizePerRole: %d", maxTrustSize)
	}
	ids, err := t.principals(document)
	if err != nil {
		return err
	}
	r.Trust, r.TrustIDs = document, ids
	return nil
}

// principals returns the IDs of the users and roles that a policy names; each
// of them must exist.
func (s *state) principals(document string) (map[string]string, error) {
	ids := map[string]string{}
	_, err := rewritePrincipals(document, func(name string) (string, error) {
		id, ours := s.principalID(name)
		if ours && id == "" {
			return "", sekisho.Errorf(
				sekisho.CodeMalformedPolicy,
				`Invalid principal in policy: "AWS":"%s"`,
				printable(name),
			)
		}
		if ours {
			ids[name] = id
		}
		return name, nil
	})
	return ids, err
}

// principalID returns the ID of the user or role that a principal of a trust
// policy names; ours is false for accounts, wildcards and other accounts.
func (s *state) principalID(name string) (id string, ours bool) {
	switch {
	case strings.HasPrefix(name, "AIDA"):
		if s.userIDs[name] != nil {
			return name, true
		}
		return "", true
	case strings.HasPrefix(name, "AROA"):
		if s.roleIDs[name] != nil {
			return name, true
		}
		return "", true
	}
	parts := strings.SplitN(name, ":", 6)
	if len(parts) != 6 {
		return "", false
	}
	what, rest, _ := strings.Cut(parts[5], "/")
	last := strings.ToLower(rest[strings.LastIndexByte(rest, '/')+1:])
	switch what {
	case "user":
		if u := s.users[last]; u != nil && u.ARN == name {
			return u.ID, true
		}
		return "", parts[4] == s.account
	case "role":
		if r := s.roles[last]; r != nil && r.ARN == name {
			return r.ID, true
		}
		return "", parts[4] == s.account
	case "assumed-role":
		role, _, _ := strings.Cut(rest, "/")
		if r := s.roles[strings.ToLower(role)]; r != nil && r.Name == role && parts[4] == s.account {
			return r.ID, true
		}
		return "", parts[4] == s.account
	}
	return "", false
}

// trustText returns a role's trust policy with current names: see textToday.
func (s *state) trustText(r *Role) string { return s.textToday(r.Trust, r.TrustIDs) }

// textToday returns a policy with current names: the name of a renamed user or role is updated,
// and a name that has been reused since is replaced by the ID of the original principal.
func (s *state) textToday(document string, ids map[string]string) string {
	text, err := rewritePrincipals(document, func(name string) (string, error) {
		id := ids[name]
		if id == "" {
			return name, nil
		}
		if now, _ := s.principalID(name); now == id && !strings.HasPrefix(name, "A") {
			return name, nil
		}
		if u := s.userIDs[id]; u != nil {
			return u.ARN, nil
		}
		if role := s.roleIDs[id]; role != nil {
			return role.ARN, nil
		}
		return id, nil
	})
	if err != nil {
		return "" // does not parse as a policy, so nobody is trusted
	}
	return text
}

// TrustDocument returns a role's trust policy as AWS shows it: see trustText.
func (roles *Roles) TrustDocument(ctx context.Context, r *Role) (string, error) {
	return get(ctx, roles.account, func(s *state) (string, error) { return s.trustText(r), nil })
}

// rewritePrincipals replaces every AWS principal p of a document with f(p). An unchanged
// document keeps its bytes.
func rewritePrincipals(document string, f func(string) (string, error)) (string, error) {
	var doc map[string]any
	if err := json.Unmarshal([]byte(document), &doc); err != nil {
		return "", err
	}
	changed := false
	one := func(v any) (any, error) {
		name, ok := v.(string)
		if !ok {
			return v, nil
		}
		out, err := f(name)
		changed = changed || out != name
		return out, err
	}
	for _, st := range listOf(doc["Statement"]) {
		statement, _ := st.(map[string]any)
		principal, _ := statement["Principal"].(map[string]any)
		names, ok := principal["AWS"]
		if !ok {
			continue
		}
		list, isList := names.([]any)
		if !isList {
			out, err := one(names)
			if err != nil {
				return "", err
			}
			principal["AWS"] = out
			continue
		}
		for i := range list {
			out, err := one(list[i])
			if err != nil {
				return "", err
			}
			list[i] = out
		}
	}
	if !changed {
		return document, nil
	}
	out, err := json.Marshal(doc)
	return string(out), err
}

func listOf(v any) []any {
	switch v := v.(type) {
	case []any:
		return v
	case nil:
		return nil
	}
	return []any{v}
}

// checkSessionPolicies checks the session policies of a request.
func (a *account) checkSessionPolicies(ctx context.Context, r SessionRequest) error {
	size := 0
	for _, text := range r.Policies {
		if err := a.read(ctx, func(s *state) error { return s.checkDocument(text, policy.KindSession) }); err != nil {
			return err
		}
		size += len(text)
	}
	for _, arn := range r.PolicyARNs {
		size += len(arn)
	}
	if size > maxSessionPolicy {
		return &sekisho.Error{
			Code:    sekisho.CodeLimit,
			Err:     ErrPackedPolicy,
			Message: "The session policies together are larger than 2048 characters.",
		}
	}
	if len(r.PolicyARNs) > maxSessionPolicyARN {
		return invalid(
			"1 validation error detected: Value at 'policyArns' failed to satisfy constraint: Member must have length less "+
				"than or equal to %d",
			maxSessionPolicyARN,
		)
	}
	return a.read(ctx, func(s *state) error {
		for _, arn := range r.PolicyARNs {
			if s.policies[arn] == nil {
				return sekisho.Errorf(
					sekisho.CodeMalformedPolicy,
					"PolicyArn %s does not exist or is not attachable.",
					printable(arn),
				)
			}
		}
		return nil
	})
}
