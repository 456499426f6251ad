package client_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sekisho"
	"sekisho/internal/client"
	"sekisho/internal/session/transfer"
	"sekisho/internal/wire/mgs"
	"sekisho/internal/wire/mux"
)

// begin performs the node's handshake.
func (s *server) begin(agent, kind, properties string) mgs.HandshakeResponse {
	s.t.Helper()
	s.send(mgs.PayloadHandshakeRequest, fmt.Sprintf(
		`{"AgentVersion":%q,"RequestedClientActions":[{"ActionType":"SessionType","ActionParameters":{"SessionType":%q,`+
			`"Properties":%s}}]}`,
		agent,
		kind,
		properties,
	))
	pt, b, err := s.node.Receive(s.ctx)
	if err != nil || pt != mgs.PayloadHandshakeResponse {
		s.t.Fatalf("handshake: %d %s %v", pt, b, err)
	}
	r, err := mgs.ParseBody[mgs.HandshakeResponse](b)
	if err != nil {
		s.t.Fatal(err)
	}
	s.send(mgs.PayloadHandshakeComplete, `{"HandshakeTimeToComplete":1,"CustomerMessage":""}`)
	return r
}

func (s *server) client() *client.Client {
	c := client.New(s.config())
	s.t.Cleanup(c.Close)
	return c
}

func TestExec(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	var started map[string]any
	s.override("StartSession", func(in map[string]any) any { started = in; return s.answer("StartSession") })
	var out, errOut syncBuffer
	done := make(chan error, 1)
	c := s.client()
	go func() {
		in := client.ExecInput{Target: "mi-0", Args: []string{"echo", "it's", "a b", "", "$x"}}
		done <- c.Exec(t.Context(), in, strings.NewReader("input"), &out, &errOut, client.Callbacks{})
	}()
	s.begin("4.0.0.0", "NonInteractiveCommands", `{"sekisho":["stdin"]}`)
	s.expect(mgs.PayloadOutput, "input")
	s.expect(mgs.PayloadFlag, string(mgs.FlagDisconnectToPort.Bytes()))
	s.send(mgs.PayloadOutput, "out\x00\xff")
	s.send(mgs.PayloadStdErr, "problem")
	s.send(mgs.PayloadExitCode, "EXIT_CODE: 9")
	s.end("")
	exit, ok := errors.AsType[*client.ExitError](<-done)
	if !ok || exit.Code != 9 {
		t.Errorf("ended with %v", exit)
	}
	if out.String() != "out\x00\xff" || errOut.String() != "problem" {
		t.Errorf("%q, %q", out.String(), errOut.String())
	}
	want := map[string]any{
		"Target":       "mi-0",
		"DocumentName": "Sekisho-Exec",
		"Parameters":   map[string]any{"command": []any{`echo 'it'\''s' 'a b' '' '$x'`}},
	}
	if d := cmp.Diff(want, started); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// AWS's service lacks Sekisho's document, and its agent accepts no input; the
// user gets a notice.
func TestExecWithAWSServiceAndAgent(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	var documents []any
	s.override("StartSession", func(in map[string]any) any {
		documents = append(documents, in["DocumentName"])
		if in["DocumentName"] == "Sekisho-Exec" {
			return refusal{400, "InvalidDocument", "no such document"}
		}
		return s.answer("StartSession")
	})
	notices := make(chan string, 8)
	done := make(chan error, 1)
	c := s.client()
	go func() {
		done <- c.Exec(t.Context(), client.ExecInput{Target: "mi-0", Args: []string{"x"}}, strings.NewReader("lost"),
			io.Discard, io.Discard,
			client.Callbacks{Notice: func(text string) { notices <- text }})
	}()
	s.begin("3.3.987.0", "NonInteractiveCommands", `null`)
	if got := <-notices; !strings.Contains(got, "standard input") {
		t.Errorf("noticed %q", got)
	}
	s.send(mgs.PayloadExitCode, "EXIT_CODE: 0")
	s.end("")
	if err := <-done; err != nil {
		t.Error(err)
	}
	if d := cmp.Diff([]any{"Sekisho-Exec", "AWS-StartNonInteractiveCommand"}, documents); d != "" {
		t.Error(d)
	}
}

// gcm is one direction of an encrypted session.
func gcm(t *testing.T, key []byte) cipher.AEAD {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	a, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func seal(a cipher.AEAD, p string) string {
	nonce := make([]byte, 12)
	_, _ = rand.Read(nonce)
	return string(a.Seal(nonce, nonce, []byte(p), nil))
}

// TestEncrypted runs an encrypted shell as AWS's agent does.
func TestEncrypted(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	key := make([]byte, 64)
	_, _ = rand.Read(key)
	var asked map[string]any
	s.override("GenerateDataKey", func(in map[string]any) any {
		asked = in
		return map[string]any{"CiphertextBlob": []byte("wrapped"), "Plaintext": key, "KeyId": "k"}
	})
	p := newPerson(t, true)
	done := s.shell(t.Context(), p)
	r := s.handshake(
		shellAction + `,{"ActionType":"KMSEncryption","ActionParameters":{"KMSKeyId":"alias/k","Challenge":"AAAA"}}`,
	)
	var result mgs.KMSEncryptionResponse
	if len(r.ProcessedClientActions) != 2 || json.Unmarshal(r.ProcessedClientActions[1].ActionResult, &result) != nil ||
		string(result.KMSCipherTextKey) != "wrapped" {
		t.Fatalf("%+v", r)
	}
	want := map[string]any{
		"KeyId":             "alias/k",
		"NumberOfBytes":     64.0,
		"EncryptionContext": map[string]any{"aws:ssm:SessionId": "alice-abc", "aws:ssm:TargetId": "mi-0"},
	}
	if d := cmp.Diff(want, asked); d != "" {
		t.Errorf("GenerateDataKey (-want +got):\n%s", d)
	}
	toClient, fromClient := gcm(t, key[:32]), gcm(t, key[32:])
	s.send(
		mgs.PayloadEncChallengeRequest,
		`{"Challenge":"`+base64.StdEncoding.EncodeToString([]byte(seal(toClient, "are you there?")))+`"}`,
	)
	pt, b, err := s.node.Receive(s.ctx)
	if err != nil || pt != mgs.PayloadEncChallengeResponse {
		t.Fatalf("%d, %v", pt, err)
	}
	answer, err := mgs.ParseBody[mgs.EncChallenge](b)
	if err != nil || len(answer.Challenge) < 12 {
		t.Fatalf("%s, %v", b, err)
	}
	if plain, err := fromClient.Open(nil, answer.Challenge[:12], answer.Challenge[12:], nil); err != nil ||
		string(plain) != "are you there?" {
		t.Errorf("%q, %v", plain, err)
	}
	s.send(mgs.PayloadHandshakeComplete, `{"HandshakeTimeToComplete":1,"CustomerMessage":""}`)
	s.expect(mgs.PayloadSize, `{"cols":120,"rows":40}`)
	p.typeKeys(t, "secret\r")
	if pt, b, err = s.node.Receive(s.ctx); err != nil || pt != mgs.PayloadOutput ||
		bytes.Contains(b, []byte("secret")) {
		t.Fatalf("%d %q, %v", pt, b, err)
	}
	if plain, err := fromClient.Open(nil, b[:12], b[12:], nil); err != nil || string(plain) != "secret\r" {
		t.Errorf("%q, %v", plain, err)
	}
	s.send(mgs.PayloadOutput, seal(toClient, "shown"))
	s.send(mgs.PayloadOutput, "in the clear, by who has no key")
	if err := <-done; err == nil || !strings.Contains(err.Error(), "does not decrypt") {
		t.Errorf("ended with %v", err)
	}
	if got := p.out.String(); got != "shown" {
		t.Errorf("shown: %q", got)
	}
}

// nodeConn is the node's end of a forwarding session.
type nodeConn struct {
	s    *server
	pt   mgs.PayloadType // zero means output
	rest []byte
}

func (n *nodeConn) payload() mgs.PayloadType {
	if n.pt != 0 {
		return n.pt
	}
	return mgs.PayloadOutput
}

func (n *nodeConn) Read(p []byte) (int, error) {
	for len(n.rest) == 0 {
		pt, b, err := n.s.node.Receive(n.s.ctx)
		if err != nil {
			return 0, err
		}
		if pt == n.payload() {
			n.rest = b
		}
	}
	c := copy(p, n.rest)
	n.rest = n.rest[c:]
	return c, nil
}

func (n *nodeConn) Write(p []byte) (int, error) {
	return len(p), n.s.node.Send(n.s.ctx, n.payload(), p)
}

func (n *nodeConn) Close() error { return nil }

// TestForward forwards a connection that is half-closed and then cut.
func TestForward(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	var started map[string]any
	s.override("StartSession", func(in map[string]any) any { started = in; return s.answer("StartSession") })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	listening := make(chan string, 1)
	done := make(chan error, 1)
	c := s.client()
	go func() {
		done <- c.Forward(ctx, client.ForwardInput{Target: "mi-0",
			Local: []client.Forwarding{{Bind: "127.0.0.1", Port: "0", Host: "db.internal", HostPort: "5432"}}},
			client.Callbacks{Listening: func(where string) { listening <- where }})
	}()
	s.begin("4.0.0.0", "Port", `{"portNumber":5432,"type":"LocalPortForwarding","host":"db.internal"}`)
	address, _, _ := strings.Cut(<-listening, " ")
	got := started["Parameters"].(map[string]any)
	if started["DocumentName"] != "AWS-StartPortForwardingSessionToRemoteHost" ||
		fmt.Sprint(got["host"], got["portNumber"]) != "[db.internal] [5432]" {
		t.Errorf("started %v", started)
	}
	node := mux.Server(&nodeConn{s: s})
	defer func() { s.node.Close(""); _ = node.Close() }()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write([]byte("question")); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	st, err := node.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(st); err != nil || string(got) != "question" {
		t.Errorf("the node read %q, %v", got, err)
	}
	s.cut()
	if _, err := st.Write([]byte("answer")); err != nil {
		t.Error(err)
	}
	_ = st.Close()
	if got, err := io.ReadAll(conn); err != nil || string(got) != "answer" {
		t.Errorf("the person read %q, %v", got, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("ended with %v", err)
	}
	if s.called("TerminateSession") != 1 || s.called("StartSession") != 1 {
		t.Error("the session was not ended, or there were several")
	}
}

// TestCutConnectionsAreReset: a connection that ends because its session died,
// or because the other side broke, does not look complete.
func TestCutConnectionsAreReset(t *testing.T) {
	t.Parallel()
	for name, breaks := range map[string]func(s *server, st *mux.Stream){
		"the session ends":       func(s *server, _ *mux.Stream) { s.end("The agent disconnected.") },
		"the destination breaks": func(_ *server, st *mux.Stream) { _ = st.Reset() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			listening := make(chan string, 1)
			done := make(chan error, 1)
			c := s.client()
			go func() {
				done <- c.Forward(ctx, client.ForwardInput{Target: "mi-0",
					Local: []client.Forwarding{{Bind: "127.0.0.1", Port: "0", Host: "db.internal", HostPort: "5432"}}},
					client.Callbacks{Listening: func(where string) { listening <- where }})
			}()
			s.begin("4.0.0.0", "Port",
				`{"portNumber":5432,"type":"LocalPortForwarding","host":"db.internal","sekisho":["reset"]}`)
			address, _, _ := strings.Cut(<-listening, " ")
			node := mux.Server(&nodeConn{s: s})
			node.SendResets()
			defer func() { s.node.Close(""); _ = node.Close() }()
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			st, err := node.Accept()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := st.Write([]byte("half")); err != nil {
				t.Fatal(err)
			}
			half := make([]byte, 4)
			if _, err := io.ReadFull(conn, half); err != nil {
				t.Fatal(err)
			}
			breaks(s, st)
			if _, err := conn.Read(half); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the person's connection ended with %v", err)
			}
			cancel()
			<-done // whatever it is
		})
	}
}

func TestForwardings(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]client.Forwarding{
		"80:h:1":                {"localhost", "80", "h", "1"},
		"0:h:1":                 {"localhost", "0", "h", "1"},
		"*:80:h:1":              {"", "80", "h", "1"},
		":80:h:1":               {"localhost", "80", "h", "1"},
		"[::1]:80:[fe80::1]:22": {"::1", "80", "fe80::1", "22"},
		"80":                    {}, "80:h": {}, "80:h:0": {}, "80:h:65536": {}, "a:h:1": {}, "80::1": {}, "-1:h:1": {},
		"080:h:1":    {},
		"[x]:80:h:1": {}, "[::1:80:h:1": {}, "1:2:3:4:5": {}, "": {},
	} {
		got, err := client.ParseForwarding(text)
		if got != want || (err != nil) != (want == client.Forwarding{}) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for text, want := range map[string]client.Forwarding{
		"1080": {Bind: "localhost", Port: "1080"}, "*:1080": {Port: "1080"}, "[::1]:1080": {Bind: "::1", Port: "1080"},
		"a:b:1": {}, "x": {},
	} {
		got, err := client.ParseDynamic(text)
		if got != want || (err != nil) != (want == client.Forwarding{}) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}

func TestParseLocations(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]client.Place{
		"file":             {"", "file"},
		"./a:b":            {"", "./a:b"},
		"/a:b":             {"", "/a:b"},
		":x":               {"", ":x"},
		"mi-1:":            {"mi-1", ""},
		"mi-1:/etc/x:y":    {"mi-1", "/etc/x:y"},
		"tag:Role=db:a/b":  {"tag:Role=db", "a/b"},
		"tag:Role=no-path": {"", "tag:Role=no-path"},
	} {
		if got := client.ParsePlace(text); got != want {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

// The node must not choose the name of a downloaded file.
func TestDownloadUsesTheRequestedName(t *testing.T) {
	t.Parallel()
	for remote, want := range map[string]string{"logs/notes": "notes", "/etc/hosts/": "hosts", "": "", ".": "", "..": "",
		"~": "", "/": "", "a/..": ""} {
		t.Run("path "+remote, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			dir := t.TempDir()
			c := s.client()
			in := client.CopyInput{From: client.Place{Target: "mi-0", Path: remote}, To: client.Place{Path: dir}}
			if want == "" {
				if err := c.Copy(t.Context(), in, transfer.Options{}, client.Callbacks{}); sekisho.CodeOf(
					err,
				) != sekisho.CodeInvalid {
					t.Errorf("got %v", err)
				}
				if s.called("StartSession") != 0 {
					t.Error("a session was started")
				}
				return
			}
			evil := filepath.Join(t.TempDir(), ".bashrc")
			if err := os.WriteFile(evil, []byte("evil"), 0o777); err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- c.Copy(t.Context(), in, transfer.Options{}, client.Callbacks{}) }()
			s.begin("4.0.0.0", "NonInteractiveCommands", `{"sekisho":["copy"]}`)
			if err := transfer.Send(&nodeConn{s: s, pt: mgs.PayloadCopy}, evil, transfer.Options{}); err != nil {
				t.Error(err)
			}
			s.send(mgs.PayloadExitCode, "EXIT_CODE: 0")
			s.end("")
			if err := <-done; err != nil {
				t.Error(err)
			}
			entries, err := os.ReadDir(dir)
			if err != nil || len(entries) != 1 || entries[0].Name() != want {
				t.Errorf("the folder contains %v, %v", entries, err)
			}
		})
	}
}

func TestResolve(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	// Node 5 and 6 report names of other nodes.
	nodes := []any{
		map[string]any{
			"InstanceId":   "mi-1",
			"Name":         "web",
			"ComputerName": "ip-10-0-0-1",
			"Tags":         []any{map[string]any{"Key": "Role", "Value": "front"}},
		},
		map[string]any{"InstanceId": "mi-2", "ComputerName": "db", "NodeName": "tagged", "GivenNames": []any{"tagged"},
			"Tags": []any{
				map[string]any{"Key": "Hostname", "Value": "tagged"}, map[string]any{"Key": "Empty", "Value": ""},
			}},
		map[string]any{
			"InstanceId": "mi-3",
			"Name":       "twin\x1b[2J",
		}, map[string]any{"InstanceId": "mi-4", "Name": "twin\x1b[2J"},
		map[string]any{
			"InstanceId":   "mi-5",
			"ComputerName": "web",
		}, map[string]any{"InstanceId": "mi-6", "ComputerName": "tagged"},
		map[string]any{
			"InstanceId":   "mi-7",
			"ComputerName": "mi-feed",
		}, map[string]any{"InstanceId": "mi-8", "ComputerName": "mi-zzz"},
		map[string]any{
			"InstanceId":   "mi-9",
			"ComputerName": "same",
		}, map[string]any{"InstanceId": "mi-a", "ComputerName": "same"},
	}
	s.override("DescribeInstanceInformation", func(in map[string]any) any {
		filters, _ := in["Filters"].([]any)
		if len(filters) == 0 {
			return map[string]any{"InstanceInformationList": nodes}
		}
		var found []any
		f := filters[0].(map[string]any)
		switch fmt.Sprint(f["Key"], f["Values"]) {
		case "tag:Role[x=y]":
			found = []any{nodes[2]}
		default:
			t.Errorf("filter %v", f)
		}
		return map[string]any{"InstanceInformationList": found}
	})
	c := s.client()
	for target, want := range map[string]string{
		"mi-0123456789abcdef0": "mi-0123456789abcdef0", "mi-feed": "mi-feed", "web": "mi-1", "db": "mi-2", "tagged": "mi-2",
		"tag:Role=x=y": "mi-3",
		// An empty value selects only an empty value, not the nodes without the tag.
		"tag:Empty=": "mi-2",
	} {
		if got, err := c.Resolve(t.Context(), target); err != nil || got != want {
			t.Errorf("%s: %s, %v", target, got, err)
		}
	}
	for target, want := range map[string]sekisho.Code{
		"none": sekisho.CodeNotFound, "": sekisho.CodeInvalid, "tag:": sekisho.CodeInvalid, "tag:x": sekisho.CodeInvalid,
		"tag:=v":    sekisho.CodeInvalid,
		"tag:Role=": sekisho.CodeNotFound, "tag:None=": sekisho.CodeNotFound,
		// A reported name must not act as an ID.
		"mi-zzz": sekisho.CodeInvalid,
		"same":   sekisho.CodeConflict,
	} {
		if got, err := c.Resolve(t.Context(), target); sekisho.CodeOf(err) != want {
			t.Errorf("%q: %q, %v; want %s", target, got, err, want)
		}
	}
	_, err := c.Resolve(t.Context(), "twin\x1b[2J")
	if err == nil || !strings.Contains(err.Error(), "mi-3") || !strings.Contains(err.Error(), "mi-4") ||
		strings.Contains(err.Error(), "\x1b") {
		t.Errorf("ambiguous: %v", err)
	}
}

func TestSSHConfig(t *testing.T) {
	t.Parallel()
	nodes := []client.Node{
		{InstanceID: "mi-1", Name: "web-1", ComputerName: "github.com"},
		{InstanceID: "mi-2", Name: "evil\nProxyCommand rm"},
		{InstanceID: "mi-3", Name: "*"},
		{InstanceID: "mi-4", Name: "-oProxyCommand=x"},
		{InstanceID: "mi-5", Name: "twin"}, {InstanceID: "mi-6", Name: "Twin"},
		{InstanceID: "x y", Name: "fine"},
		{InstanceID: "mi-7"},
		{InstanceID: "mi-8", Name: "mi-1"},
		{InstanceID: "mi-9", ComputerName: "github.com"},
		{InstanceID: "mi-c", ComputerName: "x", NodeName: "api", Given: []string{"api"}},
		{InstanceID: "mi-a", ComputerName: "web-1"},
		{InstanceID: "mi-b", ComputerName: "db"},
	}
	block := func(hosts, id string) string {
		return "Host " + hosts + "\n    HostName " + id + "\n    HostKeyAlias " + id +
			"\n    CheckHostIP no\n    User alice\n" +
			`    ProxyCommand '/opt/my tools/100%%/sekisho'\''s' --profile 'a b' ssh-proxy %h %p` + "\n\n"
	}
	for prefix, want := range map[string]struct {
		names   map[string]string // of nodes with names besides their ID
		skipped []string
	}{
		"": {map[string]string{"mi-1": "web-1", "mi-c": "api"},
			[]string{"mi-2", "mi-3", "mi-4", "mi-5", "mi-6", "x y", "mi-8", "mi-9", "mi-a", "mi-b"}},
		// With a prefix, reported names cannot stand for other hosts, but still not
		// for other nodes.
		"s-": {map[string]string{"mi-1": "s-web-1", "mi-8": "s-mi-1", "mi-b": "s-db", "mi-c": "s-api"},
			[]string{"mi-2", "mi-3", "mi-4", "mi-5", "mi-6", "x y", "mi-9", "mi-a"}},
	} {
		var out, expected strings.Builder
		skipped, err := client.SSHConfig{
			Program: "/opt/my tools/100%/sekisho's",
			Profile: "a b",
			Prefix:  prefix,
			User:    "alice",
		}.Write(
			&out,
			nodes,
		)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, n := range skipped {
			ids = append(ids, n.NodeID)
		}
		if d := cmp.Diff(want.skipped, ids); d != "" {
			t.Errorf("prefix %q: skipped (-want +got):\n%s", prefix, d)
		}
		for _, n := range nodes {
			if n.InstanceID == "x y" {
				continue
			}
			hosts := n.InstanceID
			if name := want.names[n.InstanceID]; name != "" {
				hosts = name + " " + hosts
			}
			expected.WriteString(block(hosts, n.InstanceID))
		}
		if d := cmp.Diff(expected.String(), out.String()); d != "" {
			t.Errorf("prefix %q (-want +got):\n%s", prefix, d)
		}
	}
	for _, bad := range []client.SSHConfig{{Program: "a\nb"}, {Program: "x", Profile: "a\nb"}, {Program: "x", Prefix: "*"},
		{Program: "x", User: "a b"}} {
		if _, err := bad.Write(io.Discard, nodes); err == nil {
			t.Errorf("%+v was written", bad)
		}
	}
}

func TestParsePlugin(t *testing.T) {
	t.Parallel()
	answer := `{"SessionId":"alice-abc","TokenValue":"t","StreamUrl":"wss://h/x",` +
		`"ResponseMetadata":{"HTTPStatusCode":200}}`
	request := `{"Target":"mi-1","Parameters":{"portNumber":["22"]}}`
	env := map[string]string{
		"HOME": t.TempDir(), "AWS_SSM_START_SESSION_RESPONSE": answer, "AWS_ENDPOINT_URL": "https://other.example",
		"AWS_REGION": "other",
	}
	getenv := func(k string) string { return env[k] }
	for _, first := range []string{answer, "AWS_SSM_START_SESSION_RESPONSE"} {
		call, err := client.ParsePlugin(
			[]string{first, "eu-test-1", "StartSession", "", request, "https://door.example"},
			getenv,
		)
		want := client.Stream{SessionID: "alice-abc", TokenValue: "t", StreamURL: "wss://h/x"}
		if err != nil || call.Stream != want || call.Target != "mi-1" || call.Config.Region != "eu-test-1" ||
			call.Config.Endpoint != "https://door.example" {
			t.Errorf("%s: %+v, %v", first, call, err)
		}
	}
	if call, err := client.ParsePlugin([]string{answer, "eu-test-1", "StartSession"}, getenv); err != nil ||
		call.Config.Endpoint != "https://other.example" {
		t.Errorf("short form: %+v, %v", call, err)
	}
	for _, bad := range [][]string{
		nil, {"x"}, {answer, "r", "Other"}, {"{", "r", "StartSession"}, {"{}", "r", "StartSession"},
		{"AWS_SSM_START_SESSION_RESPONSE_2", "r", "StartSession"},
		{answer, "r", "StartSession", "", `{"Target":5}`}, {answer, "r", "StartSession", "no-such-profile"},
	} {
		if _, err := client.ParsePlugin(bad, getenv); err == nil {
			t.Errorf("the malformed arguments %q were accepted", bad)
		}
	}
}

// The client uses the session's own token only after its credentials expired.
func TestLapsedCredentials(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.override("GetResumeToken", func(map[string]any) any { return map[string]string{"ResumeToken": "own"} })
	s.override("ResumeSession", func(map[string]any) any {
		return refusal{400, "ExpiredTokenException", "The security token has expired."}
	})
	s.override("ResumeSessionByToken", func(in map[string]any) any {
		if in["ResumeToken"] != "own" || in["SessionId"] != "alice-abc" {
			t.Errorf("asked with %v", in)
		}
		return s.answer("ResumeSession")
	})
	p := newPerson(t, true)
	done := s.shell(t.Context(), p)
	s.send(mgs.PayloadOutput, "one ")
	s.expect(mgs.PayloadSize, `{"cols":120,"rows":40}`)
	s.await("GetResumeToken")
	s.cut()
	s.send(mgs.PayloadOutput, "two")
	if err := s.node.Drain(s.ctx); err != nil {
		t.Fatal(err)
	}
	s.end("")
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got := p.out.String(); got != "one two" {
		t.Errorf("stdout: %q", got)
	}
}
