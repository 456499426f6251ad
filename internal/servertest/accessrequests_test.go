package servertest_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sekisho/internal/iam/identity"
	"sekisho/internal/server"
	"sekisho/internal/servertest"
	"sekisho/internal/wire/sigv4"
)

// accessActions are the actions that users need to request access.
var accessActions = []string{"ssm:StartAccessRequest", "ssm:GetAccessToken"}

type accessFixture struct {
	*servertest.Server
	t      *testing.T
	ahead  atomic.Int64
	node   *servertest.Node
	ann    sigv4.Credentials // may request, but not start sessions
	bob    sigv4.Credentials // may approve
	carl   sigv4.Credentials // may approve too
	target fields
}

func newAccessFixture(t *testing.T, rules ...fields) *accessFixture {
	t.Helper()
	base := time.Now()
	f := &accessFixture{t: t}
	f.Server = servertest.StartWith(t, func(c *server.Config) {
		c.Now = func() time.Time { return base.Add(time.Duration(f.ahead.Load())) }
	})
	f.node = f.Node()
	f.node.Connect()
	f.ok(f.Admin, "ssm", "AddTagsToResource", fields{
		"ResourceType": "ManagedInstance", "ResourceId": f.node.ID, "Tags": []fields{{"Key": "Env", "Value": "prod"}},
	})
	for _, r := range rules {
		f.ok(f.Admin, "sekisho", "PutAccessRule", r)
	}
	f.ann = f.User(
		"ann",
		servertest.Allow(
			"*",
			append([]string{"sekisho:ApproveAccessRequest", "sekisho:RevokeAccessRequest"}, accessActions...)...),
	)
	approve := servertest.Allow(
		"*",
		"sekisho:ApproveAccessRequest",
		"sekisho:RejectAccessRequest",
		"sekisho:RevokeAccessRequest",
		"sekisho:ListAccessRequests",
	)
	f.bob, f.carl = f.User("bob", approve), f.User("carl", approve)
	f.target = fields{
		"Reason":  "ticket 4711",
		"Targets": []fields{{"Key": "InstanceIds", "Values": []string{f.node.ID}}},
	}
	return f
}

func (f *accessFixture) ok(c sigv4.Credentials, service, operation string, in fields) servertest.Answer {
	f.t.Helper()
	a := f.JSON(c, service, operation, in)
	if a.Status != http.StatusOK {
		f.t.Fatalf("%s: %d %s", operation, a.Status, a.Body)
	}
	return a
}

func (f *accessFixture) refused(code string, c sigv4.Credentials, service, operation string, in fields) {
	f.t.Helper()
	if a := f.JSON(c, service, operation, in); a.Code() != code {
		f.t.Errorf("%s: %d %s, want %s", operation, a.Status, a.Body, code)
	}
}

func (f *accessFixture) request(in fields) string {
	f.t.Helper()
	var out struct{ AccessRequestID string }
	f.ok(f.ann, "ssm", "StartAccessRequest", in).Decode(f.t, &out)
	return out.AccessRequestID
}

type accessToken struct {
	AccessRequestStatus string
	Credentials         *struct{ AccessKeyID, SecretAccessKey, SessionToken string }
}

func (f *accessFixture) token(id, status string) accessToken {
	f.t.Helper()
	var out accessToken
	f.ok(f.ann, "ssm", "GetAccessToken", fields{"AccessRequestId": id}).Decode(f.t, &out)
	if out.AccessRequestStatus != status || (out.Credentials != nil) != (status == "Approved") {
		f.t.Errorf("the token of a request that should be %s: %+v", status, out)
	}
	return out
}

// TestAccessRequestApprovals: two people other than the requester approve a
// request, and then sessions start under it. The audit trail has its ID at
// every step. Revoking it ends the sessions.
func TestAccessRequestApprovals(t *testing.T) {
	t.Parallel()
	f := newAccessFixture(
		t,
		fields{
			"Name":            "prod",
			"Tags":            []fields{{"Key": "Env", "Value": "prod"}},
			"Approvals":       2,
			"DurationSeconds": 3600,
		},
	)
	start := fields{"Target": f.node.ID}
	f.refused("AccessDeniedException", f.ann, "ssm", "StartSession", start)
	id := f.request(f.target)
	decide := func(reason string) fields { return fields{"AccessRequestId": id, "Reason": reason} }
	f.token(id, "Pending")
	f.refused("AccessDeniedException", f.ann, "sekisho", "ApproveAccessRequest", decide("mine"))
	f.refused("ResourceNotFoundException", f.Admin, "ssm", "GetAccessToken", fields{"AccessRequestId": id})
	f.ok(f.bob, "sekisho", "ApproveAccessRequest", decide("fine"))
	f.token(id, "Pending") // one of two
	f.refused("AccessDeniedException", f.ann, "ssm", "StartSession", start)
	if a := f.JSON(f.bob, "sekisho", "ApproveAccessRequest", decide("again")); a.Status == http.StatusOK {
		t.Error("one person approved twice")
	}
	f.refused("ValidationException", f.carl, "sekisho", "ApproveAccessRequest", decide(""))
	f.ok(f.carl, "sekisho", "ApproveAccessRequest", decide("fine, too"))
	got := f.token(id, "Approved")
	x := f.Session(sigv4.Credentials{
		AccessKeyID: got.Credentials.AccessKeyID, SecretAccessKey: got.Credentials.SecretAccessKey,
		SessionToken: got.Credentials.SessionToken,
	}, f.node)
	var listed struct {
		Sessions []struct{ AccessType, AccessRequestID string }
	}
	f.ok(f.Admin, "ssm", "DescribeSessions",
		fields{"State": "Active", "Filters": []fields{{"key": "AccessType", "value": "JustInTime"}}}).
		Decode(t, &listed)
	if len(listed.Sessions) != 1 || listed.Sessions[0].AccessType != "JustInTime" ||
		listed.Sessions[0].AccessRequestID != id {
		t.Errorf("%+v", listed)
	}
	// It gives access to its own nodes only.
	other := f.Node()
	other.Connect()
	f.refused("AccessDeniedException", f.ann, "ssm", "StartSession", fields{"Target": other.ID})

	f.ok(f.bob, "sekisho", "RevokeAccessRequest", decide("done"))
	if why := ended(f.Server, x.ID); !strings.Contains(why, id) {
		t.Errorf("the session ended because %q", why)
	}
	f.token(id, "Revoked")
	f.refused("AccessDeniedException", f.ann, "ssm", "StartSession", start)
	for _, of := range []string{"Session Started", "Session Ended", "Access Request Changed"} {
		f.Eventually(of, func() bool {
			var events struct {
				Events []struct{ Detail map[string]any }
			}
			f.ok(f.Admin, "sekisho", "ListEvents", fields{"DetailType": of}).Decode(t, &events)
			return slices.ContainsFunc(events.Events, func(e struct{ Detail map[string]any }) bool {
				return e.Detail["access-request-id"] == id
			})
		})
	}
	for _, name := range []string{"StartAccessRequest", "ApproveAccessRequest", "StartSession", "RevokeAccessRequest"} {
		found := false
		for _, e := range f.Events(name) {
			b, err := json.Marshal(e)
			must(t, err)
			found = found || strings.Contains(string(b), id)
		}
		if !found {
			t.Errorf("no event %s of the audit trail has the ID of the request", name)
		}
	}
}

// Requesters list their own requests, whatever credentials they use, without a permission. The requests
// of others need one.
func TestRequestersListTheirOwn(t *testing.T) {
	t.Parallel()
	f := newAccessFixture(t, oneApproval(1))
	zoe := f.User("zoe", servertest.Allow("*", accessActions...))
	f.ok(zoe, "ssm", "StartAccessRequest", f.target)
	id := f.request(f.target)
	list := func(keys sigv4.Credentials, in fields) []string {
		t.Helper()
		var out struct {
			AccessRequests []struct{ AccessRequestID, Requester string }
		}
		f.ok(keys, "sekisho", "ListAccessRequests", in).Decode(t, &out)
		var ids []string
		for _, r := range out.AccessRequests {
			ids = append(ids, r.AccessRequestID)
		}
		return ids
	}
	for name, keys := range map[string]sigv4.Credentials{
		"the requester": f.ann, "a role of the requester": f.assume("empty", f.ann),
	} {
		if got := list(keys, fields{"Mine": true}); !slices.Equal(got, []string{id}) {
			t.Errorf("%s lists %q as its own, want %s", name, got, id)
		}
		f.refused("AccessDeniedException", keys, "sekisho", "ListAccessRequests", fields{})
	}
	if got := list(f.User("nobody", ""), fields{"Mine": true}); len(got) != 0 {
		t.Errorf("a user without requests lists %q as its own", got)
	}
	if got := list(f.bob, fields{}); len(got) != 2 {
		t.Errorf("a user with the permission lists %q, want both requests", got)
	}
	must(t, f.Directory.Holders.PutInline(t.Context(), identity.KindUser, "ann", "deny",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"sekisho:ListAccessRequests","Resource":"*"}]}`))
	f.refused("AccessDeniedException", f.ann, "sekisho", "ListAccessRequests", fields{"Mine": true})
}

// TestApprovalDoesNotCoverReverseForwarding: whoever approves access to a node does
// not approve that it listens for the client; a policy can.
func TestApprovalDoesNotCoverReverseForwarding(t *testing.T) {
	t.Parallel()
	f := newAccessFixture(
		t,
		fields{"Name": "prod", "Tags": []fields{{"Key": "Env", "Value": "prod"}}, "Approvals": 0, "DurationSeconds": 3600},
	)
	start := func(document string) fields {
		return fields{"Target": f.node.ID, "DocumentName": document, "Parameters": fields{"portNumber": []string{"9000"}}}
	}
	const reverse, forward = "Sekisho-StartReversePortForwardingSession", "AWS-StartPortForwardingSession"
	f.token(f.request(f.target), "Approved")
	f.ok(f.ann, "ssm", "StartSession", start(forward))
	f.refused("AccessDeniedException", f.ann, "ssm", "StartSession", start(reverse))
	for document, want := range map[string]int{forward: 1, reverse: 0} {
		var reach struct{ Access []struct{ NodeID string } }
		f.ok(f.ann, "sekisho", "ListMyAccess", fields{"DocumentName": document}).Decode(t, &reach)
		var check struct {
			Checks []struct{ Kind, Outcome string }
		}
		f.ok(f.ann, "sekisho", "CheckSessionStart", fields{"Target": f.node.ID, "DocumentName": document}).Decode(t, &check)
		if len(reach.Access) != want || len(check.Checks) == 0 || (check.Checks[0].Outcome == "Ready") != (want == 1) {
			t.Errorf("%s: reach %+v, check %+v", document, reach, check)
		}
	}
	must(t, f.Directory.Holders.PutInline(t.Context(), identity.KindUser, "ann", "reverse",
		servertest.Allow("*", "ssm:StartSession")))
	f.ok(f.ann, "ssm", "StartSession", start(reverse))
}

// TestAccessRequestsExpire: access ends when its time is over, and so do the
// sessions that used it.
func TestAccessRequestsExpire(t *testing.T) {
	t.Parallel()
	f := newAccessFixture(t, fields{"Name": "auto", "Approvals": 0, "DurationSeconds": 1800})
	id := f.request(f.target)
	f.token(id, "Approved")
	x := f.Session(f.ann, f.node)
	f.ahead.Store(int64(29 * time.Minute))
	x.Check(t)
	f.ahead.Store(int64(30 * time.Minute))
	if why := ended(f.Server, x.ID); !strings.Contains(why, id) {
		t.Errorf("the session ended because %q", why)
	}
	f.token(id, "Expired")
	f.refused("AccessDeniedException", f.ann, "ssm", "StartSession", fields{"Target": f.node.ID})
}

// TestAccessRules: which rule applies to a request, and which principals can decide.
func TestAccessRules(t *testing.T) {
	t.Parallel()
	f := newAccessFixture(
		t,
		fields{
			"Name":            "prod",
			"Tags":            []fields{{"Key": "Env", "Value": "prod"}},
			"Approvals":       1,
			"DurationSeconds": 60,
			"Approvers":       []string{"arn:aws:iam::*:user/c*l"},
		},
		fields{
			"Name":            "others",
			"Requesters":      []string{"arn:aws:iam::*:user/zoe"},
			"Approvals":       0,
			"DurationSeconds": 60,
		},
	)
	id := f.request(f.target)
	f.refused(
		"AccessDeniedException",
		f.bob,
		"sekisho",
		"ApproveAccessRequest",
		fields{"AccessRequestId": id, "Reason": "no approver"},
	)
	f.ok(f.carl, "sekisho", "RejectAccessRequest", fields{"AccessRequestId": id, "Reason": "not now"})
	f.token(id, "Rejected")
	plain := f.Node()
	f.refused("AccessDeniedException", f.ann, "ssm", "StartAccessRequest",
		fields{"Reason": "x", "Targets": []fields{{"Key": "InstanceIds", "Values": []string{plain.ID}}}})
	f.ok(f.Admin, "sekisho", "PutAccessRule", fields{"Name": "prod-2", "Approvals": 1, "DurationSeconds": 60})
	f.refused("ValidationException", f.ann, "ssm", "StartAccessRequest", f.target) // two rules apply
	f.ok(f.Admin, "sekisho", "DeleteAccessRule", fields{"Name": "prod-2"})
	for name, bad := range map[string]fields{
		"name":      {"Name": "a b", "Approvals": 1, "DurationSeconds": 60},
		"approvals": {"Name": "rule", "Approvals": 11, "DurationSeconds": 60},
		"duration":  {"Name": "rule", "Approvals": 1, "DurationSeconds": 86401},
		"approver":  {"Name": "rule", "Approvals": 1, "DurationSeconds": 60, "Approvers": []string{"carl"}},
	} {
		if a := f.JSON(f.Admin, "sekisho", "PutAccessRule", bad); a.Status != http.StatusBadRequest {
			t.Errorf("a rule with a bad %s: %d %s", name, a.Status, a.Body)
		}
	}
	var rules struct{ AccessRules []struct{ Name string } }
	f.ok(f.Admin, "sekisho", "ListAccessRules", fields{}).Decode(t, &rules)
	if len(rules.AccessRules) != 2 {
		t.Errorf("%+v", rules)
	}
	for name, bad := range map[string]fields{
		"no reason given": {"Targets": f.target["Targets"]},
		"two lines":       {"Reason": "a\nb", "Targets": f.target["Targets"]},
		"no targets":      {"Reason": "x"},
		"another key":     {"Reason": "x", "Targets": []fields{{"Key": "tag:Env", "Values": []string{"prod"}}}},
		"not a node":      {"Reason": "x", "Targets": []fields{{"Key": "InstanceIds", "Values": []string{"web-1"}}}},
		"unknown node": {"Reason": "x",
			"Targets": []fields{{"Key": "InstanceIds", "Values": []string{"mi-0123456789abcdef0"}}}},
	} {
		if a := f.JSON(f.ann, "ssm", "StartAccessRequest", bad); a.Status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", name, a.Status, a.Body)
		}
	}
}

// TestBreakGlass: access without approval needs a permission of its own, and
// raises an alarm.
func TestBreakGlass(t *testing.T) {
	t.Parallel()
	f := newAccessFixture(t)
	f.target["BreakGlass"] = true
	f.refused("AccessDeniedException", f.ann, "ssm", "StartAccessRequest", f.target)
	dora := f.User("dora", servertest.Allow("*", append([]string{"sekisho:BreakGlass"}, accessActions...)...))
	var out struct{ AccessRequestID string }
	f.ok(dora, "ssm", "StartAccessRequest", f.target).Decode(t, &out)
	f.Session(dora, f.node).Check(t)
	alarms := f.Events("BreakGlassUsed")
	b, err := json.Marshal(alarms)
	must(t, err)
	if len(alarms) != 1 || !strings.Contains(string(b), out.AccessRequestID) ||
		!strings.Contains(string(b), "ticket 4711") {
		t.Errorf("in the audit trail: %s", b)
	}
	f.Eventually("the event", func() bool {
		return strings.Contains(
			f.ok(f.Admin, "sekisho", "ListEvents", fields{"DetailType": "Break Glass Used"}).Body,
			out.AccessRequestID,
		)
	})
}

// TestAccessRequestsDoNotOverrideDeny: an approval allows what no policy allows,
// and nothing that a policy denies.
func TestAccessRequestsDoNotOverrideDeny(t *testing.T) {
	t.Parallel()
	f := newAccessFixture(t, fields{"Name": "auto", "Approvals": 0, "DurationSeconds": 1800})
	eve := f.User(
		"eve",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ssm:StartAccessRequest","Resource":"*"},
		{"Effect":"Deny","Action":"ssm:StartSession","Resource":"*"}]}`,
	)
	f.ok(eve, "ssm", "StartAccessRequest", f.target)
	f.refused("AccessDeniedException", eve, "ssm", "StartSession", fields{"Target": f.node.ID})
}

// TestAccessRequestsOfFederatedPeople: users of an identity provider choose
// their role session names, so another name does not make another person.
func TestAccessRequestsOfFederatedPeople(t *testing.T) {
	t.Parallel()
	f := newAccessFixture(t, fields{"Name": "prod", "Approvals": 1, "DurationSeconds": 1800})
	ctx := t.Context()
	provider, err := f.Directory.Providers.Create(ctx, "https://idp.example.com", []string{"client"}, nil, nil)
	must(t, err)
	role, err := f.Directory.Roles.Create(
		ctx,
		identity.NewRole{Name: "people", Trust: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow",
		"Principal":{"Federated":"` + provider.ARN + `"},"Action":"sts:AssumeRoleWithWebIdentity"}]}`},
	)
	must(t, err)
	must(t, f.Directory.Holders.PutInline(ctx, identity.KindRole, "people", "inline",
		servertest.Allow("*", append([]string{"sekisho:ApproveAccessRequest"}, accessActions...)...)))
	as := func(subject, name string) sigv4.Credentials {
		t.Helper()
		c, _, err := f.Directory.Credentials.AssumeRoleWithWebIdentity(
			ctx,
			&identity.WebIdentity{Provider: provider, Subject: subject},
			role,
			identity.SessionRequest{Name: name},
		)
		must(t, err)
		return sigv4.Credentials{
			AccessKeyID:     c.AccessKeyID,
			SecretAccessKey: c.SecretAccessKey,
			SessionToken:    c.SessionToken,
		}
	}
	var out struct{ AccessRequestID string }
	f.ok(as("gina-1", "gina"), "ssm", "StartAccessRequest", f.target).Decode(t, &out)
	approve := fields{"AccessRequestId": out.AccessRequestID, "Reason": "fine"}
	f.refused("AccessDeniedException", as("gina-1", "somebody-else"), "sekisho", "ApproveAccessRequest", approve)
	f.ok(as("hugo-1", "gina"), "sekisho", "ApproveAccessRequest", approve)
	f.refused("AccessDeniedException", as("hugo-1", "gina"), "ssm", "StartSession", fields{"Target": f.node.ID})
	f.Session(as("gina-1", "gina-again"), f.node).Check(t)
}

// TestAccessRequestsOfLimitedCredentials: credentials that are limited by
// session policies do not get the access of their issuer.
func TestAccessRequestsOfLimitedCredentials(t *testing.T) {
	t.Parallel()
	f := newAccessFixture(t, fields{"Name": "auto", "Approvals": 0, "DurationSeconds": 1800})
	ctx := t.Context()
	f.request(f.target)
	_, ann, err := f.Directory.Credentials.Credential(ctx, f.ann.AccessKeyID, "")
	must(t, err)
	role, err := f.Directory.Roles.Create(
		ctx,
		identity.NewRole{Name: "work", Trust: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow",
		"Principal":{"AWS":"` + ann.ARN + `"},"Action":"sts:AssumeRole"}]}`},
	)
	must(t, err)
	credentials := func(c identity.TemporaryCredentials, _ any, err error) sigv4.Credentials {
		t.Helper()
		must(t, err)
		return sigv4.Credentials{
			AccessKeyID:     c.AccessKeyID,
			SecretAccessKey: c.SecretAccessKey,
			SessionToken:    c.SessionToken,
		}
	}
	narrow := []string{servertest.Allow("*", "s3:GetObject")}
	start := fields{"Target": f.node.ID}
	for _, limited := range []sigv4.Credentials{
		credentials(f.Directory.Credentials.AssumeRole(ctx, ann, role,
			identity.SessionRequest{Name: "job", Policies: narrow})),
		credentials(f.Directory.Credentials.FederationToken(ctx, ann,
			identity.SessionRequest{Name: "partner", Policies: narrow})),
		credentials(f.Directory.Credentials.FederationToken(ctx, ann, identity.SessionRequest{Name: "partner"})),
	} {
		f.refused("AccessDeniedException", limited, "ssm", "StartSession", start)
	}
	f.Session(credentials(f.Directory.Credentials.AssumeRole(ctx, ann, role, identity.SessionRequest{Name: "job"})),
		f.node).
		Check(t)
}
