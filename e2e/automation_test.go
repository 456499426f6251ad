package e2e_test

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"sekisho/e2e/harness"
)

// TestAutomation drives the default document the way configuration tools do:
// the session is started by an SDK, the plugin runs in a terminal, echo and
// prompt are turned off, and every command stands between two marks. Nothing
// made for people's eyes may come between.
func TestAutomation(t *testing.T) {
	t.Parallel()
	const script = `
import os, json, boto3
endpoint, region, target = (os.environ[k] for k in ("AWS_ENDPOINT_URL", "AWS_REGION", "SEKISHO_TARGET"))
s = boto3.client("ssm", endpoint_url=endpoint, region_name=region).start_session(Target=target, Parameters={})
del s["ResponseMetadata"]
os.execvp("session-manager-plugin", ["session-manager-plugin", json.dumps(s), region, "StartSession", "", json.dumps({"Target": target}), endpoint])
`
	term := harness.OpenTerminal(t, 24, 200, shared.Shell(t.Context(), nil, `exec "$1" -c "$2"`, pythonWithBoto3(t), script))
	term.Expect(awhile, `Starting session with SessionId`)
	term.Expect(soon, `\$ $`)
	if strings.Contains(term.Text(), "[ssm-user@") {
		t.Errorf("a prompt for people: %q", term.Text())
	}
	term.Send("stty -echo\r")
	term.Send("PS1=''; bind 'set enable-bracketed-paste off'; echo re''ady\r")
	term.Expect(soon, `(?m)^ready$`)
	for i, x := range []struct{ command, output, status string }{
		{"echo one; echo two >&2", "one\ntwo\n", "0"},
		{"printf 'no line end'", "no line end", "0"},
		{"sh -c 'exit 7'", "", "7"},
		{"seq 3", "1\n2\n3\n", "0"},
	} {
		begin, end := fmt.Sprintf("BEGIN%dqx", i), fmt.Sprintf("END%dqx", i)
		term.Send(fmt.Sprintf("echo %s; %s; printf '\\n%%s\\n%%s\\n' \"$?\" %s\r", begin, x.command, end))
		term.Expect(soon, `(?m)^`+end+`$`)
		raw := strings.ReplaceAll(string(term.Raw()), "\r", "")
		_, after, _ := strings.Cut(raw, "\n"+begin+"\n")
		got, _, found := strings.Cut(after, "\n"+end+"\n")
		if want := x.output + "\n" + x.status; !found || got != want {
			t.Errorf("%s: between the marks: %q, want %q", x.command, got, want)
		}
	}
	term.Send("exit\r")
	term.Wait(soon)
}

// peak is the most memory a process has had, in bytes.
func peak(t *testing.T, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kb << 10
}

// TestMuchOutputTakesLittleMemory lets far more pass than any of server, agent
// and client may hold, and counts every byte.
func TestMuchOutputTakesLittleMemory(t *testing.T) {
	t.Parallel()
	const size, most = 300 << 20, 240 << 20 // most of it is the race detector's
	own := ownServer(t)                     // nothing else may take its memory meanwhile
	agent := own.StartAgent(t, "flood", -1)
	serverBefore, agentBefore := peak(t, own.Pid()), peak(t, agent.Pid)
	cmd := own.Shell(t.Context(), nil, `exec "$1" exec "$2" -- sh -c "yes 0123456789abcdef0123456789abcde | head -c $3"`,
		own.Programs.Bin+"/sekisho", agent.NodeID, strconv.Itoa(size))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, out)
	if err != nil || n != size {
		t.Errorf("%d bytes came, %v", n, err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		t.Fatal("no resource usage")
	}
	for name, grown := range map[string]int64{
		"server": peak(t, own.Pid()) - serverBefore,
		"agent":  peak(t, agent.Pid) - agentBefore,
		"client": usage.Maxrss << 10,
	} {
		t.Logf("%s: %d MiB", name, grown>>20)
		if grown > most {
			t.Errorf("the %s took %d MiB more for %d MiB of output", name, grown>>20, size>>20)
		}
	}
}
