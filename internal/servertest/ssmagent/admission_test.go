package ssmagent_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsssm "github.com/aws/aws-sdk-go-v2/service/ssm"

	"sekisho/internal/iam/identity"
	"sekisho/internal/server"
	"sekisho/internal/servertest"
	"sekisho/internal/servertest/ssmagent"
)

// When more agents connect than are admitted, those that would wait too long
// get an error after which AWS's agent retries. Users are still served.
func TestMoreAgentsThanAreAdmitted(t *testing.T) {
	t.Parallel()
	// One a minute: after the first, no agent is admitted while the test runs.
	s := servertest.StartWith(t, func(c *server.Config) { c.AgentsPerSecond = 1.0 / 60 })
	limit := int32(10)
	a, err := s.SSM(s.Admin).CreateActivation(t.Context(), &awsssm.CreateActivationInput{
		IamRole: aws.String("service-role/" + identity.NodeRole), RegistrationLimit: &limit,
	})
	if err != nil {
		t.Fatal(err)
	}
	m := ssmagent.NewMachine(s.URL, servertest.Region, s.TLS(), key())
	defer m.Close()
	ctx := t.Context()
	register := func() error { return m.Register(ctx, *a.ActivationId, *a.ActivationCode) }
	token := func() error {
		_, err := m.Token(ctx, "control-channel", m.ID)
		return err
	}
	for _, tc := range []struct {
		name string
		do   func() error
		code string
	}{
		{"register", register, "TooManyUpdates"},
		{"renew", func() error { return m.RoleToken(ctx) }, "ThrottlingException"},
		{"control channel", token, "ThrottlingException"},
	} {
		if err := tc.do(); err != nil {
			t.Fatalf("%s: the first is refused: %v", tc.name, err)
		}
		id := m.ID
		err := tc.do()
		m.ID = id
		refused, ok := errors.AsType[*ssmagent.StatusError](err)
		if !ok || refused.Status != http.StatusTooManyRequests || !strings.Contains(refused.Body, tc.code) ||
			refused.After < time.Second {
			t.Errorf("%s: %+v", tc.name, err)
		}
		// AWS's agent would not retry after this error.
		if ok && strings.Contains(refused.Body, "AccessDenied") {
			t.Errorf("%s: %s", tc.name, refused.Body)
		}
	}
	// The server never refuses the report that an agent sends at its start:
	// the agent would sleep for minutes.
	for range 5 {
		if err := m.Report(ctx); err != nil {
			t.Error(err)
		}
	}
	// A channel whose token was issued is opened, and users are not counted.
	for range 20 {
		if _, err := s.SSM(s.Admin).DescribeInstanceInformation(ctx, &awsssm.DescribeInstanceInformationInput{}); err != nil {
			t.Error(err)
		}
	}
	// The refusals do not fill the audit trail.
	for _, name := range []string{"RegisterManagedInstance", "RequestManagedInstanceRoleToken", "CreateControlChannel"} {
		if e := s.Events(name); len(e) != 1 || e[0].ErrorCode != "" {
			t.Errorf("%s: %d events", name, len(e))
		}
	}
}
