package relay

import (
	"strings"
	"time"

	"sekisho/internal/wire/mgs"
)

// greeting is the progress of the handshake. AWS's agent and plugin each lose
// messages at one moment near its end:
//
//   - The agent can report that the handshake is complete before it acknowledges
//     the client's answer. A plugin that forwards ports breaks on any frame
//     that arrives while it prepares its port, including that acknowledgement. So
//     the relay holds HandshakeComplete back until the acknowledgement is through.
//   - After it has sent HandshakeComplete, the agent acknowledges and discards input
//     until it has also noted the completion itself. So the relay delays the input
//     that the client sends in response.
type greeting struct {
	stock   bool  // the agent is AWS's
	replied bool  // the client has answered, with
	reply   int64 // message number
	heard   bool  // the agent has acknowledged that

	release *time.Timer // of what the client sends, once the agent is ready for it
}

// stop is called when the session ends.
func (g *greeting) stop() {
	if g.release != nil {
		g.release.Stop()
	}
}

// settle is how long AWS's agent needs after HandshakeComplete until it accepts input.
const settle = 100 * time.Millisecond

// stockAgent reports whether an agent of this version is AWS's. Sekisho's is 4.
func stockAgent(version string) bool {
	return strings.HasPrefix(version, "3.") || strings.HasPrefix(version, "2.")
}

// greet tracks the handshake. The mutex is held.
func (p *pair) greet(m *mgs.Message, from side) {
	g := &p.greeting
	switch {
	case m.PayloadType == mgs.PayloadHandshakeRequest && from == agentSide:
		r, err := mgs.ParseBody[mgs.HandshakeRequest](m.Payload)
		g.stock = err == nil && stockAgent(r.AgentVersion)
	case m.PayloadType == mgs.PayloadHandshakeResponse && from == clientSide:
		g.replied, g.reply = true, m.Seq
		if !p.encryption.agreed {
			p.holdInput(m.Seq)
		}
	case m.PayloadType == mgs.PayloadEncChallengeResponse && from == clientSide:
		p.holdInput(m.Seq)
	case m.PayloadType == mgs.PayloadHandshakeComplete && from == agentSide:
		if g.replied && !g.heard {
			p.toClient.barred, p.toClient.bar = true, m.Seq
		}
		if p.toAgent.barred {
			g.release = time.AfterFunc(settle, p.releaseInput)
		}
	}
}

// holdInput keeps what the client sends after message number last of the
// handshake until the agent is ready for it.
func (p *pair) holdInput(last int64) {
	if p.greeting.stock {
		p.toAgent.barred, p.toAgent.bar = true, last+1
	}
}

func (p *pair) releaseInput() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.toAgent.barred = false
	if l := p.legs[agentSide]; l != nil {
		l.wakeWriter()
	}
}

// answered is called when the agent has acknowledged message seq. The mutex is held;
// the caller writes to the client.
func (p *pair) answered(seq int64) {
	if g := &p.greeting; g.replied && seq == g.reply {
		g.heard, p.toClient.barred = true, false
	}
}
