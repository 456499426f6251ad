package harness

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// CLI is one of the aws programs of this machine.
type CLI struct {
	Version string // aws-cli/2.9.19
	Path    []string
}

// CLIs finds the aws programs of this machine: Debian's, and the first one on PATH if it is
// a different one.
func CLIs(t testing.TB, home string) []CLI {
	t.Helper()
	candidates := []string{"/usr/bin/aws"}
	if first, err := exec.LookPath("aws"); err == nil {
		candidates = append(candidates, first)
	}
	var found []CLI
	for _, candidate := range candidates {
		cmd := exec.CommandContext(t.Context(), candidate, "--version")
		cmd.Env = baseEnv(home)
		out, err := cmd.Output()
		version, _, ok := strings.Cut(string(out), " ")
		if err != nil || !ok || (len(found) > 0 && found[0].Version == version) {
			continue
		}
		// A folder with only this aws, to come first on PATH.
		dir := t.TempDir()
		if err := os.Symlink(candidate, filepath.Join(dir, "aws")); err != nil {
			t.Fatal(err)
		}
		found = append(found, CLI{Version: version, Path: []string{dir}})
	}
	if len(found) == 0 {
		t.Fatal("no aws program on this machine (scripts/setup installs one)")
	}
	return found
}

// Client returns an HTTP client that trusts the server's own authority.
func Client(env map[string]string) (*http.Client, error) {
	pem, err := os.ReadFile(env["SSL_CERT_FILE"])
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New(env["SSL_CERT_FILE"] + " holds no certificate")
	}
	return &http.Client{
		Timeout:   30 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}},
	}, nil
}

// Answer is the response of a service.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

// CallSSM posts body to an operation of SSM. AWS's own signer signs it with
// the environment's keys and the time at.
func CallSSM(t testing.TB, env map[string]string, at time.Time, operation, body string) Answer {
	t.Helper()
	client, err := Client(env)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(
		t.Context(),
		http.MethodPost,
		env["AWS_ENDPOINT_URL"]+"/",
		bytes.NewBufferString(body),
	)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", "AmazonSSM."+operation)
	hash := sha256.Sum256([]byte(body))
	keys := aws.Credentials{AccessKeyID: env["AWS_ACCESS_KEY_ID"], SecretAccessKey: env["AWS_SECRET_ACCESS_KEY"]}
	if err := v4.NewSigner().SignHTTP(t.Context(), keys, req, hex.EncodeToString(hash[:]), "ssm", env["AWS_REGION"],
		at); err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	return Answer{resp.StatusCode, resp.Header, string(text)}
}
