package servertest_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"sekisho/internal/console"
	"sekisho/internal/servertest"
	"sekisho/internal/wire/awsproto"
)

// consolePassword is the password of the users here.
const consolePassword = "Correct-Horse-7"

// signedIn returns the browser of a user who was granted a policy.
func signedIn(t *testing.T, s *servertest.Server, name, policy string) *servertest.Browser {
	t.Helper()
	s.User(name, policy)
	if _, err := s.Directory.Logins.Create(t.Context(), name, consolePassword, false); err != nil {
		t.Fatal(err)
	}
	b := s.Browser()
	if a := b.SignIn(name, consolePassword); a.Status != http.StatusOK {
		t.Fatalf("sign-in of %s: %d %s", name, a.Status, a.Body)
	}
	return b
}

// consoleRoutes says what each route requires of its caller. The test fails for a route that is not
// here: decide who can call it, and add it.
var consoleRoutes = map[string]console.Access{
	"POST /console/api/session":              console.SigningIn,
	"GET /console/api/session":               console.SignedIn,
	"DELETE /console/api/session":            console.OwnPage,
	"POST /console/api/session/factor":       console.OwnPage,
	"POST /console/api/passkey":              console.SigningIn,
	"GET /console/api/providers":             console.Public,
	"POST /console/api/federation":           console.SigningIn,
	"GET /console/federation":                console.SigningIn,
	"POST /console/api/programs":             console.SigningIn,
	"POST /console/api/programs/credentials": console.SigningIn,
	"POST /console/api/programs/show":        console.OwnPage,
	"POST /console/api/programs/approve":     console.OwnPage,
	"POST /console/api/aws":                  console.OwnPage,
	"POST /console/api/s3":                   console.OwnPage,
	"GET /console/api/events":                console.SignedIn,
	"/console/api/":                          console.Public,
	"/console/":                              console.Public,
	"GET /console":                           console.Public,
	"GET /{$}":                               console.Public,
}

// TestConsoleRouteMatrix: every route of the console refuses callers without what it requires. The
// routes are those of the server, so that a new one cannot be forgotten.
func TestConsoleRouteMatrix(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	b := signedIn(t, s, "alice", servertest.Allow("*", "*"))
	other := []string{"Origin", "https://attacker.example"}
	for _, c := range []struct {
		name    string
		browser *servertest.Browser
		header  []string
		refused []console.Access
	}{
		{"nobody", s.Browser(), nil, []console.Access{console.SignedIn, console.OwnPage}},
		{"another site", b, other, []console.Access{console.OwnPage}},
		{"another site, by a link", b, []string{"Sec-Fetch-Site", "cross-site"}, []console.Access{console.OwnPage}},
		{"a site of the same domain", b, []string{"Sec-Fetch-Site", "same-site"}, []console.Access{console.OwnPage}},
		{"an opaque origin", b, []string{"Origin", "null"}, []console.Access{console.OwnPage}},
		{"plain HTTP", b, []string{"Origin", strings.Replace(s.URL, "https:", "http:", 1)},
			[]console.Access{console.OwnPage}},
		{"another port", b, []string{"Origin", "https://127.0.0.1:1"}, []console.Access{console.OwnPage}},
		{"no origin", b, []string{"Origin", ""}, []console.Access{console.OwnPage}},
		{"no token", b, []string{console.CSRFHeader, ""}, []console.Access{console.OwnPage}},
		{"another token", b, []string{console.CSRFHeader, strings.Repeat("A", 43)}, []console.Access{console.OwnPage}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, r := range s.ConsoleRoutes() {
				if !slices.Contains(c.refused, r.Access) {
					continue
				}
				method, path, found := strings.Cut(r.Pattern, " ")
				if !found {
					t.Fatalf("%s: only public routes can have any method", r.Pattern)
				}
				a := c.browser.Request(method, path, map[string]any{}, c.header...)
				if a.Status != http.StatusUnauthorized && a.Status != http.StatusForbidden {
					t.Errorf("%s: %d %.200s", r.Pattern, a.Status, a.Body)
				}
			}
		})
	}
	seen := map[string]bool{}
	for _, r := range s.ConsoleRoutes() {
		seen[r.Pattern] = true
		if want, ok := consoleRoutes[r.Pattern]; !ok || want != r.Access {
			t.Errorf("%s is %s; the matrix has %q", r.Pattern, r.Access, want)
		}
		method, path, found := strings.Cut(r.Pattern, " ")
		if !found {
			method, path = http.MethodGet, r.Pattern
		}
		if r.Access == console.OwnPage && method == http.MethodGet {
			t.Errorf("%s changes something with GET", r.Pattern)
		}
		// Sign-ins of another site's page are refused as well: they would replace the user's own.
		if r.Access == console.SigningIn && method == http.MethodPost && !strings.HasPrefix(path, "/console/api/programs") {
			if a := s.Browser().Request(method, path, map[string]any{}, other...); a.Status != http.StatusForbidden {
				t.Errorf("%s from another site: %d %.200s", r.Pattern, a.Status, a.Body)
			}
		}
	}
	for pattern := range consoleRoutes {
		if !seen[pattern] {
			t.Errorf("the matrix has %s, which the console lacks", pattern)
		}
	}
	// The browser that was attacked is still signed in.
	if a := b.Request(http.MethodGet, "/console/api/session", nil); a.Status != http.StatusOK {
		t.Errorf("afterwards: %d %s", a.Status, a.Body)
	}
}

// consoleTargets are the prefixes of JSON operations in the console, by service.
var consoleTargets = map[string]string{
	"ssm": "AmazonSSM", "sekisho": "Sekisho", "kms": "TrentService", "logs": "Logs_20140328",
	"cur": "AWSOrigamiServiceGatewayService", "cloudtrail": "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101",
}

// TestConsoleCallsArePolicyDecisions: through the console, every operation of every door refuses a
// signed-in user who was granted nothing, with the same code as a signed call.
func TestConsoleCallsArePolicyDecisions(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	n := s.Node()
	b := signedIn(t, s, "nobody", "")
	w := &words{node: n.ID}
	w.makeKey(t, s)
	calls := 0
	for _, d := range s.Doors() {
		prefix, isJSON := consoleTargets[d.Service], d.Protocol == awsproto.JSON
		if isJSON && prefix == "" {
			if d.Service != "ec2messages" { // for agents only
				t.Errorf("the console has no name for %s", d.Service)
			}
			continue
		}
		for _, op := range slices.Sorted(maps.Keys(d.Operations)) {
			name := d.Service + "." + op
			in := inputs[d.Service][op]
			if in == nil {
				in = inputs[d.Service][""]
			}
			var a servertest.Answer
			if isJSON {
				text, err := json.Marshal(in)
				must(t, err)
				a = b.Call(prefix+"."+op, json.RawMessage(w.fill(string(text))))
			} else {
				form := url.Values{"Action": {op}, "Version": {d.Version}}
				for k, v := range in.(map[string]any) {
					form.Set(k, v.(string))
				}
				a = b.Form(d.Service, form)
			}
			calls++
			if refused := isRefusal("user", name, a.Code()); refused == open[name].user {
				t.Errorf("%s: %d %.300s", name, a.Status, a.Body)
			}
		}
	}
	if calls < 200 {
		t.Errorf("%d calls: the doors were not enumerated", calls)
	}
	for _, line := range []string{"GET /bucket", "GET /", "GET /bucket/key", "PUT /bucket/key", "HEAD /bucket"} {
		a := b.Request(http.MethodPost, "/console/api/s3", nil, console.BucketHeader, line)
		if a.Status != http.StatusForbidden {
			t.Errorf("%s: %d %.200s", line, a.Status, a.Body)
		}
	}
}
