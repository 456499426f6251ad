package servertest_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsssm "github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"sekisho/internal/server"
	"sekisho/internal/servertest"
)

// TestServerOnPostgres: with its database on PostgreSQL, a server registers a node, opens and ends a session,
// and has both after a restart.
func TestServerOnPostgres(t *testing.T) {
	t.Parallel()
	s := servertest.OnPostgres(t, func(*server.Config) {})
	n := s.Node()
	control := n.Connect()
	x := s.Session(s.Admin, n)
	x.Check(t)
	client := s.SSM(s.Admin)
	ids := func(state types.SessionState) (all []string) {
		t.Helper()
		out, err := s.SSM(s.Admin).DescribeSessions(t.Context(), &awsssm.DescribeSessionsInput{State: state})
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range out.Sessions {
			all = append(all, aws.ToString(one.SessionId))
		}
		return all
	}
	if got := ids(types.SessionStateActive); len(got) != 1 || got[0] != x.ID {
		t.Errorf("active sessions: %v", got)
	}
	if _, err := client.TerminateSession(t.Context(), &awsssm.TerminateSessionInput{SessionId: &x.ID}); err != nil {
		t.Fatal(err)
	}
	if got := ids(types.SessionStateHistory); len(got) != 1 || got[0] != x.ID {
		t.Errorf("history: %v", got)
	}
	s.Restart()
	control.WaitClosed()
	if got := ids(types.SessionStateHistory); len(got) != 1 || got[0] != x.ID {
		t.Errorf("history after a restart: %v", got)
	}
	out, err := s.SSM(s.Admin).DescribeInstanceInformation(t.Context(), &awsssm.DescribeInstanceInformationInput{})
	if err != nil || len(out.InstanceInformationList) != 1 {
		t.Errorf("nodes after a restart: %+v, %v", out, err)
	}
}
