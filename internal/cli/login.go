package cli

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"sekisho"
	"sekisho/internal/client"
)

// Lifetimes of the credentials of a sign-in.
const (
	defaultLogin = 12 * time.Hour
	minLogin     = 15 * time.Minute
	maxLogin     = 36 * time.Hour
)

// maxSecret bounds a password, a code or a token.
const maxSecret = 64 << 10

func login(std Streams, profile *string) *cobra.Command {
	var user, name, role, sessionName, tokenFile string
	var duration time.Duration
	var browser, device bool
	cmd := &cobra.Command{
		Use:   "login [URL]",
		Short: "Sign in and store short-lived credentials",
		Long: `login signs you in with your password and, if you have one, the code of your
authenticator app. It stores short-lived credentials in ~/.sekisho/contexts.json,
which only you can read, so you need no access keys. URL is the server's
address; it defaults to AWS_ENDPOINT_URL or the current context.

With --browser, you approve the sign-in in this machine's browser, where you can
use a passkey or another identity provider. With --device, you approve it in a
browser on any machine, by typing a code.

With --web-identity-token-file and --role, it exchanges an OpenID Connect token for
credentials of the role.

It prompts for the password on the terminal. If standard input is not a terminal, it
reads the password from the first line and the code from the second.`,
		Example: `  sekisho login https://sekisho.example.com --user alice
  sekisho login https://sekisho.example.com --browser
  sekisho login --web-identity-token-file token.jwt --role arn:aws:iam::123456789012:role/ops`,
		Args: cobra.MaximumNArgs(1),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if duration < minLogin || duration > maxLogin {
			return usagef(cmd, "--duration must be between %s and %s", minLogin, maxLogin)
		}
		if (tokenFile == "") != (role == "") {
			return usagef(cmd, "--web-identity-token-file and --role must be given together")
		}
		ways := 0
		for _, chosen := range []bool{browser, device, role != "", user != ""} {
			if chosen {
				ways++
			}
		}
		if ways > 1 {
			return usagef(cmd, "--browser, --device, --user and --role exclude each other")
		}
		contexts, err := client.ReadContexts(std.Getenv)
		if err != nil {
			return err
		}
		place, err := loginServer(std, contexts, *profile, args)
		if err != nil {
			return err
		}
		cfg, err := place.Config()
		if err != nil {
			return err
		}
		c := client.New(cfg)
		defer c.Close()
		var creds client.TemporaryCredentials
		if role != "" {
			token, err := readSecretFile(tokenFile)
			if err != nil {
				return err
			}
			if creds, err = c.SignInWithToken(cmd.Context(), role, sessionName, token, duration); err != nil {
				return err
			}
		} else if browser || device {
			if creds, err = approvedInBrowser(cmd, c, std, browser, duration); err != nil {
				return err
			}
		} else {
			prompt := &prompter{in: std.In, out: cmd.ErrOrStderr(), lines: bufio.NewReader(io.LimitReader(std.In, maxSecret))}
			if user == "" {
				if user, err = prompt.ask("User: ", false); err != nil {
					return err
				}
			}
			password, err := prompt.ask("Password: ", true)
			if err != nil {
				return err
			}
			code := func() (string, error) { return prompt.ask("Code of your authenticator app: ", true) }
			if creds, err = c.SignIn(cmd.Context(), user, password, code, duration); err != nil {
				return err
			}
		}
		place.SetCredentials(creds)
		cfg.Credentials = creds.Credentials
		signedIn := client.New(cfg)
		defer signedIn.Close()
		who, err := signedIn.WhoAmI(cmd.Context())
		if err != nil {
			return err
		}
		place.User = who.Arn
		if name == "" {
			name = hostOf(place.Endpoint)
		}
		contexts.Set(name, place)
		if err := contexts.Write(); err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.ErrOrStderr(), "Signed in to %s as %s until %s.\n",
			client.Printable(place.Endpoint), client.Printable(who.Arn), creds.Expires.Local().Format(time.DateTime))
		return err
	}
	f := cmd.Flags()
	f.StringVarP(&user, "user", "u", "", "user name")
	f.BoolVar(&browser, "browser", false, "approve the sign-in in this machine's browser")
	f.BoolVar(&device, "device", false, "approve the sign-in in a browser on another machine")
	f.StringVar(&name, "name", "", "name of the context (default: the server's host name)")
	f.DurationVar(&duration, "duration", defaultLogin, "lifetime of the credentials")
	f.StringVar(&tokenFile, "web-identity-token-file", "", "file with an OpenID Connect token")
	f.StringVar(&role, "role", "", "ARN of the role to assume with the token")
	f.StringVar(&sessionName, "role-session-name", "sekisho", "name of the role session")
	return cmd
}

// approvedInBrowser signs in through a browser, on this machine if local is true.
func approvedInBrowser(
	cmd *cobra.Command,
	c *client.Client,
	std Streams,
	local bool,
	duration time.Duration,
) (client.TemporaryCredentials, error) {
	out := cmd.ErrOrStderr()
	host, err := os.Hostname()
	if err != nil {
		host = "an unnamed machine"
	}
	return c.SignInWithBrowser(cmd.Context(), client.BrowserSignIn{
		Name: "sekisho on " + host, Duration: duration, Local: local,
		Show: func(address, userCode string) {
			address, userCode = client.Printable(address), client.Printable(userCode)
			if !local {
				fmt.Fprintf(out, "Open %s in a browser, sign in, and enter the code %s\n", address, userCode)
				return
			}
			if err := openBrowser(cmd.Context(), std.Getenv, address); err != nil {
				fmt.Fprintf(out, "No browser could be opened (%v). Open this address on this machine:\n", err)
			} else {
				fmt.Fprintln(out, "Approve the sign-in in your browser. If it did not open, use this address:")
			}
			fmt.Fprintf(out, "  %s\nThe page must show the code %s\n", address, userCode)
		},
	})
}

// loginServer returns a context for the server to sign in to.
func loginServer(std Streams, contexts *client.Contexts, profile string, args []string) (*client.Context, error) {
	found, err := client.ServerContext(profile, std.Getenv)
	if err != nil {
		return nil, err
	}
	current, err := contexts.Get("")
	if err != nil {
		return nil, err
	}
	endpoint := found.Endpoint
	switch {
	case len(args) > 0:
		endpoint = strings.TrimSuffix(args[0], "/")
		if !strings.Contains(endpoint, "://") {
			endpoint = "https://" + endpoint
		}
	case endpoint == "" && current != nil:
		endpoint = current.Endpoint
	}
	for _, known := range contexts.Contexts {
		if known.Endpoint == endpoint && found.CA == "" {
			found.CA, found.Region = known.CA, known.Region
		}
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.Scheme != "https" && !isLoopback(u) {
		return nil, sekisho.Errorf(sekisho.CodeInvalid, "%q is not the https:// address of a server.",
			client.Printable(endpoint)).
			WithHint("Example: sekisho login https://sekisho.example.com")
	}
	found.Endpoint = endpoint
	return found, nil
}

// isLoopback reports whether a URL is http on this machine, where a password may
// be sent without TLS.
func isLoopback(u *url.URL) bool {
	return u.Scheme == "http" &&
		(u.Hostname() == "localhost" || strings.HasPrefix(u.Hostname(), "127.") || u.Hostname() == "::1")
}

func hostOf(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil {
		return endpoint
	}
	return u.Hostname()
}

// prompter reads answers from the terminal, or line by line from other input.
type prompter struct {
	in    *os.File
	out   io.Writer
	lines *bufio.Reader
}

func (p *prompter) ask(question string, secret bool) (string, error) {
	isTerminal := term.IsTerminal(int(p.in.Fd()))
	if isTerminal && secret {
		return p.askSecret(question)
	}
	if isTerminal {
		fmt.Fprint(p.out, question)
	}
	line, err := p.lines.ReadString('\n')
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", sekisho.Errorf(
			sekisho.CodeInvalid,
			"standard input ended before the answer to %q",
			strings.TrimSuffix(question, ": "),
		)
	}
	if err != nil && err != io.EOF {
		return "", err
	}
	return line, nil
}

// askSecret reads an answer without showing it. Ctrl-C and Ctrl-D end it: the terminal is in raw
// mode, because a signal would not interrupt the read.
func (p *prompter) askSecret(question string) (string, error) {
	fd := int(p.in.Fd())
	state, err := term.MakeRaw(fd)
	if err != nil {
		return "", err
	}
	defer func() { _ = term.Restore(fd, state) }()
	answer, err := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{p.in, p.out}, "").ReadPassword(question)
	if errors.Is(err, io.EOF) {
		fmt.Fprint(p.out, "\r\n")
		return "", errInterrupted
	}
	return answer, err
}

func readSecretFile(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxSecret))
	return strings.TrimSpace(string(text)), err
}

func logout(std Streams) *cobra.Command {
	return &cobra.Command{
		Use:   "logout [CONTEXT]",
		Short: "Sign out and remove the stored credentials",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			contexts, err := client.ReadContexts(std.Getenv)
			if err != nil {
				return err
			}
			c, err := contexts.Get(strings.Join(args, ""))
			if err != nil {
				return err
			}
			if c == nil {
				_, err := fmt.Fprintln(cmd.ErrOrStderr(), "You are not signed in.")
				return err
			}
			c.SignOut()
			if err := contexts.Write(); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.ErrOrStderr(), "Signed out of %s.\n", client.Printable(c.Endpoint))
			return err
		},
	}
}

func whoami(dial dialer) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "whoami",
		Short: "Show whose credentials are in use",
		Args:  cobra.NoArgs,
	}
	format := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := dial()
		if err != nil {
			return err
		}
		defer c.Close()
		who, err := c.WhoAmI(cmd.Context())
		if err != nil {
			return err
		}
		return format.write(cmd.OutOrStdout(), who, func(w io.Writer) error {
			_, err := fmt.Fprintln(w, client.Printable(who.Arn))
			return err
		})
	}
	return cmd
}

// contextRow is a context as contexts lists it, without credentials.
type contextRow struct {
	Name, Endpoint, User string
	Current, SignedIn    bool
	Expires              client.Time
}

func contexts(std Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "contexts",
		Short: "List or switch between the servers you signed in to",
		Long: `contexts lists the servers you signed in to. Commands use the current one, unless
--profile, AWS_PROFILE or an access key in the environment says otherwise.`,
		Args: cobra.NoArgs,
	}
	format := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		all, err := client.ReadContexts(std.Getenv)
		if err != nil {
			return err
		}
		rows := []contextRow{}
		for _, name := range all.Names() {
			c := all.Contexts[name]
			rows = append(
				rows,
				contextRow{
					name,
					c.Endpoint,
					c.User,
					name == all.Current,
					c.SignedIn(time.Now()),
					client.Time{Time: c.Expires},
				},
			)
		}
		return format.write(cmd.OutOrStdout(), rows, func(w io.Writer) error {
			var lines [][]string
			for _, r := range rows {
				mark, state := "", "signed out"
				if r.Current {
					mark = "*"
				}
				if r.SignedIn {
					state = "until " + when(r.Expires)
				}
				lines = append(lines, []string{r.Name, mark, r.Endpoint, r.User, state})
			}
			return table(w, []string{"CONTEXT", "CURRENT", "SERVER", "USER", "SIGNED IN"}, lines)
		})
	}
	change := func(use, short string, do func(all *client.Contexts, name string)) *cobra.Command {
		return &cobra.Command{
			Use: use, Short: short, Args: cobra.ExactArgs(1),
			ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
				all, err := client.ReadContexts(std.Getenv)
				if err != nil {
					return nil, cobra.ShellCompDirectiveNoFileComp
				}
				return all.Names(), cobra.ShellCompDirectiveNoFileComp
			},
			RunE: func(_ *cobra.Command, args []string) error {
				all, err := client.ReadContexts(std.Getenv)
				if err != nil {
					return err
				}
				if _, err := all.Get(args[0]); err != nil {
					return err
				}
				do(all, args[0])
				return all.Write()
			},
		}
	}
	cmd.AddCommand(
		change(
			"use CONTEXT",
			"Switch to a context",
			func(all *client.Contexts, name string) { all.Current = name },
		),
		change("remove CONTEXT", "Forget a context and its credentials", func(all *client.Contexts, name string) {
			delete(all.Contexts, name)
			if all.Current == name {
				all.Current = ""
			}
		}),
	)
	return cmd
}

// credentialProcess prints the credentials of the current context as the aws
// command's credential_process wants them.
func credentialProcess(std Streams) *cobra.Command {
	return &cobra.Command{
		Use:   "credentials",
		Short: "Print the stored credentials for the aws command (credential_process)",
		Long: `credentials prints the credentials of the current context in the format of
credential_process. In ~/.aws/config:

  [profile sekisho]
  credential_process = sekisho credentials
  endpoint_url = https://sekisho.example.com`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := client.ReadContexts(std.Getenv)
			if err != nil {
				return err
			}
			c, err := all.Get(std.Getenv("SEKISHO_CONTEXT"))
			if err != nil {
				return err
			}
			if c == nil || !c.SignedIn(time.Now()) {
				return sekisho.Errorf(sekisho.CodeUnauthenticated, "You are not signed in.").
					WithHint("Run: sekisho login")
			}
			return json.NewEncoder(cmd.OutOrStdout()).Encode(struct {
				Version                       int
				AccessKeyID                   string `json:"AccessKeyId"`
				SecretAccessKey, SessionToken string
				Expiration                    time.Time
			}{1, c.AccessKeyID, c.SecretAccessKey, c.SessionToken, c.Expires})
		},
	}
}
