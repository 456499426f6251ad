package servertest_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"sekisho/internal/servertest"
)

// found is an item of the inventory as an agent sends it.
func found(typ string, content any, more fields) fields {
	f := fields{"TypeName": typ, "SchemaVersion": "1.0", "CaptureTime": "2026-01-31T23:59:59Z", "Content": content}
	maps.Copy(f, more)
	for k, v := range f {
		if v == nil {
			delete(f, k)
		}
	}
	return f
}

func put(node *servertest.Node, items ...fields) fields {
	return fields{"InstanceId": node.ID, "Items": items}
}

type entity struct {
	ID   string `json:"Id"`
	Data map[string]struct {
		CaptureTime, ContentHash string
		Content                  []map[string]string
	}
}

type inventoryAnswer struct {
	Entities  []entity
	NextToken string
}

func inventoryOf(t *testing.T, s *servertest.Server, in fields) inventoryAnswer {
	t.Helper()
	a := s.JSON(s.Admin, "ssm", "GetInventory", in)
	if a.Code() != "" {
		t.Fatalf("%v: %d %s", in, a.Status, a.Body)
	}
	var out inventoryAnswer
	a.Decode(t, &out)
	return out
}

func (a inventoryAnswer) ids() []string {
	ids := []string{}
	for _, e := range a.Entities {
		ids = append(ids, e.ID)
	}
	slices.Sort(ids)
	return ids
}

var programs = []fields{{"Name": "bash", "Version": "5.2.9"}, {"Name": "openssl", "Version": "3.0.11"}}

// Administrators read what an agent reported.
func TestInventory(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	n, other := s.Node(), s.Node()
	report := fields{
		"InstanceId":   n.ID,
		"AgentName":    "amazon-ssm-agent",
		"AgentVersion": "3.3.1.0",
		"PlatformType": "Linux",
		"PlatformName": "Debian",
		"ComputerName": "web",
	}
	if a := s.JSON(n.Credentials, "ssm", "UpdateInstanceInformation", report); a.Code() != "" {
		t.Fatal(a.Body)
	}
	if a := s.JSON(n.Credentials, "ssm", "PutInventory", put(n,
		found("AWS:Application", programs, fields{"ContentHash": "one"}), found("Custom:Rack", []fields{{"Row": "7"}}, nil),
		found("AWS:InstanceInformation", []fields{{"ComputerName": "a lie"}}, nil),
	)); a.Code() != "" {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	got := inventoryOf(
		t,
		s,
		fields{
			"ResultAttributes": []fields{{"TypeName": "AWS:Application"}},
			"Filters":          []fields{{"Key": "AWS:InstanceInformation.InstanceId", "Values": []string{n.ID}}},
		},
	)
	if len(got.Entities) != 1 || got.Entities[0].ID != n.ID {
		t.Fatalf("%+v", got)
	}
	apps := got.Entities[0].Data["AWS:Application"]
	if len(apps.Content) != 2 || apps.Content[1]["Version"] != "3.0.11" || apps.ContentHash != "one" ||
		apps.CaptureTime != "2026-01-31T23:59:59Z" {
		t.Errorf("%+v", apps)
	}
	own := inventoryOf(t, s, fields{}).Entities
	for _, e := range own {
		if e.ID != n.ID {
			continue
		}
		facts := e.Data["AWS:InstanceInformation"].Content[0]
		for k, want := range map[string]string{
			"ComputerName": "web", "AgentType": "amazon-ssm-agent", "AgentVersion": "3.3.1.0", "PlatformName": "Debian",
			"InstanceId":   n.ID,
			"ResourceType": "ManagedInstance", "InstanceStatus": "Active",
		} {
			if facts[k] != want {
				t.Errorf("%s is %q; want %q", k, facts[k], want)
			}
		}
	}
	if len(own) != 2 {
		t.Errorf("the inventory of all nodes: %+v, want two nodes", own)
	}

	filter := func(key, operator string, values ...string) fields {
		return fields{"Key": key, "Type": operator, "Values": values}
	}
	for _, tc := range []struct {
		filters []fields
		want    []string
	}{
		{[]fields{filter("AWS:Application.Name", "Equal", "zsh", "bash")}, []string{n.ID}},
		{[]fields{filter("AWS:Application.Name", "Equal", "zsh")}, []string{}},
		{[]fields{filter("AWS:Application.Name", "NotEqual", "bash")}, []string{other.ID}},
		{[]fields{filter("AWS:Application.Name", "Equal", "bash"), filter("AWS:Application.Version", "LessThan", "5.10")},
			[]string{n.ID}},
		{[]fields{filter("AWS:Application.Name", "Equal", "bash"), filter("AWS:Application.Version", "Equal", "3.0.11")},
			[]string{}}, // of another program
		{[]fields{filter("AWS:Application.Name", "Equal", "openssl"),
			filter("AWS:InstanceInformation.PlatformType", "BeginWith", "Lin")}, []string{n.ID}},
		{[]fields{filter("Custom:Rack.Row", "Exists", "true")}, []string{n.ID}},
	} {
		want := slices.Clone(tc.want)
		slices.Sort(want)
		if got := inventoryOf(t, s, fields{"Filters": tc.filters}).ids(); !slices.Equal(got, want) {
			t.Errorf("%v: %v; want %v", tc.filters, got, want)
		}
	}
	first := inventoryOf(t, s, fields{"MaxResults": 1})
	second := inventoryOf(t, s, fields{"MaxResults": 1, "NextToken": first.NextToken})
	if all := []string{n.ID, other.ID}; len(first.Entities) != 1 || len(second.Entities) != 1 ||
		second.NextToken != "" ||
		!slices.Equal(slices.Sorted(slices.Values(all)), append(first.ids(), second.ids()...)) {
		t.Errorf("pages: %+v, %+v", first, second)
	}
	counted := inventoryOf(t, s, fields{"Aggregators": []fields{{"Expression": "AWS:Application.Name"}}}).Entities
	if len(counted) != 1 || len(counted[0].Data["AWS:Application"].Content) != 2 ||
		counted[0].Data["AWS:Application"].Content[0]["Count"] != "1" {
		t.Errorf("%+v", counted)
	}

	var list struct {
		Entries   []map[string]string
		NextToken string
	}
	ask := fields{"InstanceId": n.ID, "TypeName": "AWS:Application", "MaxResults": 1}
	s.JSON(s.Admin, "ssm", "ListInventoryEntries", ask).Decode(t, &list)
	ask["NextToken"] = list.NextToken
	if len(list.Entries) != 1 || list.Entries[0]["Name"] != "bash" || list.NextToken == "" {
		t.Errorf("%+v", list)
	}
	list.NextToken = ""
	s.JSON(s.Admin, "ssm", "ListInventoryEntries", ask).Decode(t, &list)
	if len(list.Entries) != 1 || list.Entries[0]["Name"] != "openssl" || list.NextToken != "" {
		t.Errorf("%+v", list)
	}
	s.JSON(s.Admin, "ssm", "ListInventoryEntries",
		fields{"InstanceId": n.ID, "TypeName": "AWS:Application",
			"Filters": []fields{filter("Version", "GreaterThan", "4")}}).
		Decode(t, &list)
	if len(list.Entries) != 1 || list.Entries[0]["Name"] != "bash" {
		t.Errorf("%+v", list)
	}

	var schemas struct{ Schemas []struct{ TypeName string } }
	s.JSON(s.Admin, "ssm", "GetInventorySchema", fields{"TypeName": "Custom"}).Decode(t, &schemas)
	if len(schemas.Schemas) != 1 || schemas.Schemas[0].TypeName != "Custom:Rack" {
		t.Errorf("%+v", schemas)
	}

	// The trail has the call and not its content.
	events := s.Events("PutInventory")
	if len(events) == 0 || strings.Contains(fmt.Sprint(events), "openssl") ||
		!strings.Contains(fmt.Sprint(events[0].RequestParameters), "AWS:Application") {
		t.Errorf("%+v", events)
	}

	if a := s.JSON(s.Admin, "ssm", "DeregisterManagedInstance", fields{"InstanceId": n.ID}); a.Code() != "" {
		t.Fatal(a.Body)
	}
	if got := inventoryOf(t, s, fields{"ResultAttributes": []fields{{"TypeName": "AWS:Application"}}}); !slices.Equal(
		got.ids(),
		[]string{other.ID},
	) ||
		len(got.Entities[0].Data) != 0 {
		t.Errorf("a node that is gone: %+v", got)
	}
}

// An agent with an unchanged inventory sends only its hash. If the server has
// other content, it asks for all of it.
func TestUnchangedInventory(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	n := s.Node()
	hash := fields{"ContentHash": "one", "CaptureTime": "2026-02-01T00:00:00Z"}
	for i, tc := range []struct {
		item fields
		code string
	}{
		{found("AWS:Application", nil, hash), "ItemContentMismatchException"}, // the server has no inventory yet
		{found("AWS:Application", nil, nil), "InvalidItemContentException"},
		{found("AWS:Application", programs, fields{"ContentHash": "one"}), ""},
		{found("AWS:Application", nil, hash), ""},
		{found("AWS:Application", nil, fields{"ContentHash": "two"}), "ItemContentMismatchException"},
	} {
		a := s.JSON(n.Credentials, "ssm", "PutInventory", put(n, tc.item))
		if a.Code() != tc.code || tc.code != "" && !strings.Contains(a.Body, `"TypeName":"AWS:Application"`) {
			t.Errorf("%d: %d %s; want %q", i, a.Status, a.Body, tc.code)
		}
	}
	got := inventoryOf(t, s,
		fields{"ResultAttributes": []fields{{"TypeName": "AWS:Application"}}}).Entities[0].Data["AWS:Application"]
	if len(got.Content) != 2 || got.CaptureTime != "2026-02-01T00:00:00Z" {
		t.Errorf("%+v", got)
	}
	if a := s.JSON(n.Credentials, "ssm", "PutInventory",
		put(n, found("AWS:Application", []fields{}, fields{"ContentHash": "none"}))); a.Code() != "" {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	if got := inventoryOf(t, s,
		fields{"ResultAttributes": []fields{{"TypeName": "AWS:Application"}}}).Entities[0].Data["AWS:Application"]; len(
		got.Content,
	) != 0 {
		t.Errorf("all programs are gone: %+v", got)
	}
}

// Inventory over the limits is refused, and the node shows this.
func TestInventoryLimits(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	n, other := s.Node(), s.Node()
	big := strings.Repeat("x", 4000)
	bulk := func(entries int) []fields {
		all := make([]fields, entries)
		for i := range all {
			all[i] = fields{"Name": big}
		}
		return all
	}
	wide := fields{}
	for i := range 51 {
		wide[fmt.Sprintf("k%d", i)] = "v"
	}
	custom := make([]fields, 0, 21)
	for i := range 21 {
		custom = append(custom, found(fmt.Sprintf("Custom:T%d", i), []fields{}, nil))
	}
	for name, tc := range map[string]struct {
		in   any
		code string
	}{
		"a large type": {put(n, found("AWS:File", bulk(263), nil)), "ItemSizeLimitExceededException"},
		"entries":      {put(n, found("AWS:File", make([]struct{}, 10001), nil)), "ItemSizeLimitExceededException"},
		"types":        {put(n, custom...), "CustomSchemaCountLimitExceededException"},
		"attributes":   {put(n, found("AWS:File", []fields{wide}, nil)), "InvalidItemContentException"},
		"a long value": {put(n, found("AWS:File", []fields{{"Name": big + big}}, nil)),
			"InvalidItemContentException"},
		"a name that is too long": {put(n, found("AWS:File", []fields{{strings.Repeat("n", 65): "v"}}, nil)),
			"InvalidItemContentException"},
		"twice": {put(n, found("AWS:File", bulk(1), nil), found("AWS:File", bulk(1), nil)),
			"InvalidItemContentException"},
		"an unknown type": {put(n, found("AWS:Nonsense", bulk(1), nil)), "InvalidTypeNameException"},
		"a missing type":  {put(n, found("Nonsense", bulk(1), nil)), "ValidationException"},
		"an unknown schema": {put(n, found("AWS:File", bulk(1), fields{"SchemaVersion": "2.0"})),
			"UnsupportedInventorySchemaVersionException"},
		"context": {put(n, found("AWS:File", bulk(1), fields{"Context": fields{"a": "b"}})),
			"UnsupportedInventoryItemContextException"},
		"an invalid time": {put(n, found("AWS:File", bulk(1), fields{"CaptureTime": "yesterday"})), "ValidationException"},
		"nothing":         {put(n), "ValidationException"},
		"a number":        {put(n, found("AWS:File", []any{fields{"Name": 7}}, nil)), "SerializationException"},
		"another node":    {put(other, found("AWS:File", bulk(1), nil)), "AccessDeniedException"},
		"too much data":   {put(n, found("AWS:File", bulk(1100), nil)), "RequestEntityTooLarge"},
		"not a node": {fields{"InstanceId": "*", "Items": []fields{found("AWS:File", bulk(1), nil)}},
			"InvalidInstanceId"},
	} {
		if a := s.JSON(n.Credentials, "ssm", "PutInventory", tc.in); a.Code() != tc.code {
			t.Errorf("%s: %d %.300s; want %s", name, a.Status, a.Body, tc.code)
		}
	}
	if a := s.JSON(s.Admin, "ssm", "PutInventory",
		put(n, found("AWS:File", bulk(1), nil))); a.Code() != "AccessDeniedException" {
		t.Errorf("an administrator, who is no node: %d %s", a.Status, a.Body)
	}
	if note := standingOf(t, s, n.ID).note("ReportRefused"); note == "" {
		t.Errorf("the node's page says %q", note)
	}
	if note := standingOf(t, s, n.ID).note("ClaimsOtherNode"); note == "" {
		t.Error("the node has no note that it claimed to be another node")
	}

	// One type after the other, until the limit of the node is reached.
	code := ""
	for i := range 10 {
		if a := s.JSON(n.Credentials, "ssm", "PutInventory",
			put(n, found(fmt.Sprintf("Custom:Big%d", i), bulk(250), nil))); a.Code() != "" {
			code = fmt.Sprint(i, " ", a.Code())
			break
		}
	}
	if code != "5 TotalSizeLimitExceededException" {
		t.Errorf("the size limit of a node: got %s", code)
	}
}

// Invalid queries are refused as AWS refuses them.
func TestInvalidInventoryQueries(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	n := s.Node()
	filter := func(key string) []fields { return []fields{{"Key": key, "Values": []string{"x"}}} }
	for _, tc := range []struct {
		operation string
		in        fields
		code      string
	}{
		{"GetInventory", fields{"Filters": filter("Foo")}, "InvalidFilter"},
		{"GetInventory", fields{"Filters": filter("AWS:Nonsense.Name")}, "InvalidFilter"},
		{"GetInventory", fields{"Filters": []fields{{"Key": "AWS:Application.Name", "Values": []string{}}}},
			"ValidationException"},
		{"GetInventory", fields{
			"Filters": []fields{{"Key": "AWS:Application.Name", "Values": []string{"x"}, "Type": "Like"}}},
			"ValidationException"},
		{"GetInventory", fields{"ResultAttributes": []fields{{"TypeName": "AWS:Nonsense"}}}, "InvalidTypeNameException"},
		{"GetInventory", fields{"NextToken": "nonsense"}, "InvalidNextToken"},
		{"GetInventory", fields{"MaxResults": 51}, "ValidationException"},
		{"GetInventory", fields{"Aggregators": []fields{{"Expression": "nonsense"}}}, "InvalidAggregatorException"},
		{"GetInventory", fields{"Aggregators": []fields{{"Groups": []fields{{"Name": "g", "Filters": []fields{}}}}}},
			"InvalidInventoryGroupException"},
		{"ListInventoryEntries", fields{"InstanceId": n.ID, "TypeName": "AWS:Nonsense"}, "InvalidTypeNameException"},
		{"ListInventoryEntries", fields{"InstanceId": "mi-00000000000000000", "TypeName": "AWS:Application"},
			"InvalidInstanceId"},
		{"ListInventoryEntries",
			fields{"InstanceId": n.ID, "TypeName": "AWS:Application", "Filters": filter("AWS:Network.Name")}, "InvalidFilter"},
		{"GetInventorySchema", fields{"TypeName": "AWS:Nonsense"}, "InvalidTypeNameException"},
		{"GetInventorySchema", fields{"MaxResults": 5}, "ValidationException"},
		{"ListNodes", fields{"Filters": filter("Foo")}, "InvalidFilter"},
		{"ListNodes", fields{"Filters": []fields{{"Key": "Region", "Values": []string{"a*"}}}}, "ValidationException"},
		{"ListNodes", fields{"SyncName": "sync"}, "ResourceDataSyncNotFoundException"},
		{"ListNodes", fields{"NextToken": "nonsense"}, "InvalidNextToken"},
		{"ListNodes", fields{"MaxResults": 51}, "ValidationException"},
		{"ListNodesSummary", fields{}, "ValidationException"},
		{"ListNodesSummary", fields{"Aggregators": []fields{counting("Nonsense")}}, "ValidationException"},
		{"ListNodesSummary", fields{"Aggregators": []fields{counting("Region", counting("Region"))}},
			"InvalidAggregatorException"},
		{"ListNodesSummary", fields{
			"Aggregators": []fields{counting("Region", counting("PlatformType", counting("ResourceType")))}},
			"InvalidAggregatorException"},
	} {
		if a := s.JSON(s.Admin, "ssm", tc.operation, tc.in); a.Code() != tc.code {
			t.Errorf("%s %v: %d %s; want %s", tc.operation, tc.in, a.Status, a.Body, tc.code)
		}
	}
}

func counting(attribute string, inner ...fields) fields {
	f := fields{"AggregatorType": "Count", "TypeName": "Instance", "AttributeName": attribute}
	if len(inner) > 0 {
		f["Aggregators"] = inner
	}
	return f
}

// ListNodes and ListNodesSummary filter and count nodes by their attributes.
func TestListNodes(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	var ids []string
	for i, platform := range []string{"Debian", "Debian", "Fedora"} {
		n := s.Node()
		report := fields{
			"InstanceId":      n.ID,
			"AgentName":       "agent",
			"AgentVersion":    "3.3.1.0",
			"PlatformType":    "Linux",
			"PlatformName":    platform,
			"PlatformVersion": fmt.Sprint(i),
		}
		if a := s.JSON(n.Credentials, "ssm", "UpdateInstanceInformation", report); a.Code() != "" {
			t.Fatal(a.Body)
		}
		ids = append(ids, n.ID)
	}
	list := func(in fields) (got []string, next string) {
		t.Helper()
		var out struct {
			Nodes []struct {
				ID, Region string
				Owner      struct{ AccountID string }
				NodeType   struct{ Instance map[string]string }
			}
			NextToken string
		}
		a := s.JSON(s.Admin, "ssm", "ListNodes", in)
		if a.Code() != "" {
			t.Fatalf("%v: %d %s", in, a.Status, a.Body)
		}
		a.Decode(t, &out)
		for _, n := range out.Nodes {
			got = append(got, n.ID)
			if n.Region != servertest.Region || n.Owner.AccountID != servertest.Account ||
				n.NodeType.Instance["ManagedStatus"] != "Managed" ||
				n.NodeType.Instance["AgentType"] != "agent" {
				t.Errorf("%+v", n)
			}
		}
		return got, out.NextToken
	}
	for _, tc := range []struct {
		key, operator string
		values        []string
		want          []string
	}{
		{"PlatformName", "Equal", []string{"Debian"}, ids[:2]},
		{"PlatformName", "NotEqual", []string{"Debian"}, ids[2:]},
		{"PlatformName", "BeginWith", []string{"Fed", "x"}, ids[2:]},
		{"InstanceId", "Equal", ids[1:2], ids[1:2]},
		{"ManagedStatus", "Equal", []string{"All"}, ids},
		{"ManagedStatus", "Equal", []string{"Unmanaged"}, nil},
		{"InstanceStatus", "Equal", []string{"Active"}, ids},
		{"Region", "Equal", []string{"elsewhere"}, nil},
	} {
		got, _ := list(fields{"Filters": []fields{{"Key": tc.key, "Type": tc.operator, "Values": tc.values}}})
		if want := slices.Sorted(slices.Values(tc.want)); !slices.Equal(got, want) {
			t.Errorf("%s %s %v: %v; want %v", tc.key, tc.operator, tc.values, got, want)
		}
	}
	first, next := list(fields{"MaxResults": 2})
	rest, end := list(fields{"MaxResults": 2, "NextToken": next})
	if len(first) != 2 || end != "" || !slices.Equal(append(first, rest...), slices.Sorted(slices.Values(ids))) {
		t.Errorf("pages: %v %v %q", first, rest, end)
	}

	var sum struct{ Summary []map[string]string }
	s.JSON(s.Admin, "ssm", "ListNodesSummary",
		fields{"Aggregators": []fields{counting("PlatformName", counting("PlatformType")), counting("Region")}}).
		Decode(t, &sum)
	want := []map[string]string{
		{
			"Count":        "2",
			"PlatformName": "Debian",
			"PlatformType": "Linux",
		}, {"Count": "1", "PlatformName": "Fedora", "PlatformType": "Linux"},
		{"Count": "3", "Region": servertest.Region},
	}
	if fmt.Sprint(sum.Summary) != fmt.Sprint(want) {
		t.Errorf("%v; want %v", sum.Summary, want)
	}
}
