package relay_test

import (
	"testing"
	"testing/synctest"
	"time"

	"sekisho"
	"sekisho/internal/wire/mgs"
	"sekisho/internal/wire/mgs/mgstest"
)

func greets(version string) mgs.Message {
	return mgstest.StreamData(
		mgs.TypeOutputStreamData,
		0,
		mgs.PayloadHandshakeRequest,
		[]byte(`{"AgentVersion":"`+version+
			`","RequestedClientActions":[{"ActionType":"SessionType","ActionParameters":{"SessionType":"Port",`+
			`"Properties":{}}}]}`),
	)
}

func complete(seq int64) mgs.Message {
	return mgstest.StreamData(mgs.TypeOutputStreamData, seq, mgs.PayloadHandshakeComplete, []byte("complete"))
}

// AWS's plugin breaks on an acknowledgement right after the handshake, and
// AWS's agent may send it then.
func TestTheHandshakeEndsAfterItsAcknowledgement(t *testing.T) {
	with(t, sekisho.Session{}, func(w *world) {
		agent, client := w.agent(), w.client()
		agent.send(greets("3.3.0.0"))
		client.drain(t)
		answer := response(0, "1")
		client.send(answer)
		agent.drain(t)
		agent.send(complete(1))
		agent.send(output(2, "data"))
		want(t, "before the acknowledgement", say(client.drain(t)), "")
		agent.send(ackOf(answer))
		want(t, "after it", say(client.drain(t)), "ack 0, 1=complete, 2=data")

		// In the usual order nothing waits.
		agent.send(output(3, "more"))
		want(t, "later", say(client.drain(t)), "3=more")
	})
}

// AWS's agent discards input that arrives before it has recorded the end of
// the handshake, which it reports a moment earlier.
func TestInputWaitsUntilTheAgentIsReady(t *testing.T) {
	for _, tc := range []struct {
		name, version string
		held          time.Duration
		encrypted     bool
	}{
		{"AWS's agent", "3.3.0.0", 100 * time.Millisecond, false},
		{"AWS's agent, encrypted", "3.3.0.0", 100 * time.Millisecond, true},
		{"ours", "4.0.0.0", 0, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := sekisho.Session{}
			if tc.encrypted {
				s.Recording = sekisho.RecordingEncrypted
			}
			with(t, s, func(w *world) {
				agent, client := w.agent(), w.client()
				first, next := greets(tc.version), int64(1)
				if tc.encrypted {
					first = request(0)
				}
				agent.send(first)
				client.drain(t)
				answer := response(0, "1")
				client.send(answer)
				agent.drain(t)
				agent.send(ackOf(answer))
				if tc.encrypted {
					challenge := mgstest.StreamData(
						mgs.TypeInputStreamData,
						next,
						mgs.PayloadEncChallengeResponse,
						[]byte("challenge"),
					)
					client.send(challenge)
					want(t, "the challenge passes", say(agent.drain(t)), "1=challenge")
					agent.send(ackOf(challenge))
					next++
				}
				agent.send(complete(1))
				client.drain(t)
				key := input(next, "k")
				client.send(key)
				if tc.held > 0 {
					want(t, "at once", say(agent.drain(t)), "")
					<-time.After(tc.held - time.Millisecond)
					want(t, "a moment later", say(agent.drain(t)), "")
					<-time.After(time.Millisecond)
				}
				want(t, "then", say(agent.drain(t)), say([]mgs.Message{key}))
				client.send(input(next+1, "l"))
				want(t, "and what follows", say(agent.drain(t)), say([]mgs.Message{input(next+1, "l")}))
			})
		})
	}
}

// Held input reaches an agent whose connection breaks meanwhile.
func TestHeldInputReachesAnAgentThatReconnects(t *testing.T) {
	with(t, sekisho.Session{}, func(w *world) {
		agent, client := w.agent(), w.client()
		agent.send(greets("3.3.0.0"))
		client.drain(t)
		answer := response(0, "1")
		client.send(answer)
		agent.drain(t)
		agent.send(ackOf(answer))
		agent.send(complete(1))
		client.drain(t)
		client.send(input(1, "k"))
		synctest.Wait()
		agent.Close("cut")
		synctest.Wait()
		again := w.agent()
		<-time.After(100 * time.Millisecond)
		want(t, "the new connection", say(again.drain(t)), "1=k")
	})
}
