package servertest_test

import (
	"net/http"
	"strings"
	"testing"
	"unicode"

	"sekisho/internal/servertest"
)

// TestHostileFactsOfANode: whatever a node reports about itself, no command
// prints its control characters, no file that other programs read contains
// them, and no name refers to another machine.
func TestHostileFactsOfANode(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	n, victim := s.Node(), s.Node()
	n.Connect()
	victim.Connect()
	c := as(t, s, s.Admin)
	for what, name := range map[string]string{
		"control characters":               "a\x1b]0;title\x07b\x1b[2Jc\rd\ne\x00f\u009bg",
		"text direction":                   "safe\u202egnp.exe\u2066x\u200fy",
		"spaces and quotes":                "a b\t'c' \"d\" `e` $(f) ; rm -rf / # \\",
		"a configuration":                  "x\n\nHost *\n  ProxyCommand touch /tmp/owned",
		"another node's ID":                victim.ID,
		"its lookalike":                    strings.Replace(victim.ID, "-", "\u2011", 1),
		"the host name of another machine": "github.com",
		"patterns":                         "*,!web-?,[a-z]",
		"a command-line option":            "-oProxyCommand=touch",
		"a lookalike letter":               "w\u0435b-1",
		"wide and combining":               "\u5bae\u57ce\u0301\u0301\u0301",
		"invalid UTF-8":                    "a\xff\xfeb",
		"64 kB":                            strings.Repeat("x", 64<<10),
		"a table":                          "x\u2028mi-1\u2029Online",
	} {
		t.Run(what, func(t *testing.T) {
			a := s.JSON(n.Credentials, "ssm", "UpdateInstanceInformation", fields{
				"InstanceId": n.ID, "ComputerName": name, "PlatformName": name, "PlatformVersion": name, "AgentVersion": name,
				"PlatformType": "Linux", "AgentName": name, "IPAddress": name, "Architecture": name, "AgentStatus": name,
			})
			if a.Status != http.StatusOK && what != "64 kB" || a.Status >= 500 {
				t.Fatalf("%d %s", a.Status, a.Body)
			}
			for _, args := range [][]string{
				{"nodes"}, {"ssh-config"}, {"__complete", "start-session", ""}, {"why", "--user", "admin", "--target", n.ID},
			} {
				code, out, errOut := c.run("", args...)
				if code != 0 && args[0] != "why" {
					t.Errorf("%v: exit code %d: %s", args, code, errOut)
				}
				for _, r := range out + errOut {
					if unicode.IsControl(r) && r != '\n' && r != '\t' || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' ||
						r == '\u2029' || r == '\ufffd' {
						t.Fatalf("%v prints %U: %q", args, r, out+errOut)
					}
				}
				if len(out) > 32<<10 {
					t.Errorf("%v prints %d bytes", args, len(out))
				}
				if args[0] == "nodes" && len(args) == 1 {
					// There are two nodes, and one reported too much.
					if got := strings.Count(out, "\n"); got > 6 {
						t.Errorf("%v prints %d lines: %q", args, got, out)
					}
				}
				if args[0] != "ssh-config" {
					continue
				}
				for line := range strings.Lines(out) {
					hosts, is := strings.CutPrefix(strings.TrimSpace(line), "Host ")
					if !is {
						if strings.Contains(line, "touch") {
							t.Errorf("ssh-config has %q", line)
						}
						continue
					}
					for host := range strings.FieldsSeq(hosts) {
						if host == victim.ID && strings.Contains(hosts, n.ID) || host == "github.com" ||
							strings.ContainsAny(host, "*?!,[") {
							t.Errorf("ssh-config names a host %q in %q", host, line)
						}
					}
				}
			}
		})
	}
}
