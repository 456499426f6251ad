package agenttest

import (
	"fmt"
	"slices"

	"sekisho"
	"sekisho/internal/wire/mgs"
)

// Reply is one reply of the agent about a command.
type Reply struct {
	mgs.CommandReply
	Job     string
	ID      mgs.UUID
	Ack     bool // whether the double acknowledged it
	Control int  // number of the control channel that received it
}

// job handles the agent's messages about a job.
func (c *Control) job(m *mgs.Message) error {
	s := c.s
	if m.Type == mgs.TypeAgentJobAck {
		ack, err := mgs.ParseBody[mgs.JobAck](m.Payload)
		s.update(func() { s.jobAcks = append(s.jobAcks, ack) })
		return err
	}
	r, err := mgs.ParseBody[mgs.JobReply](m.Payload)
	if err != nil {
		return err
	}
	body, err := r.Reply()
	if err != nil {
		return err
	}
	reply := Reply{CommandReply: body, Job: r.JobID, ID: m.ID, Control: c.N}
	s.update(func() {
		reply.Ack = s.deafTo == 0
		s.deafTo = max(0, s.deafTo-1)
		s.replies = append(s.replies, reply)
	})
	if reply.Ack {
		c.Send(mgs.NewJobReplyAck(m, r.JobID))
	}
	return nil
}

// Node waits until a node is registered and returns it.
func (s *Server) Node() sekisho.NodeID {
	s.t.Helper()
	var n sekisho.NodeID
	s.await("a node", func() bool {
		for n = range s.nodes {
			return true
		}
		return false
	})
	return n
}

// SendCommand sends a command to the node and returns the ID of its job.
func (s *Server) SendCommand(c mgs.SendCommand) (job string) {
	s.t.Helper()
	m, err := mgs.NewSendCommand(string(s.Node()), c)
	if err != nil {
		s.t.Fatal(err)
	}
	s.Control().Send(m)
	return mgs.JobID(c.CommandID, string(s.Node()))
}

// IgnoreReplies leaves the next n replies unacknowledged.
func (s *Server) IgnoreReplies(n int) { s.update(func() { s.deafTo = n }) }

// JobAcks waits until a job has been acknowledged n times.
func (s *Server) JobAcks(job string, n int) []mgs.JobAck {
	s.t.Helper()
	var got []mgs.JobAck
	s.await(fmt.Sprintf("acknowledgement %d of %s", n, job), func() bool {
		got = nil
		for _, a := range s.jobAcks {
			if a.JobID == job {
				got = append(got, a)
			}
		}
		return len(got) >= n
	})
	return got
}

// Replies returns the replies about a job so far.
func (s *Server) Replies(job string) []Reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.replies), func(r Reply) bool { return r.Job != job })
}

// AwaitReplies waits for n replies about a job that cond accepts.
func (s *Server) AwaitReplies(what, job string, n int, cond func(Reply) bool) []Reply {
	s.t.Helper()
	var found []Reply
	s.await(fmt.Sprintf("%s about %s, %d times", what, job, n), func() bool {
		found = slices.DeleteFunc(slices.Clone(s.replies), func(r Reply) bool { return r.Job != job || !cond(r) })
		return len(found) >= n
	})
	return found
}

// Over waits for the last reply about a job.
func (s *Server) Over(job string) Reply {
	s.t.Helper()
	return s.AwaitReplies("the last reply", job, 1,
		func(r Reply) bool { return r.DocumentStatus != mgs.CommandInProgress })[0]
}
