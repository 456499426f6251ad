package servertest_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"sekisho/internal/api"
	"sekisho/internal/api/ssmmessages"
	"sekisho/internal/servertest"
	"sekisho/internal/wire/awsproto"
	"sekisho/internal/wire/sigv4"
)

// inputs are requests that are complete enough to reach policy. An operation
// that is not here is called with "" of its door. If an operation needs more
// to reach policy, add it here, or the matrix fails.
var inputs = map[string]map[string]any{
	"ssm": {
		"": map[string]any{
			"Target": "TARGET", "InstanceId": "TARGET", "SessionId": "alice-aaaaaaaaaaaaaaaaaaaaaaaaaa", "State": "Active",
			"IamRole":      "service-role/AmazonEC2RunCommandRoleForManagedInstances",
			"ActivationId": "00000000-0000-4000-8000-000000000000",
			"Name":         "My-Document", "Content": `{"schemaVersion":"1.0","sessionType":"Standard_Stream"}`,
			"DocumentType":    "Session",
			"DocumentVersion": "1", "PermissionType": "Share", "ResourceType": "ManagedInstance", "ResourceId": "TARGET",
		},
		"AddTagsToResource": map[string]any{
			"ResourceType": "ManagedInstance",
			"ResourceId":   "TARGET",
			"Tags":         []any{map[string]string{"Key": "k", "Value": "v"}},
		},
		"RemoveTagsFromResource": map[string]any{
			"ResourceType": "ManagedInstance",
			"ResourceId":   "TARGET",
			"TagKeys":      []string{"k"},
		},
		"PutInventory": map[string]any{"InstanceId": "TARGET", "Items": []any{map[string]any{
			"TypeName": "Custom:Type", "SchemaVersion": "1.0", "CaptureTime": "2026-01-31T23:59:59Z", "Content": []any{},
		}}},
		"ListInventoryEntries": map[string]any{"InstanceId": "TARGET", "TypeName": "AWS:Application"},
		"GetInventorySchema":   map[string]any{},
		"ListNodesSummary": map[string]any{
			"Aggregators": []any{
				map[string]string{"AggregatorType": "Count", "TypeName": "Instance", "AttributeName": "PlatformType"},
			},
		},
		"GetServiceSetting": map[string]any{"SettingId": "/ssm/managed-instance/activation-tier"},
		"UpdateServiceSetting": map[string]any{
			"SettingId":    "/ssm/managed-instance/activation-tier",
			"SettingValue": "advanced",
		},
		"ResetServiceSetting": map[string]any{"SettingId": "/ssm/managed-instance/activation-tier"},
		"SendCommand": map[string]any{
			"DocumentName": "AWS-RunShellScript",
			"InstanceIds":  []string{"TARGET"},
			"Parameters":   map[string]any{"commands": []string{"id"}},
		},
		"GetCommandInvocation": map[string]any{
			"CommandId":  "00000000-0000-4000-8000-000000000000",
			"InstanceId": "TARGET",
		},
		"CancelCommand": map[string]any{"CommandId": "00000000-0000-4000-8000-000000000000"},
		"GetParameters": map[string]any{"Names": []string{"name"}},
		"CreateDocument": map[string]any{
			"Name":         "My-Document",
			"Content":      `{"schemaVersion":"1.0","sessionType":"Standard_Stream"}`,
			"DocumentType": "Session",
		},
		"StartAccessRequest": map[string]any{
			"Reason":  "x",
			"Targets": []any{map[string]any{"Key": "InstanceIds", "Values": []string{"TARGET"}}},
		},
		"GetAccessToken": map[string]any{"AccessRequestId": "oi-0123456789ab"},
	},
	"cloudtrail": {"": map[string]any{}},
	"cur": {
		"": map[string]any{"ReportName": "name"},
		"PutReportDefinition": map[string]any{"ReportDefinition": map[string]any{
			"ReportName": "name", "TimeUnit": "DAILY", "Format": "textORcsv", "Compression": "GZIP", "S3Bucket": "bucket",
			"S3Region": servertest.Region,
		}},
	},
	// A poll without an ID is refused once it is known to be the node's own,
	// so the test does not wait.
	"ec2messages": {
		"": map[string]any{"Destination": "TARGET", "MessageId": "0123456789abcdef", "ReplyId": "0123456789abcdef"},
	},
	"ec2": {"": map[string]any{
		"ResourceId.1": "i-01234567890abcdef", "Tag.1.Key": "k", "Tag.1.Value": "v", "InstanceId": "i-01234567890abcdef",
		"IamInstanceProfile.Name": "profile", "AssociationId": "iip-assoc-01234567890abcdef",
	}, "DescribeInstances": map[string]any{}, "DescribeInstanceStatus": map[string]any{},
		"DescribeIamInstanceProfileAssociations": map[string]any{}},
	"kms": {
		"": map[string]any{
			"KeyId": "KEY", "DestinationKeyId": "KEY", "TargetKeyId": "KEY", "AliasName": "alias/name", "Plaintext": "eA==",
			"CiphertextBlob": "SEALED",
			"KeySpec":        "AES_256",
		},
		"CreateKey": map[string]any{},
		"CreateGrant": map[string]any{
			"KeyId":            "KEY",
			"GranteePrincipal": "arn:aws:iam::123456789012:user/admin",
			"Operations":       []string{"Decrypt"},
		},
		"RetireGrant":    map[string]any{"KeyId": "KEY", "GrantId": "0123456789abcdef"},
		"RevokeGrant":    map[string]any{"KeyId": "KEY", "GrantId": "0123456789abcdef"},
		"GenerateRandom": map[string]any{"NumberOfBytes": 16},
	},
	"logs": {"UntagLogGroup": map[string]any{"logGroupName": "group", "tags": []string{"k"}}, "": map[string]any{
		"logGroupName": "group", "logStreamName": "stream", "retentionInDays": 7,
		"logEvents":   []any{map[string]any{"timestamp": 1, "message": "x"}},
		"kmsKeyId":    "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-4000-8000-000000000000",
		"resourceArn": "arn:aws:logs:eu-central-1:123456789012:log-group:group", "tags": map[string]string{"k": "v"},
		"tagKeys": []string{"k"},
	}},
	"sekisho": {"": map[string]any{
		"AccessRequestId": "oi-0123456789ab", "SessionId": "alice-aaaaaaaaaaaaaaaaaaaaaaaaaa", "Fingerprint": "0f1e",
		"InstanceId": "TARGET", "Name": "holidays", "UserName": "admin", "PolicyName": "p", "Targets": []string{"*"},
		"PrincipalArn": "arn:aws:iam::123456789012:user/nobody",
		"Action":       "ssm:StartSession", "Target": "TARGET", "State": "state", "Answer": map[string]any{"id": "x"},
		"Data": "eA==", "LinkId": "rl-0123456789abcdef", "Token": "token",
		"Questions":      []any{map[string]any{"Action": "ssm:StartSession", "Target": "TARGET"}},
		"PolicyDocument": `{"Version":"2012-10-17","Statement":[]}`,
	}},
	"iam": {"": iamInput},
	"sts": {
		"": map[string]any{
			"RoleArn":         "arn:aws:iam::123456789012:role/service-role/AmazonEC2RunCommandRoleForManagedInstances",
			"RoleSessionName": "name",
			"Name":            "name",
			"AccessKeyId":     "AKIAIOSFODNN7EXAMPLE",
		},
	},
}

// iamInput has every parameter at once. The door ignores those that it does
// not know.
var iamInput = map[string]any{
	"UserName": "somebody", "NewUserName": "other", "GroupName": "group", "RoleName": "role", "PolicyName": "policy",
	"InstanceProfileName":      "profile",
	"PolicyArn":                "arn:aws:iam::123456789012:policy/policy",
	"PolicyDocument":           `{"Version":"2012-10-17","Statement":[]}`,
	"VersionId":                "v1",
	"AssumeRolePolicyDocument": `{"Version":"2012-10-17","Statement":[]}`,
	"PermissionsBoundary":      "arn:aws:iam::123456789012:policy/policy",
	"AccessKeyId":              "AKIAIOSFODNN7EXAMPLE", "Status": "Inactive", "Password": "Abc123!?Abc123!?",
	"OldPassword": "Abc123!?Abc123!?", "NewPassword": "Abc123!?Abc123!?x",
	"SerialNumber": "arn:aws:iam::123456789012:mfa/device", "AuthenticationCode1": "123456",
	"AuthenticationCode2": "654321", "VirtualMFADeviceName": "device",
	"Tags.member.1.Key": "k", "Tags.member.1.Value": "v", "TagKeys.member.1": "k", "AccountAlias": "alias",
	"PolicySourceArn":          "arn:aws:iam::123456789012:user/somebody",
	"OpenIDConnectProviderArn": "arn:aws:iam::123456789012:oidc-provider/idp.example", "Url": "https://idp.example",
	"ClientID":                "client",
	"ThumbprintList.member.1": "0000000000000000000000000000000000000000", "ClientIDList.member.1": "client",
	"ActionNames.member.1": "ssm:StartSession", "PolicyInputList.member.1": `{"Version":"2012-10-17","Statement":[]}`,
	"Description": "x", "MaxSessionDuration": "3600",
}

// open are the operations that some of the three principals may use.
var open = map[string]struct {
	anonymous, user, node bool
	why                   string
}{
	"ssm.RegisterManagedInstance": {
		anonymous: true,
		user:      true,
		node:      true,
		why:       "the activation code is the permission",
	},
	"ssm.RequestManagedInstanceRoleToken": {why: "signed with a node's key only"},
	"sekisho.ResumeSessionByToken": {
		anonymous: true,
		why:       "the session's own token is the permission; it is off by default",
	},
	"sekisho.CheckSessionStart": {
		user: true,
		node: true,
		why:  "callers who cannot start a session learn that, and nothing else",
	},
	"sekisho.GetSharedRecording": {user: true, why: "the link's token is the permission"},
	"sekisho.BuildPolicy":        {user: true, node: true, why: "it builds a policy from the request alone"},
	"sekisho.ValidatePolicy":     {user: true, node: true, why: "it checks the document in the request alone"},
	"sekisho.ShowSecondFactor": {
		user: true,
		why:  "the second factor is the permission, as with sts.GetSessionToken",
	},
	"sekisho.DescribeMyAccess":            {user: true, node: true, why: "callers ask about themselves"},
	"sekisho.ListMyAccess":                {user: true, node: true, why: "callers ask about themselves"},
	"ssm.UpdateInstanceInformation":       {node: true, why: "a node reports its own facts"},
	"ssm.GetDocument":                     {node: true, why: "AmazonSSMManagedInstanceCore"},
	"ssm.DescribeDocument":                {node: true, why: "AmazonSSMManagedInstanceCore"},
	"ssm.UpdateManagedInstancePublicKey":  {why: "signed with a node's key only"},
	"ssm.ListInstanceAssociations":        {node: true, why: "a node asks for itself"},
	"ssm.ListAssociations":                {node: true, why: "AmazonSSMManagedInstanceCore; there are none"},
	"ssm.DescribeAssociation":             {node: true, why: "AmazonSSMManagedInstanceCore; there are none"},
	"ssm.UpdateInstanceAssociationStatus": {node: true, why: "a node reports of itself"},
	"ssm.PutInventory":                    {node: true, why: "a node reports of itself"},
	"ssm.PutComplianceItems":              {node: true, why: "a node reports of itself"},
	"ssm.GetManifest":                     {node: true, why: "AmazonSSMManagedInstanceCore; there are no packages"},
	"ssm.GetParameters":                   {node: true, why: "AmazonSSMManagedInstanceCore; there are no parameters"},
	"ec2messages.GetMessages":             {node: true, why: "a node polls its own messages"},
	"ec2messages.AcknowledgeMessage":      {node: true, why: "AmazonSSMManagedInstanceCore; there are no messages"},
	"ec2messages.DeleteMessage":           {node: true, why: "AmazonSSMManagedInstanceCore; there are no messages"},
	"ec2messages.FailMessage":             {node: true, why: "AmazonSSMManagedInstanceCore; there are no messages"},
	"ec2messages.SendReply":               {node: true, why: "AmazonSSMManagedInstanceCore; there are no messages"},
	"sts.GetCallerIdentity":               {user: true, node: true, why: "every principal may learn its own identity"},
	"sts.GetSessionToken":                 {user: true, why: "it gives nothing that the caller does not have"},
	"sts.AssumeRoleWithWebIdentity": {
		anonymous: true,
		user:      true,
		node:      true,
		why:       "the identity provider's token is the permission",
	},
	"sts.AssumeRoleWithSAML": {
		anonymous: true,
		user:      true,
		node:      true,
		why:       "the operation does not exist and says so to everybody",
	},
	"ssmmessages.CreateControlChannel": {node: true, why: "a node opens its own channel"},
	"ssmmessages.OpenControlChannel":   {node: true, why: "a node opens its own channel"},
	"ssmmessages.CreateDataChannel":    {node: true, why: "a node opens its own sessions"},
	"ssmmessages.OpenDataChannel": {
		anonymous: true,
		user:      true,
		node:      true,
		why:       "the token is the permission",
	},
}

// isRefusal recognizes refusals: for a missing signature (a query request
// without one does not even name its service), or by policy.
func isRefusal(who, operation, code string) bool {
	switch {
	case who == "anonymous":
		return slices.Contains(
			[]string{"MissingAuthenticationTokenException", "MissingAuthenticationToken", "InvalidAction"},
			code,
		)
	case operation == "ssm.RequestManagedInstanceRoleToken", operation == "ssm.UpdateManagedInstancePublicKey":
		return code == "UnrecognizedClientException"
	}
	return slices.Contains([]string{"AccessDeniedException", "AccessDenied", "UnauthorizedOperation"}, code)
}

// Every operation of every door refuses principals without permissions. The
// test takes the operations from the doors themselves, so that new operations
// are covered.
func TestCrossPrincipalMatrix(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	n := s.Node()
	callers := map[string]sigv4.Credentials{"anonymous": {}, "user": s.User("nobody", ""), "node": n.Credentials}
	doors := append(slices.Clone(s.Doors()), ssmmessages.New())
	w := &words{node: n.ID}
	w.makeKey(t, s)
	seen := map[string]bool{}
	for _, d := range doors {
		if len(d.Operations) == 0 {
			t.Errorf("%s has no operations: the matrix proves nothing", d.Service)
		}
		for _, op := range slices.Sorted(maps.Keys(d.Operations)) {
			name := d.Service + "." + op
			seen[name] = true
			for _, who := range []string{"anonymous", "user", "node"} {
				may := map[string]bool{"anonymous": open[name].anonymous, "user": open[name].user, "node": open[name].node}[who]
				a := call(t, s, d, op, callers[who], w)
				refused := isRefusal(who, name, a.Code())
				switch {
				case refused == may:
					t.Errorf("%s by %s: %d %.300s", name, who, a.Status, a.Body)
				case !may && a.Status < 400:
					t.Errorf("%s by %s was answered: %.300s", name, who, a.Body)
				}
			}
		}
	}
	for name := range open {
		if !seen[name] {
			t.Errorf("the matrix has %s, which no door has", name)
		}
	}
}

// words replace placeholders in inputs with values of the running server.
type words struct{ node, key, sealed string }

func (w *words) makeKey(t *testing.T, s *servertest.Server) {
	t.Helper()
	var key struct{ KeyMetadata struct{ KeyID string } }
	s.JSON(s.Admin, "kms", "CreateKey", map[string]any{}).Decode(t, &key)
	var sealed struct{ CiphertextBlob string }
	s.JSON(s.Admin, "kms", "Encrypt", map[string]any{"KeyId": key.KeyMetadata.KeyID, "Plaintext": "eA=="}).
		Decode(t, &sealed)
	if w.key, w.sealed = key.KeyMetadata.KeyID, sealed.CiphertextBlob; w.key == "" || w.sealed == "" {
		t.Fatal("no key was made")
	}
}

// fill replaces the words of an input.
func (w *words) fill(text string) string {
	return strings.NewReplacer(`"TARGET"`, quoted(w.node), `"KEY"`, quoted(w.key), `"SEALED"`, quoted(w.sealed)).
		Replace(text)
}

func call(
	t *testing.T,
	s *servertest.Server,
	d *api.Door,
	op string,
	as sigv4.Credentials,
	w *words,
) servertest.Answer {
	t.Helper()
	if d.Service == "ssmmessages" {
		const session = "alice-aaaaaaaaaaaaaaaaaaaaaaaaaa"
		switch op {
		case "CreateControlChannel":
			return s.CreateChannel(as, "control-channel", w.node)
		case "CreateDataChannel":
			return s.CreateChannel(as, "data-channel", session)
		case "OpenControlChannel":
			return s.Do(nil, as, "ssmmessages", http.MethodGet, "/v1/control-channel/"+w.node, "")
		case "OpenDataChannel":
			return s.Do(nil, as, "ssmmessages", http.MethodGet, "/v1/data-channel/"+session, "")
		}
		t.Fatalf("the matrix does not know how to call %s", op)
	}
	in := inputs[d.Service][op]
	if in == nil {
		in = inputs[d.Service][""]
	}
	if d.Protocol == awsproto.JSON {
		text, err := json.Marshal(in)
		must(t, err)
		return s.JSON(
			as,
			d.Service,
			op,
			json.RawMessage(w.fill(string(text))),
		)
	}
	form := url.Values{"Action": {op}, "Version": {d.Version}}
	for k, v := range in.(map[string]any) {
		form.Set(k, v.(string))
	}
	return s.Do(
		func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") },
		as,
		d.Service,
		http.MethodPost,
		"/",
		form.Encode(),
	)
}

func quoted(s string) string { return `"` + s + `"` }
