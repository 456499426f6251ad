package servertest_test

import (
	"strings"
	"testing"

	"sekisho/internal/servertest"
	"sekisho/internal/wire/link"
	"sekisho/internal/wire/mgs"
)

// An agent may fail before the client has opened its channel: the client still
// receives the reason, once.
func TestClientThatConnectsAfterTheEnd(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	n := s.Node()
	control := n.Connect()
	session, token := s.StartSession(s.Admin, n)
	control.Send(
		mgs.NewTaskComplete(
			mgs.TaskComplete{TaskID: session, FinalTaskStatus: mgs.TaskFailed, Output: "no such program"},
		),
	)
	control.Receive(mgs.TypeAgentTaskAcknowledge)
	late := s.MustDial(s.Admin, "data-channel", session)
	late.Text(servertest.ClientFrame(token))
	m := late.Receive(mgs.TypeChannelClosed)
	closed, err := mgs.ParseBody[mgs.ChannelClosed](m.Payload)
	if err != nil || !strings.HasSuffix(closed.Output, ": no such program") {
		t.Errorf("the client received %q, %v", closed.Output, err)
	}
	if code, _ := late.WaitClosed(); code != link.CloseNormal {
		t.Errorf("closed with %d", code)
	}
	again := s.MustDial(s.Admin, "data-channel", session)
	again.Text(servertest.ClientFrame(token))
	if code, _ := again.WaitClosed(); code != link.ClosePolicy {
		t.Errorf("the same token again: closed with %d", code)
	}
}
