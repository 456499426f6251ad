// Package doctor diagnoses why an agent does not reach its server. It repeats the agent's steps
// one by one, and reports the step that fails and the remedy.
package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/agent"
	"sekisho/internal/agent/enroll"
	"sekisho/internal/agent/uplink"
	"sekisho/internal/wire/sigv4"
)

// Signatures are invalid if the clocks differ by more than maxSkew.
const maxSkew = 5 * time.Minute

// stepTimeout bounds one check.
const stepTimeout = 15 * time.Second

// examination is one run of the doctor.
type examination struct {
	out    io.Writer
	state  string
	server uplink.Server
	ident  enroll.Identity
	plain  *uplink.Client // without credentials
	client *uplink.Client
	busy   bool // an agent is running
}

// Run checks the agent whose state is in the directory state, writes one line per
// check, and reports whether all passed. It stops at the first failure, because
// later checks depend on earlier ones.
func Run(ctx context.Context, state string, out io.Writer) bool {
	x := &examination{out: out, state: state}
	defer x.close()
	for _, check := range []struct {
		name string
		do   func(context.Context) (string, error)
	}{
		{"config", x.config},
		{"disk", x.disk},
		{"DNS", x.dns},
		{"TCP", x.tcp},
		{"TLS", x.tls},
		{"clock", x.clock},
		{"identity", x.identity},
		{"signature", x.signature},
		{"channel", x.channel},
		{"agent", x.agent},
	} {
		step, cancel := context.WithTimeout(ctx, stepTimeout)
		found, err := check.do(step)
		cancel()
		if err != nil {
			fmt.Fprintf(out, "FAIL  %-9s  %v\n", check.name, err)
			if e, ok := errors.AsType[*sekisho.Error](err); !ok || e.Hint == "" {
				fmt.Fprintf(out, "                 %s\n", hint[check.name])
			}
			return false
		}
		fmt.Fprintf(out, "OK    %-9s  %s\n", check.name, found)
	}
	return true
}

// hint contains remedies for errors without their own.
var hint = map[string]string{
	"config": "Correct the file, or register the machine again with --force.",
	"disk":   "Check the file system of the state directory.",
	"DNS":    "Check the endpoint's name and this machine's /etc/resolv.conf.",
	"TCP":    "Check that the server is running and that no firewall blocks the connection.",
	"TLS": "Check that the server's certificate is for this name and not expired. If its CA is your own, " +
		"register with --ca FILE.",
	"clock":    "Set this machine's clock, for example with: timedatectl set-ntp true",
	"identity": "If the node was deregistered, register it again with --force and a new activation.",
	"signature": "Check that the region is the server's, that the activation's role allows " +
		"ssm:UpdateInstanceInformation, and this machine's clock.",
	"agent": "Start it, for example with: systemctl start sekisho-agent",
	"channel": "Check that the activation's role allows ssmmessages:CreateControlChannel, and that proxies in " +
		"between pass WebSockets.",
}

func (x *examination) close() {
	if x.plain != nil {
		x.plain.Close()
	}
	if x.client != nil {
		x.client.Close()
	}
}

func (x *examination) config(context.Context) (string, error) {
	v, err := enroll.OpenVault(x.state, false)
	if err != nil {
		return "", err
	}
	defer v.Close()
	if x.server, err = v.Server(); err != nil {
		return "", err
	}
	if x.ident, err = v.Identity(); err != nil {
		return "", err
	}
	if err := v.Lock(); err != nil {
		if sekisho.CodeOf(err) != sekisho.CodeInUse {
			return "", err
		}
		x.busy = true
	}
	if x.plain, err = uplink.New(x.server, nil); err != nil {
		return "", err
	}
	running := "no agent is running"
	if x.busy {
		running = "the agent is running"
	}
	return fmt.Sprintf("%s, %s, region %s; %s", x.ident.Node, x.server.Endpoint, x.server.Region, running), nil
}

// agent is the last check: the connection can work while no agent uses it.
func (x *examination) agent(context.Context) (string, error) {
	if !x.busy {
		return "", sekisho.Errorf(sekisho.CodeUnreachable, "the agent is not running: sessions cannot start on this machine")
	}
	return "is running", nil
}

func (x *examination) dns(ctx context.Context) (string, error) {
	host, _, err := net.SplitHostPort(x.plain.HostPort())
	if err != nil {
		return "", err
	}
	addrs, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return "", err
	}
	return host + " is " + strings.Join(addrs, ", "), nil
}

func (x *examination) tcp(ctx context.Context) (string, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", x.plain.HostPort())
	if err != nil {
		return "", err
	}
	defer conn.Close()
	return fmt.Sprintf("%s reaches %s", conn.LocalAddr(), conn.RemoteAddr()), nil
}

func (x *examination) tls(ctx context.Context) (string, error) {
	conf := x.plain.TLS()
	if conf == nil {
		return "not in use: the server is this machine", nil
	}
	conn, err := (&tls.Dialer{Config: conf}).DialContext(ctx, "tcp", x.plain.HostPort())
	if err != nil {
		return "", err
	}
	defer conn.Close()
	leaf := conn.(*tls.Conn).ConnectionState().PeerCertificates[0]
	return fmt.Sprintf(
		"certificate of %q, valid until %s",
		leaf.Subject.CommonName,
		leaf.NotAfter.UTC().Format(time.DateOnly),
	), nil
}

// clock compares the clocks using the Date header of a response.
func (x *examination) clock(ctx context.Context) (string, error) {
	tr := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: x.plain.TLS(), DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, x.server.Endpoint, nil)
	if err != nil {
		return "", err
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return "", err
	}
	resp.Body.Close()
	date := resp.Header.Get("Date")
	if date == "" {
		return "the server sent no Date header", nil
	}
	theirs, err := http.ParseTime(date)
	if err != nil {
		return "", err
	}
	skew := time.Since(theirs).Abs().Truncate(time.Second)
	if skew > maxSkew {
		return "", fmt.Errorf("this machine's clock is %v from the server's", skew)
	}
	return fmt.Sprintf("within %v of the server's", max(skew, time.Second)), nil
}

func (x *examination) identity(ctx context.Context) (string, error) {
	ctx, stop := context.WithCancel(ctx)
	role := enroll.NewRole(x.ident, x.plain, slog.New(slog.DiscardHandler))
	done := make(chan struct{})
	go func() { defer close(done); role.Run(ctx) }()
	creds, err := role.Credentials(ctx)
	stop()
	<-done
	if e, ok := errors.AsType[*uplink.APIError](err); ok && e.Code == "MachineFingerprintDoesNotMatch" {
		return "", sekisho.Errorf(sekisho.CodeDenied, "%w", err).
			WithHint("If this is the machine that registered, have an administrator approve the change (sekisho nodes " +
				"shows how). If its disk was copied from another, register this one again with --force.")
	}
	if noRole(err) {
		return "", sekisho.Errorf(sekisho.CodeDenied, "%w", err).
			WithHint("Have an administrator give the node a role: sekisho quick-setup --target %s", x.ident.Node)
	}
	if err != nil {
		return "", err
	}
	x.client, err = uplink.New(x.server, func(context.Context) (sigv4.Credentials, error) { return creds, nil })
	return "the server knows this node and issued role credentials", err
}

// noRole reports whether the server knows the node and has no role to give it
// credentials of.
func noRole(err error) bool {
	e, ok := errors.AsType[*uplink.APIError](err)
	return ok && (e.Code == "ResourceNotFoundException" ||
		strings.Contains(e.Message, "management role is not configured"))
}

func (x *examination) signature(ctx context.Context) (string, error) {
	err := x.client.SSM(ctx, "UpdateInstanceInformation", agent.ShortInformation(x.ident.Node), &struct{}{})
	return "the server accepts the credentials", err
}

func (x *examination) channel(ctx context.Context) (string, error) {
	if x.busy {
		// Opening it would disconnect the running agent.
		return "can be opened; the running agent holds it", x.client.CheckControl(ctx, x.ident.Node)
	}
	conn, err := x.client.OpenControl(ctx, x.ident.Node)
	if err != nil {
		return "", err
	}
	_ = conn.CloseNow() // opening it was the check
	return "opened", nil
}
