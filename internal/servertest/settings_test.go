package servertest_test

import (
	"strings"
	"testing"

	"sekisho/internal/servertest"
	"sekisho/internal/wire/sigv4"
)

const (
	hostRole      = "/ssm/managed-instance/default-ec2-instance-management-role"
	tier          = "/ssm/managed-instance/activation-tier"
	publicSharing = "/ssm/documents/console/public-sharing-permission"
)

func settingARN(id string) string {
	return "arn:aws:ssm:" + servertest.Region + ":" + servertest.Account + ":servicesetting" + id
}

func setting(t *testing.T, s *servertest.Server, id string) (value, status string) {
	t.Helper()
	var out struct {
		ServiceSetting struct{ SettingID, SettingValue, Status, ARN string }
	}
	a := s.JSON(s.Admin, "ssm", "GetServiceSetting", fields{"SettingId": id})
	if a.Code() != "" {
		t.Fatalf("%s: %d %s", id, a.Status, a.Body)
	}
	a.Decode(t, &out)
	if got := out.ServiceSetting; !strings.HasSuffix(id, got.SettingID) || got.ARN != settingARN(got.SettingID) {
		t.Errorf("%+v", got)
	}
	return out.ServiceSetting.SettingValue, out.ServiceSetting.Status
}

func TestServiceSettings(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	for id, want := range map[string]string{
		hostRole: "$None", settingARN(hostRole): "$None", tier: "advanced", publicSharing: "Enable",
		"/ssm/parameter-store/high-throughput-enabled": "false",
	} {
		if value, status := setting(t, s, id); value != want || status != "Default" {
			t.Errorf("%s is %s, %s", id, value, status)
		}
	}
	for _, tc := range []struct{ id, value, code, text string }{
		{tier, "advanced", "", ""},
		{tier, "standard", "ValidationException", "advanced"},
		{publicSharing, "Perhaps", "ValidationException", "Enable or Disable"},
		{publicSharing, "", "ValidationException", ""},
		{publicSharing, "Disable", "", ""},
		{hostRole, "no-such-role", "ValidationException", "Nonexistent role"},
		{hostRole, "arn:aws:iam::123456789012:role/" + nodeRole, "ValidationException", "not its ARN: " + nodeRole},
		{settingARN(hostRole), nodeRole, "", ""},
		{"/ssm/parameter-store/high-throughput-enabled", "true", "ValidationException", "no Parameter Store"},
		{"/ssm/nonsense", "x", "ServiceSettingNotFound", ""},
		{"nonsense", "x", "ValidationException", ""},
		{"arn:aws:ssm:elsewhere:123456789012:servicesetting" + tier, "advanced", "ValidationException", ""},
		{"/*", "x", "ValidationException", ""},
	} {
		a := s.JSON(s.Admin, "ssm", "UpdateServiceSetting", fields{"SettingId": tc.id, "SettingValue": tc.value})
		if a.Code() != tc.code || !strings.Contains(a.Body, tc.text) {
			t.Errorf("%s = %s: %d %s; want %q %s", tc.id, tc.value, a.Status, a.Body, tc.code, tc.text)
		}
	}
	s.Restart()
	if value, status := setting(t, s, hostRole); value != nodeRole || status != "Customized" {
		t.Errorf("after a restart: %s, %s", value, status)
	}
	if e := s.Events("UpdateServiceSetting"); len(e) == 0 || e[0].RequestParameters["settingId"] == nil {
		t.Errorf("the trail: %+v", e)
	}
	if a := s.JSON(s.Admin, "ssm", "ResetServiceSetting", fields{"SettingId": hostRole}); a.Code() != "" ||
		!strings.Contains(a.Body, "$None") {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	for _, operation := range []string{"GetServiceSetting", "ResetServiceSetting"} {
		if a := s.JSON(s.Admin, "ssm", operation,
			fields{"SettingId": "/ssm/nonsense"}); a.Code() != "ServiceSettingNotFound" {
			t.Errorf("%s: %d %s", operation, a.Status, a.Body)
		}
	}
}

// Each setting is authorized separately, and setting a role needs
// iam:PassRole.
func TestServiceSettingsAreAuthorized(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	one := s.User("one", servertest.Allow(settingARN(tier), "ssm:*"))
	host := s.User("host", servertest.Allow(settingARN(hostRole), "ssm:*"))
	for _, tc := range []struct {
		as        sigv4.Credentials
		id, value string
		code      string
	}{
		{one, tier, "advanced", ""},
		{one, settingARN(tier), "advanced", ""},
		{one, publicSharing, "Disable", "AccessDeniedException"},
		{host, hostRole, nodeRole, "AccessDeniedException"},
		{host, hostRole, "$None", ""},
	} {
		if a := s.JSON(tc.as, "ssm", "UpdateServiceSetting",
			fields{"SettingId": tc.id, "SettingValue": tc.value}); a.Code() != tc.code {
			t.Errorf("%s = %s: %d %s; want %q", tc.id, tc.value, a.Status, a.Body, tc.code)
		}
	}
	if value, _ := setting(t, s, hostRole); value != "$None" {
		t.Errorf("the refused update changed the setting to %s", value)
	}
}

// An instance without a role of its own has the account's default role, if
// there is one.
func TestDefaultHostManagement(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	set := func(value string) {
		t.Helper()
		if a := s.JSON(s.Admin, "ssm", "UpdateServiceSetting",
			fields{"SettingId": hostRole, "SettingValue": value}); a.Code() != "" {
			t.Fatalf("%d %s", a.Status, a.Body)
		}
	}
	activate := func(in fields, code string) (activation, secret string) {
		t.Helper()
		a := s.JSON(s.Admin, "ssm", "CreateActivation", in)
		if a.Code() != code {
			t.Fatalf("%v: %d %s; want %q", in, a.Status, a.Body, code)
		}
		var out struct{ ActivationID, ActivationCode string }
		a.Decode(t, &out)
		return out.ActivationID, out.ActivationCode
	}
	activate(fields{"IamRole": ""}, "ValidationException") // only instances may lack a role
	set(nodeRole)
	n := s.NodeOf(
		activate(
			fields{"IamRole": "", "RegistrationMetadata": []fields{{"Key": "sekisho:NodeIdType", "Value": "instance"}}},
			"",
		),
	)
	control := n.Connect()
	report := fields{"InstanceId": n.ID, "AgentName": "agent", "AgentVersion": "1", "PlatformType": "Linux"}
	if a := s.JSON(n.Credentials, "ssm", "UpdateInstanceInformation", report); a.Code() != "" {
		t.Fatalf("with the account's role: %d %s", a.Status, a.Body)
	}

	set("$None")
	if _, why := control.WaitClosed(); !strings.Contains(why, "role") {
		t.Errorf("the agent received %q, which does not mention the changed role", why)
	}
	if a := n.RoleToken(n.Fingerprint); a.Code() != "AccessDeniedException" ||
		!strings.Contains(a.Body, "instance management role is not configured for account") {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	if note := standingOf(t, s, n.ID).note("RoleMissing"); !strings.Contains(note, hostRole) {
		t.Errorf("the node's page says %q", note)
	}

	// Its own role takes precedence.
	if a := s.JSON(s.Admin, "ssm", "UpdateManagedInstanceRole",
		fields{"InstanceId": n.ID, "IamRole": nodeRole}); a.Code() != "" {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	n.Renew()
}

// With public sharing turned off, no user can share documents with everyone.
func TestPublicSharingIsOff(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	if a := s.JSON(s.Admin, "ssm", "CreateDocument",
		fields{"Name": "Doc", "Content": `{"schemaVersion":"1.0","sessionType":"Standard_Stream"}`,
			"DocumentType": "Session"}); a.Code() != "" {
		t.Fatal(a.Body)
	}
	share := func(account, code string) {
		t.Helper()
		a := s.JSON(
			s.Admin,
			"ssm",
			"ModifyDocumentPermission",
			fields{"Name": "Doc", "PermissionType": "Share", "AccountIdsToAdd": []string{account}},
		)
		if a.Code() != code {
			t.Errorf("%s: %d %s; want %q", account, a.Status, a.Body, code)
		}
	}
	s.JSON(s.Admin, "ssm", "UpdateServiceSetting", fields{"SettingId": publicSharing, "SettingValue": "Disable"})
	share("all", "InvalidPermissionType")
	share("210987654321", "")
	s.JSON(s.Admin, "ssm", "ResetServiceSetting", fields{"SettingId": publicSharing})
	share("all", "")
}
