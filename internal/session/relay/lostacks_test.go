package relay_test

import (
	"testing"
	"testing/synctest"
	"time"

	"sekisho"
	"sekisho/internal/session/relay"
)

// AWS's plugin does not acknowledge messages that it received before, and
// AWS's agent resends only its oldest message. An acknowledgement that was
// lost with the server must not block them forever.
func TestAcknowledgementsLostWithTheServer(t *testing.T) {
	with(t, sekisho.Session{Status: sekisho.SessionConnected}, func(w *world) {
		agent, client := w.agent(), w.client()
		// The client has received 7 and 8, and does not acknowledge them
		// again.
		agent.send(output(7, "seven"))
		want(t, "the relay waits for the oldest", say(client.drain(t)), "")
		agent.send(output(7, "seven"))
		want(t, "the client is asked", say(client.drain(t)), "7=seven")
		agent.send(output(7, "seven"))
		want(t, "and again", say(client.drain(t)), "7=seven")
		want(t, "while the agent waits", say(agent.drain(t)), "")
		<-time.After(time.Second)
		agent.send(output(7, "seven"))
		want(t, "in the client's place", say(agent.drain(t)), "ack 7")
		agent.send(output(8, "eight"))
		want(t, "at once", say(agent.drain(t)), "ack 8")
		want(t, "the client is asked", say(client.drain(t)), "8=eight")

		// A connection that breaks now loses nothing.
		client.Close("cut")
		synctest.Wait()
		client = w.client()
		want(t, "the next connection", say(client.drain(t)), "7=seven, 8=eight")

		// It has not received 9.
		nine := output(9, "nine")
		agent.send(nine)
		want(t, "what is new", say(client.drain(t)), "9=nine")
		agent.drain(t)
		client.send(ackOf(nine))
		want(t, "is acknowledged", say(agent.drain(t)), "ack 7, ack 8, ack 9")
		// From here on the relay acknowledges nothing itself.
		ten := output(10, "ten")
		for range 5 {
			agent.send(ten)
			want(t, "it is passed on", say(client.drain(t)), "10=ten")
			<-time.After(time.Second)
		}
		want(t, "and the relay does not acknowledge it", say(agent.drain(t)), "")
		client.send(ackOf(ten))
		want(t, "until it is acknowledged", say(agent.drain(t)), "ack 10")
	})
}

// A disconnected client has not received the repeated messages.
func TestNothingIsAcknowledgedForADisconnectedClient(t *testing.T) {
	with(t, sekisho.Session{Status: sekisho.SessionConnected}, func(w *world) {
		agent := w.agent()
		repeat := func() {
			t.Helper()
			for range 8 {
				agent.send(output(7, "seven"))
				<-time.After(time.Second)
			}
			want(t, "the agent waits", say(agent.drain(t)), "")
		}
		repeat()
		client := w.client()
		want(t, "for the client", say(client.drain(t)), "7=seven")
		client.Close("cut")
		repeat()
		want(t, "for the next", say(w.client().drain(t)), "7=seven")
	})
}

// AWS's agent misses an acknowledgement that arrives before it has stored the
// message, so later messages are acknowledged and earlier ones are not. After
// a restart it repeats the one after such a gap.
func TestAGapInWhatASenderRepeats(t *testing.T) {
	with(t, sekisho.Session{Status: sekisho.SessionConnected}, func(w *world) {
		agent, client := w.agent(), w.client()
		agent.send(output(6, "six"))
		agent.send(output(6, "six"))
		for range 2 { // the client has received it
			<-time.After(600 * time.Millisecond)
			agent.send(output(6, "six"))
		}
		want(t, "the agent continues", say(agent.drain(t)), "ack 6")
		client.drain(t)
		// 7 and 8 were acknowledged, 9 was not.
		for range 3 {
			agent.send(output(9, "nine"))
			want(t, "the relay waits for 7", say(client.drain(t)), "")
			<-time.After(200 * time.Millisecond)
		}
		agent.send(output(9, "nine"))
		want(t, "and no longer", say(client.drain(t)), "9=nine")
		want(t, "for either", say(agent.drain(t)), "ack 9")
		ten := output(10, "ten")
		agent.send(ten)
		want(t, "what follows comes", say(client.drain(t)), "10=ten")
		client.send(ackOf(ten))
		agent.drain(t)
		eleven := output(11, "eleven")
		agent.send(eleven)
		want(t, "and so on", say(client.drain(t)), "11=eleven")
		client.send(ackOf(eleven))
		want(t, "acknowledged by the client", say(agent.drain(t)), "ack 11")
	})
}

// While the server was away, AWS's agent kept what its program wrote. After it has
// reconnected, it sends what is new at once, and what it kept one by one.
func TestNewOutputArrivesBeforeKeptOutput(t *testing.T) {
	with(t, sekisho.Session{Status: sekisho.SessionConnected}, func(w *world) {
		agent, client := w.agent(), w.client()
		agent.send(output(20, "twenty"))
		agent.send(output(21, "twenty-one"))
		want(t, "the relay waits for the oldest", say(client.drain(t)), "")
		want(t, "and acknowledges nothing", say(agent.drain(t)), "")
		eighteen, nineteen := output(18, "eighteen"), output(19, "nineteen")
		agent.send(eighteen)
		want(t, "the oldest comes first", say(client.drain(t)), "18=eighteen")
		client.send(ackOf(eighteen))
		want(t, "the client acknowledges it", say(agent.drain(t)), "ack 18")
		agent.send(nineteen)
		want(t, "then the rest", say(client.drain(t)), "19=nineteen, 20=twenty, 21=twenty-one")
		want(t, "recorded in order", w.tape.String(), "o:eighteen o:nineteen o:twenty o:twenty-one")
	})
}

// Sekisho's agent begins each connection with its oldest message: nothing waits.
func TestOwnAgentIsNotAskedToRepeat(t *testing.T) {
	with(t, sekisho.Session{Status: sekisho.SessionConnected, AgentProcess: "p"}, func(w *world) {
		agent, client := w.attach(w.ServeAgent, relay.Peer{Own: true}), w.client()
		agent.send(output(18, "eighteen"))
		want(t, "the client has it", say(client.drain(t)), "18=eighteen")
	})
}

// In a session of this process the relay waits for the gap to be filled: it
// knows what was acknowledged.
func TestAGapIsWaitedFor(t *testing.T) {
	with(t, sekisho.Session{}, func(w *world) {
		agent, client := w.agent(), w.client()
		agent.send(output(0, "zero"))
		client.drain(t)
		for range 5 {
			agent.send(output(2, "two"))
			<-time.After(time.Second)
		}
		want(t, "nothing out of order", say(client.drain(t)), "")
		agent.send(output(1, "one"))
		want(t, "until it is filled", say(client.drain(t)), "1=one, 2=two")
	})
}
