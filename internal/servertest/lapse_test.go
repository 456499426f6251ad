package servertest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sekisho/internal/iam/identity"
	"sekisho/internal/server"
	"sekisho/internal/servertest"
	"sekisho/internal/session/broker"
	"sekisho/internal/wire/mgs"
	"sekisho/internal/wire/sigv4"
)

// allowIf is a policy that allows StartSession, under a condition on the node.
func allowIf(condition map[string]any) string {
	b, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": []any{map[string]any{
		"Effect": "Allow", "Action": "ssm:StartSession", "Resource": "*", "Condition": condition,
	}}})
	if err != nil {
		panic(err) // cannot fail: only maps of strings
	}
	return string(b)
}

// endWhenDenied saves preferences under which sessions end when their
// permission ends.
func endWhenDenied(t *testing.T, s *servertest.Server) {
	t.Helper()
	a := s.JSON(s.Admin, "ssm", "CreateDocument", fields{"Name": preferencesName, "DocumentType": "Session",
		"Content": `{"schemaVersion":"1.0","sessionType":"Standard_Stream","inputs":{"sekisho":{"endWhenDenied":true}}}`})
	if a.Status != http.StatusOK {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
}

// connectOurs connects a node as the Sekisho agent does.
func connectOurs(t *testing.T, s *servertest.Server, n *servertest.Node) *servertest.Channel {
	t.Helper()
	ch := s.MustDial(n.Credentials, "control-channel", n.ID)
	token := s.CreateChannel(n.Credentials, "control-channel", n.ID).Token(t)
	ch.Text(strings.TrimSuffix(servertest.OpenFrame(token), "}") + `,"SekishoProcess":"process-1"}`)
	s.Eventually("the node to be connected", func() bool {
		var out struct{ Status string }
		s.JSON(s.Admin, "ssm", "GetConnectionStatus", fields{"Target": n.ID}).Decode(t, &out)
		return out.Status == "connected"
	})
	return ch
}

// TestSessionsEndWithTheWindow: a session ends when the time that policy
// allows is over. Its terminal is warned 5 minutes and 1 minute before.
func TestSessionsEndWithTheWindow(t *testing.T) {
	t.Parallel()
	base := time.Now().Truncate(time.Second)
	var ahead atomic.Int64
	s := servertest.StartWith(t, func(c *server.Config) {
		c.Now = func() time.Time { return base.Add(time.Duration(ahead.Load())) }
	})
	endWhenDenied(t, s)
	n := s.Node()
	control := connectOurs(t, s, n)
	closes := base.Add(time.Hour)
	user := s.User(
		"ann",
		allowIf(
			map[string]any{"DateLessThan": map[string]string{"aws:CurrentTime": closes.UTC().Format(time.RFC3339)}},
		),
	)
	x := s.Session(user, n)
	notice := func(at time.Duration, left string) {
		t.Helper()
		ahead.Store(int64(time.Hour - at))
		got, err := mgs.ParseBody[mgs.SessionNotice](control.Receive(mgs.TypeSessionNotice).Payload)
		if err != nil || got.SessionID != x.ID || !strings.Contains(got.Text, left) ||
			!strings.Contains(got.Text, closes.UTC().Format("15:04:05")) {
			t.Errorf("%s before the end: %+v, %v", at, got, err)
		}
	}
	notice(5*time.Minute, "5m0s")
	notice(time.Minute, "1m0s")
	x.Check(t) // the warnings change nothing
	ahead.Store(int64(time.Hour - time.Second))
	x.Check(t)
	ahead.Store(int64(time.Hour))
	if got := ended(s, x.ID); !strings.Contains(got, "lapsed") {
		t.Errorf("the session ended because %q", got)
	}
}

// TestSessionsEndWhenPermissionLapses: a session ends when a tag, a policy,
// the owner's tags or the client's address no longer allow it. Other sessions,
// and those without the option, continue.
func TestSessionsEndWhenPermissionLapses(t *testing.T) {
	t.Parallel()
	s := servertest.StartWith(
		t,
		func(c *server.Config) { c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")} },
	)
	endWhenDenied(t, s)
	ctx := t.Context()
	n := s.Node()
	n.Connect()
	tag := func(operation string, in fields) {
		t.Helper()
		in["ResourceType"], in["ResourceId"] = "ManagedInstance", n.ID
		if a := s.JSON(s.Admin, "ssm", operation, in); a.Status != http.StatusOK {
			t.Fatalf("%d %s", a.Status, a.Body)
		}
	}
	tag("AddTagsToResource", fields{"Tags": []fields{{"Key": "Env", "Value": "test"}}})
	lapsed := func(x *servertest.AttachedSession) {
		t.Helper()
		if got := ended(s, x.ID); !strings.Contains(got, "lapsed") {
			t.Errorf("the session ended because %q", got)
		}
	}
	bystander := s.Session(s.User("bystander", servertest.Allow("*", "ssm:StartSession")), n)

	tagged := s.Session(
		s.User("tagged", allowIf(map[string]any{"StringEquals": map[string]string{"ssm:resourceTag/Env": "test"}})),
		n,
	)
	tag("RemoveTagsFromResource", fields{"TagKeys": []string{"Env"}})
	lapsed(tagged)

	changed := s.Session(s.User("changed", servertest.Allow("*", "ssm:StartSession")), n)
	must(
		t,
		s.Directory.Holders.PutInline(
			ctx,
			identity.KindUser,
			"changed",
			"inline",
			servertest.Allow("*", "ssm:DescribeSessions"),
		),
	)
	lapsed(changed)

	moved := s.User("moved", allowIf(map[string]any{"IpAddress": map[string]string{"aws:SourceIp": "127.0.0.1/32"}}))
	x := s.Session(moved, n)
	var resumed struct{ TokenValue string }
	s.JSON(s.Admin, "ssm", "ResumeSession", fields{"SessionId": x.ID}).Decode(t, &resumed)
	client, err := s.Dial(sigv4.Credentials{}, "data-channel", x.ID, http.Header{"X-Forwarded-For": {"203.0.113.9"}})
	must(t, err)
	client.Text(servertest.ClientFrame(resumed.TokenValue))
	lapsed(x)
	bystander.Check(t)
}

// TestPermissionMayLapseWithoutTheOption: without the option a session outlives
// a change of policy.
func TestPermissionMayLapseWithoutTheOption(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	n := s.Node()
	n.Connect()
	x := s.Session(s.User("ann", servertest.Allow("*", "ssm:StartSession")), n)
	must(
		t,
		s.Directory.Holders.PutInline(
			t.Context(),
			identity.KindUser,
			"ann",
			"inline",
			servertest.Allow("*", "ssm:DescribeSessions"),
		),
	)
	// A session with the option, whose permission ends later, shows that the
	// check has run.
	content := `{"schemaVersion":"1.0","sessionType":"Standard_Stream","inputs":{"sekisho":{"endWhenDenied":true}}}`
	if a := s.JSON(s.Admin, "ssm", "CreateDocument",
		fields{"Name": "Ending", "DocumentType": "Session", "Content": content}); a.Status != http.StatusOK {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	bob := s.User("bob", servertest.Allow("*", "ssm:StartSession"))
	var out struct{ SessionID string }
	s.JSON(bob, "ssm", "StartSession", fields{"Target": n.ID, "DocumentName": "Ending"}).Decode(t, &out)
	must(
		t,
		s.Directory.Holders.PutInline(
			t.Context(),
			identity.KindUser,
			"bob",
			"inline",
			servertest.Allow("*", "ssm:DescribeSessions"),
		),
	)
	if got := ended(s, out.SessionID); !strings.Contains(got, "lapsed") {
		t.Errorf("the session ended because %q", got)
	}
	x.Check(t)
	if a := s.JSON(s.Admin, "ssm", "CreateDocument", fields{"Name": "Wrong", "DocumentType": "Session",
		"Content": strings.Replace(content, "true", `"yes"`, 1)}); a.Code() != "InvalidDocumentContent" {
		t.Errorf("a document whose endWhenDenied is not a boolean: %s", fmt.Sprint(a))
	}
}

// TestSessionsEndForEveryCause: a session ends when a calendar, a group, the
// owner's tags or the age of the second factor no longer allow it, and when its
// owner is deleted.
func TestSessionsEndForEveryCause(t *testing.T) {
	t.Parallel()
	base := time.Now().Truncate(time.Second)
	var ahead atomic.Int64
	s := servertest.StartWith(t, func(c *server.Config) {
		c.Now = func() time.Time { return base.Add(time.Duration(ahead.Load())) }
	})
	endWhenDenied(t, s)
	ctx := t.Context()
	n := s.Node()
	n.Connect()
	calendar := func(entry string) {
		t.Helper()
		_, err := s.Directory.Calendars.Put(ctx, identity.NewCalendar{Name: "on-call", Entries: []string{entry}})
		must(t, err)
	}
	day := base.UTC().Format(time.DateOnly)
	calendar(day + "/" + base.UTC().AddDate(0, 0, 2).Format(time.DateOnly))
	_, err := s.Directory.Groups.Create(ctx, "/", "ops")
	must(t, err)
	must(t, s.Directory.Holders.PutInline(ctx, identity.KindGroup, "ops", "start",
		servertest.Allow("*", "ssm:StartSession")))
	factor := s.User("factor", fresh)
	seed := enrolTOTP(t, s, "factor")
	var shown struct {
		Credentials struct {
			AccessKeyID                   string `json:"AccessKeyId"`
			SecretAccessKey, SessionToken string
		}
	}
	s.JSON(factor, "sekisho", "ShowSecondFactor", fields{"TokenCode": codeOf(t, seed)}).Decode(t, &shown)
	for _, tt := range []struct {
		cause string
		begin func() sigv4.Credentials
		lapse func()
	}{
		{"a calendar", func() sigv4.Credentials {
			return s.User("calendar", allowIf(map[string]any{"Bool": map[string]string{"sekisho:Calendar/on-call": "true"}}))
		}, func() { calendar("2020-01-01") }},
		{"a group", func() sigv4.Credentials {
			keys := s.User("group", servertest.Allow("*", "ssm:DescribeSessions"))
			must(t, s.Directory.Groups.AddUser(ctx, "group", "ops"))
			return keys
		}, func() { must(t, s.Directory.Groups.RemoveUser(ctx, "group", "ops")) }},
		{"the owner's tags", func() sigv4.Credentials {
			keys := s.User("tagged", allowIf(map[string]any{"StringEquals": map[string]string{"aws:PrincipalTag/Team": "db"}}))
			must(t, s.Directory.Tags.Add(ctx, identity.KindUser, "tagged", map[string]string{"Team": "db"}))
			return keys
		}, func() { must(t, s.Directory.Tags.Remove(ctx, identity.KindUser, "tagged", []string{"Team"})) }},
		{"the age of the second factor", func() sigv4.Credentials {
			return sigv4.Credentials{
				AccessKeyID: shown.Credentials.AccessKeyID, SecretAccessKey: shown.Credentials.SecretAccessKey,
				SessionToken: shown.Credentials.SessionToken,
			}
		}, func() { ahead.Store(int64(16 * time.Minute)) }},
	} {
		x := s.Session(tt.begin(), n)
		x.Check(t)
		tt.lapse()
		if got := ended(s, x.ID); !strings.Contains(got, "lapsed") {
			t.Errorf("%s: the session ended because %q", tt.cause, got)
		}
	}
	// Deleting a user ends their sessions at once, with or without the option.
	keys := s.User("gone", servertest.Allow("*", "ssm:StartSession"))
	x := s.Session(keys, n)
	must(t, s.Directory.Keys.Delete(ctx, "gone", keys.AccessKeyID))
	must(t, s.Directory.Holders.DeleteInline(ctx, identity.KindUser, "gone", "inline"))
	must(t, s.Directory.Users.Delete(ctx, "gone"))
	if got := ended(s, x.ID); got != broker.Revoked {
		t.Errorf("the session of a deleted user ended because %q", got)
	}
}
