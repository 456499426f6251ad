package servertest_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsssm "github.com/aws/aws-sdk-go-v2/service/ssm"

	"sekisho/internal/iam/identity"
	"sekisho/internal/servertest"
	"sekisho/internal/wire/link"
	"sekisho/internal/wire/mgs"
	"sekisho/internal/wire/sigv4"
)

// standing is what the server reports about a node beyond AWS's members.
type standing struct {
	InstanceID         string `json:"InstanceId"`
	State              string
	ConnectionStatus   string
	NotConnectedReason string
	Notes              []struct {
		Kind, Text, Fingerprint string
		SourceIP                string `json:"SourceIp"`
		OtherIP                 string `json:"OtherIp"`
		Count                   int
	}
}

func (n standing) note(kind string) string {
	for _, x := range n.Notes {
		if x.Kind == kind {
			return x.Text
		}
	}
	return ""
}

func standingOf(t *testing.T, s *servertest.Server, node string) standing {
	t.Helper()
	var out struct{ InstanceInformationList []standing }
	s.JSON(s.Admin, "ssm", "DescribeInstanceInformation", map[string]any{
		"Filters": []any{map[string]any{"Key": "InstanceIds", "Values": []string{node}}},
	}).Decode(t, &out)
	if len(out.InstanceInformationList) != 1 {
		t.Fatalf("%s is listed %d times", node, len(out.InstanceInformationList))
	}
	return out.InstanceInformationList[0]
}

type seen struct {
	Machines     []struct{ Kind, Reason, SourceIP, InstanceID string }
	Deregistered []struct{ InstanceID string }
}

func listSeen(t *testing.T, s *servertest.Server) seen {
	t.Helper()
	var out seen
	a := s.JSON(s.Admin, "sekisho", "ListSeenMachines", map[string]any{})
	if a.Status != http.StatusOK {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	a.Decode(t, &out)
	return out
}

func (x seen) has(kind, text string) bool {
	return slices.ContainsFunc(x.Machines, func(m struct{ Kind, Reason, SourceIP, InstanceID string }) bool {
		return m.Kind == kind && strings.Contains(m.Reason, text) && m.SourceIP == "127.0.0.1"
	})
}

// A refused registration is listed with its reason.
func TestRegistrationsRefusedAreSeen(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	a, err := s.SSM(s.Admin).
		CreateActivation(t.Context(), &awsssm.CreateActivationInput{IamRole: aws.String("service-role/" + identity.NodeRole)})
	if err != nil {
		t.Fatal(err)
	}
	n := s.NodeOf(*a.ActivationId, *a.ActivationCode)
	for _, tc := range []struct {
		code, want, kind string
	}{
		{"wrong-wrong-wrong-wrong", "InvalidActivation", "ActivationWrong"},
		{*a.ActivationCode, "ActivationExpired", "ActivationUsedUp"},
	} {
		if got := s.Register(*a.ActivationId, tc.code, n.Fingerprint).Code(); got != tc.want {
			t.Errorf("%s: answered %s, want %s", tc.kind, got, tc.want)
		}
		if got := listSeen(t, s); !got.has(tc.kind, "") {
			t.Errorf("%s is not in %+v", tc.kind, got)
		}
	}
	soon := time.Now().Add(time.Second)
	b, err := s.SSM(s.Admin).CreateActivation(t.Context(), &awsssm.CreateActivationInput{
		IamRole: aws.String(
			"service-role/" + identity.NodeRole,
		), ExpirationDate: &soon, RegistrationLimit: aws.Int32(1000),
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Eventually("the activation expires", func() bool {
		return s.Register(*b.ActivationId, *b.ActivationCode, n.Fingerprint).Code() == "ActivationExpired"
	})
	if got := listSeen(t, s); !got.has("ActivationExpired", "expired at") {
		t.Errorf("%+v", got)
	}
	user := s.User("alice", servertest.Allow("*", "ssm:*"))
	if c := s.JSON(user, "sekisho", "ListSeenMachines", map[string]any{}).Code(); c != "AccessDeniedException" {
		t.Errorf("without a permission: %q", c)
	}
}

// A node whose role was deleted needs a role, not another registration.
func TestNodeWithoutItsRole(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	n := s.Node()
	ctx := t.Context()
	must(t, s.Directory.Holders.Detach(ctx, identity.KindRole, identity.NodeRole,
		"arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"))
	must(t, s.Directory.Roles.Delete(ctx, identity.NodeRole))
	if a := n.RoleToken(n.Fingerprint); a.Code() != "ResourceNotFoundException" {
		t.Errorf("credentials: %d %s", a.Status, a.Body)
	}
	got := standingOf(t, s, n.ID)
	if got.State != "NoRole" || !strings.Contains(got.NotConnectedReason, identity.NodeRole) {
		t.Errorf("%+v", got)
	}
}

func TestRefusedNodesShowWhy(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	n, skewed := s.Node(), s.Node()
	if got := standingOf(t, s, n.ID); got.State != "NeverConnected" || got.ConnectionStatus != "notconnected" {
		t.Errorf("%+v", got)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Amz-Target", "AmazonSSM.UpdateInstanceInformation")
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	sigv4.Sign(
		r,
		skewed.Credentials,
		servertest.Region,
		"ssm",
		time.Now().Add(-time.Hour),
		sigv4.HashBody([]byte("{}")),
	)
	if got := s.Send(r).Status; got != http.StatusBadRequest {
		t.Errorf("signed an hour ago: %d", got)
	}
	if got := standingOf(t, s, skewed.ID); got.State != "ClockSkewed" ||
		!strings.Contains(got.NotConnectedReason, "Set the machine's clock") {
		t.Errorf("%+v", got)
	}
	forged := n.Credentials
	forged.SecretAccessKey = "forged"
	s.JSON(forged, "ssm", "UpdateInstanceInformation", map[string]any{})
	if got := standingOf(t, s, n.ID); got.State != "CredentialsRefused" || got.note("CredentialsRefused") == "" {
		t.Errorf("%+v", got)
	}

	// It connects again, and its state is normal.
	ch := n.Connect()
	if got := standingOf(t, s, n.ID); got.State != "Connected" || got.NotConnectedReason != "" {
		t.Errorf("%+v", got)
	}
	if err := ch.CloseNow(); err != nil {
		t.Fatal(err)
	}
	s.Eventually("the channel is known to be down", func() bool { return standingOf(t, s, n.ID).State == "Lost" })
	if c := s.JSON(n.Credentials, "ssm", "UpdateInstanceInformation", map[string]any{"InstanceId": n.ID}).Code(); c != "" {
		t.Fatal(c)
	}
	if got := standingOf(t, s, n.ID); got.State != "ChannelDown" ||
		!strings.Contains(got.NotConnectedReason, "message channel") {
		t.Errorf("%+v", got)
	}

	if _, err := s.SSM(s.Admin).DeregisterManagedInstance(t.Context(),
		&awsssm.DeregisterManagedInstanceInput{InstanceId: &n.ID}); err != nil {
		t.Fatal(err)
	}
	n.RoleToken(n.Fingerprint)
	got := listSeen(t, s)
	if len(got.Deregistered) != 1 || got.Deregistered[0].InstanceID != n.ID || !got.has("NodeUnknown", "deregistered") {
		t.Errorf("%+v", got)
	}
}

// A key on a machine with another fingerprint is refused until an
// administrator approves the machine. Then the machine before it is refused.
func TestChangedFingerprintIsApproved(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	n := s.Node()
	if c := n.RoleToken("another").Code(); c != "MachineFingerprintDoesNotMatch" {
		t.Errorf("answered %q", c)
	}
	got := standingOf(t, s, n.ID)
	if got.State != "IdentityChanged" || got.note("IdentityChanged") == "" {
		t.Errorf("%+v", got)
	}
	if len(s.Events("NodeIdentityChanged")) != 1 {
		t.Error("no alarm in the trail")
	}
	approve := func(c sigv4.Credentials, fingerprint string) string {
		return s.JSON(c, "sekisho", "ApproveNodeIdentity", map[string]string{"InstanceId": n.ID, "Fingerprint": fingerprint}).
			Code()
	}
	if c := approve(s.User("alice", servertest.Allow("*", "ssm:*")), "another"); c != "AccessDeniedException" {
		t.Errorf("approved without a permission: %q", c)
	}
	if c := approve(s.Admin, "a third"); c == "" {
		t.Error("a fingerprint that no machine presented was approved")
	}
	if c := approve(s.Admin, "another"); c != "" {
		t.Errorf("not approved: %q", c)
	}
	if c := n.RoleToken("another").Code(); c != "" {
		t.Errorf("after the approval: %q", c)
	}
	if c := n.RoleToken(n.Fingerprint).Code(); c != "MachineFingerprintDoesNotMatch" {
		t.Errorf("the previous fingerprint: %q", c)
	}
}

// Of two machines with one identity the second is refused, and both addresses
// are reported.
func TestTwoMachinesOneIdentity(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	n := s.Node()
	first := n.Connect()
	reading := make(chan error, 1)
	go func() {
		_, _, err := first.Read(t.Context()) // an agent always reads, and so answers pings
		reading <- err
	}()
	second := s.MustDial(n.Credentials, "control-channel", n.ID)
	second.Text(`{"MessageSchemaVersion":"1.0","RequestId":"00000000-0000-4000-8000-000000000000","TokenValue":"` +
		s.CreateChannel(n.Credentials, "control-channel", n.ID).
			Token(t) +
		`","AgentVersion":"1","PlatformType":"linux"}`)
	_, _, err := second.Read(t.Context())
	if _, reason, ok := link.CloseStatus(err); !ok ||
		!strings.Contains(reason, "connected from 127.0.0.1") {
		t.Errorf("closing the second connection: %v", err)
	}
	got := standingOf(t, s, n.ID)
	if got.State != "Connected" ||
		!strings.Contains(
			got.note("IdentityTwice"),
			"connected from 127.0.0.1",
		) {
		t.Errorf("%+v", got)
	}
	if len(s.Events("NodeIdentityTwice")) != 1 {
		t.Error("no alarm in the trail")
	}
	select {
	case err := <-reading:
		t.Errorf("the first connection was closed: %v", err)
	default:
	}
}

// The server reports credentials of a node that are used from another address
// while the node is connected.
func TestStolenCredentialsAreReported(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	n := s.Node()
	ch := n.Connect()
	go func() { _, _, _ = ch.Read(t.Context()) }()
	call := func() {
		t.Helper()
		s.From("127.0.0.9", func() {
			if c := s.JSON(n.Credentials, "ssm", "UpdateInstanceInformation",
				map[string]any{"InstanceId": n.ID}).Code(); c != "" {
				t.Fatal(c)
			}
		})
	}
	call()
	call()
	got := standingOf(t, s, n.ID)
	if text := got.note("CredentialsElsewhere"); !strings.Contains(
		text,
		"from 127.0.0.9",
	) {
		t.Errorf("%+v", got)
	}
	if e := s.Events("NodeCredentialsElsewhere"); len(e) != 1 || e[0].SourceIPAddress != "127.0.0.9" {
		t.Errorf("in the trail: %+v", e)
	}
	if text := got.note("AddressChanged"); text != "" {
		t.Errorf("the address of the connected node changed: %s", text)
	}
}

// The credentials of a node are valid for that node only.
func TestCredentialsOfOneNodeForAnother(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	liar, victim := s.Node(), s.Node()
	if c := s.JSON(liar.Credentials, "ssm", "UpdateInstanceInformation",
		map[string]any{"InstanceId": victim.ID, "ComputerName": "evil"}).Code(); c != "AccessDeniedException" {
		t.Errorf("facts of another node: %q", c)
	}
	if a := s.CreateChannel(liar.Credentials, "control-channel", victim.ID); a.Status == http.StatusCreated {
		t.Error("a node created the control channel of another node")
	}
	if text := standingOf(t, s, liar.ID).note("ClaimsOtherNode"); !strings.Contains(text, victim.ID) {
		t.Errorf("the note of the node that claimed to be another: %q", text)
	}
	if got := standingOf(t, s, victim.ID); len(got.Notes) != 0 {
		t.Errorf("the node that the other claimed to be has notes: %+v", got)
	}
	// Reports are clipped.
	long := strings.Repeat("x", 257)
	if c := s.JSON(liar.Credentials, "ssm", "UpdateInstanceInformation",
		map[string]any{"InstanceId": liar.ID, "ComputerName": long}).Code(); c != "ValidationException" {
		t.Errorf("an oversized report: %q", c)
	}
	if standingOf(t, s, liar.ID).note("ReportRefused") == "" {
		t.Error("the node has no note about it")
	}
	big := strings.Repeat("x", 2<<20)
	if c := s.JSON(liar.Credentials, "ssm", "UpdateInstanceInformation",
		map[string]any{"InstanceId": liar.ID, "ComputerName": big}).Status; c != http.StatusRequestEntityTooLarge {
		t.Errorf("a report of 2 MiB: %d", c)
	}
}

// When a node's role changes, the server closes its channel with the reason,
// and the agent gets credentials of the new role.
func TestRoleChange(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	n := s.Node()
	ch := n.Connect()
	const trust = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"Service":"ssm.amazonaws.com"},` +
		`"Action":"sts:AssumeRole"}}`
	form := "Action=CreateRole&Version=2010-05-08&RoleName=Other&AssumeRolePolicyDocument=" +
		strings.NewReplacer("{", "%7B", "}", "%7D", `"`, "%22").
			Replace(trust)
	if a := s.Do(func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") }, s.Admin,
		"iam", http.MethodPost, "/", form); a.Status != http.StatusOK {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	if _, err := s.SSM(s.Admin).UpdateManagedInstanceRole(t.Context(),
		&awsssm.UpdateManagedInstanceRoleInput{InstanceId: &n.ID, IamRole: aws.String("Other")}); err != nil {
		t.Fatal(err)
	}
	_, _, err := ch.Read(t.Context())
	if _, reason, ok := link.CloseStatus(err); !ok || reason != mgs.ReasonRoleChanged {
		t.Errorf("the channel: %v", err)
	}
	n.Renew()
	if c := s.JSON(n.Credentials, "ssm", "UpdateInstanceInformation",
		map[string]any{"InstanceId": n.ID}).Code(); c != "AccessDeniedException" {
		t.Errorf("the new role has no permissions, but the call returned %q", c)
	}
	if _, err := s.SSM(s.Admin).UpdateManagedInstanceRole(t.Context(),
		&awsssm.UpdateManagedInstanceRoleInput{InstanceId: &n.ID, IamRole: aws.String("NoSuchRole")}); err == nil {
		t.Error("a role that does not exist was given")
	}
}
