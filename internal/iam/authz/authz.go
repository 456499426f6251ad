// Package authz authorizes the requests of verified callers. It turns facts about the request into a policy context,
// evaluates the caller's policies with [sekisho/internal/iam/policy], and produces two texts: AWS's message for the
// caller, and the full reason for the audit trail.
package authz

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/iam/policy"
)

// Policies returns the compiled policies of a principal. An error means that they could not be read
// or parsed, and denies everything.
type Policies interface {
	Policies(ctx context.Context, p *sekisho.Principal) (*policy.Set, error)
}

// Authorizer evaluates policies. It is safe for concurrent use.
type Authorizer struct {
	policies Policies
}

// New returns an Authorizer that reads policies from p.
func New(p Policies) *Authorizer { return &Authorizer{policies: p} }

// Facts are the server's own observations about a request. None of them comes from a request
// parameter.
type Facts struct {
	Principal *sekisho.Principal
	Time      time.Time
	SourceIP  netip.Addr // the TCP peer, or the address a trusted proxy reports
	Secure    bool       // TLS
	UserAgent string     // chosen by the client: policies must not rely on it
	Referer   string
	Region    string
}

// Key is one more condition key of a request.
type Key = policy.Key

// One returns a single-valued key.
func One(name, value string) Key { return Key{Name: name, Values: []string{value}} }

// Many returns a multivalued key.
func Many(name string, values []string) Key { return Key{Name: name, Values: values, Multi: true} }

// ResourceTags publishes a resource's tags under aws:ResourceTag and, if service is not empty, also
// under SERVICE:resourceTag, because AWS's sample policies use both.
func ResourceTags(service string, tags map[string]string) []Key {
	keys := make([]Key, 0, 2*len(tags))
	for k, v := range tags {
		keys = append(keys, One("aws:ResourceTag/"+k, v))
		if service != "" {
			keys = append(keys, One(service+":resourceTag/"+k, v))
		}
	}
	return keys
}

// RequestTags publishes the tags that a request carries.
func RequestTags(tags map[string]string) []Key {
	if len(tags) == 0 {
		return nil
	}
	names := make([]string, 0, len(tags))
	keys := make([]Key, 0, len(tags)+1)
	for k, v := range tags {
		keys = append(keys, One("aws:RequestTag/"+k, v))
		names = append(names, k)
	}
	return append(keys, Many("aws:TagKeys", names))
}

// Verdict is a decision with its texts.
type Verdict struct {
	Allowed bool
	// Explicit is true if a Deny statement decided, which no Allow can override.
	Explicit bool
	// Message is AWS's AccessDenied text, for the caller. Empty if allowed.
	Message string
	// Reason is the full explanation, for the audit trail.
	Reason string
	// Statement names the statement that decided or, if none did, the Allow
	// statement that came closest, with its policy. Only Explain sets it.
	Statement string
	// denied is nil unless Decide or Explain denied: see Denial.
	denied *denied
}

// Decide evaluates one action on one resource.
func (a *Authorizer) Decide(ctx context.Context, f *Facts, action, resource string, keys ...Key) (Verdict, error) {
	set, req, err := a.request(ctx, f, action, resource, keys)
	if err != nil {
		return Verdict{}, err
	}
	d := set.Evaluate(req)
	if d.Effect == policy.Allowed {
		return Verdict{Allowed: true, Reason: "allowed: " + action + " on " + resource}, nil
	}
	e := set.Explain(req)
	return Verdict{
		Explicit: d.Effect == policy.ExplicitDeny,
		Message:  d.Message(f.Principal.ARN, action, resource),
		Reason:   e.Sentence,
		denied:   &denied{set, *f, action, resource, keys, e.Sentence},
	}, nil
}

// Explain is like Decide, with the reason of allowed requests and the statement that decided. It
// checks every statement, so it is not for the hot path.
func (a *Authorizer) Explain(ctx context.Context, f *Facts, action, resource string, keys ...Key) (Verdict, error) {
	set, req, err := a.request(ctx, f, action, resource, keys)
	if err != nil {
		return Verdict{}, err
	}
	e := set.Explain(req)
	v := Verdict{Allowed: e.Effect == policy.Allowed, Explicit: e.Effect == policy.ExplicitDeny, Reason: e.Sentence}
	if !v.Allowed {
		v.Message = e.Message(f.Principal.ARN, action, resource)
		v.denied = &denied{set, *f, action, resource, keys, e.Sentence}
	}
	if ref := e.Statement(); ref != nil {
		v.Statement = ref.String()
	}
	return v, nil
}

func (a *Authorizer) request(
	ctx context.Context,
	f *Facts,
	action, resource string,
	keys []Key,
) (*policy.Set, *policy.Request, error) {
	if f.Principal == nil {
		return nil, nil, sekisho.Errorf(sekisho.CodeUnauthenticated, "the request has no principal")
	}
	set, err := a.policies.Policies(ctx, f.Principal)
	if err != nil {
		return nil, nil, fmt.Errorf("policies of %s: %w", f.Principal.ARN, err)
	}
	return set, &policy.Request{
		Action:    action,
		Resource:  resource,
		Context:   contextOf(f, keys),
		Principal: PolicyPrincipal(f.Principal),
	}, nil
}

// Times returns the seconds, within a period, at which p's permissions can change as time passes.
// exact is false if they can also change at other times: see [policy.Set.Times].
func (a *Authorizer) Times(
	ctx context.Context,
	p *sekisho.Principal,
	from, to time.Time,
) (at []time.Time, exact bool, err error) {
	set, err := a.policies.Policies(ctx, p)
	if err != nil {
		return nil, false, fmt.Errorf("policies of %s: %w", p.ARN, err)
	}
	at, exact = set.Times(from, to)
	return at, exact, nil
}

// PolicyPrincipal returns p as resource and trust policies name it.
func PolicyPrincipal(p *sekisho.Principal) policy.Principal {
	if p.Type == sekisho.PrincipalWebIdentity {
		return policy.Principal{Type: policy.TypeFederated, Federated: p.ARN}
	}
	return policy.Principal{ARN: p.ARN, RoleARN: roleARN(p), Account: p.Account, UserID: p.UserID, Type: string(p.Type)}
}

func roleARN(p *sekisho.Principal) string {
	if p.Type == sekisho.PrincipalAssumedRole {
		return p.PolicyARN
	}
	return ""
}

// contextOf returns the global condition keys (IAM User Guide, "AWS global condition context
// keys"), and the request's own.
func contextOf(f *Facts, keys []Key) *policy.Context {
	c := policy.NewContext()
	set := func(k, v string) { c.Set(k, policy.Single(v)) }
	setTimes(set, f)
	set("aws:SecureTransport", strconv.FormatBool(f.Secure))
	set("aws:ViaAWSService", "false")
	set("aws:PrincipalIsAWSService", "false")
	if f.SourceIP.IsValid() {
		set("aws:SourceIp", f.SourceIP.Unmap().String())
	}
	if f.UserAgent != "" {
		set("aws:UserAgent", f.UserAgent)
	}
	if f.Referer != "" {
		set("aws:Referer", f.Referer)
	}
	if f.Region != "" {
		set("aws:RequestedRegion", f.Region)
	}
	ofPrincipal(set, f)
	setKeys(c, keys)
	return c
}

// setKeys adds the keys of a request to a context.
func setKeys(c *policy.Context, keys []Key) {
	for _, k := range keys {
		if k.Multi {
			c.Set(k.Name, policy.Multi(k.Values...))
		} else if len(k.Values) == 1 {
			c.Set(k.Name, policy.Single(k.Values[0]))
		}
	}
}

// ofPrincipal publishes the keys that are about the caller.
func ofPrincipal(set func(k, v string), f *Facts) {
	p := f.Principal
	if p.Type == sekisho.PrincipalWebIdentity {
		// Not a principal of the account yet: the request carries the provider's
		// own keys.
		set("aws:FederatedProvider", p.ARN)
		return
	}
	set("aws:PrincipalType", string(p.Type))
	set("aws:PrincipalAccount", p.Account)
	set("aws:ResourceAccount", p.Account)
	set("aws:userid", p.UserID)
	if p.PolicyARN != "" {
		set("aws:PrincipalArn", p.PolicyARN)
	}
	if p.UserName != "" {
		set("aws:username", p.UserName)
	}
	for k, v := range p.Tags {
		set("aws:PrincipalTag/"+k, v)
	}
	if s := p.Session; s != nil {
		if s.SourceIdentity != "" {
			set("aws:SourceIdentity", s.SourceIdentity)
		}
		if s.FederatedProvider != "" {
			set("aws:FederatedProvider", s.FederatedProvider)
		}
	}
	if p.Node != "" {
		set(nodeKey(f))
	}
}

// setTimes publishes the keys whose values depend on the time of the request or of the sign-in.
func setTimes(set func(k, v string), f *Facts) {
	set("aws:CurrentTime", f.Time.UTC().Format(time.RFC3339))
	set("aws:EpochTime", strconv.FormatInt(f.Time.Unix(), 10))
	p := f.Principal
	// Long-term keys have neither: BoolIfExists in AWS's sample policies
	// depends on the key being absent, not false.
	if p.Type == sekisho.PrincipalWebIdentity || p.TokenIssueTime.IsZero() {
		return
	}
	set("aws:TokenIssueTime", p.TokenIssueTime.UTC().Format(time.RFC3339))
	set("aws:MultiFactorAuthPresent", strconv.FormatBool(!p.MFATime.IsZero()))
	if !p.MFATime.IsZero() {
		set("aws:MultiFactorAuthAge", strconv.FormatInt(max(0, int64(f.Time.Sub(p.MFATime)/time.Second)), 10))
	}
}

// nodeKey returns the condition key with the ARN of the node that owns the credentials. In
// policies, a node with an instance ID is an EC2 instance, any other a hybrid node.
func nodeKey(f *Facts) (key, arn string) {
	p := f.Principal
	if strings.HasPrefix(string(p.Node), "i-") {
		return "ec2:SourceInstanceARN", "arn:aws:ec2:" + f.Region + ":" + p.Account + ":instance/" + string(p.Node)
	}
	return "ssm:SourceInstanceARN", "arn:aws:ssm:" + f.Region + ":" + p.Account + ":managed-instance/" + string(p.Node)
}

// SessionTags publishes the two system tags of a session. Unlike AWS it does so even if a value is
// not a valid tag value, such as a role session name with a comma: without the tag, owners could
// not end their own sessions.
func SessionTags(ownerUserID string, target sekisho.NodeID) []Key {
	tags := map[string]string{}
	if ownerUserID != "" {
		tags["aws:ssmmessages:session-id"] = ownerUserID
	}
	if target != "" {
		tags["aws:ssmmessages:target-id"] = string(target)
	}
	return ResourceTags("ssm", tags)
}
