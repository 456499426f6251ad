// Package dev is "sekishod dev": a whole Sekisho on one machine, with one or more agents, for evaluation
// and development. It can be stopped and started again with the same directory.
package dev

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"sekisho"
	"sekisho/internal/activity/event"
	"sekisho/internal/config"
	"sekisho/internal/iam/identity"
	"sekisho/internal/server"
	"sekisho/internal/server/certificate"
	"sekisho/internal/server/datalock"
	"sekisho/internal/server/localca"
)

// Options are the command line options.
type Options struct {
	DataDir string
	Listen  string // host:port; port 0 means a free port, which is reused at later starts
	Region  string // empty: the directory's, else us-east-1
	Account string // empty: the directory's, else 100000000000
	Nodes   int    // how many agents
	// AgentsDir contains the agents that machines can download; empty means the program's own
	// directory.
	AgentsDir string
	// PolicyClock sets the clock that policies see, for tests: a time, or the name of a file that
	// contains one and is read for each decision.
	PolicyClock string
	// FirstRun leaves first-run setup to the user. Otherwise dev declines the second factor,
	// because the password is in the directory's env file anyway.
	FirstRun bool
	// Webhook is a URL on this machine that receives all events; empty for none. The secret that
	// signs them is in the directory's env file.
	Webhook string
	// RecordingStore is a file with the settings of recordings.store; empty for none.
	RecordingStore string
	// DatabaseURL is a PostgreSQL database for the state; empty for SQLite in the directory.
	DatabaseURL string
	Stdout      io.Writer
	Stderr      io.Writer
	Log         *slog.Logger
}

// Defaults for a new data directory.
const (
	defaultRegion  = "us-east-1"
	defaultAccount = "100000000000"
	adminUser      = "admin"
	maxNodes       = 1000
)

// readyTimeout bounds the wait for the agents to connect.
const readyTimeout = 60 * time.Second

// Run runs until ctx ends.
func Run(ctx context.Context, o Options) (err error) {
	if o.Nodes < 0 || o.Nodes > maxNodes {
		return fmt.Errorf("--nodes must be between 0 and %d", maxNodes)
	}
	if err := os.MkdirAll(o.DataDir, 0o700); err != nil {
		return err
	}
	dir, err := filepath.Abs(o.DataDir)
	if err != nil {
		return err
	}
	unlock, err := datalock.Lock(dir, "lock")
	if err != nil {
		return err
	}
	defer func() { _ = unlock() }() // the end of the process releases it too
	st, err := readState(dir)
	if err != nil {
		return err
	}
	if err := settle(st, o); err != nil {
		return err
	}
	l, err := listen(o.Listen, st.Listen)
	if err != nil {
		return err
	}
	defer l.Close() // Serve closes it too; closing twice is harmless
	st.Listen = l.Addr().String()
	endpoint := "https://" + dialable(l.Addr())
	host, _, err := net.SplitHostPort(dialable(l.Addr()))
	if err != nil {
		return err
	}
	authority, err := localca.Open(filepath.Join(dir, "tls"), "Sekisho dev CA")
	if err != nil {
		return err
	}
	caFile := authority.File
	cert, err := authority.Issue(leafLife, certificateNames(host)...)
	if err != nil {
		return err
	}
	clock, err := policyClock(o.PolicyClock)
	if err != nil {
		return err
	}
	if o.AgentsDir == "" {
		program, err := os.Executable()
		if err != nil {
			return err
		}
		o.AgentsDir = filepath.Dir(program)
	}
	webhooks, err := o.webhooks(st)
	if err != nil {
		return err
	}
	var store server.RecordingStore
	if o.RecordingStore != "" {
		settings, err := config.ReadRecordingStore(o.RecordingStore)
		if err != nil {
			return err
		}
		if store, err = server.OpenRecordingStore(settings); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, store.Close()) }()
	}
	database, err := (&config.Database{URL: o.DatabaseURL}).Postgres()
	if err != nil {
		return err
	}
	srv, err := server.New(ctx, server.Config{
		Database:   database,
		Recordings: store,
		AgentDir:   o.AgentsDir, CA: string(authority.PEM()), DataDir: dir, Account: st.Account, Region: st.Region,
		Log: o.Log, Now: clock, Webhooks: webhooks,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, srv.Close()) }()
	if err := o.administrator(ctx, srv, st); err != nil {
		return err
	}
	if err := st.write(dir); err != nil {
		return err
	}

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		if err := srv.Serve(ctx, l, certificate.Static(cert)); err != nil {
			cancel(err)
		}
	})
	defer cancel(nil)
	agents, err := o.agents(dir, endpoint, caFile, st)
	if err != nil {
		return err
	}
	if st.Nodes == nil {
		st.Nodes = map[string]string{}
	}
	for _, a := range agents {
		node, err := a.register(
			ctx,
			srv.Fleet,
			sekisho.NodeID(st.Nodes[a.name]),
			"arn:aws:iam::"+st.Account+":user/"+st.AdminUser,
		)
		if err != nil {
			return err
		}
		st.Nodes[a.name] = string(node)
	}
	if err := st.write(dir); err != nil {
		return err
	}
	for _, a := range agents {
		wg.Go(func() { a.run(ctx) })
	}
	target := ""
	if len(agents) > 0 {
		target = st.Nodes[agents[0].name]
	}
	vars := []variable{
		{"AWS_ENDPOINT_URL", endpoint},
		{"AWS_REGION", st.Region},
		{"AWS_DEFAULT_REGION", st.Region},
		{"AWS_ACCESS_KEY_ID", st.AccessKeyID},
		{"AWS_SECRET_ACCESS_KEY", st.SecretAccessKey},
		{"AWS_CA_BUNDLE", caFile},
		{"SSL_CERT_FILE", caFile},
		{"AWS_EC2_METADATA_DISABLED", "true"}, // otherwise the plugin might wait for it
		{"SEKISHO_TARGET", target},
		{"SEKISHO_CONSOLE_URL", endpoint + "/console/"},
		{"SEKISHO_CONSOLE_USER", st.AdminUser},
		{"SEKISHO_CONSOLE_PASSWORD", st.AdminPassword},
	}
	if o.Webhook != "" {
		vars = append(vars, variable{"SEKISHO_WEBHOOK_SECRET", st.WebhookSecret})
	}
	if err := writeEnv(dir, o.AgentsDir, vars); err != nil {
		return err
	}
	if err := connected(ctx, srv, len(agents)); err != nil {
		return err
	}
	fmt.Fprintf(
		o.Stderr,
		"\n  A session:  . %s && aws ssm start-session --target $SEKISHO_TARGET\n  Sign in as: %s, password in %s\n\n",
		filepath.Join(o.DataDir, "env"),
		st.AdminUser,
		filepath.Join(o.DataDir, "env"),
	)
	if _, err := fmt.Fprintf(o.Stdout, "ready: %s/console/\n", endpoint); err != nil {
		return err
	}
	<-ctx.Done()
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// webhooks returns the receiver of events, if one is configured. Its secret is created once.
func (o *Options) webhooks(st *state) ([]event.Webhook, error) {
	if o.Webhook == "" {
		return nil, nil
	}
	if st.WebhookSecret == "" {
		key := make([]byte, 32)
		rand.Read(key) // never fails: see crypto/rand
		st.WebhookSecret = "whsec_" + base64.StdEncoding.EncodeToString(key)
	}
	w, err := server.DevWebhook(o.Webhook, st.WebhookSecret)
	if err != nil {
		return nil, fmt.Errorf("--webhook: %w", err)
	}
	return []event.Webhook{w}, nil
}

// settle fills in missing options. A directory's account and region are part of every ARN that the
// server has issued, so they cannot change.
func settle(st *state, o Options) error {
	for _, x := range []struct {
		flag, given, otherwise string
		kept                   *string
	}{
		{"--region", o.Region, defaultRegion, &st.Region},
		{"--account-id", o.Account, defaultAccount, &st.Account},
	} {
		if x.given != "" && *x.kept != "" && x.given != *x.kept {
			return fmt.Errorf(
				"%s was created with %s %s: use the same value, or another --data directory",
				o.DataDir,
				x.flag,
				*x.kept,
			)
		}
		if *x.kept == "" {
			*x.kept = x.otherwise
			if x.given != "" {
				*x.kept = x.given
			}
		}
	}
	if len(st.Account) != 12 || strings.Trim(st.Account, "0123456789") != "" {
		return fmt.Errorf("--account-id must be 12 digits")
	}
	return nil
}

// listen listens on addr. For port 0 it reuses the port of the last start if that is free, so that
// agents and open sessions find the server again.
func listen(addr, last string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("--listen: %w", err)
	}
	if port == "0" && last != "" {
		if lastHost, lastPort, err := net.SplitHostPort(last); err == nil && lastHost == host {
			if l, err := net.Listen("tcp", net.JoinHostPort(host, lastPort)); err == nil {
				return l, nil
			}
		}
	}
	l, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, sekisho.Errorf(sekisho.CodeInUse, "Another program is listening on %s.", addr).
			WithHint("Choose another address: make run LISTEN=%s, or sekishod dev --listen %s. Port 0 means any free port.",
				net.JoinHostPort(host, "0"), net.JoinHostPort(host, "0"))
	}
	return l, err
}

// dialable returns the address at which a client on this machine reaches a listener.
func dialable(a net.Addr) string {
	host, port, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// administrator creates the first administrator on first start.
func (o *Options) administrator(ctx context.Context, srv *server.Server, st *state) error {
	first, made, err := srv.Directory.Bootstrap(ctx, adminUser)
	if err != nil || !made {
		return err
	}
	st.AdminUser, st.AdminPassword = adminUser, first.Password
	st.AccessKeyID, st.SecretAccessKey = first.AccessKeyID, first.SecretAccessKey
	if o.FirstRun {
		return nil
	}
	p, err := srv.Directory.Users.Principal(ctx, adminUser)
	if err != nil {
		return err
	}
	return srv.Directory.SignIns.FinishFirstRun(ctx, p.UserID, identity.DeclineMFAStatement)
}

// policyClock returns the clock of --policy-clock; nil means the real one.
func policyClock(s string) (func() time.Time, error) {
	if s == "" {
		return nil, nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return func() time.Time { return t }, nil
	}
	read := func() (time.Time, error) {
		b, err := os.ReadFile(s)
		if err != nil {
			return time.Time{}, fmt.Errorf("--policy-clock: %w", err)
		}
		return time.Parse(time.RFC3339, strings.TrimSpace(string(b)))
	}
	if _, err := read(); err != nil {
		return nil, err
	}
	return func() time.Time {
		t, err := read()
		if err != nil { // the zero time is in no window
			return time.Time{}
		}
		return t
	}, nil
}

func (o *Options) agents(dir, endpoint, caFile string, st *state) ([]*agent, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	binary := filepath.Join(filepath.Dir(self), "sekisho-agent")
	if _, err := os.Stat(binary); o.Nodes > 0 && err != nil {
		return nil, fmt.Errorf("sekisho-agent must be in the directory of sekishod: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	var all []*agent
	for i := range o.Nodes {
		name, sub := host, "agent"
		if i > 0 {
			name, sub = fmt.Sprintf("%s-%d", host, i+1), fmt.Sprintf("agent-%d", i+1)
		}
		all = append(all, &agent{
			name: name, state: filepath.Join(dir, sub), binary: binary, endpoint: endpoint, caFile: caFile,
			region: st.Region, stderr: o.Stderr, log: o.Log,
		})
	}
	return all, nil
}

// connected waits until n nodes have an open control channel.
func connected(ctx context.Context, srv *server.Server, n int) error {
	limit := time.NewTimer(readyTimeout)
	defer limit.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for srv.Channels.Count() < n {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-limit.C:
			return fmt.Errorf("%d of %d agents connected within %s", srv.Channels.Count(), n, readyTimeout)
		case <-tick.C:
		}
	}
	return nil
}

// leafLife is how long the server's certificate is valid. Every start issues a
// new one.
const leafLife = 90 * 24 * time.Hour

// certificateNames are the names under which programs on this machine reach the
// server.
func certificateNames(host string) []string {
	names := []string{"localhost", "*.localhost", "*.s3.localhost", "127.0.0.1", "::1"}
	if host != "" && host != "localhost" {
		names = append(names, host)
	}
	if name, err := os.Hostname(); err == nil && name != "" {
		names = append(names, name)
	}
	return names
}
