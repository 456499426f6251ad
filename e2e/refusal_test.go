package e2e_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"sekisho/e2e/harness"
)

// TestUnknownTarget: the error distinguishes unknown nodes from malformed IDs.
func TestUnknownTarget(t *testing.T) {
	t.Parallel()
	eachCLI(t, func(t *testing.T, path []string) {
		r := harness.Do(t, shared.Shell(t.Context(), path, `aws ssm start-session --target mi-00000000000000000`))
		if r.Code == 0 || !strings.Contains(r.Stderr, "TargetNotConnected") ||
			!strings.Contains(r.Stderr, "registered") {
			t.Errorf("exit %d: %s", r.Code, r.Stderr)
		}
	})
}

// TestBadCredentials: AWS's error codes, as AWS's own client shows them.
func TestBadCredentials(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, script, want string }{
		{
			"wrong secret",
			`AWS_SECRET_ACCESS_KEY=wrong; export AWS_SECRET_ACCESS_KEY; aws ssm describe-sessions --state Active`,
			"InvalidSignatureException",
		},
		{
			"unknown key",
			`AWS_ACCESS_KEY_ID=AKIAUNKNOWNUNKNOWN00; export AWS_ACCESS_KEY_ID; aws ssm describe-sessions --state Active`,
			"UnrecognizedClientException",
		},
		{
			"unknown key to STS",
			`AWS_ACCESS_KEY_ID=AKIAUNKNOWNUNKNOWN00; export AWS_ACCESS_KEY_ID; aws sts get-caller-identity`,
			"InvalidClientTokenId",
		},
		{
			"wrong secret to STS",
			`AWS_SECRET_ACCESS_KEY=wrong; export AWS_SECRET_ACCESS_KEY; aws sts get-caller-identity`,
			"SignatureDoesNotMatch",
		},
		{
			"invented session token",
			`AWS_SESSION_TOKEN=invented; export AWS_SESSION_TOKEN; aws ssm describe-sessions --state Active`,
			"UnrecognizedClientException",
		},
		{
			"an operation that is not implemented",
			`aws ssm describe-patch-groups`,
			"ssm:DescribePatchGroups is not implemented by Sekisho",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := harness.Do(t, shared.Shell(t.Context(), nil, test.script))
			if r.Code == 0 || !strings.Contains(r.Stderr, test.want) {
				t.Errorf("exit %d, want %s: %s%s", r.Code, test.want, r.Stdout, r.Stderr)
			}
		})
	}
}

// TestSkewedClock: a signature with the wrong time is refused with the reason.
func TestSkewedClock(t *testing.T) {
	t.Parallel()
	e := env(t, shared)
	for _, skew := range []time.Duration{-time.Hour, time.Hour} {
		a := harness.CallSSM(t, e, time.Now().Add(skew), "DescribeSessions", `{"State":"Active"}`)
		if a.Status != http.StatusBadRequest && a.Status != http.StatusForbidden ||
			!strings.Contains(a.Body, "InvalidSignatureException") ||
			!strings.Contains(a.Body, "Signature") {
			t.Errorf("signed with a clock off by %s: %d %s", skew, a.Status, a.Body)
		}
	}
	if a := harness.CallSSM(t, e, time.Now(), "DescribeSessions", `{"State":"Active"}`); a.Status != http.StatusOK {
		t.Errorf("with the right clock: %d %s", a.Status, a.Body)
	}
}

// opened is the response of StartSession.
type opened struct {
	TokenValue string
	StreamURL  string `json:"StreamUrl"`
}

func start(t *testing.T, e map[string]string) opened {
	t.Helper()
	request, err := json.Marshal(map[string]string{"Target": e["SEKISHO_TARGET"]})
	if err != nil {
		t.Fatal(err)
	}
	a := harness.CallSSM(t, e, time.Now(), "StartSession", string(request))
	var o opened
	if err := json.Unmarshal([]byte(a.Body), &o); err != nil || a.Status != http.StatusOK || o.TokenValue == "" {
		t.Fatalf("StartSession: %d %s", a.Status, a.Body)
	}
	return o
}

// join opens a client channel with a token, as the plugin does, and returns
// nil once the agent's first frame arrives.
func join(t *testing.T, e map[string]string, streamURL, token string, header http.Header) error {
	t.Helper()
	client, err := harness.Client(e)
	if err != nil {
		t.Fatal(err)
	}
	client.Timeout = 0 // it would cut the connection; the context ends the test
	conn, _, err := websocket.Dial(
		t.Context(),
		streamURL,
		&websocket.DialOptions{HTTPClient: client, HTTPHeader: header},
	)
	if err != nil {
		return err
	}
	t.Cleanup(func() { _ = conn.CloseNow() })
	conn.SetReadLimit(1 << 20)
	first, err := json.Marshal(map[string]string{
		"MessageSchemaVersion": "1.0",
		"RequestId":            "5f3c1f1e-6a51-4a4e-9d3a-0d8f2f0f7a11",
		"TokenValue":           token,
		"ClientId":             "0c9f3e3a-3f5b-4f0e-8f55-6f1d0a3a9b22",
		"ClientVersion":        "1.2.677.0",
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Write(t.Context(), websocket.MessageText, first); err != nil {
		return err
	}
	kind, _, err := conn.Read(t.Context())
	if err == nil && kind != websocket.MessageBinary {
		err = errors.New("the first frame is not binary")
	}
	return err
}

// TestTokenIsUsedOnce: the token of a data channel opens one connection, of
// its own session only, and not from a page of another site.
func TestTokenIsUsedOnce(t *testing.T) {
	t.Parallel()
	e := env(t, shared)

	o := start(t, e)
	if err := join(t, e, o.StreamURL, o.TokenValue, nil); err != nil {
		t.Fatalf("the token does not open its session: %v", err)
	}
	if err := join(t, e, o.StreamURL, o.TokenValue, nil); err == nil {
		t.Error("the token opened a second connection")
	}

	one, other := start(t, e), start(t, e)
	if err := join(t, e, one.StreamURL, other.TokenValue, nil); err == nil {
		t.Error("a token opened the stream of another session")
	}
	if err := join(t, e, one.StreamURL, "AAEAAinvented", nil); err == nil {
		t.Error("an invented token opened a session")
	}

	foreign := start(t, e)
	if err := join(t, e, foreign.StreamURL, foreign.TokenValue,
		http.Header{"Origin": {"https://elsewhere.example"}}); err == nil {
		t.Error("a page of another origin opened a session")
	}
	console, err := url.Parse(e["SEKISHO_CONSOLE_URL"])
	if err != nil {
		t.Fatal(err)
	}
	own := start(t, e)
	if err := join(t, e, own.StreamURL, own.TokenValue,
		http.Header{"Origin": {console.Scheme + "://" + console.Host}}); err != nil {
		t.Errorf("the console's own origin is refused: %v", err)
	}
}
