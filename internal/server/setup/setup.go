// Package setup prepares the first start of a server on a machine: it checks the
// machine, then writes the configuration, the certificate and the first
// administrator's credentials. Nothing is written unless every check passes,
// and nothing that exists is overwritten.
package setup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/config"
	"sekisho/internal/server"
	"sekisho/internal/server/localca"
)

// TLSSource says where the server's certificate comes from.
type TLSSource string

// Sources of certificates.
const (
	OwnCA TLSSource = "own-ca" // an authority that setup creates
	Files TLSSource = "files"  // given files
	ACME  TLSSource = "acme"   // issued by an ACME authority
)

// Options are the inputs of a setup.
type Options struct {
	// Names are the DNS names and IP addresses under which clients and agents
	// reach the server. The first goes into the commands that setup prints.
	Names  []string
	Listen string // host:port
	// Config is the path of the configuration file; certificates and the first
	// administrator's credentials are written beside it.
	Config  string
	Data    string // directory of the state
	Account string // 12 digits
	Region  string
	TLS     TLSSource
	// Certificate and Key are PEM files, for TLS Files.
	Certificate, Key string
	// ACME is the authority, for TLS ACME. Its names are Names.
	ACME      config.ACME
	AgentsDir string // directory of agents for machines; may be empty
	// User runs the server; empty means the user who runs setup. As root, setup
	// gives the files to it.
	User string
	Log  *slog.Logger
	// Users looks a user up; nil means the system's user database.
	Users func(name string) (*user.User, error)
}

// Result is what a setup has written.
type Result struct {
	Config      string // configuration file
	Credentials string // file of the first administrator's credentials, mode 0600
	CA          string // certificate of a private authority; empty if there is none
	Endpoint    string // https://NAME[:PORT]
}

// certificateLife is the validity of a certificate of the generated authority. It is long
// because only setup issues certificates. Clients check them against the authority, not
// against the rules for public ones.
const certificateLife = 5 * 365 * 24 * time.Hour

// minFree is the free space that a new server needs to be useful.
const minFree = 1 << 30

var (
	dnsName = regexp.MustCompile(
		`^(\*\.)?([a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?\.)*[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$`,
	)
	region = regexp.MustCompile(`^[a-z]{2}(-[a-z0-9]+)+$`)
)

// Check returns everything that is wrong with the options or the machine.
func (o *Options) Check() error {
	var errs []error
	bad := func(hint, format string, args ...any) {
		errs = append(errs, sekisho.Errorf(sekisho.CodeInvalid, format, args...).WithHint("%s", hint))
	}
	if len(o.Names) == 0 {
		bad("Give the DNS name or address under which machines reach this server with --name.", "--name is missing.")
	}
	for _, n := range o.Names {
		if net.ParseIP(n) == nil && (!dnsName.MatchString(n) || len(n) > 253) {
			bad(
				"Use names such as sekisho.example.com or 192.0.2.10, without https:// and port.",
				"--name %q is neither a DNS name nor an IP address.",
				n,
			)
		}
	}
	if len(o.Account) != 12 || strings.Trim(o.Account, "0123456789") != "" {
		bad(
			"Choose any 12 digits; they are part of every ARN and cannot be changed later.",
			"--account %q is not 12 digits.",
			o.Account,
		)
	}
	if !region.MatchString(o.Region) || len(o.Region) > 63 {
		bad(
			"Use the form of AWS's names, such as us-east-1 or jp-office-1; clients insist on it.",
			"--region %q is not a region name.",
			o.Region,
		)
	}
	switch o.TLS {
	case OwnCA:
		if o.Certificate != "" || o.Key != "" {
			bad(
				"Use --tls files to serve them, or leave them out.",
				"--certificate and --key have no effect with --tls own-ca.",
			)
		}
	case Files:
		if o.Certificate == "" || o.Key == "" {
			bad("Name two PEM files.", "--tls files requires --certificate and --key.")
		} else if err := (&config.TLS{Certificate: o.Certificate, Key: o.Key}).Check(); err != nil {
			errs = append(errs, err)
		}
	case ACME:
		if o.Certificate != "" || o.Key != "" {
			bad("Use --tls files to serve them, or leave them out.", "--certificate and --key have no effect with --tls acme.")
		}
		o.ACME.Names = o.Names
		t := &config.TLS{ACME: &o.ACME}
		errs = append(append(errs, t.Form()...), t.Check())
	default:
		bad("Use own-ca, files or acme.", "--tls %q is unknown.", o.TLS)
	}
	errs = append(errs, o.checkListen(), o.checkUser(), o.checkPlaces(), checkClock(time.Now()))
	return errors.Join(errs...)
}

// checkListen checks that the server could listen.
func (o *Options) checkListen() error {
	l, err := net.Listen("tcp", o.Listen)
	if err == nil {
		return l.Close()
	}
	e := sekisho.Errorf(sekisho.CodeConflict, "cannot listen on %q: %w.", o.Listen, err)
	if errors.Is(err, os.ErrPermission) {
		return e.WithHint(
			"Ports below 1024 need root, or a systemd unit with CAP_NET_BIND_SERVICE; choose another with --listen.",
		)
	}
	return e.WithHint("Another program may use the port (ss -ltnp shows it); choose another with --listen HOST:PORT.")
}

func (o *Options) checkUser() error {
	if o.User == "" {
		return nil
	}
	if _, err := o.lookup(o.User); err != nil {
		return sekisho.Errorf(sekisho.CodeNotFound, "--user %q: %w.", o.User, err).
			WithHint("The packages create the user sekisho. Create it, or name another one with --user.")
	}
	return nil
}

func (o *Options) lookup(name string) (*user.User, error) {
	if o.Users != nil {
		return o.Users(name)
	}
	return user.Lookup(name)
}

// checkPlaces checks that the files do not exist yet and the disk has space.
func (o *Options) checkPlaces() error {
	var errs []error
	for _, p := range []string{o.Config, o.credentialsFile()} {
		if _, err := os.Lstat(p); err == nil {
			errs = append(errs, sekisho.Errorf(sekisho.CodeConflict, "%s exists.", p).
				WithHint("This machine is set up already. Move the file away to start over, or edit it and restart the server."),
			)
		}
	}
	if entries, err := os.ReadDir(o.Data); err == nil && len(entries) > 0 {
		errs = append(errs, sekisho.Errorf(sekisho.CodeConflict, "%s is not empty.", o.Data).
			WithHint("It may hold another server's state. Choose another directory with --data."))
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	if free, ok := FreeSpace(o.Data); ok && free < minFree {
		errs = append(
			errs,
			sekisho.Errorf(sekisho.CodeLimit, "the file system of %s has %d MiB free; recordings and logs need at least %d MiB.",
				o.Data, free>>20, minFree>>20).
				WithHint("Free some space, or choose another directory with --data."),
		)
	}
	return errors.Join(errs...)
}

// built is a time before which any clock is wrong.
var built = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

func checkClock(now time.Time) error {
	if now.Before(built) {
		return sekisho.Errorf(sekisho.CodeInvalid, "this machine's clock says %s.", now.UTC().Format(time.RFC3339)).
			WithHint("Signatures and certificates need the right time: timedatectl set-ntp true")
	}
	return nil
}

func (o *Options) dir() string             { return filepath.Dir(o.Config) }
func (o *Options) tlsDir() string          { return filepath.Join(o.dir(), "tls") }
func (o *Options) credentialsFile() string { return filepath.Join(o.dir(), "first-administrator") }

// Run checks the options and sets the server up.
func Run(ctx context.Context, o Options) (*Result, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	owner, err := o.owner()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.dir(), 0o750); err != nil {
		return nil, err
	}
	r := &Result{
		Config: o.Config, Credentials: o.credentialsFile(), Endpoint: "https://" + o.endpointHost(), CA: o.ACME.Root,
	}
	if o.TLS == OwnCA {
		if err := o.issue(owner, r); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(o.Data, 0o700); err != nil {
		return nil, err
	}
	first, err := server.Initialize(
		ctx,
		server.Config{DataDir: o.Data, Account: o.Account, Region: o.Region, Log: o.Log},
	)
	if err != nil {
		return nil, fmt.Errorf("create the first administrator: %w", err)
	}
	if err := WriteNew(r.Credentials, 0o600, []byte(credentials(r, o.Region, first))); err != nil {
		return nil, err
	}
	if err := owner.give(o.Data, r.Config); err != nil {
		return nil, err
	}
	// The configuration comes last: the server's unit waits for it, and a setup
	// that was interrupted before can be repeated.
	if err := WriteNew(o.Config, 0o640, []byte(o.configuration())); err != nil {
		return nil, err
	}
	if err := owner.give(o.Config); err != nil {
		return nil, err
	}
	c, err := config.Read(o.Config)
	if err == nil {
		err = c.Check()
	}
	return r, err
}

// issue creates the authority and the server's certificate.
func (o *Options) issue(owner owner, r *Result) error {
	a, err := localca.Open(o.tlsDir(), "Sekisho CA of "+o.Names[0])
	if err != nil {
		return err
	}
	names := o.Names
	if !slices.Contains(names, "localhost") {
		names = append(slices.Clone(names), "localhost")
	}
	cert, err := a.Issue(certificateLife, names...)
	if err != nil {
		return err
	}
	chain, key, err := localca.Encode(cert)
	if err != nil {
		return err
	}
	r.CA = a.File
	o.Certificate, o.Key = filepath.Join(o.tlsDir(), "server.pem"), filepath.Join(o.tlsDir(), "server.key")
	// Left over from a setup that was interrupted; the authority is reused.
	for _, f := range []string{o.Certificate, o.Key} {
		if err := os.Remove(f); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := errors.Join(WriteNew(o.Certificate, 0o644, chain), WriteNew(o.Key, 0o600, key)); err != nil {
		return err
	}
	// The CA's key stays with root: the server does not need it. The certificate is public, and
	// administrators copy it from here.
	return errors.Join(os.Chmod(o.tlsDir(), 0o755), owner.give(o.Certificate, o.Key))
}

func (o *Options) endpointHost() string {
	host := strings.TrimPrefix(o.Names[0], "*.")
	_, port, err := net.SplitHostPort(o.Listen)
	if err != nil || port == "443" {
		if a, err := netip.ParseAddr(host); err == nil && a.Is6() {
			return "[" + host + "]"
		}
		return host
	}
	return net.JoinHostPort(host, port)
}

// configuration returns the configuration file.
func (o *Options) configuration() string {
	var b strings.Builder
	fmt.Fprintf(
		&b,
		"# Configuration of sekishod, written by sekishod setup. The operator guide\n# describes every key; check "+
			"changes with: sekishod config check --config %s\n\n",
		o.Config,
	)
	for _, kv := range [][2]string{
		{"data", o.Data}, {"listen", o.Listen}, {"account", o.Account}, {"region", o.Region},
	} {
		fmt.Fprintf(&b, "%s: %s\n", kv[0], strconv.Quote(kv[1]))
	}
	b.WriteString(o.tls())
	if o.AgentsDir != "" {
		fmt.Fprintf(&b, "agents_dir: %s\n", strconv.Quote(o.AgentsDir))
	}
	return b.String()
}

// tls returns the configuration of the certificate.
func (o *Options) tls() string {
	if o.TLS != ACME {
		return fmt.Sprintf("tls:\n  certificate: %s\n  key: %s\n", strconv.Quote(o.Certificate), strconv.Quote(o.Key))
	}
	var b strings.Builder
	b.WriteString("tls:\n  acme:\n    accept_terms: true\n    names:\n")
	for _, n := range o.ACME.Names {
		fmt.Fprintf(&b, "      - %s\n", strconv.Quote(n))
	}
	for _, kv := range [][2]string{{"email", o.ACME.Email}, {"directory", o.ACME.Directory}, {"root", o.ACME.Root}} {
		if kv[1] != "" {
			fmt.Fprintf(&b, "    %s: %s\n", kv[0], strconv.Quote(kv[1]))
		}
	}
	return b.String()
}

// credentials returns the file with the first administrator's credentials. A
// shell can source it.
func credentials(r *Result, region string, first server.FirstAdministrator) string {
	var b strings.Builder
	b.WriteString(
		"# The first administrator, written by sekishod setup. Change the password at the\n# first sign-in, and delete " +
			"this file when you have stored what you need.\n",
	)
	fmt.Fprintf(&b, "# Console: %s/console/  user name %s  password %s\n", r.Endpoint, first.UserName, first.Password)
	for _, kv := range [][2]string{
		{"AWS_ENDPOINT_URL", r.Endpoint}, {"AWS_REGION", region}, {"AWS_DEFAULT_REGION", region},
		{"AWS_EC2_METADATA_DISABLED", "true"}, {"AWS_CA_BUNDLE", r.CA}, {"SSL_CERT_FILE", r.CA},
		{"AWS_ACCESS_KEY_ID", first.AccessKeyID}, {"AWS_SECRET_ACCESS_KEY", first.SecretAccessKey},
	} {
		if kv[1] != "" {
			fmt.Fprintf(&b, "export %s=%s\n", kv[0], kv[1])
		}
	}
	return b.String()
}

// WriteNew writes a file that must not exist yet, with exactly this mode.
func WriteNew(path string, mode fs.FileMode, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	// The umask may have cleared bits of the mode.
	_, err = f.Write(b)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// owner is the user that gets the server's files. The zero value leaves them unchanged.
type owner struct {
	uid, gid int
	set      bool
}

func (o *Options) owner() (owner, error) {
	if o.User == "" || os.Geteuid() != 0 {
		return owner{}, nil
	}
	u, err := o.lookup(o.User)
	if err != nil {
		return owner{}, err
	}
	uid, uerr := strconv.Atoi(u.Uid)
	gid, gerr := strconv.Atoi(u.Gid)
	return owner{uid, gid, true}, errors.Join(uerr, gerr)
}

// give changes the owner of files, and of folders with their content. It skips missing ones. It
// follows no symbolic link.
func (o owner) give(paths ...string) error {
	if !o.set {
		return nil
	}
	for _, p := range paths {
		err := filepath.WalkDir(p, func(path string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Lchown(path, o.uid, o.gid)
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
