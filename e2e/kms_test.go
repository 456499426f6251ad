package e2e_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sekisho"
	"sekisho/e2e/harness"
	"sekisho/internal/session/record"
	"sekisho/internal/storage/keyring"
)

// wiretap is a proxy in front of the server that records what the server
// sends.
type wiretap struct {
	*httptest.Server
	ca string // file with the certificates of proxy and server

	mu   sync.Mutex
	seen bytes.Buffer
}

func newWiretap(t *testing.T, e map[string]string) *wiretap {
	t.Helper()
	to, err := url.Parse(e["AWS_ENDPOINT_URL"])
	if err != nil {
		t.Fatal(err)
	}
	client, err := harness.Client(e)
	if err != nil {
		t.Fatal(err)
	}
	conf := client.Transport.(*http.Transport).TLSClientConfig
	w := &wiretap{}
	proxy := &httputil.ReverseProxy{
		// The Host header stays as the client wrote it, because it is signed.
		Rewrite: func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = to.Scheme, to.Host },
		Transport: &http.Transport{DialTLSContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := (&tls.Dialer{Config: conf}).DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &tapped{c, w}, nil
		}},
	}
	w.Server = httptest.NewTLSServer(proxy)
	t.Cleanup(w.Close)
	ca, err := os.ReadFile(e["SSL_CERT_FILE"])
	if err != nil {
		t.Fatal(err)
	}
	ca = append(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.Certificate().Raw})...)
	w.ca = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(w.ca, ca, 0o644); err != nil {
		t.Fatal(err)
	}
	return w
}

type tapped struct {
	net.Conn
	w *wiretap
}

func (c *tapped) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	c.w.seen.Write(b[:n])
	return n, err
}

// saw reports whether the server sent text.
func (w *wiretap) saw(text string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return bytes.Contains(w.seen.Bytes(), []byte(text))
}

// TestEncryptedSession: AWS's plugin and the node agree on a key of KMS. The
// server relays data that it cannot read, and reports that it has no
// recording.
func TestEncryptedSession(t *testing.T) {
	t.Parallel()
	run := func(script string, args ...string) string {
		t.Helper()
		r := harness.Do(t, shared.Shell(t.Context(), nil, script, args...))
		if r.Code != 0 {
			t.Fatalf("%s: exit %d: %s", script, r.Code, r.Stderr)
		}
		return strings.TrimSpace(r.Stdout)
	}
	key := run(`aws kms create-key --description "session data" --query KeyMetadata.Arn --output text`)
	run(`aws kms create-alias --alias-name alias/e2e-sessions --target-key-id "$1"`, key)
	run(
		`aws iam put-role-policy --role-name AmazonEC2RunCommandRoleForManagedInstances --policy-name kms `+
			`--policy-document "$1"`,
		fmt.Sprintf(
			`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:Decrypt","Resource":%q,`+
				`"Condition":{"StringLike":{"kms:EncryptionContext:aws:ssm:SessionId":"admin-*"}}}]}`,
			key,
		),
	)
	document := func(name, inputs string) {
		t.Helper()
		run(`aws ssm create-document --name "$1" --document-type Session --content "$2"`, name,
			`{"schemaVersion":"1.0","sessionType":"Standard_Stream","inputs":{`+inputs+`}}`)
	}
	document("E2E-Encrypted", `"kmsKeyId":"alias/e2e-sessions"`)
	document("E2E-InTheClear", "")

	e := env(t, shared)
	session := func(document, word string) (screen, id string, w *wiretap) {
		t.Helper()
		w = newWiretap(t, e)
		term := harness.OpenTerminal(t, 24, 100, shared.Shell(t.Context(), nil,
			`export AWS_CA_BUNDLE="$1" SSL_CERT_FILE="$1" AWS_ENDPOINT_URL_KMS="$AWS_ENDPOINT_URL"
			command aws --endpoint-url "$2" ssm start-session --target "$SEKISHO_TARGET" --document-name "$3"`, w.ca, w.URL,
			document))
		id = term.Expect(awhile, `Starting session with SessionId: (\S+)`)[1]
		term.Expect(soon, harness.Prompt)
		half := len(word) / 2
		term.Send("echo " + word[:half] + "''" + word[half:] + "\r")
		term.Expect(soon, `(?m)^`+word+`$`)
		term.Send("exit\r")
		term.Expect(soon, `Exiting session`)
		return term.Text(), id, w
	}

	// What the tap would see of an unencrypted session.
	_, id, w := session("E2E-InTheClear", "plainwordinsession")
	if !w.saw("plainwordinsession") {
		t.Fatal("the tap sees no traffic, so this test would prove nothing")
	}
	if cast := recordingOf(t, id); !strings.Contains(cast, "plainwordinsession") {
		t.Errorf("not recorded:\n%s", cast)
	}

	screen, id, w := session("E2E-Encrypted", "secretwordinsession")
	if !strings.Contains(screen, "encrypted") {
		t.Errorf("the terminal does not say that the session is encrypted:\n%s", screen)
	}
	if w.saw("secretwordinsession") {
		t.Error("the server could read the content of an encrypted session")
	}
	cast := recordingOf(t, id)
	if strings.Contains(cast, "secretwordinsession") || strings.Contains(cast, `"o"`) ||
		!strings.Contains(cast, "encrypted end to end") {
		t.Errorf("recorded:\n%s", cast)
	}
	// AWS's program drops unknown members; the door returns them.
	answer := harness.CallSSM(
		t,
		e,
		time.Now(),
		"DescribeSessions",
		`{"State":"History","Filters":[{"key":"SessionId","value":"`+id+`"}]}`,
	)
	if !strings.Contains(answer.Body, `"Recording":"Encrypted"`) {
		t.Errorf("%d %s", answer.Status, answer.Body)
	}

	// Without the key there is no session, and no fallback to an unencrypted one.
	run(`aws kms disable-key --key-id "$1"`, key)
	term := harness.OpenTerminal(t, 24, 100, shared.Shell(
		t.Context(),
		nil,
		`export AWS_ENDPOINT_URL_KMS="$AWS_ENDPOINT_URL"; aws ssm start-session --target "$SEKISHO_TARGET" `+
			`--document-name E2E-Encrypted`,
	))
	term.Expect(awhile, `Starting session with SessionId`)
	term.Wait(awhile)
	if text := term.Text(); strings.Contains(text, "$ ") {
		t.Errorf("a shell opened:\n%s", text)
	}
}

// recordingOf reads the recording of a session from the server's folder once
// it is sealed.
func recordingOf(t *testing.T, id string) string {
	t.Helper()
	var cast string
	harness.Eventually(t, soon, func() error {
		found, err := filepath.Glob(filepath.Join(shared.Data, "recordings", "*", "*", id, "seal.json"))
		if err != nil || len(found) != 1 {
			return fmt.Errorf("seals of %s: %v, %w", id, found, err)
		}
		ring, err := keyring.Load(filepath.Join(shared.Data, "keys"))
		if err != nil {
			return err
		}
		archive, err := record.OpenArchive(shared.Data, record.KeysOf(ring.PublicKey()), ring)
		if err != nil {
			return err
		}
		defer archive.Close()
		var text strings.Builder
		err = archive.WriteCast(&text, sekisho.SessionID(id))
		cast = text.String()
		return err
	})
	return cast
}
