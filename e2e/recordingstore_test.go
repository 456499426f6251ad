package e2e_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"sekisho/e2e/harness"
	"sekisho/internal/session/record/recstore/recstoretest"
)

const storeBucket = "recordings"

// TestRecordingStore keeps recordings in a real S3 server: a session survives
// kill -9 of sekishod, and then the loss of all recordings on its disk. The
// recordings of both are replayed and verified from the store.
func TestRecordingStore(t *testing.T) {
	t.Parallel()
	store := recstoretest.StartS3Server(t, storeBucket)
	dir := t.TempDir()
	credentials, settings := filepath.Join(dir, "credentials"), filepath.Join(dir, "store.yaml")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(credentials, fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n",
		recstoretest.AccessKey, recstoretest.SecretKey))
	write(settings, fmt.Sprintf("upload_every: 1s\ns3:\n  endpoint: %s\n  region: %s\n  bucket: %s\n  path_style: "+
		"true\n  prefix: e2e\n  credentials_file: %s\n",
		store.Endpoint, recstoretest.Region, storeBucket, credentials))
	s := startServer(t, shared.Programs, dir, "--nodes", "0", "--recording-store", settings)
	agent := s.StartAgent(t, "stored", -1)

	keys := func() (all []string) {
		t.Helper()
		bucket := storeBucket
		out, err := store.Client().ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &bucket})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range out.Contents {
			all = append(all, *o.Key)
		}
		return all
	}
	await := func(pattern string) string {
		t.Helper()
		var found string
		harness.Eventually(t, awhile, func() error {
			all := strings.Join(keys(), "\n")
			if found = regexp.MustCompile(`(?m)` + pattern).FindString(all); found == "" {
				return fmt.Errorf("no %s among\n%s", pattern, all)
			}
			return nil
		})
		return found
	}
	restart := func(lose bool) {
		t.Helper()
		err := s.Kill()
		if lose {
			err = errors.Join(err, os.RemoveAll(filepath.Join(s.Data, "recordings")))
		}
		if err = errors.Join(err, s.Run()); err != nil {
			t.Fatal(err)
		}
	}
	// session runs a shell that outlives a restart, and returns its ID.
	session := func(lose bool) string {
		t.Helper()
		before := len(regexp.MustCompile(`/seal\.json`).FindAllString(strings.Join(keys(), "\n"), -1))
		term := harness.OpenTerminal(t, 24, 200, s.Shell(t.Context(), nil, `sekisho start-session "$1"`, agent.NodeID))
		term.Expect(awhile, harness.Prompt)
		term.Send(countdown)
		term.Expect(awhile, "line-500\n")
		// The output so far is in the store after two more uploads.
		last := await(`^e2e/.*/session\.rec\.part-.*`)
		for range 2 {
			harness.Eventually(t, awhile, func() error {
				now := strings.Join(keys(), "\n")
				if now == last {
					return errors.New("nothing more is uploaded")
				}
				last = now
				return nil
			})
		}
		id := regexp.MustCompile(`/([^/]+)/session\.rec\.part`).FindStringSubmatch(last)[1]
		restart(lose)
		term.Expect(2*awhile, `(?m)^all-done$`)
		wantLines(t, term.Text())
		term.Send("exit\r")
		if code := term.Wait(soon); code != 0 {
			t.Errorf("exit code %d", code)
		}
		harness.Eventually(t, awhile, func() error {
			all := strings.Join(keys(), "\n")
			if n := len(regexp.MustCompile(`/seal\.json`).FindAllString(all, -1)); n != before+1 ||
				strings.Contains(all, "session.rec.part-") {
				return fmt.Errorf("%d sealed among\n%s", n, all)
			}
			return nil
		})
		return id
	}
	check := func(id string, whole bool) {
		t.Helper()
		// After the loss of the folder, the server fetches the seals in the background.
		harness.Eventually(t, awhile, func() error {
			if r := harness.Do(t, s.Shell(t.Context(), nil, `sekisho verify "$1"`, id)); r.Code != 0 {
				return fmt.Errorf("verify: exit %d: %s%s", r.Code, r.Stdout, r.Stderr)
			}
			return nil
		})
		r := harness.Do(t, s.Shell(t.Context(), nil, `sekisho replay --speed 100000 "$1"`, id))
		if r.Code != 0 || !strings.Contains(r.Stdout, "all-done") || !strings.Contains(r.Stdout, "line-400") {
			t.Errorf("replay: exit %d, %d bytes: %s", r.Code, len(r.Stdout), r.Stderr)
		}
		if whole {
			for i := 1; i <= lines; i++ {
				if !strings.Contains(r.Stdout, fmt.Sprintf("line-%d", i)) {
					t.Fatalf("line %d is not in the recording", i)
				}
			}
		}
	}

	killed := session(false)
	check(killed, true)
	lost := session(true)
	check(lost, false)
	restart(true)
	check(killed, true)
	check(lost, false)
	if r := harness.Do(t, s.Shell(t.Context(), nil, `sekisho recordings export "$1" --format text`,
		killed)); r.Code != 0 ||
		!strings.Contains(r.Stdout, "all-done") {
		t.Errorf("export: exit %d: %s", r.Code, r.Stderr)
	}
}
