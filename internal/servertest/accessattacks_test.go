package servertest_test

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sekisho/internal/iam/identity"
	"sekisho/internal/servertest"
	"sekisho/internal/wire/sigv4"
)

// oneApproval is a rule for nodes with the tag Env=prod.
func oneApproval(approvals int) fields {
	return fields{
		"Name": "prod", "Tags": []fields{{"Key": "Env", "Value": "prod"}}, "Approvals": approvals, "DurationSeconds": 3600,
	}
}

// assume assumes a role that allows decisions about access requests, as the
// user of keys.
func (f *accessFixture) assume(role string, keys sigv4.Credentials) sigv4.Credentials {
	f.t.Helper()
	ctx := f.t.Context()
	_, p, err := f.Directory.Credentials.Credential(ctx, keys.AccessKeyID, "")
	must(f.t, err)
	r, err := f.Directory.Roles.Get(ctx, role)
	if err != nil {
		r, err = f.Directory.Roles.Create(ctx, identity.NewRole{Name: role, Trust: `{"Version":"2012-10-17",
			"Statement":[{"Effect":"Allow","Principal":{"AWS":"` + servertest.Account + `"},"Action":"sts:AssumeRole"}]}`})
		must(f.t, err)
		must(f.t, f.Directory.Holders.PutInline(ctx, identity.KindRole, role, "inline",
			servertest.Allow("*", "sekisho:ApproveAccessRequest", "sekisho:RejectAccessRequest")))
	}
	c, _, err := f.Directory.Credentials.AssumeRole(ctx, p, r, identity.SessionRequest{Name: "work"})
	must(f.t, err)
	return sigv4.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken}
}

// A person counts once: with any key, role or role session, they can neither
// approve their own request nor approve twice.
func TestOnePersonApprovesOnce(t *testing.T) {
	t.Parallel()
	f := newAccessFixture(t, oneApproval(2))
	id := f.request(f.target)
	approve := fields{"AccessRequestId": id, "Reason": "fine"}
	second := func(user string) sigv4.Credentials {
		t.Helper()
		k, err := f.Directory.Keys.Create(t.Context(), user)
		must(t, err)
		return sigv4.Credentials{AccessKeyID: k.ID, SecretAccessKey: k.Secret}
	}
	for name, keys := range map[string]sigv4.Credentials{
		"the requester": f.ann, "a second key of the requester": second("ann"),
		"a role that the requester assumed": f.assume("approvers", f.ann),
	} {
		if a := f.JSON(keys, "sekisho", "ApproveAccessRequest", approve); a.Code() != "AccessDeniedException" {
			t.Errorf("%s approves: %d %s", name, a.Status, a.Body)
		}
	}
	f.ok(f.bob, "sekisho", "ApproveAccessRequest", approve)
	for name, keys := range map[string]sigv4.Credentials{
		"the first approver": f.bob, "a second key of the first approver": second("bob"),
		"a role that the first approver assumed": f.assume("approvers", f.bob),
	} {
		if a := f.JSON(keys, "sekisho", "ApproveAccessRequest", approve); a.Status == http.StatusOK {
			t.Errorf("%s approves again: %s", name, a.Body)
		}
	}
	f.token(id, "Pending")
	f.ok(f.assume("approvers", f.carl), "sekisho", "ApproveAccessRequest", approve)
	f.token(id, "Approved")
}

// Of simultaneous decisions, the first of each person counts, and none counts
// after the request is decided.
func TestDecisionsRace(t *testing.T) {
	t.Parallel()
	f := newAccessFixture(t, oneApproval(2))
	race := func(id string, keys ...sigv4.Credentials) (accepted int) {
		t.Helper()
		statuses := make([]int, len(keys))
		var wg sync.WaitGroup
		for i, k := range keys {
			wg.Go(func() {
				statuses[i] = f.JSON(k, "sekisho", "ApproveAccessRequest",
					fields{"AccessRequestId": id, "Reason": "fine"}).Status
			})
		}
		wg.Wait()
		for _, s := range statuses {
			if s == http.StatusOK {
				accepted++
			}
		}
		return accepted
	}
	id := f.request(f.target)
	if n := race(id, f.bob, f.bob, f.bob, f.bob); n != 1 {
		t.Errorf("%d of four approvals of one person were accepted, want 1", n)
	}
	f.token(id, "Pending")
	if n := race(id, f.carl, f.Admin); n != 1 {
		t.Errorf("%d of two last approvals were accepted, want 1", n)
	}
	f.token(id, "Approved")
	// An approval and a revocation: in either order, access is revoked.
	id = f.request(f.target)
	f.ok(f.bob, "sekisho", "ApproveAccessRequest", fields{"AccessRequestId": id, "Reason": "fine"})
	var wg sync.WaitGroup
	wg.Go(func() {
		f.JSON(f.carl, "sekisho", "ApproveAccessRequest", fields{"AccessRequestId": id, "Reason": "fine"})
	})
	wg.Go(func() {
		f.JSON(f.Admin, "sekisho", "RevokeAccessRequest", fields{"AccessRequestId": id, "Reason": "stop"})
	})
	wg.Wait()
	f.token(id, "Revoked")
}

// Only a pending request can be decided.
func TestLateDecisions(t *testing.T) {
	t.Parallel()
	f := newAccessFixture(t, oneApproval(1))
	id := f.request(f.target)
	f.ahead.Store(int64(7 * 24 * time.Hour))
	approve := fields{"AccessRequestId": id, "Reason": "late"}
	if a := f.JSON(f.bob, "sekisho", "ApproveAccessRequest", approve); a.Status == http.StatusOK {
		t.Errorf("an expired request was approved: %s", a.Body)
	}
	f.token(id, "Expired")
	f.refused("AccessDeniedException", f.ann, "ssm", "StartSession", fields{"Target": f.node.ID})
	for _, first := range []string{"RejectAccessRequest", "RevokeAccessRequest"} {
		id := f.request(f.target)
		decision := fields{"AccessRequestId": id, "Reason": "no"}
		f.ok(f.bob, "sekisho", first, decision)
		if a := f.JSON(f.carl, "sekisho", "ApproveAccessRequest", decision); a.Status == http.StatusOK {
			t.Errorf("approved after %s: %s", first, a.Body)
		}
	}
}

// Changes after the approval: a policy that denies ends the access, deleting
// the requester ends it too, and deleting an approver does not.
func TestChangesAfterTheApproval(t *testing.T) {
	t.Parallel()
	f := newAccessFixture(t, oneApproval(1))
	ctx := t.Context()
	id := f.request(f.target)
	f.ok(f.bob, "sekisho", "ApproveAccessRequest", fields{"AccessRequestId": id, "Reason": "fine"})
	must(t, f.Directory.Holders.DeleteInline(ctx, identity.KindUser, "bob", "inline"))
	must(t, f.Directory.Keys.Delete(ctx, "bob", f.bob.AccessKeyID))
	must(t, f.Directory.Users.Delete(ctx, "bob"))
	x := f.Session(f.ann, f.node)
	x.Check(t)
	must(t, f.Directory.Holders.PutInline(ctx, identity.KindUser, "ann", "deny",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"ssm:StartSession","Resource":"*"}]}`))
	f.refused("AccessDeniedException", f.ann, "ssm", "StartSession", fields{"Target": f.node.ID})
	ended(f.Server, x.ID)

	must(t, f.Directory.Holders.DeleteInline(ctx, identity.KindUser, "ann", "deny"))
	x = f.Session(f.ann, f.node)
	must(t, f.Directory.Keys.SetActive(ctx, "ann", f.ann.AccessKeyID, false))
	ended(f.Server, x.ID)
}

// Only the requester gets the credentials of a request, and they reach only
// the nodes of the request.
func TestAccessIsTheRequestersOwn(t *testing.T) {
	t.Parallel()
	f := newAccessFixture(t, oneApproval(1))
	eve := f.User("eve", servertest.Allow("*", accessActions...))
	id := f.request(f.target)
	// The console checks before it starts a session.
	ready := func(keys sigv4.Credentials, want string) {
		t.Helper()
		var out struct {
			Checks []struct{ Kind, Outcome string }
		}
		f.ok(keys, "sekisho", "CheckSessionStart", fields{"Target": f.node.ID}).Decode(t, &out)
		if len(out.Checks) == 0 || out.Checks[0].Kind != "Access" || out.Checks[0].Outcome != want {
			t.Errorf("the check before a session says %+v, want %s", out.Checks, want)
		}
	}
	ready(f.ann, "Failing")
	f.ok(f.bob, "sekisho", "ApproveAccessRequest", fields{"AccessRequestId": id, "Reason": "fine"})
	ready(f.ann, "Ready")
	var reach struct {
		Access []struct {
			PrincipalArn, NodeID string
			Spans                []struct{ DependsOn []string }
		}
	}
	for operation, in := range map[string]fields{
		"ListNodeAccess": {"Target": f.node.ID}, "ListPrincipalAccess": {"UserName": "ann"},
	} {
		listed := false
		reach.Access = nil
		f.ok(f.Admin, "sekisho", operation, in).Decode(t, &reach)
		for _, e := range reach.Access {
			listed = listed || (strings.HasSuffix(e.PrincipalArn, "user/ann") || e.NodeID == f.node.ID) &&
				len(e.Spans) == 1 && slices.Equal(e.Spans[0].DependsOn, []string{"access request " + id})
		}
		if !listed {
			t.Errorf("%s does not list the approved request: %+v", operation, reach.Access)
		}
	}
	ready(eve, "Failing")
	f.refused("ResourceNotFoundException", eve, "ssm", "GetAccessToken", fields{"AccessRequestId": id})
	f.refused("AccessDeniedException", eve, "ssm", "StartSession", fields{"Target": f.node.ID})
	other := f.Node()
	other.Connect()
	token := f.token(id, "Approved").Credentials
	keys := sigv4.Credentials{
		AccessKeyID: token.AccessKeyID, SecretAccessKey: token.SecretAccessKey, SessionToken: token.SessionToken,
	}
	f.refused("AccessDeniedException", keys, "ssm", "StartSession", fields{"Target": other.ID})
	f.ok(f.ann, "sekisho", "RevokeAccessRequest", fields{"AccessRequestId": id, "Reason": "done"})
	f.refused("AccessDeniedException", keys, "ssm", "StartSession", fields{"Target": f.node.ID})
}

// AWS's auto-approval policies are documents in Cedar. Writing one also
// requires permission to write access rules.
func TestAutoApprovalPolicy(t *testing.T) {
	t.Parallel()
	f := newAccessFixture(t, oneApproval(1))
	ctx := t.Context()
	_, err := f.Directory.Groups.Create(ctx, "/", "ops")
	must(t, err)
	create := fields{"Name": "AutoApproval", "DocumentType": "AutoApprovalPolicy", "Content": `
		// Operators get access to production without approval.
		permit (
			principal in AWS::IdentityStore::Group::"ops",
			action == AWS::SSM::Action::"getTokenForInstanceAccess",
			resource
		) when { resource.hasTag("Env") && resource.getTag("Env") == "prod" };`}
	writer := f.User("writer", servertest.Allow("*", "ssm:CreateDocument", "ssm:UpdateDocument",
		"ssm:UpdateDocumentDefaultVersion"))
	f.refused("AccessDeniedException", writer, "ssm", "CreateDocument", create)
	f.ok(f.Admin, "ssm", "CreateDocument", create)
	change := fields{"Name": "AutoApproval", "Content": "permit(principal, action, resource);",
		"DocumentVersion": "$LATEST"}
	f.refused("AccessDeniedException", writer, "ssm", "UpdateDocument", change)
	for name, bad := range map[string]fields{
		"InvalidDocumentContent": {"Name": "AutoApproval", "Content": "permit(principal"},
		"ValidationException":    {"Name": "Manual", "DocumentType": "ManualApprovalPolicy", "Content": "{}"},
		"DocumentLimitExceeded":  {"Name": "Another", "DocumentType": "AutoApprovalPolicy", "Content": change["Content"]},
	} {
		operation := "CreateDocument"
		if bad["DocumentType"] == nil {
			operation, bad["DocumentVersion"] = "UpdateDocument", "$LATEST"
		}
		f.refused(name, f.Admin, "ssm", operation, bad)
	}
	f.refused("InvalidDocument", f.Admin, "ssm", "StartSession",
		fields{"Target": f.node.ID, "DocumentName": "AutoApproval"})
	var read struct{ DocumentType, DocumentFormat, Content string }
	f.ok(f.Admin, "ssm", "GetDocument", fields{"Name": "AutoApproval"}).Decode(t, &read)
	if read.DocumentType != "AutoApprovalPolicy" || read.Content != create["Content"] {
		t.Errorf("read again: %+v", read)
	}

	// Others still need approval.
	f.token(f.request(f.target), "Pending")
	must(t, f.Directory.Groups.AddUser(ctx, "ann", "ops"))
	id := f.request(f.target)
	f.token(id, "Approved")
	x := f.Session(f.ann, f.node)
	x.Check(t)
	f.ahead.Store(int64(time.Hour)) // as long as in AWS
	ended(f.Server, x.ID)
	f.token(id, "Expired")
	// Without the tag, neither the policy nor the rule covers the node.
	f.ok(f.Admin, "ssm", "RemoveTagsFromResource", fields{
		"ResourceType": "ManagedInstance", "ResourceId": f.node.ID, "TagKeys": []string{"Env"},
	})
	f.refused("AccessDeniedException", f.ann, "ssm", "StartAccessRequest", f.target)
}
