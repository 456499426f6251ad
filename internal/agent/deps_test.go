package agent_test

import (
	"os/exec"
	"strings"
	"testing"
)

// TestAgentDependencies keeps packages out of the agent that do not belong in
// a program that runs as root on every node. Of our own packages it may link
// the vocabulary, the pure formats and the two that it shares with the server.
func TestAgentDependencies(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-deps", "sekisho/cmd/sekisho-agent").CombinedOutput()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, out)
	}
	allowed := map[string]string{
		"sekisho":                           "vocabulary",
		"sekisho/cmd/sekisho-agent":         "the program",
		"sekisho/internal/wire/id":          "format",
		"sekisho/internal/wire/mgs":         "format",
		"sekisho/internal/wire/sigv4":       "format; signs",
		"sekisho/internal/netguard":         "helper; the addresses that nobody may reach",
		"sekisho/internal/nearest":          "helper",
		"sekisho/internal/ratelimit":        "helper",
		"sekisho/internal/safetext":         "helper",
		"sekisho/internal/shellquote":       "helper",
		"sekisho/internal/ssmdoc":           "format",
		"sekisho/internal/wire/link":        "the way out",
		"sekisho/internal/wire/datachannel": "shared with clients",
		"sekisho/internal/wire/mux":         "shared with clients",
		"sekisho/internal/session/transfer": "shared with clients; runs as the session's user",
	}
	refused := []struct{ prefix, why string }{
		{"modernc.org/", "a node has no database"},
		{"database/sql", "a node has no database"},
		{"github.com/pressly/goose", "a node has no database"},
		{"github.com/jackc/", "a node has no database"},
		{"github.com/aws/", "the agent signs its few calls itself; an SDK is megabytes of code as root"},
		{"github.com/nats-io/", "agents speak to a server, never to its cluster"},
		{"go.opentelemetry.io/", "a node exports nothing"},
		{"github.com/prometheus/", "a node listens on nothing, so nothing can scrape it"},
		{"github.com/go-webauthn/", "people do not sign in at a node"},
		{"github.com/coreos/go-oidc", "people do not sign in at a node"},
		{"go.yaml.in/", "the agent's configuration is two values in JSON"},
		{"net/http/httptest", "test apparatus"},
		{"testing", "test apparatus"},
		{"net/http/pprof", "it would be a door"},
		{"expvar", "it would be a door"},
		{"plugin", "nothing is loaded at run time"},
	}
	seen := 0
	for pkg := range strings.Lines(string(out)) {
		pkg = strings.TrimSpace(pkg)
		seen++
		if strings.HasPrefix(pkg+"/", "sekisho/") && allowed[pkg] == "" &&
			!strings.HasPrefix(pkg+"/", "sekisho/internal/agent/") {
			t.Errorf("the agent links %s, which is the server's or a client's", pkg)
		}
		if pkg == "sekisho/internal/agent/agenttest" {
			t.Errorf("the agent links %s: test apparatus", pkg)
		}
		for _, r := range refused {
			if pkg == r.prefix || strings.HasPrefix(pkg, strings.TrimSuffix(r.prefix, "/")+"/") {
				t.Errorf("the agent links %s: %s", pkg, r.why)
			}
		}
	}
	if seen < 50 {
		t.Errorf("go list named %d packages only", seen)
	}
}
