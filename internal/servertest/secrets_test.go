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
)

// hiddenMembers are the members of requests that are kept out of the audit
// trail on purpose: secrets, bulk data and opaque tokens. A member that is
// neither here nor shown in the trail fails [TestEveryMemberIsShownOrHidden].
var hiddenMembers = strings.Fields(`
	activationcode answer authenticationcode1 authenticationcode2 ciphertextblob content granttoken granttokens icalendar items logevents
	newpassword oldpassword packageurl password plaintext recipient resumetoken sequencetoken tokencode
	webidentitytoken
`)

// hiddenOf are the members that one operation hides and others show.
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

// lockedBuffer is a log that can be read while it is written.
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

// TestPlantedSecretsAreNotKept puts a mark into every hidden member of every
// operation, signed and not, alone and with everything the operation needs, and
// then looks for the mark in all that the server keeps and says.
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
	if strings.Contains(log.String(), mark) {
		t.Errorf("the log has a secret: %s", log.String())
	}
	s.Restart() // everything that is pending is written
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(filepath.Join(dir, path))
		if i := bytes.Index(b, []byte(mark)); i >= 0 {
			t.Errorf("%s has a secret: %q", path, b[max(0, i-300):min(len(b), i+100)])
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
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
