package servertest_test

import (
	"database/sql"
	"net/http"
	"testing"
	"time"

	"sekisho/internal/servertest"
)

// manyNodes is the size of a large fleet.
const manyNodes = 50_000

// addNodes adds nodes to the database of a running server, as another server of
// a cluster would.
func addNodes(t *testing.T, s *servertest.Server, count int) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+s.Database()+"?_pragma=busy_timeout(10000)")
	must(t, err)
	defer db.Close()
	_, err = db.ExecContext(
		t.Context(),
		`WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < $1 - 1)
		INSERT INTO nodes (id, name, activation_id, iam_role, registered_at, public_key, fingerprint, agent_name, agent_version,
			agent_status, platform_type, platform_name, platform_version, computer_name, ip_address, last_ping_at, last_source_ip,
			connected_at, disconnected_at, disconnect_reason, deregistered_at, tags, profile, architecture, revision)
		SELECT printf('mi-%017x', i), 'n', 'a', 'role', 1700000000000000 + i, zeroblob(294), 'f', 'agent', '4.0.0.' || (i % 3),
			'Active', 'Linux', 'Debian', '13', 'host-' || i, '10.0.0.1', 1700000000000000, '192.0.2.1', 0, 0, '', 0,
			json_object('Env', CASE WHEN i % 1000 = 0 THEN '' ELSE 'prod' END, 'Number', '' || i), '', 'x86_64',
			(SELECT revision + 1 FROM node_revision) FROM n`,
		count,
	)
	must(t, err)
	_, err = db.ExecContext(t.Context(), `UPDATE node_revision SET revision = revision + 1`)
	must(t, err)
}

// TestListsOfManyNodes: with 50,000 nodes, every list of nodes with every kind
// of filter is complete. The log has the times.
func TestListsOfManyNodes(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes seconds")
	}
	s := servertest.Start(t)
	addNodes(t, s, manyNodes)
	page := func(operation string, in map[string]any, list string) (got int, next string) {
		t.Helper()
		began := time.Now()
		a := s.JSON(s.Admin, "ssm", operation, in)
		took := time.Since(began)
		if a.Status != http.StatusOK {
			t.Fatalf("%s %v: %d %s", operation, in, a.Status, a.Body)
		}
		var out map[string]any
		a.Decode(t, &out)
		nodes, _ := out[list].([]any)
		next, _ = out["NextToken"].(string)
		t.Logf("%s %v: %d in %s", operation, in["Filters"], len(nodes), took)
		return len(nodes), next
	}
	filter := func(key string, values ...string) map[string]any {
		return map[string]any{"Filters": []map[string]any{{"Key": key, "Values": values}}}
	}
	const information = "InstanceInformationList"
	began := time.Now()
	in, total, pages := map[string]any{"MaxResults": 1000}, 0, 0
	for {
		n, next := page("DescribeInstanceInformation", in, information)
		total, pages = total+n, pages+1
		if next == "" {
			break
		}
		in["NextToken"] = next
	}
	t.Logf("all nodes in %d pages in %s", pages, time.Since(began))
	if total != manyNodes {
		t.Errorf("%d nodes are listed", total)
	}
	for _, tt := range []struct {
		operation, list string
		in              map[string]any
		want            int
	}{
		{"DescribeInstanceInformation", information, map[string]any{}, 50},
		{"DescribeInstanceInformation", information, filter("tag:Number", "49999"), 1},
		{"DescribeInstanceInformation", information, filter("tag:Env", ""), 50},
		{"DescribeInstanceInformation", information, filter("tag:None", ""), 0},
		{"DescribeInstanceInformation", information, filter("tag-key", "None"), 0},
		{"DescribeInstanceInformation", information, filter("tag-key", "Env"), 50},
		{"DescribeInstanceInformation", information, filter("InstanceIds", "mi-0000000000000c34f"), 1},
		{"DescribeInstanceInformation", information, filter("SourceIds", "mi-0000000000000c34f"), 1},
		{"DescribeInstanceInformation", information, filter("SourceTypes", "AWS::EC2::Instance"), 0},
		{"DescribeInstanceInformation", information, filter("PingStatus", "Inactive"), 0},
		{"DescribeInstanceInformation", information, filter("AgentVersion", "none"), 0},
		{"DescribeInstanceInformation", information, filter("PlatformTypes", "Windows"), 0},
		{"DescribeInstanceInformation", information, filter("IamRole", "none"), 0},
		{"DescribeInstanceInformation", information, filter("ResourceType", "EC2Instance"), 0},
		{"DescribeInstanceInformation", information, filter("ActivationIds", "none"), 0},
		{"DescribeInstanceProperties", "InstanceProperties", map[string]any{}, 1000},
		{"DescribeInstanceProperties", "InstanceProperties", map[string]any{"FiltersWithOperator": []map[string]any{
			{"Key": "AgentVersion", "Values": []string{"4.0.0.1"}, "Operator": "GreaterThan"},
		}}, 1000},
		{"ListNodes", "Nodes", map[string]any{}, 50},
		{"ListNodes", "Nodes", filter("ComputerName", "host-49999"), 1},
		{"ListNodes", "Nodes", filter("InstanceStatus", "Active"), 0},
		{"ListNodesSummary", "Summary", map[string]any{"Aggregators": []map[string]any{
			{"AggregatorType": "Count", "TypeName": "Instance", "AttributeName": "AgentVersion"},
		}}, 3},
		{"GetInventory", "Entities", filter("AWS:InstanceInformation.ComputerName", "host-49999"), 1},
	} {
		if got, _ := page(tt.operation, tt.in, tt.list); got != tt.want {
			t.Errorf("%s %v: %d, want %d", tt.operation, tt.in, got, tt.want)
		}
	}
	for _, pairs := range [][]string{
		{"DescribeInstances"}, {"DescribeInstances", "Filter.1.Name", "tag:Number", "Filter.1.Value.1", "49999"},
		{"DescribeTags"}, {"DescribeTags", "Filter.1.Name", "resource-id", "Filter.1.Value.1", "mi-0000000000000c34f"},
	} {
		began := time.Now()
		ec2(t, s, s.Admin, "", pairs[0], pairs[1:]...)
		t.Logf("ec2 %v in %s", pairs, time.Since(began))
	}
}

// TestEmptyTagValues: an empty value matches an empty tag, not a missing one,
// wherever tags select nodes.
func TestEmptyTagValues(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	empty, other := s.Node(), s.Node()
	s.Node() // without tags
	for n, value := range map[*servertest.Node]string{empty: "", other: "x"} {
		a := s.JSON(s.Admin, "ssm", "AddTagsToResource", fields{
			"ResourceType": "ManagedInstance", "ResourceId": n.ID, "Tags": []fields{{"Key": "Env", "Value": value}},
		})
		if a.Status != http.StatusOK {
			t.Fatalf("%d %s", a.Status, a.Body)
		}
	}
	var listed struct {
		InstanceInformationList []struct{ InstanceID string }
	}
	s.JSON(s.Admin, "ssm", "DescribeInstanceInformation",
		fields{"Filters": []fields{{"Key": "tag:Env", "Values": []string{""}}}}).
		Decode(t, &listed)
	if got := listed.InstanceInformationList; len(got) != 1 || got[0].InstanceID != empty.ID {
		t.Errorf("filter tag:Env with an empty value: %+v", got)
	}
	var sent struct {
		Command struct{ TargetCount int }
	}
	send := fields{"DocumentName": "AWS-RunShellScript", "Parameters": fields{"commands": []string{"true"}}}
	send["Targets"] = []fields{{"Key": "tag:Env", "Values": []string{""}}}
	s.JSON(s.Admin, "ssm", "SendCommand", send).Decode(t, &sent)
	if sent.Command.TargetCount != 1 {
		t.Errorf("SendCommand to tag:Env with an empty value: %d nodes", sent.Command.TargetCount)
	}
	var setup struct {
		Steps []struct{ Kind, Resource string }
	}
	s.JSON(s.Admin, "sekisho", "DescribeQuickSetup", fields{"Tags": []fields{{"Key": "Env", "Value": ""}}}).
		Decode(t, &setup)
	var nodes []string
	for _, step := range setup.Steps {
		if step.Kind == "NodeRole" {
			nodes = append(nodes, step.Resource)
		}
	}
	if len(nodes) != 1 || nodes[0] != empty.ID {
		t.Errorf("Quick Setup of tag:Env with an empty value: %v", nodes)
	}
}

// TestInstanceProperties: nodes have the properties that EC2 knows of
// instances.
func TestInstanceProperties(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	n := s.Node()
	if a := s.JSON(n.Credentials, "ssm", "UpdateInstanceInformation",
		fields{"InstanceId": n.ID, "Architecture": "arm64"}); a.Status != http.StatusOK {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	var out struct{ InstanceProperties []map[string]any }
	s.JSON(s.Admin, "ssm", "DescribeInstanceProperties", fields{}).Decode(t, &out)
	if len(out.InstanceProperties) != 1 {
		t.Fatalf("%+v", out)
	}
	p := out.InstanceProperties[0]
	launched, _ := p["LaunchTime"].(float64)
	registered, _ := p["RegistrationDate"].(float64)
	if p["Architecture"] != "arm64" || launched == 0 || launched != registered ||
		p["SourceType"] != "AWS::SSM::ManagedInstance" {
		t.Errorf("%+v", p)
	}
	for _, member := range []string{"InstanceType", "KeyName"} {
		if v, ok := p[member]; !ok || v != "" {
			t.Errorf("%s: %v, %t", member, v, ok)
		}
	}
}

func TestAccountAttributes(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	all := ec2(t, s, s.Admin, "", "DescribeAccountAttributes").Body
	one := ec2(t, s, s.Admin, "", "DescribeAccountAttributes", "AttributeName.1", "supported-platforms").Body
	ec2(t, s, s.Admin, "InvalidParameterValue", "DescribeAccountAttributes", "AttributeName.1", "none")
	nobody := s.User("nobody", servertest.Allow("*", "ssm:DescribeSessions"))
	ec2(t, s, nobody, "UnauthorizedOperation", "DescribeAccountAttributes")
	if len(all) <= len(one) {
		t.Errorf("all attributes: %s", all)
	}
}
