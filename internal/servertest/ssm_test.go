package servertest_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsssm "github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/smithy-go"

	"sekisho/internal/iam/identity"
	"sekisho/internal/servertest"
)

const nodeRole = "service-role/" + identity.NodeRole

func wantAPIError(t *testing.T, what string, err error, code, text string) {
	t.Helper()
	e, ok := errors.AsType[smithy.APIError](err)
	if !ok || e.ErrorCode() != code || !strings.Contains(e.ErrorMessage(), text) {
		t.Errorf("%s: %v; want %s with %q", what, err, code, text)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fleetOf registers machines, sorted by ID.
func fleetOf(t *testing.T, s *servertest.Server, n int, in *awsssm.CreateActivationInput) []*servertest.Node {
	t.Helper()
	in.RegistrationLimit = aws.Int32(int32(n))
	in.IamRole = aws.String(nodeRole)
	a, err := s.SSM(s.Admin).CreateActivation(t.Context(), in)
	must(t, err)
	var nodes []*servertest.Node
	for range n {
		nodes = append(nodes, s.NodeOf(*a.ActivationId, *a.ActivationCode))
	}
	slices.SortFunc(nodes, func(a, b *servertest.Node) int { return strings.Compare(a.ID, b.ID) })
	if r := s.Register(*a.ActivationId, *a.ActivationCode, "one-more"); r.Code() != "ActivationExpired" {
		t.Errorf("one more than allowed: %d %s", r.Status, r.Body)
	}
	return nodes
}

func TestWhyATargetIsNotConnected(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	start := func(target string) error {
		_, err := s.SSM(s.Admin).StartSession(t.Context(), &awsssm.StartSessionInput{Target: &target})
		return err
	}
	wantAPIError(
		t,
		"unknown",
		start("mi-0123456789abcdef0"),
		"TargetNotConnected",
		"mi-0123456789abcdef0 is not connected.",
	)
	wantAPIError(t, "not an ID", start("web-1"), "TargetNotConnected", "not a node ID")
	n := s.Node()
	wantAPIError(t, "registered", start(n.ID), "TargetNotConnected", "never opened its message channel")
	control := n.Connect()
	must(t, control.CloseNow())
	s.Eventually("the node to go", func() bool {
		out, err := s.SSM(s.Admin).GetConnectionStatus(t.Context(), &awsssm.GetConnectionStatusInput{Target: &n.ID})
		must(t, err)
		return out.Status == types.ConnectionStatusNotConnected
	})
	wantAPIError(t, "gone", start(n.ID), "TargetNotConnected", "was last heard at 20")
	wantAPIError(t, "gone", start(n.ID), "TargetNotConnected", "connection")
	if r := s.JSON(n.Credentials, "ssm", "UpdateInstanceInformation",
		map[string]string{"InstanceId": n.ID, "AgentVersion": "1.0"}); r.Code() != "" {
		t.Fatalf("%d %s", r.Status, r.Body)
	}
	wantAPIError(t, "channel down", start(n.ID), "TargetNotConnected", "agent is up (last heard 20")

	// A caller who may not start a session does not learn which nodes exist.
	nosy := s.User(
		"nosy",
		servertest.Allow("arn:aws:ssm:*:*:managed-instance/mi-0000000000000000f", "ssm:StartSession"),
	)
	for _, target := range []string{n.ID, "mi-0123456789abcdef0", "*"} {
		_, err := s.SSM(nosy).StartSession(t.Context(), &awsssm.StartSessionInput{Target: &target})
		wantAPIError(t, target, err, "AccessDeniedException", "is not authorized to perform: ssm:StartSession")
	}
}

func TestStartSessionInput(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	n := s.Node()
	n.Connect()
	for name, tc := range map[string]struct {
		in         awsssm.StartSessionInput
		code, text string
	}{
		"unknown document": {awsssm.StartSessionInput{Target: &n.ID, DocumentName: aws.String("No-Such-Document")},
			"InvalidDocument", "No-Such-Document"},
		"an invalid document name": {awsssm.StartSessionInput{Target: &n.ID, DocumentName: aws.String("no such document")},
			"ValidationException", "documentName"},
		"long reason": {awsssm.StartSessionInput{Target: &n.ID, Reason: aws.String(strings.Repeat("x", 257))},
			"ValidationException", "reason"},
		"two-line reason": {awsssm.StartSessionInput{Target: &n.ID, Reason: aws.String("OPS-1\nOPS-2")},
			"ValidationException", "reason"},
		"escaped reason": {awsssm.StartSessionInput{Target: &n.ID, Reason: aws.String("\x1b]0;title\a")},
			"ValidationException", "reason"},
		"long target": {awsssm.StartSessionInput{Target: aws.String(strings.Repeat("x", 401))}, "ValidationException",
			"target"},
	} {
		_, err := s.SSM(s.Admin).StartSession(t.Context(), &tc.in)
		wantAPIError(t, name, err, tc.code, tc.text)
	}
	if r := s.JSON(s.Admin, "ssm", "StartSession", map[string]any{}); r.Code() != "ValidationException" ||
		!strings.Contains(r.Body, "'target'") {
		t.Errorf("%d %s", r.Status, r.Body)
	}
}

func TestCreateActivation(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	_, err := s.Directory.Roles.Create(t.Context(), identity.NewRole{
		Path: "/", Name: "forpeople",
		Trust: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"123456789012"},` +
			`"Action":"sts:AssumeRole"}]}`,
	})
	must(t, err)
	soon := aws.Time(time.Now().Add(time.Hour))
	for name, tc := range map[string]struct {
		in         awsssm.CreateActivationInput
		code, text string
	}{
		"an ARN": {awsssm.CreateActivationInput{IamRole: aws.String("arn:aws:iam::123456789012:role/service-role/x")},
			"ValidationException", "not its ARN"},
		"an unknown role": {awsssm.CreateActivationInput{IamRole: aws.String("nonexistent")}, "ValidationException",
			"Nonexistent role"},
		"an untrusted role": {awsssm.CreateActivationInput{IamRole: aws.String("forpeople")}, "ValidationException",
			"missing ssm service principal"},
		"long role": {awsssm.CreateActivationInput{IamRole: aws.String(strings.Repeat("x", 65))}, "ValidationException",
			"iamRole"},
		"a negative limit": {awsssm.CreateActivationInput{IamRole: aws.String(nodeRole), RegistrationLimit: aws.Int32(-1)},
			"ValidationException", "registrationLimit"},
		"a limit over the maximum": {
			awsssm.CreateActivationInput{IamRole: aws.String(nodeRole), RegistrationLimit: aws.Int32(1001)},
			"ValidationException", "registrationLimit"},
		"expired": {awsssm.CreateActivationInput{IamRole: aws.String(nodeRole),
			ExpirationDate: aws.Time(time.Now().Add(-time.Hour))}, "ValidationException", "ExpirationDate"},
		"an expiry a year away": {awsssm.CreateActivationInput{IamRole: aws.String(nodeRole),
			ExpirationDate: aws.Time(time.Now().AddDate(1, 0, 0))}, "ValidationException", "ExpirationDate"},
		"long name": {awsssm.CreateActivationInput{IamRole: aws.String(nodeRole),
			DefaultInstanceName: aws.String(strings.Repeat("x", 257))}, "ValidationException", "DefaultInstanceName"},
		"escaped name": {awsssm.CreateActivationInput{IamRole: aws.String(nodeRole),
			DefaultInstanceName: aws.String("web\x1b[2J")}, "ValidationException", "defaultInstanceName"},
		"reserved tag": {awsssm.CreateActivationInput{IamRole: aws.String(nodeRole),
			Tags: []types.Tag{{Key: aws.String("AWS:x"), Value: aws.String("")}}}, "ValidationException", "reserved"},
		"ambiguous tags": {awsssm.CreateActivationInput{IamRole: aws.String(nodeRole),
			Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("1")}, {Key: aws.String("A"), Value: aws.String("2")}}},
			"ValidationException", "letter case"},
	} {
		_, err := s.SSM(s.Admin).CreateActivation(t.Context(), &tc.in)
		wantAPIError(t, name, err, tc.code, tc.text)
	}
	// Creating an activation passes the role, which must be allowed, too.
	half := s.User("half", servertest.Allow("*", "ssm:CreateActivation"))
	_, err = s.SSM(half).CreateActivation(t.Context(), &awsssm.CreateActivationInput{IamRole: aws.String(nodeRole)})
	wantAPIError(t, "without PassRole", err, "AccessDeniedException", "iam:PassRole")

	a, err := s.SSM(s.Admin).CreateActivation(t.Context(), &awsssm.CreateActivationInput{
		IamRole: aws.String(
			nodeRole,
		), Description: aws.String("für alle"), DefaultInstanceName: aws.String("office"), ExpirationDate: soon,
		Tags: []types.Tag{
			{Key: aws.String("b"), Value: aws.String("2")},
			{Key: aws.String("a"), Value: aws.String("1")},
		},
	})
	must(t, err)
	e := s.Events("CreateActivation")[0]
	if e.ResponseElements["activationId"] != *a.ActivationId || strings.Contains(fmt.Sprint(e), *a.ActivationCode) {
		t.Errorf("recorded %+v", e)
	}
	n := s.NodeOf(*a.ActivationId, *a.ActivationCode)
	if e := s.Events("RegisterManagedInstance")[0]; e.ResponseElements["instanceId"] != n.ID ||
		strings.Contains(fmt.Sprint(e), *a.ActivationCode) {
		t.Errorf("recorded %+v", e)
	}
	out, err := s.SSM(s.Admin).DescribeInstanceInformation(t.Context(), &awsssm.DescribeInstanceInformationInput{})
	must(t, err)
	if got := out.InstanceInformationList[0]; *got.Name != "office" || *got.ActivationId != *a.ActivationId ||
		*got.IamRole != nodeRole {
		t.Errorf("%+v", got)
	}
	must(t, func() error {
		_, err := s.SSM(s.Admin).
			DeleteActivation(t.Context(), &awsssm.DeleteActivationInput{ActivationId: a.ActivationId})
		return err
	}())
	_, err = s.SSM(s.Admin).DeleteActivation(t.Context(), &awsssm.DeleteActivationInput{ActivationId: a.ActivationId})
	wantAPIError(t, "twice", err, "InvalidActivation", *a.ActivationId)
	if r := s.Register(*a.ActivationId, *a.ActivationCode, "x"); r.Code() != "InvalidActivation" {
		t.Errorf("with a deleted activation: %d %s", r.Status, r.Body)
	}
}

func TestGuessingActivations(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	a, err := s.SSM(s.Admin).CreateActivation(t.Context(), &awsssm.CreateActivationInput{IamRole: aws.String(nodeRole)})
	must(t, err)
	codes := map[string]int{}
	for range 30 {
		codes[s.Register(*a.ActivationId, "abcdefghij0123456789", "x").Code()]++
	}
	if codes["InvalidActivation"] < 20 || codes["ThrottlingException"] < 5 || len(codes) != 2 {
		t.Errorf("%v", codes)
	}
	wantRefused(t, s, "RegisterManagedInstance", "Too many")
}

func TestDescribeActivations(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	c := s.SSM(s.Admin)
	var ids []string // newest first
	for i := range 5 {
		a, err := c.CreateActivation(t.Context(), &awsssm.CreateActivationInput{
			IamRole: aws.String(nodeRole), DefaultInstanceName: aws.String(fmt.Sprintf("name-%d", i%2)),
			Tags: []types.Tag{
				{Key: aws.String("z"), Value: aws.String("1")},
				{Key: aws.String("a"), Value: aws.String("2")},
			},
		})
		must(t, err)
		ids = append([]string{*a.ActivationId}, ids...)
	}
	list := func(in *awsssm.DescribeActivationsInput) (got []string, next *string) {
		t.Helper()
		out, err := c.DescribeActivations(t.Context(), in)
		must(t, err)
		for _, a := range out.ActivationList {
			got = append(got, *a.ActivationId)
			if a.Expired || aws.ToInt32(a.RegistrationLimit) != 1 || aws.ToString(a.Tags[0].Key) != "a" {
				t.Errorf("%+v", a)
			}
		}
		return got, out.NextToken
	}
	filter := func(k types.DescribeActivationsFilterKeys, v ...string) []types.DescribeActivationsFilter {
		return []types.DescribeActivationsFilter{{FilterKey: k, FilterValues: v}}
	}
	for name, tc := range map[string]struct {
		filters []types.DescribeActivationsFilter
		want    []string
	}{
		"all":     {nil, ids},
		"IDs":     {filter("ActivationIds", ids[3], ids[1], "other"), []string{ids[1], ids[3]}},
		"name":    {filter("DefaultInstanceName", "name-1"), []string{ids[1], ids[3]}},
		"role":    {filter("IamRole", nodeRole), ids},
		"nothing": {filter("IamRole", "x"), nil},
		"both": {append(filter("DefaultInstanceName", "name-1"), filter("ActivationIds", ids[0], ids[3])...),
			[]string{ids[3]}},
	} {
		if got, next := list(&awsssm.DescribeActivationsInput{Filters: tc.filters}); !slices.Equal(got, tc.want) ||
			next != nil {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
	_, err := c.DescribeActivations(t.Context(), &awsssm.DescribeActivationsInput{Filters: filter("Color", "red")})
	wantAPIError(t, "unknown key", err, "ValidationException", "filterKey")

	first, next := list(&awsssm.DescribeActivationsInput{MaxResults: aws.Int32(2)})
	_, err = c.DeleteActivation(
		t.Context(),
		&awsssm.DeleteActivationInput{ActivationId: &first[1]},
	) // the last entry of the page is deleted meanwhile
	must(t, err)
	second, next2 := list(&awsssm.DescribeActivationsInput{MaxResults: aws.Int32(2), NextToken: next})
	third, end := list(&awsssm.DescribeActivationsInput{MaxResults: aws.Int32(2), NextToken: next2})
	if got := slices.Concat(first, second, third); !slices.Equal(got, ids) || end != nil {
		t.Errorf("pages %v, want %v", got, ids)
	}
	_, err = c.DescribeActivations(t.Context(), &awsssm.DescribeActivationsInput{NextToken: aws.String("made up")})
	wantAPIError(t, "token", err, "InvalidNextToken", "")
}

func TestDescribeNodes(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	c := s.SSM(s.Admin)
	nodes := fleetOf(t, s, 7, &awsssm.CreateActivationInput{
		DefaultInstanceName: aws.String(
			"office",
		), Tags: []types.Tag{{Key: aws.String("env"), Value: aws.String("prod")}},
	})
	lone := fleetOf(t, s, 1, &awsssm.CreateActivationInput{})[0]
	all := append([]*servertest.Node{lone}, nodes...)
	slices.SortFunc(all, func(a, b *servertest.Node) int { return strings.Compare(a.ID, b.ID) })
	idsOf := func(nodes ...*servertest.Node) (ids []string) {
		for _, n := range nodes {
			ids = append(ids, n.ID)
		}
		return ids
	}
	for i, n := range nodes {
		if r := s.JSON(n.Credentials, "ssm", "UpdateInstanceInformation", map[string]string{
			"InstanceId": n.ID, "AgentName": "amazon-ssm-agent", "AgentVersion": fmt.Sprintf("3.%d.0", 8+i),
			"AgentStatus":  "Active",
			"PlatformType": "Linux", "PlatformName": "Debian GNU/Linux", "PlatformVersion": "13",
			"ComputerName": fmt.Sprintf("host-%d", i), "IPAddress": "10.0.0.1",
		}); r.Code() != "" {
			t.Fatalf("%d %s", r.Status, r.Body)
		}
	}
	nodes[0].Connect()

	type filters map[string][]string
	information := func(f filters, limit int32, token *string) ([]string, *string, error) {
		in := &awsssm.DescribeInstanceInformationInput{NextToken: token}
		for k, v := range f {
			in.Filters = append(in.Filters, types.InstanceInformationStringFilter{Key: aws.String(k), Values: v})
		}
		if limit != 0 {
			in.MaxResults = &limit
		}
		out, err := c.DescribeInstanceInformation(t.Context(), in)
		if err != nil {
			return nil, nil, err
		}
		var got []string
		for _, n := range out.InstanceInformationList {
			got = append(got, *n.InstanceId)
		}
		return got, out.NextToken, nil
	}
	properties := func(f filters, limit int32, token *string) ([]string, *string, error) {
		in := &awsssm.DescribeInstancePropertiesInput{NextToken: token}
		for k, v := range f {
			in.FiltersWithOperator = append(
				in.FiltersWithOperator,
				types.InstancePropertyStringFilter{Key: aws.String(k), Values: v, Operator: "Equal"},
			)
		}
		if limit != 0 {
			in.MaxResults = &limit
		}
		out, err := c.DescribeInstanceProperties(t.Context(), in)
		if err != nil {
			return nil, nil, err
		}
		var got []string
		for _, n := range out.InstanceProperties {
			got = append(got, *n.InstanceId)
		}
		return got, out.NextToken, nil
	}
	for what, list := range map[string]func(filters, int32, *string) ([]string, *string, error){"information": information,
		"properties": properties} {
		for name, tc := range map[string]struct {
			f    filters
			want []string
		}{
			"all":          {nil, idsOf(all...)},
			"IDs":          {filters{"InstanceIds": {nodes[2].ID, nodes[1].ID, "mi-0"}}, idsOf(nodes[1], nodes[2])},
			"ping status":  {filters{"PingStatus": {"Online"}}, idsOf(all...)},
			"lost":         {filters{"PingStatus": {"ConnectionLost"}}, nil},
			"platform":     {filters{"PlatformTypes": {"Linux"}}, idsOf(nodes...)},
			"version":      {filters{"AgentVersion": {"3.9.0", "3.8.0"}}, idsOf(nodes[0], nodes[1])},
			"role":         {filters{"IamRole": {nodeRole}}, idsOf(all...)},
			"resource":     {filters{"ResourceType": {"ManagedInstance"}}, idsOf(all...)},
			"EC2":          {filters{"ResourceType": {"EC2Instance"}}, nil},
			"association":  {filters{"AssociationStatus": {"Success"}}, nil},
			"tag":          {filters{"tag:env": {"prod"}}, idsOf(nodes...)},
			"another tag":  {filters{"tag:env": {"test"}}, nil},
			"tag and name": {filters{"tag:env": {"prod"}, "ComputerName": {"host-3"}}, idsOf(nodes[3])},
		} {
			got, _, err := list(tc.f, 0, nil)
			must(t, err)
			if !slices.Equal(got, tc.want) {
				t.Errorf("%s by %s: %v, want %v", what, name, got, tc.want)
			}
		}
		_, _, err := list(filters{"Color": {"red"}}, 0, nil)
		wantAPIError(t, what, err, "InvalidFilterKey", "")
		_, _, err = list(nil, 4, nil)
		wantAPIError(t, what, err, "ValidationException", "maxResults")
		_, _, err = list(nil, 0, aws.String("made up"))
		wantAPIError(t, what, err, "InvalidNextToken", "")
		first, next, err := list(nil, 5, nil)
		must(t, err)
		second, end, err := list(nil, 5, next)
		must(t, err)
		if got := append(first, second...); len(first) != 5 || !slices.Equal(got, idsOf(all...)) || end != nil {
			t.Errorf("%s in pages: %v", what, got)
		}
	}
	for op, want := range map[types.InstancePropertyFilterOperator][]string{
		"LessThan": idsOf(nodes[:2]...), "GreaterThan": idsOf(nodes[3:]...), "BeginWith": idsOf(nodes[2]), "NotEqual": nil,
	} {
		f := []types.InstancePropertyStringFilter{
			{Key: aws.String("AgentVersion"), Values: []string{"3.10.0"}, Operator: op},
			{Key: aws.String("PlatformType"), Values: []string{"Linux"}},
		}
		if op == "NotEqual" {
			want = idsOf(slices.Concat(nodes[:2], nodes[3:])...)
		}
		out, err := c.DescribeInstanceProperties(
			t.Context(),
			&awsssm.DescribeInstancePropertiesInput{FiltersWithOperator: f},
		)
		must(t, err)
		var got []string
		for _, n := range out.InstanceProperties {
			got = append(got, *n.InstanceId)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", op, got, want)
		}
	}
	out, err := c.DescribeInstanceInformation(t.Context(), &awsssm.DescribeInstanceInformationInput{
		InstanceInformationFilterList: []types.InstanceInformationFilter{
			{Key: "InstanceIds", ValueSet: []string{nodes[0].ID}},
		},
	})
	must(t, err)
	got := out.InstanceInformationList[0]
	if *got.ComputerName != "host-0" || *got.PlatformName != "Debian GNU/Linux" || *got.PlatformVersion != "13" ||
		got.PlatformType != "Linux" || *got.AgentVersion != "3.8.0" ||
		*got.IPAddress != "10.0.0.1" || got.PingStatus != "Online" || got.ResourceType != "ManagedInstance" ||
		got.LastPingDateTime == nil ||
		got.RegistrationDate == nil {
		t.Errorf("%+v", got)
	}
}

// A filter with an empty value must not select nodes that lack the tag.
func TestEmptyTagValueSelectsOnlyAnEmptyValue(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	c := s.SSM(s.Admin)
	untagged, empty, full := s.Node(), s.Node(), s.Node()
	for node, value := range map[string]string{empty.ID: "", full.ID: "db"} {
		_, err := c.AddTagsToResource(t.Context(), &awsssm.AddTagsToResourceInput{
			ResourceType: "ManagedInstance", ResourceId: &node, Tags: []types.Tag{{Key: aws.String("Role"), Value: &value}},
		})
		must(t, err)
	}
	for _, tc := range []struct {
		operator types.InstancePropertyFilterOperator
		value    string
		want     []string
	}{
		{"Equal", "", []string{empty.ID}},
		{"BeginWith", "", []string{empty.ID, full.ID}},
		{"NotEqual", "", []string{full.ID, untagged.ID}},
		{"NotEqual", "db", []string{empty.ID, untagged.ID}},
		{"Equal", "db", []string{full.ID}},
	} {
		out, err := c.DescribeInstanceProperties(t.Context(), &awsssm.DescribeInstancePropertiesInput{
			FiltersWithOperator: []types.InstancePropertyStringFilter{
				{Key: aws.String("tag:Role"), Values: []string{tc.value}, Operator: tc.operator},
			},
		})
		must(t, err)
		var got []string
		for _, n := range out.InstanceProperties {
			got = append(got, *n.InstanceId)
		}
		slices.Sort(got)
		slices.Sort(tc.want)
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s %q selects %v, want %v", tc.operator, tc.value, got, tc.want)
		}
	}
	for _, target := range []types.Target{{Key: aws.String("tag:Role"), Values: []string{""}}} {
		out, err := c.SendCommand(t.Context(), &awsssm.SendCommandInput{
			DocumentName: aws.String(
				"AWS-RunShellScript",
			), Parameters: map[string][]string{"commands": {"true"}}, Targets: []types.Target{target},
		})
		must(t, err)
		if out.Command.TargetCount != 1 {
			t.Errorf("SendCommand selects %d nodes", out.Command.TargetCount)
		}
	}
}

func TestDescribeSessions(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	a, b := s.Node(), s.Node()
	a.Connect()
	b.Connect()
	alice := s.User("alice", servertest.Allow("*", "ssm:*"))
	before := time.Now().Add(-time.Second)
	var ids []string // oldest first
	for i := range 6 {
		who, n := s.Admin, a
		if i%2 == 1 {
			who = alice
		}
		if i >= 3 {
			n = b
		}
		session, _ := s.StartSession(who, n)
		ids = append(ids, session)
	}
	for _, i := range []int{0, 5} {
		_, err := s.SSM(s.Admin).TerminateSession(t.Context(), &awsssm.TerminateSessionInput{SessionId: &ids[i]})
		must(t, err)
	}
	list := func(state types.SessionState, limit int32, token *string, filters ...string) ([]string, *string, error) {
		in := &awsssm.DescribeSessionsInput{State: state, NextToken: token}
		if limit != 0 {
			in.MaxResults = &limit
		}
		for i := 0; i < len(filters); i += 2 {
			in.Filters = append(
				in.Filters,
				types.SessionFilter{Key: types.SessionFilterKey(filters[i]), Value: &filters[i+1]},
			)
		}
		out, err := s.SSM(s.Admin).DescribeSessions(t.Context(), in)
		if err != nil {
			return nil, nil, err
		}
		var got []string
		for _, x := range out.Sessions {
			got = append(got, *x.SessionId)
		}
		return got, out.NextToken, nil
	}
	aliceARN := "arn:aws:iam::" + servertest.Account + ":user/alice"
	hence, past := time.Now().Add(time.Hour).UTC().Format(time.RFC3339), before.UTC().Format(time.RFC3339)
	for _, tc := range []struct {
		state   types.SessionState
		filters []string
		want    []int
	}{
		{"Active", nil, []int{4, 3, 2, 1}},
		{"History", nil, []int{5, 0}},
		{"Active", []string{"Owner", aliceARN}, []int{3, 1}},
		{"History", []string{"Owner", aliceARN}, []int{5}},
		{"Active", []string{"Target", a.ID}, []int{2, 1}},
		{"Active", []string{"Target", a.ID, "Owner", aliceARN}, []int{1}},
		{"Active", []string{"Status", "Connecting"}, []int{4, 3, 2, 1}},
		{"Active", []string{"Status", "Connected"}, nil},
		{"History", []string{"Status", "Terminated"}, []int{5, 0}},
		{"Active", []string{"SessionId", ids[3]}, []int{3}},
		{"History", []string{"SessionId", ids[3]}, nil},
		{"Active", []string{"InvokedAfter", past}, []int{4, 3, 2, 1}},
		{"Active", []string{"InvokedAfter", hence}, nil},
		{"Active", []string{"InvokedBefore", hence}, []int{4, 3, 2, 1}},
		{"Active", []string{"InvokedBefore", past}, nil},
		{"Active", []string{"AccessType", "Standard"}, []int{4, 3, 2, 1}},
		{"Active", []string{"AccessType", "JustInTime"}, nil},
	} {
		got, next, err := list(tc.state, 0, nil, tc.filters...)
		must(t, err)
		var want []string
		for _, i := range tc.want {
			want = append(want, ids[i])
		}
		if !slices.Equal(got, want) || next != nil {
			t.Errorf("%s %v: %v, want %v", tc.state, tc.filters, got, want)
		}
	}
	for name, tc := range map[string]struct {
		state      types.SessionState
		limit      int32
		token      *string
		filters    []string
		code, text string
	}{
		"no state":          {"Ended", 0, nil, nil, "ValidationException", "state"},
		"none":              {"Active", -1, nil, nil, "ValidationException", "maxResults"},
		"too many":          {"Active", 201, nil, nil, "ValidationException", "maxResults"},
		"unknown key":       {"Active", 0, nil, []string{"Color", "red"}, "InvalidFilterKey", ""},
		"not a time":        {"Active", 0, nil, []string{"InvokedAfter", "yesterday"}, "ValidationException", "InvokedAfter"},
		"twice":             {"Active", 0, nil, []string{"Owner", "a", "Owner", "b"}, "ValidationException", "twice"},
		"empty":             {"Active", 0, nil, []string{"Owner", ""}, "ValidationException", "Owner"},
		"an invented token": {"Active", 0, aws.String("made up"), nil, "InvalidNextToken", ""},
		"stale token":       {"Active", 0, aws.String("djE6YWxpY2UteA"), nil, "InvalidNextToken", ""},
	} {
		_, _, err := list(tc.state, tc.limit, tc.token, tc.filters...)
		wantAPIError(t, name, err, tc.code, tc.text)
	}
	var got []string
	var token *string
	for {
		page, next, err := list("Active", 1, token)
		must(t, err)
		got = append(got, page...)
		if token = next; token == nil {
			break
		}
	}
	if want := []string{ids[4], ids[3], ids[2], ids[1]}; !slices.Equal(got, want) {
		t.Errorf("pages %v, want %v", got, want)
	}
}

// The two forms in AWS's sample policies for a user's own sessions.
func TestUsersOwnSessions(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	n := s.Node()
	n.Connect()
	for _, variable := range []string{"username", "userid"} {
		own := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["ssm:StartSession"],"Resource":"*"},
			{"Effect":"Allow","Action":["ssm:TerminateSession","ssm:ResumeSession"],"Resource":"arn:aws:ssm:*:*:session/${aws:` +
			variable + `}-*"}]}`
		alice, bob := s.User("alice-"+variable, own), s.User("bob-"+variable, own)
		session, _ := s.StartSession(alice, n)
		_, err := s.SSM(bob).TerminateSession(t.Context(), &awsssm.TerminateSessionInput{SessionId: &session})
		wantAPIError(t, "another's", err, "AccessDeniedException", "ssm:TerminateSession")
		_, err = s.SSM(bob).ResumeSession(t.Context(), &awsssm.ResumeSessionInput{SessionId: &session})
		wantAPIError(t, "another's", err, "AccessDeniedException", "ssm:ResumeSession")
		_, err = s.SSM(alice).ResumeSession(t.Context(), &awsssm.ResumeSessionInput{SessionId: &session})
		must(t, err)
		_, err = s.SSM(alice).TerminateSession(t.Context(), &awsssm.TerminateSessionInput{SessionId: &session})
		must(t, err)
		out, err := s.SSM(alice).ResumeSession(t.Context(), &awsssm.ResumeSessionInput{SessionId: &session})
		if err != nil || aws.ToString(out.TokenValue) != "" {
			t.Errorf("%+v, %v", out, err)
		}
	}
	_, err := s.SSM(s.Admin).ResumeSession(t.Context(), &awsssm.ResumeSessionInput{SessionId: aws.String("alice-none")})
	wantAPIError(t, "unknown", err, "DoesNotExistException", "alice-none")
	_, err = s.SSM(s.Admin).
		TerminateSession(t.Context(), &awsssm.TerminateSessionInput{SessionId: aws.String("alice-none")})
	must(t, err)
}
