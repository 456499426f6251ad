package servertest_test

import (
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sekisho/internal/server"
	"sekisho/internal/servertest"
	"sekisho/internal/wire/sigv4"
)

const nodesRole = "AmazonSSMRoleForInstancesQuickSetup"

type setupStep struct {
	Kind, Resource, Detail, Outcome, Text, ErrorCode, ErrorMessage string
}

type setupAnswer struct {
	Steps   []setupStep
	Changes int
	Ready   bool
	Agents  []struct {
		Architecture, Sha256 string
		Available            bool
	}
}

// outcomes counts the steps by outcome.
func (a setupAnswer) outcomes() map[string]int {
	n := map[string]int{}
	for _, s := range a.Steps {
		n[s.Outcome]++
	}
	return n
}

func quickSetup(t *testing.T, s *servertest.Server, as sigv4.Credentials, operation string, in any) setupAnswer {
	t.Helper()
	var out setupAnswer
	a := s.JSON(as, "sekisho", operation, in)
	if a.Status != 200 {
		t.Fatalf("%s: %d %s", operation, a.Status, a.Body)
	}
	a.Decode(t, &out)
	return out
}

// roleOf returns the role with which a node is listed.
func roleOf(t *testing.T, s *servertest.Server, node string) string {
	t.Helper()
	var out struct{ InstanceInformationList []struct{ IamRole string } }
	s.JSON(s.Admin, "ssm", "DescribeInstanceInformation",
		fields{"Filters": []any{fields{"Key": "InstanceIds", "Values": []string{node}}}}).
		Decode(t, &out)
	if len(out.InstanceInformationList) != 1 {
		t.Fatalf("%s is listed %d times", node, len(out.InstanceInformationList))
	}
	return out.InstanceInformationList[0].IamRole
}

// The steps are missing, are created once, are present, and each has its own
// event in the audit trail.
func TestQuickSetupTwice(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	plain := s.NodeOf(activate(t, s, ""))
	instance := s.NodeOf(activate(t, s, "", [2]string{"sekisho:NodeIdType", "instance"}))
	if a := s.JSON(s.Admin, "ssm", "AddTagsToResource",
		fields{"ResourceType": "ManagedInstance", "ResourceId": plain.ID,
			"Tags": []any{fields{"Key": "Env", "Value": "prod"}}}); a.Status != 200 {
		t.Fatal(a.Body)
	}
	in := fields{"InstanceIds": []string{instance.ID}, "Tags": []any{fields{"Key": "Env", "Value": "prod"}}}

	before := quickSetup(t, s, s.Admin, "DescribeQuickSetup", in)
	if n := before.outcomes(); n["Missing"] != len(before.Steps) || len(before.Steps) != 10 || before.Ready {
		t.Fatalf("before: %+v", before)
	}
	made := quickSetup(t, s, s.Admin, "ApplyQuickSetup", in)
	if n := made.outcomes(); n["Made"] != 10 || made.Changes != 10 || !made.Ready {
		t.Fatalf("the first time: %+v", made)
	}
	for _, node := range []string{plain.ID, instance.ID} {
		if role := roleOf(t, s, node); role != nodesRole {
			t.Errorf("%s has the role %q", node, role)
		}
	}
	var profile struct {
		Associations []string `xml:"iamInstanceProfileAssociationSet>item>iamInstanceProfile>arn"`
	}
	if err := xml.Unmarshal([]byte(ec2(t, s, s.Admin, "", "DescribeIamInstanceProfileAssociations").Body),
		&profile); err != nil {
		t.Fatal(err)
	}
	if len(profile.Associations) != 1 || !strings.HasSuffix(profile.Associations[0], ":instance-profile/"+nodesRole) {
		t.Errorf("the instance has the profile %v", profile.Associations)
	}
	for _, operation := range []string{"ApplyQuickSetup", "DescribeQuickSetup"} {
		again := quickSetup(t, s, s.Admin, operation, in)
		if n := again.outcomes(); n["Present"] != 10 || again.Changes != 0 || !again.Ready {
			t.Errorf("%s again: %+v", operation, again)
		}
	}
	events := s.Events("CreateRole")
	if len(events) != 2 || events[0].AdditionalEventData["calledFor"] != "sekisho:ApplyQuickSetup" ||
		events[0].UserIdentity.UserName != "admin" {
		t.Errorf("the roles' events: %+v", events)
	}
	if n := len(s.Events("AssociateIamInstanceProfile")); n != 1 {
		t.Errorf("the profile was associated %d times", n)
	}
}

// Deliberate changes are reported and stay.
func TestQuickSetupLeavesChanges(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	quickSetup(t, s, s.Admin, "ApplyQuickSetup", fields{})
	const other = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow",` +
		`"Principal":{"Service":["ssm.amazonaws.com"]},"Action":"sts:AssumeRole"}]}`
	if err := s.Directory.Roles.UpdateTrust(t.Context(), nodesRole, other); err != nil {
		t.Fatal(err)
	}
	got := quickSetup(t, s, s.Admin, "ApplyQuickSetup", fields{})
	i := slices.IndexFunc(got.Steps, func(s setupStep) bool { return s.Kind == "Trust" && s.Resource == nodesRole })
	if i < 0 || got.Steps[i].Outcome != "Differs" || got.Changes != 0 {
		t.Errorf("a role with another trust policy: %+v", got)
	}
	r, err := s.Directory.Roles.Get(t.Context(), nodesRole)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := s.Directory.Roles.TrustDocument(t.Context(), r); err != nil ||
		!strings.Contains(text, `["ssm.amazonaws.com"]`) {
		t.Errorf("the trust is now %s, %v", text, err)
	}
}

// Each step runs with the caller's permissions: the first denied step stops the
// run, and a caller without permissions changes nothing.
func TestQuickSetupUsesTheCallersPermissions(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	quickSetup(t, s, s.Admin, "DescribeQuickSetup", fields{})
	nobody := s.User("nobody", servertest.Allow("*", "sekisho:*"))
	for _, operation := range []string{"DescribeQuickSetup", "ApplyQuickSetup", "CreateInstallCommand"} {
		if a := s.JSON(nobody, "sekisho", operation, fields{}); a.Code() != "AccessDeniedException" {
			t.Errorf("%s by a user without policies: %d %s", operation, a.Status, a.Body)
		}
	}
	if _, err := s.Directory.Roles.Get(t.Context(), nodesRole); err == nil {
		t.Fatal("a user without policies created the role")
	}
	half := s.User("half", servertest.Allow("arn:aws:iam::"+servertest.Account+":role/"+nodesRole, "iam:*"))
	got := quickSetup(t, s, half, "ApplyQuickSetup", fields{})
	var failed setupStep
	for _, step := range got.Steps {
		if step.Outcome == "Failed" {
			failed = step
		}
	}
	if n := got.outcomes(); failed.Kind != "InstanceProfile" || failed.ErrorCode != "AccessDeniedException" ||
		n["Made"] != 3 ||
		n["Failed"] != 1 ||
		n["Skipped"] != 4 ||
		got.Ready {
		t.Errorf("Quick Setup by a user with half of the permissions: %+v", got)
	}
	seen := quickSetup(t, s, half, "DescribeQuickSetup", fields{})
	if n := seen.outcomes(); n["Present"] != 3 || n["Unknown"] != 5 {
		t.Errorf("the description for a user with half of the permissions: %+v", seen)
	}
	// Only users with iam:PassRole can assign the role.
	n := s.Node()
	quickSetup(t, s, s.Admin, "ApplyQuickSetup", fields{})
	giver := s.User(
		"giver",
		servertest.Allow(
			"*",
			"iam:Get*",
			"iam:List*",
			"ssm:UpdateManagedInstanceRole",
			"ssm:DescribeInstanceInformation",
		),
	)
	a := s.JSON(giver, "sekisho", "ApplyQuickSetup", fields{"InstanceIds": []string{n.ID}})
	if a.Status == 200 || !strings.Contains(a.Body, "iam:PassRole") {
		t.Errorf("without PassRole: %d %s", a.Status, a.Body)
	}
	if role := roleOf(t, s, n.ID); role == nodesRole {
		t.Error("the role was assigned by a user without iam:PassRole")
	}
}

func TestQuickSetupRefuses(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	for name, in := range map[string]fields{
		"an empty ID":  {"InstanceIds": []string{"web"}},
		"an empty key": {"Tags": []any{fields{"Key": "", "Value": "x"}}},
		"a long key":   {"Tags": []any{fields{"Key": strings.Repeat("k", 129), "Value": "x"}}},
		"too many IDs": {"InstanceIds": slices.Repeat([]string{"mi-01234567890abcdef"}, 1001)},
		"wrong types":  {"InstanceIds": "mi-01234567890abcdef"},
	} {
		if a := s.JSON(s.Admin, "sekisho", "ApplyQuickSetup", in); a.Status != 400 {
			t.Errorf("%s: %d %s", name, a.Status, a.Body)
		}
	}
	if _, err := s.Directory.Roles.Get(t.Context(), nodesRole); err == nil {
		t.Error("a refused request made the role")
	}
	there := s.Node()
	for name, tc := range map[string]struct {
		in   fields
		code string
	}{
		"unregistered node": {fields{"InstanceIds": []string{there.ID, "mi-01234567890abcdef"}}, "InvalidInstanceId"},
		"tag without nodes": {fields{"InstanceIds": []string{there.ID}, "Tags": []any{fields{"Key": "Env", "Value": "none"}}},
			"ResourceNotFoundException"},
	} {
		if a := s.JSON(s.Admin, "sekisho", "ApplyQuickSetup", tc.in); a.Code() != tc.code {
			t.Errorf("%s: %d %s", name, a.Status, a.Body)
		}
	}
	if _, err := s.Directory.Roles.Get(t.Context(), nodesRole); err == nil {
		t.Error("a request for a node that is not there made the role")
	}
	if role := roleOf(t, s, there.ID); role == nodesRole {
		t.Error("a refused request changed a node")
	}
	got := quickSetup(t, s, s.Admin, "DescribeQuickSetup", fields{"Tags": []any{fields{"Key": "Env", "Value": "none"}}})
	if last := got.Steps[len(got.Steps)-1]; last.ErrorMessage == "" {
		t.Errorf("a tag that no node has: %+v", last)
	}
}

func TestInstallCommand(t *testing.T) {
	t.Parallel()
	agents := t.TempDir()
	write := func(name string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(agents, name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("sekisho-agent-linux-amd64")
	s := servertest.StartWith(t, func(c *server.Config) { c.AgentDir = agents })
	quickSetup(t, s, s.Admin, "ApplyQuickSetup", fields{})

	command := func(as sigv4.Credentials, in fields) servertest.Answer {
		return s.JSON(as, "sekisho", "CreateInstallCommand", in)
	}
	activations := func() []string {
		var out struct {
			ActivationList []struct {
				ActivationID string `json:"ActivationId"`
			}
		}
		s.JSON(s.Admin, "ssm", "DescribeActivations", fields{}).Decode(t, &out)
		var ids []string
		for _, a := range out.ActivationList {
			ids = append(ids, a.ActivationID)
		}
		return ids
	}
	for name, tc := range map[string]struct {
		in   fields
		want string
	}{
		"an architecture without an agent": {fields{"Architecture": "arm64"}, "does not offer sekisho-agent-linux-arm64"},
		"an unknown architecture":          {fields{"Architecture": "mips"}, "architecture"},
		"an unknown agent":                 {fields{"Agent": "other"}, "agent"},
		"an unknown node ID type":          {fields{"NodeIdType": "other"}, "nodeIdType"},
		"an invalid host":                  {fields{"Host": "a;id"}, "host"},
		"a package over http": {fields{"Agent": "amazon", "PackageUrl": "http://example.com/a.deb",
			"PackageSha256": strings.Repeat("0", 64)}, "package"},
		"too many machines":  {fields{"RegistrationLimit": 1001}, "registrationLimit"},
		"a date in the past": {fields{"ExpirationDate": 1_000_000_000}, "expir"},
		"a missing role":     {fields{"IamRole": "none"}, "role"},
	} {
		if a := command(s.Admin, tc.in); a.Status != 400 ||
			!strings.Contains(strings.ToLower(a.Body), strings.ToLower(tc.want)) {
			t.Errorf("%s: %d %s", name, a.Status, a.Body)
		}
	}
	if all := activations(); len(all) > 0 {
		t.Errorf("refused requests left the activations %v", all)
	}
	lister := s.User("lister", servertest.Allow("*", "sekisho:*", "ssm:Describe*"))
	if a := command(lister, fields{}); a.Code() != "AccessDeniedException" {
		t.Errorf("a user who cannot create activations: %d %s", a.Status, a.Body)
	}

	var out struct {
		ActivationID      string `json:"ActivationId"`
		Command, UserData string
		UninstallCommand  string
		RegistrationLimit int
		ExpirationDate    float64
	}
	a := command(
		s.Admin,
		fields{
			"RegistrationLimit":   2,
			"NodeIdType":          "instance",
			"DefaultInstanceName": "web",
			"Tags":                []any{fields{"Key": "Hostname", "Value": "web1"}},
		},
	)
	if a.Status != 200 {
		t.Fatal(a.Body)
	}
	a.Decode(t, &out)
	if out.RegistrationLimit != 2 || !strings.Contains(out.Command, "https://"+s.Host+"/install/agent.sh") ||
		!strings.Contains(out.UserData, out.ActivationID) ||
		out.UninstallCommand == "" {
		t.Errorf("%+v", out)
	}
	_, code, _ := strings.Cut(out.Command, "SEKISHO_ACTIVATION_CODE=")
	code, _, _ = strings.Cut(code, ";")
	n := s.NodeOf(out.ActivationID, code)
	if !strings.HasPrefix(n.ID, "i-") || roleOf(t, s, n.ID) != nodesRole {
		t.Errorf("%s has the role %q", n.ID, roleOf(t, s, n.ID))
	}
	events := slices.Concat(s.Events("CreateInstallCommand"), s.Events("CreateActivation"))
	if len(events) < 2 || strings.Contains(fmt.Sprint(events), code) {
		t.Errorf("the audit trail: %+v", events)
	}

	seen := quickSetup(t, s, s.Admin, "DescribeQuickSetup", fields{})
	if len(seen.Agents) != 2 || !seen.Agents[0].Available || len(seen.Agents[0].Sha256) != 64 ||
		seen.Agents[1].Available {
		t.Errorf("agents in the description: %+v", seen.Agents)
	}
}
