// Command admission measures a mass reconnection: many agents lose their server at once and
// reconnect when it is back. It reports how long it takes until all have reconnected, and
// how long users' calls take in the meantime.
//
//	admission [-bin DIR] [-agents N] [-ours SHARE] [-rates LIST]
//
// Half of the agents behave like AWS's, the others like ours. All run in this process; the
// server is a separate one.
package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"sekisho/bench/program"
	"sekisho/internal/agent/control"
	"sekisho/internal/agent/uplink"
	"sekisho/internal/servertest/ssmagent"
	"sekisho/internal/wire/id"
	"sekisho/internal/wire/link"
	"sekisho/internal/wire/mgs"
	"sekisho/internal/wire/sigv4"
)

const region = "us-east-1"

func main() { program.Main("admission", run) }

func run(ctx context.Context, out io.Writer, args []string) error {
	flags := flag.NewFlagSet("admission", flag.ContinueOnError)
	bin := flags.String("bin", "bin", "folder of sekishod")
	agents := flags.Int("agents", 5000, "how many agents come back")
	ours := flags.Float64("ours", 0.5, "share of them that are ours; the others are AWS's")
	rates := flags.String("rates", "100,1000000", "settings of agents_per_second to measure with")
	if err := flags.Parse(args); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "sekisho-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s, err := newServer(filepath.Join(*bin, "sekishod"), dir)
	if err != nil {
		return err
	}
	if err := s.start(ctx, 1_000_000); err != nil {
		return err
	}
	defer s.kill()
	began := time.Now()
	machines, err := s.machines(ctx, *agents)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d machines registered in %s\n", len(machines), time.Since(began).Round(time.Second))
	began = time.Now()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := &fleet{}
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	pace := time.NewTicker(5 * time.Millisecond) // the first connections are not measured
	defer pace.Stop()
	for i, m := range machines {
		<-pace.C
		if float64(i) < *ours*float64(len(machines)) {
			all.Go(func() { c.ours(ctx, m) })
		} else {
			all.Go(func() { c.stock(ctx, m) })
		}
	}
	if err := c.await(ctx, len(machines)); err != nil {
		return err
	}
	fmt.Fprintf(out, "connected in %s\n", time.Since(began).Round(time.Second))
	tab := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(tab, "%d agents, %.0f %% of them ours\n", len(machines), *ours*100)
	fmt.Fprintln(tab, "agents a second\tall are back after\thalf\tcalls, median\t99 %\tlongest\tfailed")
	for rate := range strings.SplitSeq(*rates, ",") {
		n, err := strconv.ParseFloat(rate, 64)
		if err != nil {
			return err
		}
		s.kill()
		if err := s.start(ctx, n); err != nil {
			return err
		}
		r, err := s.measure(ctx, c, len(machines))
		if err != nil {
			return err
		}
		at := func(q float64) time.Duration {
			return r.calls[int(q*float64(len(r.calls)-1))].Round(100 * time.Microsecond)
		}
		fmt.Fprintf(
			tab,
			"%s\t%s\t%s\t%s\t%s\t%s\t%d of %d\n",
			rate,
			r.back.Round(100*time.Millisecond),
			r.half.Round(100*time.Millisecond),
			at(0.5),
			at(0.99),
			at(1),
			r.failed,
			r.failed+len(r.calls),
		)
	}
	return tab.Flush()
}

// fleet counts the agents that are connected.
type fleet struct{ in atomic.Int64 }

func (c *fleet) await(ctx context.Context, n int) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for c.in.Load() < int64(n) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d agents are connected: %w", c.in.Load(), n, ctx.Err())
		}
	}
	return nil
}

// stock is an agent that behaves like AWS's.
func (c *fleet) stock(ctx context.Context, m *ssmagent.Machine) {
	ssmagent.New(ssmagent.Config{ID: m.ID, Gateway: gateway{m, c}}).Run(ctx)
}

type gateway struct {
	*ssmagent.Machine
	c *fleet
}

func (g gateway) Dial(ctx context.Context, kind, name string) (ssmagent.Conn, error) {
	conn, err := g.Machine.Dial(ctx, kind, name)
	if err != nil {
		return nil, err
	}
	g.Close() // it keeps no connection for calls
	g.c.in.Add(1)
	return &counted{Conn: conn, c: g.c}, nil
}

type counted struct {
	ssmagent.Conn
	c    *fleet
	once sync.Once
}

func (c *counted) Drop() {
	c.once.Do(func() { c.c.in.Add(-1) })
	c.Conn.Drop()
}

// ours is an agent that behaves like ours.
func (c *fleet) ours(ctx context.Context, m *ssmagent.Machine) {
	up := false
	down := func() {
		if up {
			c.in.Add(-1)
		}
		up = false
	}
	defer down()
	control.New(control.Config{
		Open: func(ctx context.Context) (*link.Conn, error) {
			down()
			token, err := m.Token(ctx, "control-channel", m.ID)
			if refused, ok := errors.AsType[*ssmagent.StatusError](err); ok {
				err = &uplink.APIError{Status: refused.Status, After: refused.After}
			}
			if err != nil {
				return nil, err
			}
			conn, err := m.Link(ctx, "control-channel", m.ID)
			if err != nil {
				return nil, err
			}
			m.Close()
			first, err := mgs.MarshalBody(
				mgs.OpenControlChannel{
					MessageSchemaVersion: mgs.SchemaVersion10,
					RequestID:            id.UUID(),
					TokenValue:           token,
				},
			)
			if err == nil {
				err = conn.Write(ctx, link.Text, first)
			}
			if err != nil {
				return nil, errors.Join(err, conn.CloseNow())
			}
			up = true
			c.in.Add(1)
			return conn, nil
		},
		Sessions: nobody{}, Log: slog.New(slog.DiscardHandler),
	}).Run(ctx)
}

type nobody struct{}

func (nobody) Start(mgs.AgentTaskPayload) {}
func (nobody) Cancel(string)              {}
func (nobody) Notify(string, string)      {}
func (nobody) Type(string, []byte)        {}

// result describes one mass reconnection.
type result struct {
	back, half time.Duration // since the server answered again
	calls      []time.Duration
	failed     int
}

// measure makes calls as a person does until all agents are back.
func (s *server) measure(ctx context.Context, c *fleet, n int) (result, error) {
	began := time.Now()
	var r result
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	back := make(chan error, 1)
	go func() {
		err := c.await(ctx, n/2)
		r.half = time.Since(began)
		if err == nil {
			err = c.await(ctx, n)
		}
		back <- err
	}()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-back:
			r.back = time.Since(began)
			slices.Sort(r.calls)
			if len(r.calls) == 0 {
				err = errors.Join(err, errors.New("no call was answered meanwhile"))
			}
			return r, err
		case <-tick.C:
			called := time.Now()
			if err := s.call(ctx, "DescribeInstanceInformation", map[string]any{"MaxResults": 10}, nil); err != nil {
				r.failed++
				continue
			}
			r.calls = append(r.calls, time.Since(called))
		}
	}
}

// server is a sekishod in its own process.
type server struct {
	bin, dir, addr string
	trust          *tls.Config
	http           *http.Client
	admin          sigv4.Credentials
	process        *exec.Cmd
	output         bytes.Buffer
}

func newServer(bin, dir string) (*server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &server{bin: bin, dir: dir, addr: l.Addr().String()}
	if err := l.Close(); err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(
			1,
		), Subject: pkix.Name{CommonName: "bench"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter:    time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, leaf, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(cert)
	s.trust = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	// Like a user's program: one connection per call.
	s.http = &http.Client{
		Transport: &http.Transport{TLSClientConfig: s.trust, DisableKeepAlives: true},
		Timeout:   time.Minute,
	}
	return s, errors.Join(
		os.WriteFile(filepath.Join(dir, "cert.pem"), cert, 0o600),
		os.WriteFile(
			filepath.Join(dir, "key.pem"),
			pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
			0o600,
		),
	)
}

// written are the secrets that a first start writes to a file.
var written = regexp.MustCompile(`AWS_ACCESS_KEY_ID=(\S+)\s+export AWS_SECRET_ACCESS_KEY=(\S+)`)

func (s *server) start(ctx context.Context, rate float64) error {
	config := fmt.Sprintf(
		"data: %s\nlisten: %s\naccount: \"100000000000\"\nregion: %s\ntls: {certificate: %s, key: "+
			"%s}\nagents_per_second: %v\n",
		filepath.Join(
			s.dir,
			"data",
		),
		s.addr,
		region,
		filepath.Join(s.dir, "cert.pem"),
		filepath.Join(s.dir, "key.pem"),
		rate,
	)
	file := filepath.Join(s.dir, "sekishod.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return err
	}
	s.output.Reset()
	s.process = exec.CommandContext(ctx, s.bin, "serve", "--config", file)
	s.process.Stdout, s.process.Stderr = &s.output, io.Discard
	if err := s.process.Start(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+s.addr+"/healthz", nil)
		if err != nil {
			return err
		}
		if resp, err := s.http.Do(r); err == nil {
			_ = resp.Body.Close()
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the server does not answer: %w", ctx.Err())
		}
	}
	if s.admin.AccessKeyID == "" {
		b, err := os.ReadFile(filepath.Join(s.dir, "data", "first-administrator"))
		if err != nil {
			return err
		}
		m := written.FindStringSubmatch(string(b))
		if m == nil {
			return errors.New("the server wrote no access key")
		}
		s.admin = sigv4.Credentials{AccessKeyID: m[1], SecretAccessKey: m[2]}
	}
	return nil
}

// kill ends the server as a power cut does.
func (s *server) kill() {
	if s.process == nil {
		return
	}
	_ = s.process.Process.Kill()
	_ = s.process.Wait() // it was killed
	s.process = nil
}

func (s *server) call(ctx context.Context, operation string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+s.addr+"/", bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("X-Amz-Target", "AmazonSSM."+operation)
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	sigv4.Sign(r, s.admin, region, "ssm", time.Now(), sigv4.HashBody(body))
	resp, err := s.http.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %d %s", operation, resp.StatusCode, b)
	}
	if err != nil || out == nil {
		return err
	}
	return json.Unmarshal(b, out)
}

// machines registers n machines. They share a key: making one is slow.
func (s *server) machines(ctx context.Context, n int) ([]*ssmagent.Machine, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	const most = 1000 // registrations of one activation
	all := make([]*ssmagent.Machine, n)
	for from := 0; from < n; from += most {
		var a struct {
			ActivationID   string `json:"ActivationId"`
			ActivationCode string
		}
		if err := s.call(ctx, "CreateActivation", map[string]any{
			"IamRole": "service-role/AmazonEC2RunCommandRoleForManagedInstances", "RegistrationLimit": most,
		}, &a); err != nil {
			return nil, err
		}
		next := int64(from)
		end := int64(min(from+most, n))
		errs := make(chan error, 16)
		for range cap(errs) {
			go func() {
				for {
					i := atomic.AddInt64(&next, 1) - 1
					if i >= end {
						errs <- nil
						return
					}
					m := ssmagent.NewMachine("https://"+s.addr, region, s.trust, key)
					if err := errors.Join(m.Register(ctx, a.ActivationID, a.ActivationCode), m.RoleToken(ctx)); err != nil {
						errs <- err
						return
					}
					m.Close()
					all[i] = m
				}
			}()
		}
		for range cap(errs) {
			if e := <-errs; e != nil {
				err = errors.Join(err, e)
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}
