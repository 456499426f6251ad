package servertest_test

import (
	"net/http"
	"strings"
	"testing"

	"sekisho/internal/iam/identity"
	"sekisho/internal/servertest"
)

// TestPasswordsThatMustBeChanged: until the user changes the password, the
// console refuses everything else.
func TestPasswordsThatMustBeChanged(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	ctx := t.Context()
	for name, policy := range map[string]string{
		"alice": `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["ssm:DescribeSessions","iam:*"],` +
			`"Resource":"*"}]}`,
		"bob": servertest.Allow("*", "ssm:DescribeSessions"),
	} {
		s.User(name, policy)
		_, err := s.Directory.Logins.Create(ctx, name, password, true)
		must(t, err)
	}
	list := func(b *servertest.Browser) servertest.Answer {
		return b.Call("AmazonSSM.DescribeSessions", map[string]string{"State": "Active"})
	}
	due := func(a servertest.Answer) bool {
		var who struct{ PasswordReset bool }
		a.Decode(t, &who)
		return who.PasswordReset
	}
	b := s.Browser()
	if a := b.SignIn("alice", password); a.Status != http.StatusOK || !due(a) {
		t.Fatalf("the sign-in was answered %d %s", a.Status, a.Body)
	}
	refused := func(what string, a servertest.Answer) {
		t.Helper()
		if a.Status != http.StatusForbidden || !strings.Contains(a.Body, "Change your password first.") {
			t.Errorf("%s: %d %.200s", what, a.Status, a.Body)
		}
	}
	refused("a call", list(b))
	refused("events", b.Request(http.MethodGet, "/console/api/events", nil))
	refused("a bucket", b.Request(http.MethodPost, "/console/api/s3", nil, "X-Sekisho-S3", "GET /bucket"))
	refused("another call of IAM", b.Query("CreateAccessKey", "UserName", "alice"))
	refused(
		"two calls in one",
		b.Query(
			"ChangePassword",
			"Action",
			"CreateAccessKey",
			"OldPassword",
			password,
			"NewPassword",
			"Battery-Staple-2",
		),
	)
	refused("its own demand", b.Query("UpdateLoginProfile", "UserName", "alice", "PasswordResetRequired", "false"))
	for name, tc := range map[string]struct{ old, next, code string }{
		"a wrong old password":   {"Wrong-Horse-9", "Battery-Staple-2", "AccessDenied"},
		"a weak one":             {password, "weak", "PasswordPolicyViolation"},
		"the old password again": {password, password, "PasswordPolicyViolation"},
	} {
		if a := b.Query("ChangePassword", "OldPassword", tc.old, "NewPassword", tc.next); a.Code() != tc.code {
			t.Errorf("%s: %d %s", name, a.Status, a.Body)
		}
	}
	refused("after failures", list(b))
	const next = "Battery-Staple-2"
	if a := b.Query("ChangePassword", "OldPassword", password, "NewPassword", next); a.Status != http.StatusOK {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	// The sign-in used the password that was replaced.
	if a := list(b); a.Status != http.StatusUnauthorized {
		t.Errorf("the old sign-in: %d %s", a.Status, a.Body)
	}
	if a := b.SignIn("alice", password); a.Status != http.StatusUnauthorized {
		t.Errorf("the old password: %d %s", a.Status, a.Body)
	}
	if a := b.SignIn("alice", next); a.Status != http.StatusOK || due(a) {
		t.Errorf("the new password: %d %s", a.Status, a.Body)
	}
	if a := list(b); a.Status != http.StatusOK {
		t.Errorf("afterwards: %d %s", a.Status, a.Body)
	}
	for _, e := range s.Events("ChangePassword") {
		for _, v := range e.RequestParameters {
			if v == next || v == password {
				t.Errorf("the trail has a password: %v", e.RequestParameters)
			}
		}
	}
	// A reset that is required during a sign-in takes effect at once.
	yes := true
	must(t, s.Directory.Logins.Update(ctx, "alice", nil, &yes))
	refused("a reset meanwhile", list(b))

	// As in AWS, a user without permission to change the password must wait
	// until the administrator grants it.
	b = s.Browser()
	b.SignIn("bob", password)
	change := func() servertest.Answer {
		return b.Query("ChangePassword", "OldPassword", password, "NewPassword", next)
	}
	if a := change(); a.Code() != "AccessDenied" || !strings.Contains(a.Body, "iam:ChangePassword") {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	must(t, s.Directory.Holders.Attach(ctx, identity.KindUser, "bob", "arn:aws:iam::aws:policy/IAMUserChangePassword"))
	if a := change(); a.Status != http.StatusOK {
		t.Errorf("%d %s", a.Status, a.Body)
	}
}
