package broker_test

import (
	"context"
	"testing"

	"sekisho"
	"sekisho/internal/wire/mgs"
)

// TestLogsOfSessions: a node's report on a session's log is stored once, also
// after the session's end, and only if it is the session's own node.
func TestLogsOfSessions(t *testing.T) {
	t.Parallel()
	places := sekisho.SessionLogs{Bucket: "logs", Key: "nodes/alice.log"}
	for name, c := range map[string]struct {
		said  mgs.TaskComplete
		where string // objects that are missing at their destination
		want  string // why the log is missing
	}{
		"delivered":                          {mgs.TaskComplete{S3Bucket: "logs"}, "", ""},
		"refused":                            {mgs.TaskComplete{LogProblem: "not \x1b[31mallowed"}, "", "not [31mallowed"},
		"reported as delivered, but missing": {mgs.TaskComplete{S3Bucket: "logs"}, "there is none.", "there is none."},
		"a session that never started":       {mgs.TaskComplete{FinalTaskStatus: mgs.TaskFailed}, "there is none.", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			f.absent = c.where
			f.start()
			s := f.begin(nodeA)
			must(
				t,
				f.store.UpdateSession(
					t.Context(),
					s.ID,
					func(s *sekisho.Session) error { s.Logs = places; return nil },
				),
			)
			f.SessionEnded(f.t.Context(), s.ID, sekisho.SessionTerminated, "")
			missing := func() string {
				got, err := f.store.Session(t.Context(), s.ID)
				must(t, err)
				return got.Missing()
			}
			if missing() == "" {
				t.Error("the log is not missing before the node reports its delivery")
			}
			c.said.TaskID = string(s.ID)
			f.TaskComplete(t.Context(), nodeB, mgs.TaskComplete{TaskID: string(s.ID), LogProblem: "a lie"})
			f.TaskComplete(t.Context(), nodeA, c.said)
			f.TaskComplete(t.Context(), nodeA, mgs.TaskComplete{TaskID: string(s.ID), LogProblem: "another word"})
			if missing() != c.want {
				t.Errorf("missing because %q, want %q", missing(), c.want)
			}
		})
	}
}

type logPlaces struct{ *fixture }

func (l logPlaces) Absent(context.Context, *sekisho.Session) string { return l.absent }
