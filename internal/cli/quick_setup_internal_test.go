package cli

import (
	"os/exec"
	"strings"
	"testing"

	"sekisho/internal/client"
)

// The line gives a shell the activation on its standard input, and nobody
// anything as an argument.
func TestInstallLine(t *testing.T) {
	t.Parallel()
	a := client.Activation{ActivationID: "00000000-0000-4000-8000-000000000000", ActivationCode: "abcDEF0123456789+/=="}
	for _, from := range []client.Installation{{Endpoint: "https://sekisho.example.com"}, {Endpoint: "https://sekisho.example.com", CA: "the CA\n"}} {
		line, err := installLine(from, a)
		if err != nil {
			t.Fatal(err)
		}
		// curl is replaced by a program that shows its arguments.
		line = "curl() { printf '# %s\\n' \"$@\"; [ \"$2\" != --cacert ] || sed 's/^/# /' \"$3\"; }; " + strings.Replace(line, "| sudo sh", "| cat", 1)
		out, err := exec.CommandContext(t.Context(), "sh", "-c", line).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		for _, want := range []string{"SEKISHO_ACTIVATION_ID=" + a.ActivationID + "\n", "SEKISHO_ACTIVATION_CODE=" + a.ActivationCode + "\n", "# https://sekisho.example.com/install/agent.sh\n"} {
			if !strings.Contains(string(out), want) {
				t.Errorf("%q is not in\n%s", want, out)
			}
		}
		if strings.Contains(string(out), "# the CA\n") != (from.CA != "") {
			t.Errorf("the CA:\n%s", out)
		}
	}
	for _, bad := range []string{"", "a b", "$(id)", "a;id", "a\nid"} {
		if line, err := installLine(client.Installation{}, client.Activation{ActivationID: a.ActivationID, ActivationCode: bad}); err == nil {
			t.Errorf("%q became %q", bad, line)
		}
	}
}
