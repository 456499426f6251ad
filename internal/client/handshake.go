package client

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"sekisho/internal/wire/mgs"
)

// The session types this client runs.
const (
	typeStandardStream = "Standard_Stream"
	typeInteractive    = "InteractiveCommands"
	typeNonInteractive = "NonInteractiveCommands"
	typePort           = "Port"
)

// hello is what the node says of itself and of the session.
type hello struct {
	agent   string // version
	kind    string // session type; a node that makes no handshake runs a shell
	message string // to the person
	properties
}

// properties are those of a session document as the node resolved them, with
// what our own agent adds about itself.
type properties struct {
	PortNumber          looseText `json:"portNumber"`
	Host                string    `json:"host"`
	Type                string    `json:"type"`
	LocalPortNumber     looseText `json:"localPortNumber"`
	LocalUnixSocket     string    `json:"localUnixSocket"`
	LocalConnectionType string    `json:"localConnectionType"`
	// Sekisho lists what our agent offers in this session: "stdin", "copy",
	// "reverse".
	Sekisho []string `json:"sekisho"`
}

func (p *properties) offers(what string) bool {
	for _, s := range p.Sekisho {
		if s == what {
			return true
		}
	}
	return false
}

// looseText is a value that some agents write as a number and some as a list of
// one.
type looseText string

// UnmarshalJSON implements json.Unmarshaler.
func (t *looseText) UnmarshalJSON(b []byte) error {
	var list []looseText
	var s string
	var n json.Number
	switch {
	case json.Unmarshal(b, &s) == nil:
		*t = looseText(s)
	case json.Unmarshal(b, &n) == nil:
		*t = looseText(n.String())
	case json.Unmarshal(b, &list) == nil && len(list) == 1:
		*t = list[0]
	default:
		return fmt.Errorf("%.40q is not a text", b)
	}
	return nil
}

// ours reports whether the node runs Sekisho's agent, whose versions begin
// where those of AWS's have not got to.
func (h *hello) ours() bool { return atLeast(h.agent, 4, 0, 0, 0) }

// atLeast compares dotted versions of four numbers.
func atLeast(version string, least ...int) bool {
	parts := strings.Split(version, ".")
	if len(parts) != len(least) {
		return false
	}
	for i, p := range parts {
		n, err := strconv.Atoi(p)
		if err != nil || n < least[i] {
			return false
		}
		if n > least[i] {
			return true
		}
	}
	return true
}

// greet answers the node's handshake and returns when the session may begin.
// A node that begins with output makes none.
func (l *leg) greet(ctx context.Context) error {
	err := l.awaitStart(ctx)
	l.greeted.Store(err == nil)
	return err
}

func (l *leg) awaitStart(ctx context.Context) error {
	l.hello.kind = typeStandardStream
	for {
		pt, b, err := l.ch.Receive(ctx)
		if err != nil {
			return err
		}
		switch pt {
		case mgs.PayloadHandshakeRequest:
			req, err := mgs.ParseBody[mgs.HandshakeRequest](b)
			if err != nil {
				return err
			}
			response, err := mgs.MarshalBody(l.answer(ctx, req))
			if err != nil {
				return err
			}
			if err := l.ch.Send(ctx, mgs.PayloadHandshakeResponse, response); err != nil {
				return err
			}
		case mgs.PayloadEncChallengeRequest:
			if err := l.prove(ctx, b); err != nil {
				return err
			}
		case mgs.PayloadHandshakeComplete:
			done, err := mgs.ParseBody[mgs.HandshakeComplete](b)
			if err != nil {
				return err
			}
			l.hello.message = done.CustomerMessage
			l.ch.SetMaxPayload(l.payloadSize() + sealOverhead)
			return nil
		case mgs.PayloadOutput, mgs.PayloadStdErr, mgs.PayloadExitCode:
			l.first = &payload{pt, b}
			return nil
		}
	}
}

// abilities are what this client tells our agent of itself: that it knows one
// direction of a connection to end before the other, and takes messages larger
// than AWS's client does.
const abilities = `{"sekisho":["half-close","large-frames"]}`

// answer says to each request of the node whether it is met. One that is not
// ends the session, and the node gives the reason.
func (l *leg) answer(ctx context.Context, req mgs.HandshakeRequest) mgs.HandshakeResponse {
	l.hello.agent = req.AgentVersion
	out := mgs.HandshakeResponse{ClientVersion: Version, ProcessedClientActions: []mgs.ProcessedAction{}}
	for _, action := range req.RequestedClientActions {
		done := mgs.ProcessedAction{ActionType: action.ActionType, ActionStatus: mgs.ActionSuccess, ActionResult: json.RawMessage("null")}
		var status mgs.ActionStatus
		var reason string
		switch action.ActionType {
		case mgs.ActionSessionType:
			status, reason = l.takeType(action)
			if l.hello.ours() {
				done.ActionResult = json.RawMessage(abilities)
			}
		case mgs.ActionKMSEncryption:
			result, err := l.encrypt(ctx, action)
			if err != nil {
				status, reason = mgs.ActionFailed, err.Error()
			} else {
				done.ActionResult = result
			}
		default:
			status, reason = mgs.ActionUnsupported, fmt.Sprintf("This client does not know the action %s.", action.ActionType)
		}
		if reason != "" {
			done.ActionStatus, done.Error = status, reason
			out.Errors = append(out.Errors, reason)
		}
		out.ProcessedClientActions = append(out.ProcessedClientActions, done)
	}
	return out
}

func (l *leg) takeType(action mgs.RequestedAction) (mgs.ActionStatus, string) {
	st, err := mgs.ParseBody[mgs.SessionTypeRequest](action.ActionParameters)
	if err != nil {
		return mgs.ActionUnsupported, "The session type cannot be read."
	}
	switch st.SessionType {
	case typeStandardStream, typeInteractive, typeNonInteractive, typePort:
	default:
		return mgs.ActionUnsupported, fmt.Sprintf("This client cannot run a session of type %s.", st.SessionType)
	}
	l.hello.kind = st.SessionType
	if len(st.Properties) > 0 {
		if err := json.Unmarshal(st.Properties, &l.hello.properties); err != nil {
			return mgs.ActionFailed, "The properties of the session cannot be read."
		}
	}
	if st.SessionType == typePort && l.hello.Type == portForwarding && !atLeast(l.hello.agent, 3, 0, 196, 1) {
		return mgs.ActionUnsupported, "The node's agent is too old to forward more than one connection; update it."
	}
	return mgs.ActionSuccess, ""
}
