package relay

import (
	"strings"
	"time"

	"sekisho/internal/wire/mgs"
)

// greeting is how far the handshake has come. AWS's agent and plugin each have
// a moment at its end at which they lose what comes:
//
//   - The agent may say that the handshake is complete before it acknowledges
//     the client's answer. A plugin that forwards ports breaks on any frame
//     that comes while it prepares its port, as that acknowledgement would: so
//     the last word of the handshake waits for it.
//   - The agent acknowledges and throws away what comes before it has noted,
//     after having said so, that the handshake is complete. So what the client
//     sends on hearing it arrives a little later.
type greeting struct {
	stock   bool  // the agent is AWS's
	replied bool  // the client has answered, with
	reply   int64 // message number
	heard   bool  // the agent has acknowledged that
}

// settle is how long AWS's agent is given to note that its handshake is
// complete.
const settle = 100 * time.Millisecond

// stockAgent reports whether an agent of this version is AWS's. Ours is 4.
func stockAgent(version string) bool {
	return strings.HasPrefix(version, "3.") || strings.HasPrefix(version, "2.")
}

// greet takes note of a message of the handshake. The mutex is held.
func (s *session) greet(m *mgs.Message, from side) {
	g := &s.greeting
	switch {
	case m.PayloadType == mgs.PayloadHandshakeRequest && from == agentSide:
		r, err := mgs.ParseBody[mgs.HandshakeRequest](m.Payload)
		g.stock = err == nil && stockAgent(r.AgentVersion)
	case m.PayloadType == mgs.PayloadHandshakeResponse && from == clientSide:
		g.replied, g.reply = true, m.Seq
		if !s.encryption.agreed {
			s.holdInput(m.Seq)
		}
	case m.PayloadType == mgs.PayloadEncChallengeResponse && from == clientSide:
		s.holdInput(m.Seq)
	case m.PayloadType == mgs.PayloadHandshakeComplete && from == agentSide:
		if g.replied && !g.heard {
			s.toClient.barred, s.toClient.bar = true, m.Seq
		}
		if s.toAgent.barred {
			time.AfterFunc(settle, s.releaseInput)
		}
	}
}

// holdInput keeps what the client sends after message number last of the
// handshake until the agent is ready for it.
func (s *session) holdInput(last int64) {
	if s.greeting.stock {
		s.toAgent.barred, s.toAgent.bar = true, last+1
	}
}

func (s *session) releaseInput() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.toAgent.barred = false
	if l := s.legs[agentSide]; l != nil {
		l.poke()
	}
}

// answered takes note that the agent acknowledged message seq. The mutex is
// held; the caller writes to the client.
func (s *session) answered(seq int64) {
	if g := &s.greeting; g.replied && seq == g.reply {
		g.heard, s.toClient.barred = true, false
	}
}
