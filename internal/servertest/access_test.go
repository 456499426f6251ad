package servertest_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsssm "github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"sekisho/internal/iam/identity"
	"sekisho/internal/server"
	"sekisho/internal/servertest"
	"sekisho/internal/session/broker"
	"sekisho/internal/wire/mgs"
	"sekisho/internal/wire/sigv4"
)

const password = "Correct-Horse-1"

// ended waits until a session has ended, and returns why.
func ended(s *servertest.Server, id string) (details string) {
	s.Eventually(id+" to end", func() bool {
		out, err := s.SSM(s.Admin).DescribeSessions(context.Background(), &awsssm.DescribeSessionsInput{
			State: types.SessionStateHistory, Filters: []types.SessionFilter{{Key: types.SessionFilterKeySessionId, Value: &id}},
		})
		if err != nil || len(out.Sessions) == 0 {
			return false
		}
		details = aws.ToString(out.Sessions[0].Details)
		return true
	})
	return details
}

// TestRevokedAccessEndsSessions: when an owner loses the key, user or
// permission that a session was started with, both ends are disconnected
// within seconds. Other sessions continue.
func TestRevokedAccessEndsSessions(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	ctx := t.Context()
	n := s.Node()
	n.Connect()
	user := func(name string) sigv4.Credentials {
		c := s.User(name, servertest.Allow("*", "ssm:StartSession", "sts:AssumeRole"))
		_, err := s.Directory.Logins.Create(ctx, name, password, false)
		must(t, err)
		return c
	}
	console := func(name string) string {
		b := s.Browser()
		if a := b.SignIn(name, password); a.Status != http.StatusOK {
			t.Fatalf("sign in: %d %s", a.Status, a.Body)
		}
		var out struct{ SessionID string }
		b.Call("AmazonSSM.StartSession", map[string]string{"Target": n.ID}).Decode(t, &out)
		return out.SessionID
	}
	bystander := s.Session(user("bystander"), n)

	disabled := user("disabled")
	x := s.Session(disabled, n)
	must(t, s.Directory.Keys.SetActive(ctx, "disabled", disabled.AccessKeyID, false))
	for _, leg := range []*servertest.Channel{x.Client, x.Agent} {
		closed, err := mgs.ParseBody[mgs.ChannelClosed](leg.Receive(mgs.TypeChannelClosed).Payload)
		if err != nil || closed.SessionID != x.ID ||
			leg == x.Client && !strings.Contains(closed.Output, broker.Revoked) {
			t.Errorf("%+v, %v", closed, err)
		}
	}
	if got := ended(s, x.ID); got != broker.Revoked {
		t.Errorf("a deactivated key's session: %q", got)
	}
	if a := s.JSON(disabled, "ssm", "DescribeSessions",
		map[string]string{"State": "Active"}); a.Code() != "UnrecognizedClientException" {
		t.Errorf("a deactivated key: %s", a.Body)
	}

	user("changed")
	b := s.Browser()
	b.SignIn("changed", password)
	id := console("changed")
	must(t, s.Directory.Logins.ChangePassword(ctx, "changed", password, "Battery-Staple-2"))
	if got := ended(s, id); got != broker.Revoked {
		t.Errorf("a session of a sign-in whose password changed: %q", got)
	}
	if a := b.Request(http.MethodGet, "/console/api/session", nil); a.Status != http.StatusUnauthorized {
		t.Errorf("a sign-in outlived its password: %d %s", a.Status, a.Body)
	}

	out := user("signedout")
	keyed := s.Session(out, n)
	b = s.Browser()
	b.SignIn("signedout", password)
	var began struct{ SessionID string }
	b.Call("AmazonSSM.StartSession", map[string]string{"Target": n.ID}).Decode(t, &began)
	other := console("signedout")
	if a := b.Request(http.MethodDelete, "/console/api/session", nil); a.Status != http.StatusNoContent {
		t.Fatalf("sign out: %d %s", a.Status, a.Body)
	}
	if got := ended(s, began.SessionID); got != broker.Revoked {
		t.Errorf("a session of a sign-in that was ended: %q", got)
	}
	// No client attached to the other session, so it may have ended for that
	// reason.
	past, err := s.SSM(s.Admin).DescribeSessions(ctx, &awsssm.DescribeSessionsInput{
		State:   types.SessionStateHistory,
		Filters: []types.SessionFilter{{Key: types.SessionFilterKeySessionId, Value: &other}},
	})
	if err != nil || len(past.Sessions) > 0 && aws.ToString(past.Sessions[0].Details) == broker.Revoked {
		t.Errorf("the session of another sign-in: %+v, %v", past, err)
	}
	keyed.Check(t)
	bystander.Check(t)
}

// TestSessionsMayOutliveAccess: with the setting off, sessions continue, but
// tokens still expire.
func TestSessionsMayOutliveAccess(t *testing.T) {
	t.Parallel()
	s := servertest.StartWith(t, func(c *server.Config) { c.KeepSessions = true })
	n := s.Node()
	n.Connect()
	c := s.User("alice", servertest.Allow("*", "ssm:StartSession"))
	x := s.Session(c, n)
	must(t, s.Directory.Keys.Delete(t.Context(), "alice", c.AccessKeyID))
	if a := s.JSON(c, "ssm", "ResumeSession",
		map[string]string{"SessionId": x.ID}); a.Code() != "UnrecognizedClientException" {
		t.Errorf("a deleted key: %s", a.Body)
	}
	// Long enough for a watch that should not exist.
	until := time.Now().Add(2500 * time.Millisecond)
	s.Eventually("a while to pass", func() bool { return time.Now().After(until) })
	x.Check(t)
}

// answerOf is the response of ExplainAccess.
type answerOf struct {
	Allowed          bool
	Decision, Reason string
	Statement        string
	Steps            []struct{ ResourceArn, Decision, Reason string }
	Windows          []struct{ From, To float64 }
	Sampled          bool
}

// TestWhy asks "can user X, from IP Y, reach machine Z between T1 and T2".
// Each of the five parts fails alone and is named in the answer, and the
// answer agrees with the call itself.
func TestWhy(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	clock := time.Date(2026, 4, 15, 2, 0, 0, 0, time.UTC)
	s := servertest.StartWith(t, func(c *server.Config) {
		c.Now = func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return clock
		}
	})
	n, another := s.Node(), s.Node()
	n.Connect()
	another.Connect()
	from, to := time.Date(2026, 4, 15, 0, 0, 0, 0, time.UTC), time.Date(2026, 4, 15, 4, 0, 0, 0, time.UTC)
	window := `{"Version":"2012-10-17","Statement":[{"Sid":"Window","Effect":"Allow","Action":"ssm:StartSession",
		"Resource":"arn:aws:ssm:` + servertest.Region + `:` + servertest.Account + `:managed-instance/` + n.ID + `",
		"Condition":{"IpAddress":{"aws:SourceIp":"127.0.0.2/32"},"DateGreaterThan":{"aws:CurrentTime":"2026-04-15T00:00:00Z"},"DateLessThan":{"aws:CurrentTime":"2026-04-15T04:00:00Z"}}}]}`
	keys := map[string]sigv4.Credentials{"alice": s.User("alice", window), "bob": s.User("bob", "")}
	middle := from.Add(2 * time.Hour)
	for name, c := range map[string]struct {
		user, ip, node string
		at             time.Time
		want           string // "": allowed
	}{
		"all conditions met": {"alice", "127.0.0.2", n.ID, middle, ""},
		"first second":       {"alice", "127.0.0.2", n.ID, from.Add(time.Second), ""},
		"last second":        {"alice", "127.0.0.2", n.ID, to.Add(-time.Second), ""},
		"another user":       {"bob", "127.0.0.2", n.ID, middle, "no identity-based policy allows the action"},
		"another address":    {"alice", "127.0.0.3", n.ID, middle, "aws:SourceIp: is 127.0.0.3, must be 127.0.0.2/32"},
		"another machine":    {"alice", "127.0.0.2", another.ID, middle, "the resource: the statement covers"},
		"too early":          {"alice", "127.0.0.2", n.ID, from, "aws:CurrentTime: window opens 2026-04-15T00:00:00Z"},
		"too late":           {"alice", "127.0.0.2", n.ID, to, "aws:CurrentTime: window closed 2026-04-15T04:00:00Z"},
	} {
		var why answerOf
		s.JSON(s.Admin, "sekisho", "ExplainAccess", map[string]any{
			"UserName": c.user, "Target": c.node, "SourceIp": c.ip, "At": c.at.Unix(),
		}).Decode(t, &why)
		if why.Allowed != (c.want == "") || !strings.Contains(why.Reason, c.want) {
			t.Errorf("%s: %+v, want %q", name, why, c.want)
		}
		mu.Lock()
		clock = c.at
		mu.Unlock()
		s.From(c.ip, func() {
			a := s.JSON(keys[c.user], "ssm", "StartSession", map[string]string{"Target": c.node})
			if (a.Status == http.StatusOK) != (c.want == "") {
				t.Errorf("%s: the call was answered %d %s", name, a.Status, a.Body)
			}
			if c.want != "" && (a.Code() != "AccessDeniedException" || strings.Contains(a.Body, c.want)) {
				t.Errorf("%s: the caller received %s", name, a.Body)
			}
		})
		if c.want != "" {
			// Events are listed by time, and the clock of this test jumps back and forth.
			recorded := slices.ContainsFunc(s.Events("StartSession"), func(e servertest.Event) bool {
				return strings.HasPrefix(e.ErrorCode, "AccessDenied") && e.EventTime.Equal(c.at) &&
					e.SourceIPAddress == c.ip &&
					e.UserIdentity.UserName == c.user &&
					strings.Count(e.Reason(), c.want) == 1
			})
			if !recorded {
				t.Errorf(
					"%s: the audit trail has no denial of %s from %s at %s because of %q",
					name,
					c.user,
					c.ip,
					c.at,
					c.want,
				)
			}
		}
	}

	var why answerOf
	s.JSON(s.Admin, "sekisho", "ExplainAccess", map[string]any{
		"UserName": "alice", "Target": n.ID, "SourceIp": "127.0.0.2", "At": middle.Unix(),
		"From": from.Add(-24 * time.Hour).Unix(), "To": to.Add(24 * time.Hour).Unix(),
	}).Decode(t, &why)
	if len(why.Windows) != 1 || int64(why.Windows[0].From) != from.Unix()+1 || int64(why.Windows[0].To) != to.Unix() {
		t.Errorf("windows %+v, want %d to %d", why.Windows, from.Unix()+1, to.Unix())
	}

	// Windows of seconds are found within a month if a policy names them, but
	// not if the time is compared as text.
	month := map[string]any{
		"UserName": "bob",
		"Target":   n.ID,
		"From":     from.Unix(),
		"To":       from.Add(31 * 24 * time.Hour).Unix(),
	}
	for condition, want := range map[string]string{
		`"DateEquals":{"aws:CurrentTime":["2026-04-20T01:02:03Z","2026-05-01T00:00:00Z"]}`: "[{1.776646923e+09 " +
			"1.776646924e+09} {1.7775936e+09 1.777593601e+09}] false",
		`"NumericGreaterThanEquals":{"aws:EpochTime":"1776646923"},` +
			`"DateLessThan":{"aws:CurrentTime":"2026-04-20T10:02:05.5+09:00"}`: "[{1.776646923e+09 1.776646926e+09}] false",
		`"StringLike":{"aws:CurrentTime":"2026-04-2*"}`: "[{1.7766432e+09 1.7775072e+09}] true",
	} {
		must(
			t,
			s.Directory.Holders.PutInline(
				t.Context(),
				identity.KindUser,
				"bob",
				"inline",
				`{"Version":"2012-10-17","Statement":[
			{"Effect":"Allow","Action":"ssm:StartSession","Resource":"*","Condition":{`+condition+`}}]}`,
			),
		)
		var why answerOf
		s.JSON(s.Admin, "sekisho", "ExplainAccess", month).Decode(t, &why)
		if got := fmt.Sprint(why.Windows, why.Sampled); got != want {
			t.Errorf("%s: %s; want %s", condition, got, want)
		}
	}

	// Documents, second factors, sessions of other users, invalid questions.
	must(
		t,
		s.Directory.Holders.PutInline(t.Context(), identity.KindUser, "bob", "inline", `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"ssm:StartSession","Resource":"arn:aws:ssm:*:*:managed-instance/*","Condition":{"Bool":{"aws:MultiFactorAuthPresent":"true"}}},
		{"Effect":"Allow","Action":"ssm:TerminateSession","Resource":"arn:aws:ssm:*:*:session/${aws:userid}-*"}]}`),
	)
	mine, _ := s.StartSession(s.Admin, another)
	mu.Lock()
	clock = middle
	mu.Unlock()
	for name, c := range map[string]struct {
		in   map[string]any
		want string
	}{
		"without a second factor": {map[string]any{"UserName": "bob", "Target": n.ID},
			"aws:MultiFactorAuthPresent: is not in the request"},
		"with a second factor": {map[string]any{"UserName": "bob", "Target": n.ID, "MFA": true}, ""},
		"with a document": {map[string]any{"UserName": "bob", "Target": n.ID, "MFA": true,
			"DocumentName": "AWS-StartSSHSession"}, "resource"},
		"another user's session": {map[string]any{"UserName": "bob", "Action": "ssm:TerminateSession", "Target": mine},
			"session/${aws:userid}-*"},
		"an action without a resource": {map[string]any{"UserName": "admin", "Action": "ssm:DescribeSessions"}, ""},
	} {
		var why answerOf
		s.JSON(s.Admin, "sekisho", "ExplainAccess", c.in).Decode(t, &why)
		if why.Allowed != (c.want == "") || !strings.Contains(why.Reason, c.want) {
			t.Errorf("%s: %+v, want %q", name, why, c.want)
		}
	}
	for name, in := range map[string]map[string]any{
		"nobody":                   {"Target": n.ID},
		"no address":               {"UserName": "alice", "Target": n.ID, "SourceIp": "here"},
		"one end of a period only": {"UserName": "alice", "Target": n.ID, "From": 1},
		"a long period":            {"UserName": "alice", "Target": n.ID, "From": 1, "To": 40 * 86400},
		"several actions":          {"UserName": "alice", "Action": "ssm:*"},
	} {
		if a := s.JSON(s.Admin, "sekisho", "ExplainAccess", in); a.Code() != "ValidationException" {
			t.Errorf("%s: %s", name, a.Body)
		}
	}
	// What does not exist is unknown rather than denied.
	for name, in := range map[string]map[string]any{
		"node":    {"UserName": "alice", "Target": "mi-0123456789abcdef0"},
		"name":    {"UserName": "alice", "Target": "web-1"},
		"tag":     {"UserName": "alice", "Target": "tag:Role=db"},
		"nothing": {"UserName": "alice"},
		"session": {"UserName": "alice", "Action": "ssm:TerminateSession", "Target": "alice-abcdefghijklmnopqrstuvwxyz"},
	} {
		if a := s.JSON(s.Admin, "sekisho", "ExplainAccess", in); a.Code() != "ResourceNotFoundException" {
			t.Errorf("unknown %s: %s", name, a.Body)
		}
	}
	for user, in := range map[string]map[string]any{
		"allowed":   {"UserName": "alice", "Target": n.ID, "SourceIp": "127.0.0.2", "At": middle.Unix()},
		"near miss": {"UserName": "alice", "Target": n.ID, "SourceIp": "127.0.0.3", "At": middle.Unix()},
	} {
		var why answerOf
		s.JSON(s.Admin, "sekisho", "ExplainAccess", in).Decode(t, &why)
		if !strings.Contains(why.Statement, "Window") {
			t.Errorf("%s: the statement is %q", user, why.Statement)
		}
	}
	if a := s.JSON(s.Admin, "sekisho", "ExplainAccess",
		map[string]any{"UserName": "nobody"}); a.Code() != "ResourceNotFoundException" {
		t.Errorf("explaining the access of an unknown user: %s", a.Body)
	}
	if a := s.JSON(keys["alice"], "sekisho", "ExplainAccess",
		map[string]any{"UserName": "alice", "Target": n.ID}); a.Code() != "AccessDeniedException" {
		t.Errorf("by alice: %s", a.Body)
	}
}

// TestSimulatorSaysWhy: responses of the simulator contain the reason next to
// AWS's members.
func TestSimulatorSaysWhy(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.User(
		"alice",
		`{"Version":"2012-10-17","Statement":[{"Sid":"Window","Effect":"Allow","Action":"ssm:StartSession",`+
			`"Resource":"*","Condition":{"DateLessThan":{"aws:CurrentTime":"2026-04-15T04:00:00Z"}}}]}`,
	)
	simulate := func(when string) string {
		return s.Do(
			func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") },
			s.Admin,
			"iam",
			http.MethodPost,
			"/",
			"Action=SimulatePrincipalPolicy&Version=2010-05-08&PolicySourceArn=arn:aws:iam::"+servertest.Account+
				":user/alice&ActionNames.member.1=ssm:StartSession"+
				"&ContextEntries.member.1.ContextKeyName=aws:CurrentTime&ContextEntries.member.1.ContextKeyType=date"+
				"&ContextEntries.member.1.ContextKeyValues.member.1="+when,
		).Body
	}
	if got := simulate("2026-04-15T05:00:00Z"); !strings.Contains(got, "<EvalDecision>implicitDeny</EvalDecision>") ||
		!strings.Contains(
			got,
			"<SekishoReason>allowed but for aws:CurrentTime: window closed 2026-04-15T04:00:00Z</SekishoReason>",
		) {
		t.Errorf("after the window: %s", got)
	}
	if got := simulate("2026-04-15T03:00:00Z"); !strings.Contains(
		got,
		"<SekishoReason>allowed by statement Window of inline (identity-based policy)</SekishoReason>",
	) {
		t.Errorf("simulated within the window: %s", got)
	}
}

// TestSecretsAtRest: no secret that the server received or issued is readable
// in its files or its log.
func TestSecretsAtRest(t *testing.T) {
	t.Parallel()
	var dir string
	var log bytes.Buffer
	var logMu sync.Mutex
	s := servertest.StartWith(t, func(c *server.Config) {
		dir = c.DataDir
		c.Log = slog.New(slog.NewTextHandler(writer(func(b []byte) (int, error) {
			logMu.Lock()
			defer logMu.Unlock()
			return log.Write(b)
		}), &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	ctx := t.Context()
	secrets := map[string]string{"an administrator's key": s.Admin.SecretAccessKey}
	c := s.User("alice", servertest.Allow("*", "*"))
	secrets["a secret access key"] = c.SecretAccessKey
	_, err := s.Directory.Logins.Create(ctx, "alice", password, false)
	must(t, err)
	secrets["a password"] = password
	device, err := s.Directory.MFA.Create(ctx, "/", "phone", nil)
	must(t, err)
	secrets["a TOTP seed"] = device.Seed
	_, p, err := s.Directory.Credentials.Credential(ctx, c.AccessKeyID, "")
	must(t, err)
	temporary, err := s.Directory.Credentials.SessionToken(ctx, p, 0, time.Time{})
	must(t, err)
	secrets["a temporary secret"], secrets["a session token"] = temporary.SecretAccessKey, temporary.SessionToken
	if a := s.JSON(sigv4.Credentials{AccessKeyID: temporary.AccessKeyID, SecretAccessKey: temporary.SecretAccessKey,
		SessionToken: temporary.SessionToken}, "ssm", "DescribeSessions",
		map[string]string{"State": "Active"}); a.Status != http.StatusOK {
		t.Fatalf("the temporary key: %s", a.Body)
	}
	activation, err := s.SSM(s.Admin).
		CreateActivation(ctx, &awsssm.CreateActivationInput{IamRole: aws.String("service-role/" + identity.NodeRole)})
	must(t, err)
	secrets["an activation code"] = *activation.ActivationCode
	n := s.NodeOf(*activation.ActivationId, *activation.ActivationCode)
	secrets["a node's secret"], secrets["a node's token"] = n.Credentials.SecretAccessKey, n.Credentials.SessionToken
	n.Connect()
	x := s.Session(c, n)
	secrets["a channel token"] = x.Token
	b := s.Browser()
	if a := b.SignIn("alice", password); a.Status != http.StatusOK {
		t.Fatalf("sign in: %s", a.Body)
	}
	secrets["a console cookie"] = b.Cookie("__Host-sekisho")
	if a := s.Browser().SignIn("alice", "Wrong-Horse-And-Staple"); a.Status == http.StatusOK {
		t.Fatal("a wrong password was accepted")
	}
	secrets["a wrong password"] = "Wrong-Horse-And-Staple"
	if a := s.JSON(s.Admin, "ssm", "Nonsense",
		map[string]string{"Password": "Planted-In-A-Request"}); a.Status == http.StatusOK {
		t.Fatal("an unknown operation was accepted")
	}
	secrets["a password in a request"] = "Planted-In-A-Request"

	read := 0
	grep := func(where string, content []byte) {
		read += len(content)
		for what, secret := range secrets {
			if secret == "" {
				t.Fatalf("%s is empty: the test proves nothing", what)
			}
			forms := [][]byte{[]byte(secret), []byte(base64.StdEncoding.EncodeToString([]byte(secret)))}
			if raw, err := base64.RawURLEncoding.DecodeString(secret); err == nil && len(raw) >= 16 {
				forms = append(forms, raw)
			}
			for _, form := range forms {
				if bytes.Contains(content, form) {
					t.Errorf("%s is in plain text in %s", what, where)
				}
			}
		}
	}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		grep(path, content)
		return err
	})
	must(t, err)
	logMu.Lock()
	defer logMu.Unlock()
	grep("the log", log.Bytes())
	if read < 100_000 || !bytes.Contains(readFiles(t, dir), []byte("alice")) {
		t.Errorf("only %d bytes were read: the test proves nothing", read)
	}
}

type writer func(b []byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

func readFiles(t *testing.T, dir string) []byte {
	t.Helper()
	var all []byte
	names, err := filepath.Glob(filepath.Join(dir, "sekisho.db*"))
	must(t, err)
	for _, name := range names {
		b, err := os.ReadFile(name)
		must(t, err)
		all = append(all, b...)
	}
	return all
}

// TestKeysRotateWhileTheServerRuns: old data can still be opened, new data is
// sealed with the new key, and the old master key opens nothing.
func TestKeysRotateWhileTheServerRuns(t *testing.T) {
	t.Parallel()
	var dir string
	s := servertest.StartWith(t, func(c *server.Config) { dir = c.DataDir })
	c := s.User("alice", servertest.Allow("*", "ssm:DescribeSessions"))
	works := func(when string, c sigv4.Credentials) {
		t.Helper()
		if a := s.JSON(c, "ssm", "DescribeSessions", map[string]string{"State": "Active"}); a.Status != http.StatusOK {
			t.Errorf("%s: %d %s", when, a.Status, a.Body)
		}
	}
	works("before", c)
	_, p, err := s.Directory.Credentials.Credential(t.Context(), c.AccessKeyID, "")
	must(t, err)
	temporary, err := s.Directory.Credentials.SessionToken(t.Context(), p, 0, time.Time{})
	must(t, err)
	token := sigv4.Credentials{
		AccessKeyID:     temporary.AccessKeyID,
		SecretAccessKey: temporary.SecretAccessKey,
		SessionToken:    temporary.SessionToken,
	}
	master := filepath.Join(dir, "keys", "master.key")
	old, err := os.ReadFile(master)
	must(t, err)

	sealed, err := server.RotateKeys(t.Context(), server.State{Dir: dir})
	if err != nil || sealed < 2 { // the administrator's key and alice's
		t.Fatalf("%d were sealed again, %v", sealed, err)
	}
	if again, err := os.ReadFile(master); err != nil || bytes.Equal(old, again) {
		t.Errorf("the master key is the old one, %v", err)
	}
	works("the key, after", c)
	works("the token, after", token)
	works("a key made after", s.User("bob", servertest.Allow("*", "ssm:DescribeSessions")))
	s.Restart()
	works("the key, after a restart", c)
	works("the token, after a restart", token)
	if _, err := server.RotateKeys(t.Context(), server.State{Dir: t.TempDir()}); err == nil {
		t.Error("keys were rotated in a directory without a server's state")
	}
}
