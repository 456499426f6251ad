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

	release *time.Timer // of what the client sends, once the agent is ready for it
}

// stop is called when the session ends.
func (g *greeting) stop() {
	if g.release != nil {
		g.release.Stop()
	}
}

// settle is how long AWS's agent is given to note that its handshake is
// complete.
const settle = 100 * time.Millisecond

// stockAgent reports whether an agent of this version is AWS'p. Ours is 4.
func stockAgent(version string) bool {
	return strings.HasPrefix(version, "3.") || strings.HasPrefix(version, "2.")
}

// greet takes note of a message of the handshake. The mutex is held.
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
		l.poke()
	}
}

// answered takes note that the agent acknowledged message seq. The mutex is
// held; the caller writes to the client.
func (p *pair) answered(seq int64) {
	if g := &p.greeting; g.replied && seq == g.reply {
		g.heard, p.toClient.barred = true, false
	}
}
