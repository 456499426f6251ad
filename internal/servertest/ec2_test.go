package servertest_test

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"sekisho/internal/servertest"
	"sekisho/internal/wire/sigv4"
)

// ec2 calls an operation of the EC2 door and expects this error, or none.
// pairs are names and values of parameters.
func ec2(
	t *testing.T,
	s *servertest.Server,
	c sigv4.Credentials,
	code, operation string,
	pairs ...string,
) servertest.Answer {
	t.Helper()
	form := url.Values{"Action": {operation}, "Version": {"2016-11-15"}}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	a := s.Do(
		func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") },
		c,
		"ec2",
		http.MethodPost,
		"/",
		form.Encode(),
	)
	if a.Code() != code {
		t.Fatalf("%s %v: %d %s; want %q", operation, pairs, a.Status, a.Body, code)
	}
	return a
}

type instances struct {
	Nodes []struct {
		ID    string `xml:"instanceId"`
		State string `xml:"instanceState>name"`
		Zone  string `xml:"placement>availabilityZone"`
		IP    string `xml:"privateIpAddress"`
		Role  string `xml:"iamInstanceProfile>arn"`
		Tags  []struct {
			Key   string `xml:"key"`
			Value string `xml:"value"`
		} `xml:"tagSet>item"`
	} `xml:"reservationSet>item>instancesSet>item"`
	Next string `xml:"nextToken"`
}

func describe(t *testing.T, s *servertest.Server, pairs ...string) instances {
	t.Helper()
	var out instances
	if err := xml.Unmarshal([]byte(ec2(t, s, s.Admin, "", "DescribeInstances", pairs...).Body), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func (in instances) ids() string {
	var ids []string
	for _, n := range in.Nodes {
		ids = append(ids, n.ID)
	}
	slices.Sort(ids)
	return strings.Join(ids, " ")
}

func TestInstances(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	if out := ec2(t, s, s.Admin, "", "DescribeInstances"); !strings.Contains(
		out.Body,
		"<reservationSet></reservationSet>",
	) {
		t.Errorf("the empty list is missing from the response: %s", out.Body)
	}
	hybrid := s.Node()
	instance := s.NodeOf(activate(t, s, "", [2]string{"sekisho:NodeIdType", "instance"}))
	both := []string{hybrid.ID, instance.ID}
	slices.Sort(both)
	s.JSON(instance.Credentials, "ssm", "UpdateInstanceInformation", fields{
		"InstanceId": instance.ID, "AgentName": "x", "AgentVersion": "1", "PlatformType": "Linux",
		"ComputerName": "web-1.example", "IPAddress": "10.1.2.3",
	})
	ec2(
		t,
		s,
		s.Admin,
		"",
		"CreateTags",
		"ResourceId.1",
		instance.ID,
		"ResourceId.2",
		hybrid.ID,
		"Tag.1.Key",
		"Env",
		"Tag.1.Value",
		"prod",
	)
	ec2(
		t,
		s,
		s.Admin,
		"",
		"CreateTags",
		"ResourceId.1",
		instance.ID,
		"Tag.1.Key",
		"Hostname",
		"Tag.1.Value",
		"MyEC2Instance",
	)

	if got := describe(t, s).ids(); got != strings.Join(both, " ") {
		t.Errorf("described %s, want %v", got, both)
	}
	one := describe(t, s, "InstanceId.1", instance.ID)
	if len(one.Nodes) != 1 {
		t.Fatalf("%+v", one)
	}
	n := one.Nodes[0]
	if n.State != "running" || n.Zone != servertest.Region+"a" || n.IP != "10.1.2.3" || len(n.Tags) != 2 ||
		n.Tags[1].Value != "MyEC2Instance" {
		t.Errorf("%+v", n)
	}
	for filter, want := range map[string]string{
		"tag:Hostname=MyEC2Instance": instance.ID, "tag:Hostname=My*": instance.ID, "tag:Hostname=other": "",
		"tag:Env=prod":     strings.Join(both, " "),
		"tag-key=Hostname": instance.ID, "instance-id=mi-*": hybrid.ID, "private-ip-address=10.1.2.3": instance.ID,
		"private-dns-name=web-?.example": instance.ID,
		"instance-state-name=running":    strings.Join(both, " "), "instance-state-name=stopped": "",
		"availability-zone=" + servertest.Region + "a": strings.Join(both, " "),
	} {
		name, value, _ := strings.Cut(filter, "=")
		if got := describe(t, s, "Filter.1.Name", name, "Filter.1.Value.1", "nothing", "Filter.1.Value.2",
			value).ids(); got != want {
			t.Errorf("%s: %s, not %s", filter, got, want)
		}
	}
	if got := describe(t, s, "Filter.1.Name", "tag:Env", "Filter.1.Value.1", "prod", "Filter.2.Name", "tag-key",
		"Filter.2.Value.1", "Hostname").ids(); got != instance.ID {
		t.Errorf("two filters: %s", got)
	}
	ec2(t, s, s.Admin, "InvalidParameterValue", "DescribeInstances", "Filter.1.Name", "vpc-id", "Filter.1.Value.1", "*")
	ec2(t, s, s.Admin, "InvalidInstanceID.NotFound", "DescribeInstances", "InstanceId.1", "i-00000000000000000")
	ec2(t, s, s.Admin, "InvalidInstanceID.Malformed", "DescribeInstances", "InstanceId.1", "../etc")
	ec2(
		t,
		s,
		s.Admin,
		"InvalidParameterCombination",
		"DescribeInstances",
		"InstanceId.1",
		instance.ID,
		"MaxResults",
		"5",
	)
	ec2(t, s, s.Admin, "InvalidParameterValue", "DescribeInstances", "MaxResults", "4")
	ec2(t, s, s.Admin, "InvalidNextToken", "DescribeInstances", "NextToken", "?")
	ec2(t, s, s.Admin, "DryRunOperation", "DescribeInstances", "DryRun", "true")
	ec2(t, s, s.Admin, "NotImplemented", "RunInstances")

	tags := ec2(
		t,
		s,
		s.Admin,
		"",
		"DescribeTags",
		"Filter.1.Name",
		"resource-id",
		"Filter.1.Value.1",
		instance.ID,
		"Filter.2.Name",
		"key",
		"Filter.2.Value.1",
		"Hostname",
	).Body
	if !strings.Contains(tags, "<value>MyEC2Instance</value>") || strings.Contains(tags, "prod") {
		t.Errorf("%s", tags)
	}
	ec2(
		t,
		s,
		s.Admin,
		"",
		"DeleteTags",
		"ResourceId.1",
		instance.ID,
		"Tag.1.Key",
		"Env",
		"Tag.1.Value",
		"other",
		"Tag.2.Key",
		"Hostname",
	)
	if left := describe(t, s, "InstanceId.1", instance.ID).Nodes[0].Tags; len(left) != 1 || left[0].Key != "Env" {
		t.Errorf("%+v", left)
	}

	// An agent without its message channel takes no sessions.
	health := func() string {
		return ec2(t, s, s.Admin, "", "DescribeInstanceStatus", "InstanceId.1", hybrid.ID).Body
	}
	if got := health(); !strings.Contains(got, "<status>impaired</status>") {
		t.Errorf("%s", got)
	}
	hybrid.Connect()
	if got := health(); !strings.Contains(got, "<status>ok</status>") {
		t.Errorf("%s", got)
	}
	for _, op := range []string{"DescribeRegions", "DescribeAvailabilityZones"} {
		if got := ec2(t, s, s.Admin, "", op).Body; !strings.Contains(
			got,
			"<regionName>"+servertest.Region+"</regionName>",
		) {
			t.Errorf("%s", got)
		}
	}
	ec2(t, s, s.Admin, "InvalidParameterValue", "DescribeRegions", "RegionName.1", "mars-north-1")
}

func TestPagesOfInstances(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	a := s.JSON(
		s.Admin,
		"ssm",
		"CreateActivation",
		fields{"IamRole": "service-role/AmazonEC2RunCommandRoleForManagedInstances", "RegistrationLimit": 7},
	)
	var act struct {
		ActivationID   string `json:"ActivationId"`
		ActivationCode string
	}
	a.Decode(t, &act)
	var want []string
	for range 7 {
		want = append(want, s.NodeOf(act.ActivationID, act.ActivationCode).ID)
	}
	slices.Sort(want)
	var got []string
	first := describe(t, s, "MaxResults", "5")
	second := describe(t, s, "MaxResults", "5", "NextToken", first.Next)
	for _, page := range []instances{first, second} {
		for _, n := range page.Nodes {
			got = append(got, n.ID)
		}
	}
	if len(first.Nodes) != 5 || second.Next != "" || !slices.Equal(got, want) {
		t.Errorf("%v, then %v; want %v", first, second, want)
	}
}

// Changing tags requires permission on each node.
func TestTagsAreAuthorizedOnEachNode(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	hybrid := s.Node()
	instance := s.NodeOf(activate(t, s, "", [2]string{"sekisho:NodeIdType", "instance"}))
	statement := func(resource, condition string) string {
		return fmt.Sprintf(
			`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ec2:CreateTags","Resource":%q%s}]}`,
			resource,
			condition,
		)
	}
	mine := s.User("mine", statement("arn:aws:ec2:*:*:instance/"+instance.ID, ""))
	keys := s.User("keys", statement("*", `,"Condition":{"ForAllValues:StringEquals":{"aws:TagKeys":["Note"]}}`))
	prod := s.User("prod", statement("*", `,"Condition":{"StringEquals":{"ec2:ResourceTag/Env":"prod"}}`))

	ec2(t, s, mine, "", "CreateTags", "ResourceId.1", instance.ID, "Tag.1.Key", "Env", "Tag.1.Value", "prod")
	refusal := ec2(
		t,
		s,
		mine,
		"UnauthorizedOperation",
		"CreateTags",
		"ResourceId.1",
		instance.ID,
		"ResourceId.2",
		hybrid.ID,
		"Tag.1.Key",
		"Env",
		"Tag.1.Value",
		"changed",
	)
	if !strings.Contains(
		refusal.Body,
		"You are not authorized to perform this operation. User: arn:aws:iam::"+servertest.Account+
			":user/mine is not authorized to perform: ec2:CreateTags on resource: arn:aws:ssm:",
	) {
		t.Errorf("%s", refusal.Body)
	}
	if tags := describe(t, s, "InstanceId.1", instance.ID).Nodes[0].Tags; tags[0].Value != "prod" {
		t.Errorf("a refused request changed tags: %v", tags)
	}
	ec2(
		t,
		s,
		keys,
		"UnauthorizedOperation",
		"CreateTags",
		"ResourceId.1",
		instance.ID,
		"Tag.1.Key",
		"Env",
		"Tag.1.Value",
		"x",
	)
	ec2(t, s, keys, "", "CreateTags", "ResourceId.1", instance.ID, "Tag.1.Key", "Note", "Tag.1.Value", "x")
	ec2(t, s, prod, "", "CreateTags", "ResourceId.1", instance.ID, "Tag.1.Key", "Note", "Tag.1.Value", "y")
	ec2(
		t,
		s,
		prod,
		"UnauthorizedOperation",
		"CreateTags",
		"ResourceId.1",
		hybrid.ID,
		"Tag.1.Key",
		"Note",
		"Tag.1.Value",
		"y",
	)
	ec2(t, s, mine, "UnauthorizedOperation", "DeleteTags", "ResourceId.1", instance.ID)

	for _, bad := range [][]string{
		{"Tag.1.Key", "aws:x", "Tag.1.Value", "y"}, {"Tag.1.Key", "", "Tag.1.Value", "y"},
		{"Tag.1.Key", strings.Repeat("k", 129), "Tag.1.Value", ""},
		{"Tag.1.Key", "k", "Tag.1.Value", strings.Repeat("v", 257)},
		{"Tag.1.Key", "k", "Tag.1.Value", "1", "Tag.2.Key", "K", "Tag.2.Value", "2"},
		{"Tag.1.Key", "ENV", "Tag.1.Value", "other case"},
	} {
		ec2(
			t,
			s,
			s.Admin,
			"InvalidParameterValue",
			"CreateTags",
			append([]string{"ResourceId.1", instance.ID}, bad...)...)
	}
	ec2(t, s, s.Admin, "InvalidID", "CreateTags", "ResourceId.1", "vol-1", "Tag.1.Key", "k", "Tag.1.Value", "v")
	ec2(t, s, s.Admin, "MissingParameter", "CreateTags", "ResourceId.1", instance.ID)
	var many []string
	for i := range 51 {
		many = append(
			many,
			fmt.Sprintf("Tag.%d.Key", i+1),
			fmt.Sprintf("key%d", i),
			fmt.Sprintf("Tag.%d.Value", i+1),
			"v",
		)
	}
	ec2(t, s, s.Admin, "TagLimitExceeded", "CreateTags", append([]string{"ResourceId.1", instance.ID}, many...)...)
}

func TestInstanceProfilesOfNodes(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	n := s.NodeOf(activate(t, s, "", [2]string{"sekisho:NodeIdType", "instance"}))
	form := func(pairs ...string) string {
		v := url.Values{"Version": {"2010-05-08"}}
		for i := 0; i < len(pairs); i += 2 {
			v.Set(pairs[i], pairs[i+1])
		}
		return v.Encode()
	}
	iam := func(pairs ...string) {
		t.Helper()
		a := s.Do(
			func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") },
			s.Admin,
			"iam",
			http.MethodPost,
			"/",
			form(pairs...),
		)
		if a.Status != http.StatusOK {
			t.Fatalf("%v: %d %s", pairs, a.Status, a.Body)
		}
	}
	iam(
		"Action",
		"CreateRole",
		"RoleName",
		"Web",
		"AssumeRolePolicyDocument",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},`+
			`"Action":"sts:AssumeRole"}]}`,
	)
	iam("Action", "CreateInstanceProfile", "InstanceProfileName", "WebProfile")
	ec2(
		t,
		s,
		s.Admin,
		"InvalidParameterValue",
		"AssociateIamInstanceProfile",
		"InstanceId",
		n.ID,
		"IamInstanceProfile.Name",
		"WebProfile",
	) // it has no role
	iam("Action", "AddRoleToInstanceProfile", "InstanceProfileName", "WebProfile", "RoleName", "Web")

	few := s.User("few", servertest.Allow("*", "ec2:*"))
	ec2(
		t,
		s,
		few,
		"UnauthorizedOperation",
		"AssociateIamInstanceProfile",
		"InstanceId",
		n.ID,
		"IamInstanceProfile.Name",
		"WebProfile",
	) // may not pass the role
	ec2(
		t,
		s,
		s.Admin,
		"InvalidParameterValue",
		"AssociateIamInstanceProfile",
		"InstanceId",
		n.ID,
		"IamInstanceProfile.Name",
		"Nothing",
	)
	ec2(
		t,
		s,
		s.Admin,
		"InvalidInstanceID.NotFound",
		"AssociateIamInstanceProfile",
		"InstanceId",
		"i-00000000000000000",
		"IamInstanceProfile.Name",
		"WebProfile",
	)

	made := ec2(
		t,
		s,
		s.Admin,
		"",
		"AssociateIamInstanceProfile",
		"InstanceId",
		n.ID,
		"IamInstanceProfile.Name",
		"WebProfile",
	).Body
	var out struct {
		ID string `xml:"iamInstanceProfileAssociation>associationId"`
	}
	if err := xml.Unmarshal([]byte(made), &out); err != nil || !strings.HasPrefix(out.ID, "iip-assoc-") {
		t.Fatalf("%s, %v", made, err)
	}
	ec2(
		t,
		s,
		s.Admin,
		"IncorrectState",
		"AssociateIamInstanceProfile",
		"InstanceId",
		n.ID,
		"IamInstanceProfile.Name",
		"WebProfile",
	)
	if got := describe(t, s, "InstanceId.1", n.ID).Nodes[0].Role; got != "arn:aws:iam::"+servertest.Account+
		":instance-profile/WebProfile" {
		t.Errorf("profile %s", got)
	}
	identity := func() string {
		t.Helper()
		n.Renew()
		return s.Do(
			func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") },
			n.Credentials,
			"sts",
			http.MethodPost,
			"/",
			url.Values{"Action": {"GetCallerIdentity"}, "Version": {"2011-06-15"}}.Encode(),
		).Body
	}
	if got := identity(); !strings.Contains(got, "assumed-role/Web/"+n.ID) {
		t.Errorf("%s", got)
	}
	if got := ec2(t, s, s.Admin, "", "DescribeIamInstanceProfileAssociations", "Filter.1.Name", "instance-id",
		"Filter.1.Value.1", n.ID).Body; !strings.Contains(
		got,
		out.ID,
	) ||
		!strings.Contains(got, "<state>associated</state>") {
		t.Errorf("%s", got)
	}
	ec2(
		t,
		s,
		s.Admin,
		"InvalidAssociationID.NotFound",
		"DisassociateIamInstanceProfile",
		"AssociationId",
		"iip-assoc-00000000000000000",
	)
	ec2(t, s, s.Admin, "", "DisassociateIamInstanceProfile", "AssociationId", out.ID)
	if got := identity(); !strings.Contains(got, "assumed-role/AmazonEC2RunCommandRoleForManagedInstances/"+n.ID) {
		t.Errorf("%s", got)
	}
}
