package install_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"sekisho/internal/node/install"
)

const (
	anID   = "00000000-0000-4000-8000-000000000000"
	aCode  = "abcDEF0123456789+/=="
	aSum   = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	aHost  = "sekisho.example.com"
	fakers = "mktemp() { echo \"$HOME/ca\"; }; curl() { printf '# %s\\n' \"$@\"; [ \"$5\" != --cacert ] || sed " +
		"'s/^/# /' \"$6\"; }; "
)

// The command passes the activation to a shell on its standard input, and to
// no program as an argument.
func TestCommand(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, ca string
		o        install.Order
		want     []string
	}{
		{"a server that is trusted anyway", "", install.Order{}, nil},
		{"a CA of its own", "the CA\n", install.Order{}, []string{"# the CA"}},
		{"AWS's agent", "", install.Order{Agent: "amazon"}, []string{"SEKISHO_AGENT=amazon"}},
		{"AWS's agent and its package", "the CA\n",
			install.Order{Agent: "amazon", Package: "https://example.com/a_b/agent~1.deb?x=1&y=%20", PackageSHA256: aSum},
			[]string{"SEKISHO_AGENT=amazon", "SEKISHO_AGENT_PACKAGE='https://example.com/a_b/agent~1.deb?x=1&y=%20'",
				"SEKISHO_AGENT_SHA256=" + aSum}},
		{"a package on the machine", "", install.Order{Agent: "amazon", Package: "/root/agent.rpm"},
			[]string{"SEKISHO_AGENT_PACKAGE='/root/agent.rpm'"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tc.o.Host, tc.o.ActivationID, tc.o.ActivationCode = aHost, anID, aCode
			c, err := handler(t, install.Config{CA: tc.ca}).Command(tc.o)
			if err != nil {
				t.Fatal(err)
			}
			want := append(
				[]string{
					"SEKISHO_ACTIVATION_ID=" + anID,
					"SEKISHO_ACTIVATION_CODE=" + aCode,
					"# https://" + aHost + "/install/agent.sh",
				},
				tc.want...)
			// curl is replaced by a program that prints its arguments.
			home := t.TempDir()
			out := shell(t, home, fakers+strings.Replace(c.Line, "| sudo sh", "| cat", 1))
			if sh, ok := strings.CutPrefix(c.UserData, "#cloud-config\nruncmd:\n  - ['sh', '-c', '"); !ok ||
				!strings.HasSuffix(sh, "']\n") {
				t.Errorf("user data:\n%s", c.UserData)
			} else if got := shell(t, home,
				fakers+strings.TrimSuffix(strings.ReplaceAll(strings.TrimSuffix(sh, "']\n"), "''", "'"), "| sh")+
					"| cat"); got != out {
				t.Errorf("the user data gives\n%s\nand the line\n%s", got, out)
			}
			for _, w := range want {
				if !strings.Contains("\n"+out, "\n"+w+"\n") {
					t.Errorf("%q is not in\n%s", w, out)
				}
			}
			for _, line := range []string{c.Line, c.Uninstall} {
				if !strings.Contains(line, "curl --proto '=https' --tlsv1.2 ") {
					t.Errorf("not restricted to TLS:\n%s", line)
				}
			}
			if strings.Contains(c.Uninstall, aCode) || !strings.HasSuffix(c.Uninstall, "| sudo sh -s -- --uninstall") {
				t.Errorf("to uninstall:\n%s", c.Uninstall)
			}
		})
	}
}

func shell(t *testing.T, home, script string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
	cmd.Env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH")}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

func TestCommandRefuses(t *testing.T) {
	t.Parallel()
	h := handler(t, install.Config{})
	for name, change := range map[string]func(o *install.Order){
		"no code":                  func(o *install.Order) { o.ActivationCode = "" },
		"a space in the code":      func(o *install.Order) { o.ActivationCode = "a b" },
		"a command in the code":    func(o *install.Order) { o.ActivationCode = "$(id)" },
		"a second line":            func(o *install.Order) { o.ActivationID = "a\nid" },
		"a command in the host":    func(o *install.Order) { o.Host = "a;id" },
		"another agent":            func(o *install.Order) { o.Agent = "other" },
		"a package for our agent":  func(o *install.Order) { o.Package = "/root/agent.deb" },
		"a quote in the package":   func(o *install.Order) { o.Agent, o.Package = "amazon", "/root/'a.deb" },
		"a command in the package": func(o *install.Order) { o.Agent, o.Package = "amazon", "/root/$(id).deb" },
		"a relative package":       func(o *install.Order) { o.Agent, o.Package = "amazon", "agent.deb" },
		"a package over http": func(o *install.Order) {
			o.Agent, o.Package, o.PackageSHA256 = "amazon", "http://example.com/a.deb", aSum
		},
		"a package without checksum": func(o *install.Order) { o.Agent, o.Package = "amazon", "https://example.com/a.deb" },
		"a malformed checksum": func(o *install.Order) {
			o.Agent, o.Package, o.PackageSHA256 = "amazon", "/a.deb",
				"abc;id"
		},
	} {
		o := install.Order{Host: aHost, ActivationID: anID, ActivationCode: aCode}
		change(&o)
		if c, err := h.Command(o); err == nil {
			t.Errorf("%s became %q", name, c.Line)
		}
	}
}
