package client

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sekisho/internal/wire/mgs"
)

// Session types this client can run.
const (
	typeStandardStream = "Standard_Stream"
	typeInteractive    = "InteractiveCommands"
	typeNonInteractive = "NonInteractiveCommands"
	typePort           = "Port"
)

// hello describes the node and the session, as the node sent them.
type hello struct {
	agent   string   // version
	kind    string   // session type; a node without handshake runs a shell
	message string   // to the user
	able    []string // what the agent can do beyond AWS's
	properties
}

// properties are the session document's properties as the node resolved them,
// with additions of Sekisho's agent.
type properties struct {
	PortNumber          looseText `json:"portNumber"`
	Host                string    `json:"host"`
	Type                string    `json:"type"`
	LocalPortNumber     looseText `json:"localPortNumber"`
	LocalUnixSocket     string    `json:"localUnixSocket"`
	LocalConnectionType string    `json:"localConnectionType"`
	// Sekisho lists what Sekisho's agent offers in this session.
	Sekisho []string `json:"sekisho"`
}

// Values of properties.Sekisho.
const (
	offerStdin    = mgs.AbilityStdin
	offerCopy     = mgs.AbilityCopy
	offerReverse  = "reverse"   // it listens for the client
	offerReset    = "reset"     // it knows broken connections from ended ones
	offerExitCode = "exit-code" // it reports how the shell or command exited
)

func (p *properties) offers(what string) bool { return slices.Contains(p.Sekisho, what) }

// looseText is a value that some agents send as a number and some as a list with
// one element.
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
		return fmt.Errorf("%.40q is not a string", b)
	}
	return nil
}

// ours reports whether the node runs Sekisho's agent. Its version numbers are higher than those of
// AWS's agent.
func (h *hello) ours() bool { return atLeast(h.agent, 4, 0, 0, 0) }

// atLeast compares dotted versions with as many numbers as least.
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

// greet answers the node's handshake and returns when the session can begin. A node that sends
// output first does not handshake.
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
			if slices.Contains(l.hello.able, mgs.AbilityChecksums) {
				l.ch.SetChecksums()
			}
			return nil
		case mgs.PayloadOutput, mgs.PayloadStdErr, mgs.PayloadExitCode:
			l.first = &payload{pt, b}
			return nil
		}
	}
}

// abilities tells Sekisho's agent what this client can do that AWS's cannot.
func (l *leg) abilities() json.RawMessage {
	able := []string{
		mgs.AbilityHalfClose, mgs.AbilityReset, mgs.AbilityLargeFrames, mgs.AbilityJumboFrames, mgs.AbilityChecksums,
	}
	if !l.likePlugin {
		able = append(able, mgs.AbilityExitCode)
	}
	result, err := json.Marshal(map[string][]string{"sekisho": able})
	if err != nil {
		panic(err) // strings always marshal
	}
	return result
}

// answer processes each action that the node requests. An action that fails ends
// the session, and the node reports the reason.
func (l *leg) answer(ctx context.Context, req mgs.HandshakeRequest) mgs.HandshakeResponse {
	l.hello.agent, l.hello.able = req.AgentVersion, req.Abilities
	out := mgs.HandshakeResponse{ClientVersion: ProtocolVersion, ProcessedClientActions: []mgs.ProcessedAction{}}
	for _, action := range req.RequestedClientActions {
		done := mgs.ProcessedAction{
			ActionType:   action.ActionType,
			ActionStatus: mgs.ActionSuccess,
			ActionResult: json.RawMessage("null"),
		}
		var status mgs.ActionStatus
		var reason string
		switch action.ActionType {
		case mgs.ActionSessionType:
			status, reason = l.takeType(action)
			if l.hello.ours() {
				done.ActionResult = l.abilities()
			}
		case mgs.ActionKMSEncryption:
			result, err := l.encrypt(ctx, action)
			if err != nil {
				status, reason = mgs.ActionFailed, err.Error()
			} else {
				done.ActionResult = result
			}
		default:
			status, reason = mgs.ActionUnsupported, fmt.Sprintf(
				"This client does not support the action %s.",
				action.ActionType,
			)
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
		return mgs.ActionUnsupported, "The node's session type is malformed."
	}
	switch st.SessionType {
	case typeStandardStream, typeInteractive, typeNonInteractive, typePort:
	default:
		return mgs.ActionUnsupported, fmt.Sprintf("This client cannot run a session of type %s.", st.SessionType)
	}
	l.hello.kind = st.SessionType
	if len(st.Properties) > 0 {
		if err := json.Unmarshal(st.Properties, &l.hello.properties); err != nil {
			return mgs.ActionFailed, "The node's session properties are malformed."
		}
	}
	if st.SessionType == typePort && l.hello.Type == portForwarding && !atLeast(l.hello.agent, 3, 0, 196, 1) {
		return mgs.ActionUnsupported, "The node's agent is too old to forward more than one connection; update it."
	}
	return mgs.ActionSuccess, ""
}
