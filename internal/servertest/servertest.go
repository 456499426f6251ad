// Package servertest runs a whole server in the test's process, on a loopback
// TLS listener with its state in a temporary directory, and acts as its peers:
// administrators and users with AWS's own client library, agents and clients
// with the bare protocol.
package servertest

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsssm "github.com/aws/aws-sdk-go-v2/service/ssm"

	"sekisho/internal/iam/identity"
	"sekisho/internal/server"
	"sekisho/internal/server/certificate"
	"sekisho/internal/store/sqlstore"
	"sekisho/internal/store/storetest/pgtest"
	"sekisho/internal/wire/sigv4"
)

// Account and Region are those of the server.
const (
	Account = "123456789012"
	Region  = "eu-central-1"
)

// Patience limits how long a test waits for an event that must happen.
const Patience = 20 * time.Second

// Server is a running server.
type Server struct {
	*server.Server
	URL   string // https://127.0.0.1:port
	Host  string // 127.0.0.1:port
	Admin sigv4.Credentials

	t    testing.TB
	dir  string
	cert tls.Certificate
	pool *x509.CertPool
	http *http.Client
	stop func()

	configure func(c *server.Config)
	database  *sqlstore.Postgres // nil = SQLite
}

// engineEnv chooses the engine of the database: "postgres", or SQLite by default. The tests of a package
// that calls [Start] call [pgtest.Main] for it.
const engineEnv = "SEKISHO_TEST_DATABASE"

// OnPostgres is StartWith for a server whose database is on PostgreSQL.
func OnPostgres(t testing.TB, configure func(c *server.Config)) *Server {
	t.Helper()
	return start(t, configure, true)
}

// Database returns the path of the server's database file. It skips the test on another engine.
func (s *Server) Database() string {
	if s.database != nil {
		s.t.Skip("the test opens the file of SQLite")
	}
	return filepath.Join(s.dir, databaseFile)
}

const databaseFile = "sekisho.db"

// moveToPostgres moves the state to a new database on PostgreSQL.
func (s *Server) moveToPostgres() {
	s.t.Helper()
	url := pgtest.Database(s.t, func(ctx context.Context, url string) error {
		db, err := sqlstore.OpenPostgres(ctx, sqlstore.Postgres{URL: url})
		if err != nil {
			return err
		}
		return db.Close()
	})
	s.database = &sqlstore.Postgres{URL: url}
	file := filepath.Join(s.dir, databaseFile)
	if _, err := sqlstore.Copy(s.t.Context(), sqlstore.Place{File: file}, sqlstore.Place{Postgres: s.database},
		func(sqlstore.TableCopy) {}); err != nil {
		s.t.Fatal(err)
	}
	if err := sqlstore.RemoveFile(file); err != nil {
		s.t.Fatal(err)
	}
}

// Start starts a server that stops when the test ends.
func Start(t testing.TB) *Server {
	t.Helper()
	return StartWith(t, func(*server.Config) {})
}

// StartWith is Start with a changed configuration.
func StartWith(t testing.TB, configure func(c *server.Config)) *Server {
	t.Helper()
	return start(t, configure, os.Getenv(engineEnv) == "postgres")
}

func start(t testing.TB, configure func(c *server.Config), postgres bool) *Server {
	t.Helper()
	// The certificate of httptest is valid for the loopback addresses.
	ts := httptest.NewTLSServer(nil)
	cert, leaf := ts.TLS.Certificates[0], ts.Certificate()
	ts.Close()
	s := &Server{t: t, dir: t.TempDir(), cert: cert, pool: x509.NewCertPool(), configure: configure}
	s.pool.AddCert(leaf)
	s.http = &http.Client{Transport: &http.Transport{TLSClientConfig: s.TLS()}}
	begun, err := fresh()
	if err != nil {
		t.Fatal(err)
	}
	s.Admin = begun.admin
	for path, data := range begun.state {
		path = filepath.Join(s.dir, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, data, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if postgres {
		s.moveToPostgres()
	}
	l := s.open("127.0.0.1:0")
	s.serve(l)
	t.Cleanup(func() {
		s.stop()
		s.http.CloseIdleConnections()
	})
	return s
}

// beginning is the state of a new server.
type beginning struct {
	state map[string][]byte // files by path
	admin sigv4.Credentials
}

// fresh creates the state of one server once: migrations and the hash of a
// password take longer than most tests.
var fresh = sync.OnceValues(func() (b beginning, err error) {
	dir, err := os.MkdirTemp("", "sekisho")
	if err != nil {
		return b, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	srv, err := server.New(context.Background(), config(dir))
	if err != nil {
		return b, err
	}
	first, made, err := srv.Directory.Bootstrap(context.Background(), "admin")
	if err = errors.Join(err, srv.Close()); err != nil {
		return b, err
	}
	if !made {
		return b, errors.New("the first administrator was there already")
	}
	b.admin = sigv4.Credentials{AccessKeyID: first.AccessKeyID, SecretAccessKey: first.SecretAccessKey}
	b.state = map[string][]byte{}
	err = fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b.state[path], err = os.ReadFile(filepath.Join(dir, path))
		return err
	})
	return b, err
})

func config(dir string) server.Config {
	return server.Config{DataDir: dir, Account: Account, Region: Region, Log: slog.New(slog.DiscardHandler)}
}

// Restart stops the server and starts another on the same state and address.
func (s *Server) Restart() {
	s.t.Helper()
	s.stop()
	s.http.CloseIdleConnections()
	s.serve(s.open(s.Host))
}

func (s *Server) open(addr string) net.Listener {
	s.t.Helper()
	cfg := config(s.dir)
	cfg.Database = s.database
	s.configure(&cfg)
	srv, err := server.New(context.Background(), cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.Server, s.Host = srv, l.Addr().String()
	s.URL = "https://" + s.Host
	return l
}

func (s *Server) serve(l net.Listener) {
	ctx, cancel := context.WithCancel(context.Background())
	srv := s.Server
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := srv.Serve(ctx, l, certificate.Static(s.cert)); err != nil {
			s.t.Errorf("serve: %v", err)
		}
		if err := srv.Close(); err != nil {
			s.t.Errorf("close: %v", err)
		}
	})
	s.stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
	})
}

// TLS returns a configuration that trusts the server.
func (s *Server) TLS() *tls.Config { return &tls.Config{RootCAs: s.pool, MinVersion: tls.VersionTLS12} }

// User creates a user with one inline policy, unless the policy is empty, and
// returns an access key.
func (s *Server) User(name, policy string) sigv4.Credentials {
	s.t.Helper()
	ctx := s.t.Context()
	if _, err := s.Directory.Users.Create(ctx, "/", name, "", nil); err != nil {
		s.t.Fatal(err)
	}
	if policy != "" {
		if err := s.Directory.Holders.PutInline(ctx, identity.KindUser, name, "inline", policy); err != nil {
			s.t.Fatal(err)
		}
	}
	k, err := s.Directory.Keys.Create(ctx, name)
	if err != nil {
		s.t.Fatal(err)
	}
	return sigv4.Credentials{AccessKeyID: k.ID, SecretAccessKey: k.Secret}
}

// Allow returns a policy with one statement.
func Allow(resource string, actions ...string) string {
	b, err := json.Marshal(map[string]any{
		"Version":   "2012-10-17",
		"Statement": []any{map[string]any{"Effect": "Allow", "Action": actions, "Resource": resource}},
	})
	if err != nil {
		panic(err) // strings always marshal
	}
	return string(b)
}

// SSM returns AWS's client with these credentials. It does not retry.
func (s *Server) SSM(c sigv4.Credentials) *awsssm.Client {
	return awsssm.NewFromConfig(aws.Config{
		Region: Region, BaseEndpoint: aws.String(s.URL), HTTPClient: s.http,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{
				AccessKeyID:     c.AccessKeyID,
				SecretAccessKey: c.SecretAccessKey,
				SessionToken:    c.SessionToken,
			}, nil
		}),
		Retryer: func() aws.Retryer { return aws.NopRetryer{} },
	})
}

// Answer is a response of any door.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

// Code is the error code without its namespace; empty for a success.
func (a Answer) Code() string {
	if a.Status < 300 {
		return ""
	}
	var e struct {
		Type string `json:"__type"`
	}
	if json.Unmarshal([]byte(a.Body), &e) == nil && e.Type != "" {
		return e.Type[strings.LastIndexByte(e.Type, '#')+1:]
	}
	_, rest, ok := strings.Cut(a.Body, "<Code>")
	if !ok {
		return "unknown"
	}
	code, _, _ := strings.Cut(rest, "</Code>")
	return code
}

// Decode decodes a JSON response.
func (a Answer) Decode(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.Body), v); err != nil {
		t.Fatalf("%d %s: %v", a.Status, a.Body, err)
	}
}

// JSON calls an operation of a JSON door. Without a key the request is not
// signed.
func (s *Server) JSON(c sigv4.Credentials, service, operation string, in any) Answer {
	s.t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.Do(func(r *http.Request) {
		r.Header.Set("X-Amz-Target", targetOf(service)+"."+operation)
		r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	}, c, service, http.MethodPost, "/", string(body))
}

// targetOf is the prefix of X-Amz-Target.
func targetOf(service string) string {
	switch service {
	case "ssm":
		return "AmazonSSM"
	case "ec2messages":
		return "EC2WindowsMessageDeliveryService"
	case "cloudtrail":
		return "CloudTrail_20131101"
	case "cur":
		return "AWSOrigamiServiceGatewayService"
	case "sekisho":
		return "Sekisho"
	case "logs":
		return "Logs_20140328"
	case "kms":
		return "TrentService"
	}
	return service
}

// Do sends any request, signed if there is a key.
func (s *Server) Do(prepare func(r *http.Request), c sigv4.Credentials, service, method, path, body string) Answer {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.URL+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if prepare != nil {
		prepare(r)
	}
	if c.AccessKeyID != "" {
		sigv4.Sign(r, c, Region, service, time.Now(), sigv4.HashBody([]byte(body)))
	}
	return s.send(r)
}

// Send sends a request unchanged.
func (s *Server) Send(r *http.Request) Answer { return s.send(r) }

// From has do make its calls from another loopback address.
func (s *Server) From(addr string, do func()) {
	s.t.Helper()
	before := s.http
	defer func() { s.http = before }()
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(addr)}}
	s.http = &http.Client{
		Transport: &http.Transport{TLSClientConfig: s.TLS(), DialContext: dialer.DialContext, DisableKeepAlives: true},
	}
	do()
}

func (s *Server) send(r *http.Request) Answer {
	s.t.Helper()
	resp, err := s.http.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return Answer{Status: resp.StatusCode, Header: resp.Header, Body: string(bytes.TrimSpace(b))}
}

// Event is an event of the audit trail, as LookupEvents returns it.
type Event struct {
	EventTime                                                      time.Time
	EventName, ErrorCode, ErrorMessage, SourceIPAddress, UserAgent string
	UserIdentity                                                   struct {
		Type, UserName, Arn, PrincipalID,
		AccessKeyID string
	}
	RequestParameters, ResponseElements map[string]any
	AdditionalEventData                 map[string]any
}

// Reason is the reason of the policy decision.
func (e Event) Reason() string {
	reason, _ := e.AdditionalEventData["decisionReason"].(string)
	return reason
}

// Events returns the audit events with a name, newest first.
func (s *Server) Events(name string) []Event {
	s.t.Helper()
	var out struct {
		Events []struct{ CloudTrailEvent string }
	}
	s.JSON(s.Admin, "cloudtrail", "LookupEvents", map[string]any{
		"LookupAttributes": []any{map[string]string{"AttributeKey": "EventName", "AttributeValue": name}},
	}).Decode(s.t, &out)
	var events []Event
	for _, e := range out.Events {
		var one Event
		if err := json.Unmarshal([]byte(e.CloudTrailEvent), &one); err != nil {
			s.t.Fatal(err)
		}
		events = append(events, one)
	}
	return events
}

// Eventually waits until happened is true.
func (s *Server) Eventually(what string, happened func() bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), Patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !happened() {
		select {
		case <-ctx.Done():
			s.t.Fatalf("waited %s for %s", Patience, what)
		case <-tick.C:
		}
	}
}

// Certificate returns the server's certificate, which is also its own
// authority.
func (s *Server) Certificate() []byte { return s.cert.Certificate[0] }
