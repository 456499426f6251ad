package enroll_test

import (
	"path/filepath"
	"testing"

	"sekisho"
	"sekisho/internal/agent/agenttest"
	"sekisho/internal/agent/enroll"
	"sekisho/internal/agent/uplink"
)

// programRole returns the role of a newly registered node.
func programRole(t *testing.T, srv *agenttest.Server) *enroll.ProgramRole {
	t.Helper()
	v := open(t, filepath.Join(t.TempDir(), "state"), true)
	if _, err := enroll.Register(t.Context(), v, registration(srv)); err != nil {
		t.Fatal(err)
	}
	ident, err := v.Identity()
	if err != nil {
		t.Fatal(err)
	}
	client, err := uplink.New(srv.Address(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return enroll.NewProgramRole(ident, client)
}

func TestProgramRoleCachesUntilForgotten(t *testing.T) {
	t.Parallel()
	role := programRole(t, agenttest.New(t))
	first, since, expires, err := role.Credentials(t.Context())
	if err != nil || first.AccessKeyID == "" || !expires.After(since) {
		t.Fatalf("%q from %v to %v, %v", first.AccessKeyID, since, expires, err)
	}
	if again, _, _, err := role.Credentials(t.Context()); err != nil || again != first {
		t.Errorf("the second call returned other credentials, %v", err)
	}
	role.Forget()
	if next, _, _, err := role.Credentials(t.Context()); err != nil || next.AccessKeyID == first.AccessKeyID {
		t.Errorf("after Forget: %q, %v", next.AccessKeyID, err)
	}
}

// TestProgramRoleRefusesAgentCredentials: a server that does not know the
// request issues the agent's own credentials, which programs must not get.
func TestProgramRoleRefusesAgentCredentials(t *testing.T) {
	t.Parallel()
	srv := agenttest.New(t)
	srv.IgnoreForPrograms()
	creds, _, _, err := programRole(t, srv).Credentials(t.Context())
	if sekisho.CodeOf(err) != sekisho.CodeInternal || creds.SecretAccessKey != "" {
		t.Errorf("got %q, %v", creds.AccessKeyID, err)
	}
}
