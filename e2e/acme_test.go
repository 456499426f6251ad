package e2e_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sekisho/e2e/harness"
)

// freeAddresses returns addresses of this machine that nothing listens on.
func freeAddresses(t *testing.T, n int) []string {
	t.Helper()
	var all []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, l.Addr().String())
		defer l.Close()
	}
	return all
}

// serveConfig runs sekishod with a configuration file until stop, and appends what
// it prints to the file log.
func serveConfig(t *testing.T, config, log string) (stop func()) {
	t.Helper()
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, filepath.Join(shared.Bin, "sekishod"), "serve", "--config", config)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() {
		cancel()
		_ = cmd.Wait() // the signal is its exit reason
		_ = out.Close()
	}
}

// authority is an ACME authority with a DNS server that resolves every name to this
// machine.
type authority struct {
	directory string // URL
	file      string // PEM: trusted for the directory
	roots     string // URL of the root that issues certificates
	client    *http.Client
	stop      func()
}

// startAuthority starts an authority that validates names on the TLS port of
// the server's address.
func startAuthority(t *testing.T, server string) *authority {
	t.Helper()
	dir := t.TempDir()
	chain, key, ca := issue(t, dir, "directory", "127.0.0.1")
	addresses := freeAddresses(t, 3)
	listen, management, dns := addresses[0], addresses[1], addresses[2]
	_, port, err := net.SplitHostPort(server)
	if err != nil {
		t.Fatal(err)
	}
	file := func(name string) string { return filepath.Join(dir, name) }
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": listen, "managementListenAddress": management,
		"certificate": file("chain"), "privateKey": file("key"), "tlsPort": json.Number(port), "httpPort": 1,
		"retryAfter": map[string]int{"authz": 1, "order": 1},
		"profiles":   map[string]any{"default": map[string]any{"description": "90 days", "validityPeriod": 90 * 24 * 3600}},
	}})
	if err == nil {
		err = errors.Join(os.WriteFile(file("chain"), chain, 0o600), os.WriteFile(file("key"), key, 0o600),
			os.WriteFile(file("config"), config, 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running []*exec.Cmd
	for _, program := range [][]string{
		{"pebble-challtestsrv", "-dnsserver", dns, "-defaultIPv6", "", "-doh", "", "-http01", "", "-https01", "",
			"-management", "", "-tlsalpn01", ""},
		{"pebble", "-config", file("config"), "-dnsserver", dns},
	} {
		cmd := exec.CommandContext(ctx, filepath.Join(shared.Plugin, program[0]), program[1:]...)
		cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0")
		if err := cmd.Start(); err != nil {
			cancel()
			t.Fatalf("%v (make test-programs builds it)", err)
		}
		running = append(running, cmd)
	}
	stop := func() {
		cancel()
		for _, cmd := range running {
			_ = cmd.Wait() // it was killed
		}
	}
	t.Cleanup(stop)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca.PEM())
	a := &authority{
		directory: "https://" + listen + "/dir", file: ca.File, roots: "https://" + management + "/roots/0", stop: stop,
		client: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool},
			DisableKeepAlives: true}},
	}
	harness.Eventually(t, awhile, func() error {
		_, err := a.get(t.Context(), a.directory)
		return err
	})
	return a
}

func (a *authority) get(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}

// TestACME sets a server up whose certificate comes from an ACME authority, which proves
// control of the name on the server's own port. The certificate survives a restart while
// the authority is down.
func TestACME(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	address := freeAddresses(t, 1)[0]
	ca := startAuthority(t, address)
	root, err := ca.get(t.Context(), ca.roots)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(root) {
		t.Fatalf("the authority has no root: %q", root)
	}

	const name = "sekisho.example.com"
	file, log := filepath.Join(dir, "etc", "sekishod.yaml"), filepath.Join(dir, "log")
	sh := func(script string, args ...string) harness.Result {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "sh", append([]string{"-c", script, "sh"}, args...)...)
		cmd.Env = []string{"HOME=" + dir, "PATH=" + shared.Bin + ":" + os.Getenv("PATH"), "LANG=C.UTF-8"}
		return harness.Do(t, cmd)
	}
	setup := `sekishod setup --yes --name ` + name + ` --listen "$1" --config "$2" --data "$3" --user '' \
		--tls acme --acme-directory "$4" --acme-root "$5"`
	args := []string{address, file, filepath.Join(dir, "state"), ca.directory, ca.file}
	if r := sh(setup, args...); r.Code == 0 || !strings.Contains(r.Stderr, "accept_terms") {
		t.Errorf("setup without acceptance of the terms: exit %d\n%s", r.Code, r.Stderr)
	}
	if r := sh(setup+" --acme-accept-terms", args...); r.Code != 0 {
		t.Fatalf("setup: exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}

	leaf := func(serverName string) (*x509.Certificate, error) {
		// The chain is verified below, against the authority's root.
		dialer := tls.Dialer{Config: &tls.Config{ServerName: serverName, InsecureSkipVerify: true}}
		c, err := dialer.DialContext(t.Context(), "tcp", address)
		if err != nil {
			return nil, err
		}
		defer c.Close()
		state := c.(*tls.Conn).ConnectionState() //nolint:forcetypeassert // tls.Dialer returns a *tls.Conn
		between := x509.NewCertPool()
		for _, c := range state.PeerCertificates[1:] {
			between.AddCert(c)
		}
		_, err = state.PeerCertificates[0].Verify(x509.VerifyOptions{DNSName: name, Roots: roots, Intermediates: between})
		return state.PeerCertificates[0], err
	}
	stop := serveConfig(t, file, log)
	var first *x509.Certificate
	harness.Eventually(t, awhile, func() (err error) {
		first, err = leaf(name)
		return err
	})
	if c, err := leaf(""); err != nil || !c.Equal(first) {
		t.Errorf("a client that names no server: %v", err)
	}
	if c, err := leaf("other.example.com"); err == nil {
		t.Errorf("a name that is not configured got the certificate for %v", c.DNSNames)
	}
	if r := sh(`sekishod doctor --config "$1"`, file); !strings.Contains(r.Stdout, fmt.Sprintf("for %s, valid until %s",
		name, first.NotAfter.UTC().Format(time.DateOnly))) {
		t.Errorf("doctor: exit %d\n%s", r.Code, r.Stdout)
	}
	stop()
	ca.stop()
	defer serveConfig(t, file, log)()
	harness.Eventually(t, awhile, func() error {
		c, err := leaf(name)
		if err == nil && !c.Equal(first) {
			return errors.New("another certificate after a restart")
		}
		return err
	})
}
