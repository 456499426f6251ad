package servertest_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"sekisho/internal/servertest"
)

// Loading the console checks what its user may do. The audit trail must not
// show these checks as calls that the user made and was refused.
func TestLoadingTheConsoleLeavesNoCallsOfTheUser(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.User("alice", servertest.Allow("*", "sekisho:GetIntegrity"))
	const password = "Correct-Horse-7"
	if _, err := s.Directory.Logins.Create(t.Context(), "alice", password, false); err != nil {
		t.Fatal(err)
	}
	b := s.Browser()
	if a := b.SignIn("alice", password); a.Status != http.StatusOK {
		t.Fatal(a.Body)
	}
	for _, path := range []string{"/console/", "/console/api/session", "/console/api/providers"} {
		if a := b.Request(http.MethodGet, path, nil); a.Status != http.StatusOK {
			t.Errorf("%s: %d %s", path, a.Status, a.Body)
		}
	}
	question := map[string]string{"Action": "ssm:DescribeInstanceProperties"}
	a := b.Call("Sekisho.DescribeMyAccess", map[string]any{"Questions": []any{question}})
	var access struct{ Answers []struct{ Allowed bool } }
	a.Decode(t, &access)
	if len(access.Answers) != 1 || access.Answers[0].Allowed {
		t.Errorf("access of a user without policies: %s", a.Body)
	}
	if a := b.Call("Sekisho.GetIntegrity", map[string]any{}); a.Status != http.StatusOK {
		t.Errorf("the banner: %d %s", a.Status, a.Body)
	}
	listen(t, s, b)

	var events struct {
		Events []struct{ CloudTrailEvent string }
	}
	s.JSON(s.Admin, "cloudtrail", "LookupEvents", map[string]any{
		"LookupAttributes": []any{map[string]string{"AttributeKey": "Username", "AttributeValue": "alice"}},
	}).Decode(t, &events)
	var names []string
	for _, e := range events.Events {
		var one struct{ EventName, ErrorCode string }
		if err := json.Unmarshal([]byte(e.CloudTrailEvent), &one); err != nil {
			t.Fatal(err)
		}
		names = append(names, one.EventName+one.ErrorCode)
	}
	slices.Sort(names)
	if want := []string{"ConsoleLogin"}; !slices.Equal(names, want) {
		t.Errorf("the trail has %v of alice, want %v", names, want)
	}
}

// listen opens the change stream and reads its first line.
func listen(t *testing.T, s *servertest.Server, b *servertest.Browser) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/console/api/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	const cookie = "__Host-sekisho"
	r.AddCookie(&http.Cookie{Name: cookie, Value: b.Cookie(cookie)})
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: s.TLS()}}
	defer client.CloseIdleConnections()
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	line, err := bufio.NewReader(res.Body).ReadString('\n')
	if res.StatusCode != http.StatusOK || strings.TrimSpace(line) == "" {
		t.Errorf("the stream of changes: %s, %q, %v", res.Status, line, err)
	}
}
