package mgs

import (
	"bytes"
	"errors"
	"strconv"
	"time"
)

// NewAck acknowledges a message of stream data.
func NewAck(m *Message) Message {
	return NewAckOf(m.Type, m.ID, m.Seq)
}

// NewAckOf acknowledges message number seq of a stream.
func NewAckOf(typ string, id UUID, seq int64) Message {
	ack := New(
		TypeAcknowledge,
		AppendAck(make([]byte, 0, 200), Acknowledge{Type: typ, ID: id, Seq: seq, Sequential: true}),
	)
	ack.Flags = FlagSYN | FlagFIN
	return ack
}

// AppendAck appends the JSON of a, whose type is one of the message types, in the form that
// every known peer writes.
func AppendAck(dst []byte, a Acknowledge) []byte {
	dst = append(dst, `{"AcknowledgedMessageType":"`...)
	dst = append(dst, a.Type...)
	dst = append(dst, `","AcknowledgedMessageId":"`...)
	dst = a.ID.appendText(dst)
	dst = append(dst, `","AcknowledgedMessageSequenceNumber":`...)
	dst = strconv.AppendInt(dst, a.Seq, 10)
	dst = append(dst, `,"IsSequentialMessage":`...)
	dst = strconv.AppendBool(dst, a.Sequential)
	return append(dst, '}')
}

// ParseAck reads the body of an acknowledgement: any JSON, but the form that AppendAck
// writes is fastest and does not allocate. Some clients acknowledge messages that are not
// stream data: the caller checks the type.
func ParseAck(b []byte) (Acknowledge, error) {
	a, ok := parseUsualAck(b)
	if !ok {
		var err error
		if a, err = ParseBody[Acknowledge](b); err != nil {
			return Acknowledge{}, err
		}
	}
	if a.Type == "" {
		return Acknowledge{}, errors.New("mgs: acknowledgement of no message type")
	}
	if a.Seq < 0 {
		return Acknowledge{}, errors.New("mgs: acknowledgement of a negative sequence number")
	}
	return a, nil
}

func parseUsualAck(b []byte) (a Acknowledge, ok bool) {
	b, ok = bytes.CutPrefix(b, []byte(`{"AcknowledgedMessageType":"`))
	if !ok {
		return a, false
	}
	typ, b, ok := bytes.Cut(b, []byte(`","AcknowledgedMessageId":"`))
	if !ok {
		return a, false
	}
	switch string(typ) {
	case TypeInputStreamData:
		a.Type = TypeInputStreamData
	case TypeOutputStreamData:
		a.Type = TypeOutputStreamData
	default:
		return a, false
	}
	if len(b) < 36 || a.ID.UnmarshalText(b[:36]) != nil {
		return a, false
	}
	b, ok = bytes.CutPrefix(b[36:], []byte(`","AcknowledgedMessageSequenceNumber":`))
	if !ok {
		return a, false
	}
	digits := 0
	for digits < len(b) && '0' <= b[digits] && b[digits] <= '9' {
		a.Seq = a.Seq*10 + int64(b[digits]-'0')
		digits++
	}
	if digits == 0 || digits > 18 || (digits > 1 && b[0] == '0') {
		return a, false
	}
	switch string(b[digits:]) {
	case `,"IsSequentialMessage":true}`:
		a.Sequential = true
	case `,"IsSequentialMessage":false}`:
	default:
		return a, false
	}
	return a, true
}

// NewChannelClosed ends a data channel, or, on a control channel, the session with that ID.
// Output is the reason shown to the user; it is empty for a normal end.
func NewChannelClosed(destination, session, output string) Message {
	m := New(TypeChannelClosed, nil)
	m.Payload = mustMarshal(ChannelClosed{
		MessageID:     m.ID,
		CreatedDate:   m.Created().UTC().Format(time.RFC3339Nano),
		DestinationID: destination,
		SessionID:     session,
		MessageType:   TypeChannelClosed,
		SchemaVersion: 1,
		Output:        output,
	})
	return m
}

// NewSessionNotice shows a text in the terminal of a session.
func NewSessionNotice(session, text string) Message {
	return New(TypeSessionNotice, mustMarshal(SessionNotice{SchemaVersion: 1, SessionID: session, Text: text}))
}

// NewSessionInput carries input for the terminal of a session.
func NewSessionInput(session string, data []byte) Message {
	return New(TypeSessionInput, mustMarshal(SessionInput{SchemaVersion: 1, SessionID: session, Data: data}))
}

// NewAgentSessionState reports the state of an agent's session to the server.
func NewAgentSessionState(session, state string) Message {
	m := New(
		TypeAgentSessionState,
		mustMarshal(AgentSessionState{SchemaVersion: 1, SessionState: state, SessionID: session}),
	)
	m.Flags = FlagSYN | FlagFIN
	return m
}

// NewInteractiveShell asks an agent to start a session.
func NewInteractiveShell(p AgentTaskPayload) (Message, error) {
	content, err := MarshalBody(p)
	if err != nil {
		return Message{}, err
	}
	return New(TypeInteractiveShell, mustMarshal(AgentTask{
		Content:       string(content),
		TaskID:        p.SessionID,
		Topic:         TypeInteractiveShell,
		SchemaVersion: 1,
	})), nil
}

// NewTaskComplete reports the end of a session to the server. It fills in the fields that
// are always the same.
func NewTaskComplete(c TaskComplete) Message {
	c.SchemaVersion, c.Topic = 1, TypeAgentTaskComplete
	return New(TypeAgentTaskComplete, mustMarshal(c))
}

// NewTaskAcknowledge acknowledges m, a TaskComplete for the given task.
func NewTaskAcknowledge(m *Message, task string) Message {
	return New(TypeAgentTaskAcknowledge, mustMarshal(TaskAcknowledge{
		SchemaVersion: 1, MessageID: m.ID, TaskID: task, Topic: TypeAgentTaskComplete,
	}))
}

// NewPublication asks a leg to start or pause sending. Its body is not empty because some
// peers reject an empty one.
func NewPublication(start bool) Message {
	if start {
		return New(TypeStartPublication, []byte("{}"))
	}
	return New(TypePausePublication, []byte("{}"))
}
