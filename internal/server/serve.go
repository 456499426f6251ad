package server

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"sekisho/internal/config"
	"sekisho/internal/iam/identity/webid"
	"sekisho/internal/server/certificate"
	"sekisho/internal/server/proxyproto"
	"sekisho/internal/session/record"
	"sekisho/internal/wire/httplimit"
)

// adminUser is the name of the first administrator.
const adminUser = "admin"

// Run implements "sekishod serve": it runs a server with a configuration until ctx ends. On first
// start it creates the first administrator, writes the credentials to a file in the data directory,
// and prints that file's name to w.
func Run(ctx context.Context, c *config.Server, w io.Writer, log *slog.Logger) (err error) {
	if err := c.Check(); err != nil {
		return err
	}
	proxies, err := c.Proxies()
	if err != nil {
		return err
	}
	balancers, err := c.Balancers()
	if err != nil {
		return err
	}
	var federation []webid.ConsoleProvider
	for _, p := range c.SignIn {
		secret, err := p.ClientSecret()
		if err != nil {
			return err
		}
		federation = append(federation, webid.ConsoleProvider{
			Name: p.Name, Issuer: p.Issuer, ClientID: p.ClientID, ClientSecret: secret, Role: p.Role, Scopes: p.Scopes,
		})
	}
	webhooks, err := webhooksOf(c.Webhooks)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return err
	}
	cert, err := certificateOf(c, log)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return err
	}
	defer l.Close() // Serve closes it too; closing twice is harmless
	limits := httplimit.New(httplimit.Config{
		PerAddress: c.UnauthenticatedConnectionsPerAddress, Unauthenticated: c.UnauthenticatedConnections,
		Total:  c.Connections,
		Shared: slices.Concat(proxies, balancers),
	})
	l = limits.Listener(l)
	if len(balancers) > 0 {
		l = &proxyproto.Listener{Listener: l, Balancers: balancers}
	}
	agents := c.AgentsDir
	if agents == "" {
		program, err := os.Executable()
		if err != nil {
			return err
		}
		agents = filepath.Dir(program)
	}
	var admin net.Listener
	if c.AdminListen != "" {
		if admin, err = net.Listen("tcp", c.AdminListen); err != nil {
			return err
		}
		defer admin.Close() // Serve closes it too; closing twice is harmless
	}
	store, err := OpenRecordingStore(&c.Recordings.Store)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	witnesses, err := witnessesOf(c.Witnesses)
	if err != nil {
		return err
	}
	database, err := c.Database.Postgres()
	if err != nil {
		return err
	}
	member, err := listenMembers(c.Cluster)
	if err != nil {
		return err
	}
	defer member.close()
	s, err := New(ctx, Config{
		Database:   database,
		Cluster:    member,
		Recordings: store,
		Admin:      admin,
		AgentDir:   agents, CA: cert.Authority(),
		DataDir: c.Data, Account: c.Account, Region: c.Region, Log: log, StrictDocuments: c.StrictDocuments,
		TrustedProxies:         proxies,
		ResumeWithSessionToken: c.ResumeWithSessionToken, RefuseLogRewrites: c.RefuseLogRewrites,
		KeepSessions: !c.EndSessionsOnRevocation, Federation: federation, Webhooks: webhooks, Witnesses: witnesses,
		Retention: record.Retention{
			MaxAge:   time.Duration(c.Recordings.MaxAgeDays) * 24 * time.Hour,
			MaxBytes: c.Recordings.MaxBytes,
		},
		AuditMaxAge:     time.Duration(c.Audit.MaxAgeDays) * 24 * time.Hour,
		EventMaxAge:     time.Duration(c.Events.MaxAgeDays) * 24 * time.Hour,
		EventsKept:      c.Events.MaxRecords,
		CommandMaxAge:   time.Duration(c.Commands.MaxAgeDays) * 24 * time.Hour,
		CommandsKept:    c.Commands.MaxRecords,
		AgentsPerSecond: c.AgentsPerSecond,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.bootstrap(ctx, w); err != nil {
		return err
	}
	log.Info("serving", "listen", l.Addr().String(), "account", c.Account, "region", c.Region)
	return s.Serve(ctx, l, cert)
}

// ACMECache returns where a server keeps the certificates of an ACME authority.
func ACMECache(data string) string { return filepath.Join(data, "acme") }

// certificateOf returns the source of the configured certificate.
func certificateOf(c *config.Server, log *slog.Logger) (certificate.Source, error) {
	a := c.TLS.ACME
	if a == nil {
		return certificate.OpenFiles(c.TLS.Certificate, c.TLS.Key, log)
	}
	return certificate.NewACME(certificate.ACMEConfig{
		Names: a.Names, Email: a.Email, Directory: cmp.Or(a.Directory, config.DefaultACMEDirectory), Root: a.Root,
		Cache: ACMECache(c.Data), Log: log,
	})
}
