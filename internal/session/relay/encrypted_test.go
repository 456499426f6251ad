package relay_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"sekisho"
	"sekisho/internal/wire/mgs"
	"sekisho/internal/wire/mgs/mgstest"
)

const asksForEncryption = `{"AgentVersion":"3.3.1","RequestedClientActions":[
	{"ActionType":"SessionType","ActionParameters":{"SessionType":"Standard_Stream","Properties":null}},
	{"ActionType":"KMSEncryption","ActionParameters":{"KMSKeyId":"alias/sessions","Challenge":"AAAA"}}]}`

// answers is a client's handshake response.
func answers(status string) string {
	return `{"ClientVersion":"1.2.0","ProcessedClientActions":[{"ActionType":"SessionType","ActionStatus":1,` +
		`"ActionResult":null,"Error":""},
	{"ActionType":"KMSEncryption","ActionStatus":` + status +
		`,"ActionResult":{"KMSCipherTextKey":"AAAA"},"Error":""}],"Errors":null}`
}

func request(seq int64) mgs.Message {
	return mgstest.StreamData(mgs.TypeOutputStreamData, seq, mgs.PayloadHandshakeRequest, []byte(asksForEncryption))
}

func response(seq int64, status string) mgs.Message {
	return mgstest.StreamData(mgs.TypeInputStreamData, seq, mgs.PayloadHandshakeResponse, []byte(answers(status)))
}

func TestEncryptedContentIsNotRecorded(t *testing.T) {
	with(t, sekisho.Session{Recording: sekisho.RecordingEncrypted}, func(w *world) {
		agent, client := w.agent(), w.client()
		agent.send(request(0))
		synctest.Wait()
		client.send(response(0, "1"))
		synctest.Wait()
		agent.send(output(1, "ciphertext"))
		agent.send(mgstest.StreamData(mgs.TypeOutputStreamData, 2, mgs.PayloadStdErr, []byte("ciphertext")))
		client.send(input(1, "ciphertext"))
		client.send(mgstest.StreamData(mgs.TypeInputStreamData, 2, mgs.PayloadSize, []byte(`{"cols":80,"rows":24}`)))
		if got := say(client.drain(t)); !strings.Contains(got, "1=ciphertext, 2=ciphertext") {
			t.Errorf("the client has %q", got)
		}
		got := w.tape.String()
		if strings.Contains(got, "ciphertext") || !strings.HasPrefix(got, "m:encrypted end to end") ||
			!strings.Contains(got, "r:80x24") {
			t.Errorf("recorded: %q", got)
		}
	})
}

// A session that was meant to be encrypted and is not is recorded like any
// other.
func TestUnencryptedContentIsRecorded(t *testing.T) {
	with(t, sekisho.Session{Recording: sekisho.RecordingEncrypted}, func(w *world) {
		agent, client := w.agent(), w.client()
		agent.send(request(0))
		synctest.Wait()
		client.send(response(0, "2"))
		synctest.Wait()
		agent.send(output(1, "clear"))
		client.drain(t)
		want(t, "recording", w.tape.String(), "o:clear")
	})
}

func TestClientsCannotTurnRecordingOff(t *testing.T) {
	with(t, sekisho.Session{Recording: sekisho.RecordingEncrypted}, func(w *world) {
		agent, client := w.agent(), w.client()
		client.send(response(0, "1")) // not requested
		synctest.Wait()
		agent.send(output(0, "clear"))
		client.drain(t)
		want(t, "recording", w.tape.String(), "o:clear")
	})
}

func TestAgentsCannotTurnRecordingOff(t *testing.T) {
	with(t, sekisho.Session{Recording: sekisho.RecordingServer}, func(w *world) {
		agent, client := w.agent(), w.client()
		agent.send(request(0))
		wantReason(t, "message to the client", say(client.drain(t)), "closed ", "end-to-end encryption")
		wantReason(t, "end", w.endings(), "Failed: ", "end-to-end encryption")
	})
}

// The handshake of an encrypted session is not repeated after a restart of the
// server.
func TestEncryptedSessionsOfAnEarlierProcess(t *testing.T) {
	with(
		t,
		sekisho.Session{Recording: sekisho.RecordingEncrypted, Status: sekisho.SessionDisconnected},
		func(w *world) {
			agent, client := w.agent(), w.client()
			for range 2 { // after a restart, AWS's agent has to repeat its oldest message
				agent.send(output(0, "ciphertext"))
			}
			want(t, "the client has", say(client.drain(t)), "0=ciphertext")
			want(t, "recording", w.tape.String(), "")
		},
	)
}
