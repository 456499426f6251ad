package servertest_test

import (
	"bytes"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"sekisho/internal/api"
	"sekisho/internal/server"
	"sekisho/internal/servertest"
	"sekisho/internal/wire/awsproto"
	"sekisho/internal/wire/sigv4"
)

// hiddenMembers are the members of requests that are deliberately omitted from
// the audit trail: secrets, bulk data and opaque tokens. A member that is
// neither here nor shown in the trail fails [TestEveryMemberIsShownOrHidden].
var hiddenMembers = strings.Fields(`
	activationcode answer authenticationcode1 authenticationcode2 ciphertextblob content data granttoken granttokens icalendar items logevents
	newpassword oldpassword packageurl password plaintext recipient resumetoken sequencetoken token
	tokencode webidentitytoken
`)

// hiddenOf are members that one operation hides and others show.
var hiddenOf = map[string]string{
	"SendCommand":             "parameters",
	"RegisterPasskey":         "state",
	"SearchSessionRecordings": "text",
}

func TestEveryMemberIsShownOrHidden(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	for _, d := range s.Doors() {
		for name, op := range d.Operations {
			for _, m := range op.Members() {
				hidden := slices.Contains(hiddenMembers, m) || hiddenOf[name] == m
				if op.Audits(m) == hidden {
					t.Errorf(
						"%s:%s %s: shown in the trail: %v, to be hidden: %v",
						d.Service,
						name,
						m,
						op.Audits(m),
						hidden,
					)
				}
			}
		}
	}
}

// lockedBuffer is a log that can be read while the server writes it.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// TestPlantedSecretsAreNotKept puts a marker into every hidden member of every
// operation, signed and unsigned, alone and with everything that the operation
// needs, and then searches for the marker in all data and output of the
// server.
func TestPlantedSecretsAreNotKept(t *testing.T) {
	t.Parallel()
	const mark = "XYZZYSECRETMARK"
	var log lockedBuffer
	dir := ""
	s := servertest.StartWith(t, func(c *server.Config) {
		dir = c.DataDir
		c.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	planted := 0
	for _, d := range s.Doors() {
		for _, name := range slices.Sorted(maps.Keys(d.Operations)) {
			op := d.Operations[name]
			secrets := map[string]any{"SecretAccessKey": mark, "Unknown" + mark: mark}
			for _, m := range op.Members() {
				if !op.Audits(m) {
					secrets[m] = mark + "1"
					planted++
				}
			}
			full := maps.Clone(secrets)
			for k, v := range inputOf(d.Service, name) {
				if _, secret := secrets[strings.ToLower(k)]; !secret {
					full[k] = v
				}
			}
			for _, in := range []map[string]any{secrets, full} {
				callPlanted(s, d, name, in, true)
				callPlanted(s, d, name, in, false)
			}
		}
	}
	if planted < 20 {
		t.Errorf("%d secrets planted: this test proves nothing", planted)
	}
	for _, a := range plantedInPaths(s, mark) {
		if strings.Contains(a.Header.Get("Location")+strings.Join(a.Header["Set-Cookie"], ""), mark) {
			t.Errorf("a response header contains a secret: %v", a.Header)
		}
	}
	// Real secrets, besides the planted ones.
	secrets := map[string]string{"the planted one": mark, "an administrator's key": s.Admin.SecretAccessKey}
	n := s.Node()
	n.Connect()
	x := s.Session(s.Admin, n)
	secrets["a session's token"] = x.Token
	b := s.Browser()
	_, err := s.Directory.Logins.Create(t.Context(), "admin", password, false)
	must(t, err)
	b.SignIn("admin", password)
	secrets["a password"] = password
	secrets["a console cookie"] = b.Cookie("__Host-sekisho")
	if len(secrets["a console cookie"]) < 20 || len(x.Token) < 20 {
		t.Fatalf("no cookie or token to search for: %v", secrets)
	}
	for what, secret := range secrets {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log has %s", what)
		}
	}
	s.Restart() // writes everything that is pending
	err = fs.WalkDir(os.DirFS(dir), ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(filepath.Join(dir, path))
		for what, secret := range secrets {
			if i := bytes.Index(b, []byte(secret)); i >= 0 {
				t.Errorf("%s has %s: %q", path, what, b[max(0, i-300):min(len(b), i+100)])
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// plantedInPaths sends a marker wherever a secret can be in requests other
// than operations of JSON and query doors: in the query, headers and bodies of
// S3, of the channels, of the console and of pages. It returns the responses.
func plantedInPaths(s *servertest.Server, mark string) (answers []servertest.Answer) {
	token := mark + "-token"
	headers := []map[string]string{
		{"Authorization": "Bearer " + token, "Cookie": "__Host-sekisho=" + token, "X-Sekisho-Csrf": token},
		{"Authorization": "AWS AKIAEXAMPLE:" + token},
		{
			"Authorization": "AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/20261130/us-east-1/s3/aws4_request, " +
				"SignedHeaders=host, Signature=" + token,
			"X-Amz-Security-Token": token,
		},
		{"X-Amz-Server-Side-Encryption-Customer-Key": token, "X-Amz-Copy-Source-Server-Side-Encryption-Customer-Key": token},
	}
	queries := []string{
		"X-Amz-Signature=" + token + "&X-Amz-Security-Token=" + token +
			"&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=20261130T000000Z" +
			"&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Credential=AKIAEXAMPLE%2F20261130%2Fus-east-1%2Fs3%2Faws4_request",
		"AWSAccessKeyId=AKIAEXAMPLE&Expires=1&Signature=" + token,
		"code=" + token + "&state=" + token + "&password=" + token,
		"X-Amz-Security-Token=" + token, "tokenValue=" + token + "&role=publish_subscribe",
	}
	send := func(c sigv4.Credentials, service, method, path, body string, header map[string]string) {
		answers = append(answers, s.Do(func(r *http.Request) {
			for k, v := range header {
				r.Header.Set(k, v)
			}
		}, c, service, method, path, body))
	}
	nobody := sigv4.Credentials{}
	send(s.Admin, "s3", http.MethodPut, "/marked", "", nil)
	for _, sub := range []string{
		"", "acl", "tagging", "uploads", "versions", "policy", "lifecycle", "versioning", "location", "attributes", "torrent",
		"delete",
		"uploadId=x&partNumber=1", "list-type=2", "encryption",
	} {
		for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodPost, http.MethodDelete, http.MethodHead} {
			for _, path := range []string{"/", "/marked", "/marked/key"} {
				if method == http.MethodDelete && path == "/marked" && sub == "" {
					continue // it would delete the bucket
				}
				for _, q := range queries {
					send(nobody, "s3", method, path+"?"+sub+"&"+q, "", nil)
				}
				for _, h := range headers {
					send(nobody, "s3", method, path+"?"+sub, "", h)
				}
				send(s.Admin, "s3", method, path+"?"+sub, "", headers[3])
				send(s.Admin, "s3", method, path+"?"+sub+"&"+queries[2], "", nil)
			}
		}
	}
	for _, path := range []string{
		"/v1/control-channel/mi-0123456789abcdef0", "/v1/data-channel/ann-aaaaaaaaaaaaaaaaaaaaaaaaaa", "/console/",
		"/console/federation",
		"/console/api/session", "/console/api/session/factor", "/console/api/passkey", "/console/api/federation",
		"/console/api/aws",
		"/console/api/programs", "/console/api/programs/credentials", "/console/api/programs/show",
		"/console/api/programs/approve",
		"/console/api/s3", "/console/api/events", "/console/api/providers", "/console/nodes/x", "/healthz", "/readyz",
		"/livez",
		"/install/sekisho-agent", "/nothing",
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
			body := ""
			if method == http.MethodPost {
				body = `{"MessageSchemaVersion":"1.0","RequestId":"0b1a2c3d-0000-4000-8000-000000000000","TokenValue":"` + token +
					`","user":"admin","password":"` + token + `","code":"` + token[:16] + `","state":"` + token + `","provider":"` +
					token + `"}`
			}
			for _, q := range queries {
				send(nobody, "ssmmessages", method, path+"?"+q, body, nil)
			}
			for _, h := range headers {
				send(nobody, "ssmmessages", method, path, body, h)
			}
			send(s.Admin, "ssmmessages", method, path+"?"+queries[4], body, nil)
		}
	}
	for _, kind := range []string{"data-channel/ann-aaaaaaaaaaaaaaaaaaaaaaaaaa", "control-channel/mi-0123456789abcdef0"} {
		kind, name, _ := strings.Cut(kind, "/")
		if ch, err := s.Dial(nobody, kind, name, nil); err == nil {
			ch.Text(servertest.ClientFrame(token))
		}
	}
	return answers
}

func inputOf(service, operation string) map[string]any {
	in, ok := inputs[service][operation].(map[string]any)
	if !ok {
		in, _ = inputs[service][""].(map[string]any)
	}
	return in
}

func callPlanted(s *servertest.Server, d *api.Door, operation string, in map[string]any, signed bool) {
	creds := s.Admin
	if !signed {
		creds.AccessKeyID = ""
	}
	if d.Protocol == awsproto.JSON {
		s.JSON(creds, d.Service, operation, in)
		return
	}
	form := url.Values{"Action": {operation}, "Version": {d.Version}}
	for k, v := range in {
		if text, ok := v.(string); ok {
			form.Set(k, text)
		}
	}
	s.Do(
		func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") },
		creds,
		d.Service,
		http.MethodPost,
		"/",
		form.Encode(),
	)
}
