package ssmagent_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsssm "github.com/aws/aws-sdk-go-v2/service/ssm"

	"sekisho/internal/servertest"
	"sekisho/internal/wire/mgs"
	"sekisho/internal/wire/sigv4"
)

// testdata has sessions of the real agent, 3.3.0.0, with the real plugin,
// 1.3.0.0: every frame that either sent or received, in the order in which the
// server saw them, on the agent's and the client's channel, and the frames
// that the agent sent on its control channel. Tokens are left out.

// captured is one frame.
type captured struct {
	Leg   string // agent, client or control
	Dir   string // sent or received, by the agent or the client
	Text  string
	Frame []byte
}

func sessions(t *testing.T) map[string][]captured {
	t.Helper()
	files, err := filepath.Glob("testdata/*.jsonl")
	if err != nil || len(files) < 6 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	all := map[string][]captured{}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		for lines := bufio.NewScanner(f); lines.Scan(); {
			var c captured
			if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			name := strings.TrimSuffix(filepath.Base(name), ".jsonl")
			all[name] = append(all[name], c)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// The server parses every captured frame as its sender and receiver did, and
// encodes it to the same bytes.
func TestCapturedFrames(t *testing.T) {
	t.Parallel()
	types, payloads := map[string]int{}, map[mgs.PayloadType]int{}
	for name, frames := range sessions(t) {
		for i, c := range frames {
			if c.Text != "" {
				open, err := mgs.ParseBody[mgs.OpenDataChannel]([]byte(c.Text))
				if err != nil || open.TokenValue != "token" || (open.ClientInstanceID != "") != (c.Leg == "agent") {
					t.Errorf("%s, frame %d: %+v, %v", name, i, open, err)
				}
				continue
			}
			m, err := mgs.Parse(c.Frame)
			if err != nil {
				t.Errorf("%s, frame %d: %v", name, i, err)
				continue
			}
			if again := m.AppendTo(nil); !bytes.Equal(again, c.Frame) {
				t.Errorf("%s, frame %d: encoding the parsed %s gives\n%x\nwant\n%x", name, i, m.Type, again, c.Frame)
			}
			if err := understood(&m); err != nil {
				t.Errorf("%s, frame %d: %v", name, i, err)
			}
			types[m.Type]++
			payloads[m.PayloadType]++
		}
	}
	for _, typ := range []string{
		mgs.TypeOutputStreamData, mgs.TypeInputStreamData, mgs.TypeAcknowledge, mgs.TypeAgentSessionState,
		mgs.TypeAgentTaskComplete, mgs.TypeChannelClosed,
	} {
		if types[typ] == 0 {
			t.Errorf("no %s was captured", typ)
		}
	}
	for pt := mgs.PayloadHandshakeRequest; pt <= mgs.PayloadEncChallengeResponse; pt++ {
		if payloads[pt] == 0 {
			t.Errorf("no payload of type %d was captured", pt)
		}
	}
}

// understood reads the body of a message.
func understood(m *mgs.Message) error {
	var err error
	switch m.Type {
	case mgs.TypeAcknowledge:
		_, err = mgs.ParseAck(m.Payload)
	case mgs.TypeAgentSessionState:
		_, err = mgs.ParseBody[mgs.AgentSessionState](m.Payload)
	case mgs.TypeChannelClosed:
		_, err = mgs.ParseBody[mgs.ChannelClosed](m.Payload)
	case mgs.TypeAgentTaskComplete:
		var done mgs.TaskComplete
		if done, err = mgs.ParseBody[mgs.TaskComplete](m.Payload); err == nil &&
			done.FinalTaskStatus != mgs.TaskSuccess {
			err = fmt.Errorf("it ended in %q", done.FinalTaskStatus)
		}
	}
	switch m.PayloadType {
	case mgs.PayloadSize:
		_, err = mgs.ParseBody[mgs.Size](m.Payload)
	case mgs.PayloadHandshakeRequest:
		_, err = mgs.ParseBody[mgs.HandshakeRequest](m.Payload)
	case mgs.PayloadHandshakeResponse:
		_, err = mgs.ParseBody[mgs.HandshakeResponse](m.Payload)
	case mgs.PayloadHandshakeComplete:
		_, err = mgs.ParseBody[mgs.HandshakeComplete](m.Payload)
	case mgs.PayloadEncChallengeRequest, mgs.PayloadEncChallengeResponse:
		_, err = mgs.ParseBody[mgs.EncChallenge](m.Payload)
	}
	return err
}

// Complete sessions, replayed through a server, reach both ends frame by frame
// as they did when they were captured.
func TestReplay(t *testing.T) {
	t.Parallel()
	all := sessions(t)
	s := servertest.Start(t)
	n := s.Node()
	control := n.Connect()
	for _, tc := range []struct{ name, screen string }{
		{"shell", "$ echo hello-from-the-node; printf \"%s\\n\" café\r\nhello-from-the-node\r\ncafé\r\n$ stty " +
			"size\r\n100 300\r\n$ exit\r\n"},
		{"command", numbers(400)},
		{"exec", "out\nerr\n"},
		{"tunnel", "answer to question over ssh kind"},
		{"port", ""},
	} {
		frames := all[tc.name]
		if len(frames) == 0 {
			t.Fatalf("no session %s", tc.name)
		}
		t.Run(tc.name, func(t *testing.T) {
			session, token := s.StartSession(s.Admin, n)
			legs := map[string]*leg{
				"agent":  {Channel: n.Attach(session)},
				"client": {Channel: s.MustDial(sigv4.Credentials{}, "data-channel", session)},
			}
			legs["client"].Text(servertest.ClientFrame(token))
			var screen bytes.Buffer
			for i, c := range frames {
				if c.Text != "" {
					continue
				}
				m, err := mgs.Parse(c.Frame)
				if err != nil {
					t.Fatal(err)
				}
				switch {
				case c.Leg == "control":
					done, err := mgs.ParseBody[mgs.TaskComplete](m.Payload)
					if err != nil {
						t.Fatal(err)
					}
					done.TaskID = session
					control.Send(mgs.NewTaskComplete(done))
				case c.Dir == "sent":
					legs[c.Leg].Raw(c.Frame)
				case m.Type == mgs.TypeChannelClosed:
					// The port session was terminated by its owner; the others ended.
					if tc.name == "port" && c.Leg == "agent" {
						if _, err := s.SSM(s.Admin).TerminateSession(t.Context(),
							&awsssm.TerminateSessionInput{SessionId: aws.String(session)}); err != nil {
							t.Fatal(err)
						}
					}
					closed, err := mgs.ParseBody[mgs.ChannelClosed](legs[c.Leg].want(t, func(b []byte) bool {
						m, err := mgs.Peek(b)
						return err == nil && m.Type == mgs.TypeChannelClosed
					})[mgs.Overhead:])
					if err != nil || closed.SessionID != session {
						t.Errorf("frame %d: %+v, %v", i, closed, err)
					}
				default:
					legs[c.Leg].want(t, func(b []byte) bool {
						if m.Type != mgs.TypeAcknowledge {
							return bytes.Equal(b, c.Frame)
						}
						// Some of these frames come from the server itself.
						got, err := mgs.Peek(b)
						return err == nil && got.Type == m.Type && bytes.Equal(got.Payload, m.Payload)
					})
					if c.Leg == "client" && m.PayloadType == mgs.PayloadOutput {
						screen.Write(m.Payload)
					}
				}
			}
			if tc.screen != "" && screen.String() != tc.screen {
				t.Errorf("the client's screen shows %q, not %q", screen.String(), tc.screen)
			}
		})
	}
}

// leg is one end of a replayed session.
type leg struct {
	*servertest.Channel
	early [][]byte // frames that came before the test waited for them: acknowledgements overtake data
}

// want returns the first frame that matches, and keeps the others.
func (l *leg) want(t *testing.T, is func(b []byte) bool) []byte {
	t.Helper()
	if i := slices.IndexFunc(l.early, is); i >= 0 {
		b := l.early[i]
		l.early = slices.Delete(l.early, i, i+1)
		return b
	}
	ctx, cancel := context.WithTimeout(t.Context(), servertest.Patience)
	defer cancel()
	for {
		_, b, err := l.Read(ctx)
		if err != nil {
			t.Fatalf("waiting for a frame: %v; frames received before: %q", err, l.early)
		}
		if is(b) {
			return b
		}
		l.early = append(l.early, b)
	}
}
