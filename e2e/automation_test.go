package e2e_test

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"

	"sekisho/e2e/harness"
)

// TestAutomation drives the default document the way configuration tools do: the session is
// started by an SDK, the plugin runs in a terminal, echo and prompt are turned off, and
// every command is enclosed in two marks. No output for human readers may appear between
// them.
func TestAutomation(t *testing.T) {
	t.Parallel()
	const script = `
import os, json, boto3
endpoint, region, target = (os.environ[k] for k in ("AWS_ENDPOINT_URL", "AWS_REGION", "SEKISHO_TARGET"))
s = boto3.client("ssm", endpoint_url=endpoint, region_name=region).start_session(Target=target, Parameters={})
del s["ResponseMetadata"]
os.execvp("session-manager-plugin", ["session-manager-plugin", json.dumps(s), region, "StartSession", "", json.dumps({"Target": target}), endpoint])
`
	term := harness.OpenTerminal(
		t,
		24,
		200,
		shared.Shell(t.Context(), nil, `exec "$1" -c "$2"`, pythonWithBoto3(t), script),
	)
	term.Expect(awhile, `Starting session with SessionId`)
	term.Expect(soon, `\$ $`)
	if strings.Contains(term.Text(), "[ssm-user@") {
		t.Errorf("automation got the interactive prompt: %q", term.Text())
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

// peak is the highest memory use of a process, in bytes; 0 if it is gone.
func peak(pid int) int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0 // a zombie has no memory
	}
	kb, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil {
		return 0
	}
	return kb << 10
}

// TestMuchOutputTakesLittleMemory transfers far more data than server, agent or client can
// hold, and counts every byte.
func TestMuchOutputTakesLittleMemory(t *testing.T) {
	t.Parallel()
	// Under the race detector held data costs several times its size: a program that kept
	// all of it would need more than a gigabyte.
	const size, most = 300 << 20, 450 << 20
	own := ownServer(t) // no other test may use its memory in the meantime
	agent := own.StartAgent(t, "flood", -1)
	serverBefore, agentBefore := peak(own.Pid()), peak(agent.Pid)
	cmd := own.Shell(
		t.Context(),
		nil,
		`exec "$1" exec "$2" -- sh -c "yes 0123456789abcdef0123456789abcde | head -c $3"`,
		own.Programs.Bin+"/sekisho",
		agent.NodeID,
		strconv.Itoa(size),
	)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// The client's peak is read while it runs: the maximum that the system
	// keeps includes the test's own memory, from which it was forked.
	var n, client int64
	for {
		got, err := io.CopyN(io.Discard, out, 16<<20)
		n += got
		client = max(client, peak(cmd.Process.Pid))
		if err != nil {
			break
		}
	}
	if n != size {
		t.Errorf("%d bytes came", n)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	server, node := peak(own.Pid()), peak(agent.Pid)
	if server == 0 || node == 0 || client == 0 {
		t.Fatal("could not read the peak memory of every program")
	}
	for name, grown := range map[string]int64{"server": server - serverBefore, "agent": node - agentBefore,
		"client": client} {
		t.Logf("%s: %d MiB", name, grown>>20)
		if grown > most {
			t.Errorf("the %s took %d MiB more for %d MiB of output", name, grown>>20, size>>20)
		}
	}
}
