// Package doctor diagnoses a server on its own machine. It changes nothing.
package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/config"
	"sekisho/internal/server"
	"sekisho/internal/server/certificate"
	"sekisho/internal/server/datalock"
	"sekisho/internal/server/setup"
)

// stepTimeout bounds one check.
const stepTimeout = 15 * time.Second

// Limits below which a check fails.
const (
	minFree     = 256 << 20
	minValidity = 7 * 24 * time.Hour
	maxSkew     = 2 * time.Minute
	maxAnswer   = 4 << 10
)

type examination struct {
	file    string
	config  *config.Server
	leaf    *x509.Certificate
	running bool
}

// Run checks the server with this configuration file, writes one line per check
// and reports whether all passed. Unlike an agent's, most checks do not depend on
// each other, so Run continues after a failure where it can.
func Run(ctx context.Context, file string, out io.Writer) bool {
	x := &examination{file: file}
	well := true
	for _, check := range []struct {
		name  string
		do    func(context.Context) (string, error)
		fatal bool
		hint  string
	}{
		{"config", x.readConfig, true, "Correct the file, or set the server up with: sekishod setup"},
		{"certificate", x.certificate, false, "Renew the certificate."},
		{"data", x.data, false, "Give the directory to the user who runs the server, with mode 0700."},
		{"database", x.database, false, "Start PostgreSQL, or correct the database section."},
		{"disk", x.disk, false, "Free some space: recorded sessions are refused when it is full."},
		{"store", x.store, false, "Correct recordings.store."},
		{"witnesses", x.witnesses, false, "Correct witnesses."},
		{"agents", x.agents, false,
			"Install the sekishod package, or set agents_dir; until then, machines cannot download agents."},
		{"process", x.process, false, "Start the server: systemctl start sekishod"},
		{"health", x.health, false, "Read the server's log: journalctl -u sekishod"},
	} {
		step, cancel := context.WithTimeout(ctx, stepTimeout)
		found, err := check.do(step)
		cancel()
		if err == nil {
			fmt.Fprintf(out, "OK    %-11s  %s\n", check.name, found)
			continue
		}
		well = false
		fmt.Fprintf(
			out,
			"FAIL  %-11s  %s\n",
			check.name,
			strings.ReplaceAll(err.Error(), "\n", "\n                   "),
		)
		if e, ok := errors.AsType[*sekisho.Error](err); !ok || e.Hint == "" {
			fmt.Fprintf(out, "                   %s\n", check.hint)
		}
		if check.fatal {
			break
		}
	}
	return well
}

func (x *examination) readConfig(context.Context) (string, error) {
	c, err := config.Read(x.file)
	if err != nil {
		return "", err
	}
	x.config = c
	return x.file, c.Check()
}

// readLeaf reads the certificate that the server serves.
func (x *examination) readLeaf() (*x509.Certificate, error) {
	t := x.config.TLS
	if t.ACME != nil {
		return certificate.Cached(server.ACMECache(x.config.Data), t.ACME.Names[0])
	}
	pair, err := tls.LoadX509KeyPair(t.Certificate, t.Key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(pair.Certificate[0])
}

func (x *examination) certificate(context.Context) (string, error) {
	leaf, err := x.readLeaf()
	if errors.Is(err, fs.ErrNotExist) && x.config.TLS.ACME != nil {
		return "none issued yet; the running server requests it from the ACME authority", nil
	}
	if err != nil {
		return "", err
	}
	x.leaf = leaf
	names := append([]string(nil), x.leaf.DNSNames...)
	for _, ip := range x.leaf.IPAddresses {
		names = append(names, ip.String())
	}
	until := x.leaf.NotAfter.UTC().Format(time.DateOnly)
	switch now := time.Now(); {
	case now.Before(x.leaf.NotBefore):
		return "", fmt.Errorf("the certificate is valid only from %s", x.leaf.NotBefore.UTC().Format(time.RFC3339))
	case now.After(x.leaf.NotAfter):
		return "", fmt.Errorf("the certificate expired on %s", until)
	case now.Add(minValidity).After(x.leaf.NotAfter):
		return "", fmt.Errorf("the certificate expires on %s", until)
	case len(names) == 0:
		return "", errors.New("the certificate has no subject alternative names, which clients require")
	}
	return fmt.Sprintf("for %s, valid until %s", strings.Join(names, ", "), until), nil
}

// data checks that the state is complete: a database without keys, or keys without a database,
// means that part of it was deleted or not restored.
func (x *examination) data(context.Context) (string, error) {
	st, err := os.Stat(x.config.Data)
	if errors.Is(err, fs.ErrNotExist) {
		return x.config.Data + " will be created at the first start", nil
	}
	if err != nil {
		return "", err
	}
	if st.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("%s has mode %o: other users can read it", x.config.Data, st.Mode().Perm())
	}
	have := func(name string) bool {
		_, err := os.Stat(filepath.Join(x.config.Data, name))
		return err == nil
	}
	if x.config.Database.URL != "" {
		if have("recordings") && !have("keys") {
			return "", sekisho.Errorf(sekisho.CodeNotFound, "%s has recordings but no keys.", x.config.Data).
				WithHint("Restore keys/ from the backup of the same server; nothing can be decrypted without them.")
		}
		return x.config.Data, nil
	}
	switch database, keys := have("sekisho.db"), have("keys"); {
	case database && !keys:
		return "", sekisho.Errorf(sekisho.CodeNotFound, "%s has a database but no keys.", x.config.Data).
			WithHint("Restore keys/ from the backup of the same server; nothing can be decrypted without them.")
	case keys && !database && have("recordings"):
		return "", sekisho.Errorf(sekisho.CodeNotFound, "%s has keys and recordings but no database.", x.config.Data).
			WithHint("Restore sekisho.db from a backup; the server refuses to start without it.")
	}
	return x.config.Data, nil
}

// database reports whether the database can be reached.
func (x *examination) database(ctx context.Context) (string, error) {
	found, err := server.CheckDatabase(ctx, x.config)
	if err == nil && found == "" {
		found = "SQLite in the data directory"
	}
	return found, err
}

func (x *examination) disk(context.Context) (string, error) {
	free, ok := setup.FreeSpace(x.config.Data)
	if !ok {
		return "", fmt.Errorf("the free space of %s is unknown", x.config.Data)
	}
	if free < minFree {
		return "", fmt.Errorf("%d MiB free in %s", free>>20, x.config.Data)
	}
	return fmt.Sprintf("%d MiB free", free>>20), nil
}

// store contacts the store of recordings.
func (x *examination) store(ctx context.Context) (string, error) {
	return server.CheckRecordingStore(ctx, x.config)
}

// witnesses contacts the witnesses.
func (x *examination) witnesses(ctx context.Context) (string, error) {
	return server.CheckWitnesses(ctx, x.config)
}

func (x *examination) agents(context.Context) (string, error) {
	dir := x.config.AgentsDir
	if dir == "" {
		program, err := os.Executable()
		if err != nil {
			return "", err
		}
		dir = filepath.Dir(program)
	}
	found, err := filepath.Glob(filepath.Join(dir, "sekisho-agent-linux-*"))
	if err != nil {
		return "", err
	}
	if len(found) == 0 {
		return "", fmt.Errorf("no agents for machines to download in %s", dir)
	}
	for i, f := range found {
		found[i] = strings.TrimPrefix(filepath.Base(f), "sekisho-agent-")
	}
	return strings.Join(found, ", "), nil
}

// process reports whether a server is using the data directory.
func (x *examination) process(context.Context) (string, error) {
	if _, err := os.Stat(filepath.Join(x.config.Data, datalock.Server)); err != nil {
		return "", errors.New("no server has ever run with this data directory")
	}
	unlock, err := datalock.Lock(x.config.Data, datalock.Server)
	switch {
	case sekisho.CodeOf(err) == sekisho.CodeInUse:
		x.running = true
		return "the server is running", nil
	case err != nil:
		return "", err
	}
	return "", errors.Join(errors.New("the server is not running"), unlock())
}

// health calls the server as a client would, by a name in its certificate.
func (x *examination) health(ctx context.Context) (string, error) {
	if !x.running || x.leaf == nil {
		return "", errors.New("not checked: it needs a running server with a certificate")
	}
	host, port, err := net.SplitHostPort(x.config.Listen)
	if err != nil {
		return "", err
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
	// Trust exactly the certificate that the configuration names.
	conf.RootCAs.AddCert(x.leaf)
	switch {
	case len(x.leaf.DNSNames) > 0:
		conf.ServerName = strings.Replace(x.leaf.DNSNames[0], "*", "doctor", 1)
	case len(x.leaf.IPAddresses) > 0:
		conf.ServerName = x.leaf.IPAddresses[0].String()
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: conf, DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+net.JoinHostPort(host, port)+"/readyz", nil)
	if err != nil {
		return "", err
	}
	req.Host = conf.ServerName
	resp, err := client.Do(req)
	if unknown, ok := errors.AsType[x509.UnknownAuthorityError](err); ok && unknown.Cert != nil {
		return "", sekisho.Errorf(sekisho.CodeConflict,
			"the running server's certificate is not the one in the configuration file.").
			WithHint("The server serves changed files within 10 seconds; if it does not, its log says what is wrong with them.")
	}
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the server answers %d: %s", resp.StatusCode, strings.TrimSpace(string(body)))
	}
	if at, err := http.ParseTime(resp.Header.Get("Date")); err == nil && time.Since(at).Abs() > maxSkew {
		return "", fmt.Errorf("the server's clock is %v from this program's", time.Since(at).Round(time.Second))
	}
	return "ready", nil
}
