package servertest_test

import (
	"net/http"
	"strings"
	"testing"

	"sekisho/internal/servertest"
)

const nameTag = "/sekisho/managed-instance/name-tag"

// listedName returns the display name and the given names of a node in both lists.
func listedName(t *testing.T, s *servertest.Server, nodeID string) (name string, given []string) {
	t.Helper()
	var found []string
	for _, list := range []struct{ operation, filters string }{
		{"DescribeInstanceInformation", "InstanceInformationFilterList"},
		{"DescribeInstanceProperties", "InstancePropertyFilterList"},
	} {
		var out struct {
			InstanceInformationList, InstanceProperties []struct {
				NodeName   string
				GivenNames []string
			}
		}
		a := s.JSON(s.Admin, "ssm", list.operation, fields{
			list.filters: []any{fields{"key": "InstanceIds", "valueSet": []string{nodeID}}},
		})
		a.Decode(t, &out)
		for _, n := range append(out.InstanceInformationList, out.InstanceProperties...) {
			found, given = append(found, n.NodeName), n.GivenNames
		}
	}
	if len(found) != 2 || found[0] != found[1] {
		t.Fatalf("the lists name the node %q", found)
	}
	return found[0], given
}

// TestOneNamePerNode: the account's tag names a node in lists, in the history of sessions, in
// events and in the client; another tag can be chosen.
func TestOneNamePerNode(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	n := s.Node()
	n.Connect()
	tags := []any{fields{"Key": "Hostname", "Value": "host-1"}, fields{"Key": "Name", "Value": "name-1"},
		fields{"Key": "Asset", "Value": "asset-1"}}
	a := s.JSON(s.Admin, "ssm", "AddTagsToResource", fields{
		"ResourceType": "ManagedInstance", "ResourceId": n.ID, "Tags": tags,
	})
	if a.Status != http.StatusOK {
		t.Fatal(a.Body)
	}
	alice := s.User("alice", servertest.Allow("*", "ssm:StartSession"))
	s.Session(alice, n)
	c := as(t, s, s.Admin)
	check := func(want string) {
		t.Helper()
		name, given := listedName(t, s, n.ID)
		if name != want || len(given) == 0 || given[0] != want {
			t.Errorf("lists: %q, %q, want %q", name, given, want)
		}
		var out struct{ Sessions []struct{ NodeName string } }
		s.JSON(s.Admin, "ssm", "DescribeSessions", fields{"State": "Active"}).Decode(t, &out)
		if len(out.Sessions) != 1 || out.Sessions[0].NodeName != want {
			t.Errorf("sessions: %+v, want %q", out.Sessions, want)
		}
		var reach struct{ Access []struct{ NodeName string } }
		s.JSON(s.Admin, "sekisho", "ListPrincipalAccess", fields{"UserName": "alice"}).Decode(t, &reach)
		if len(reach.Access) != 1 || reach.Access[0].NodeName != want {
			t.Errorf("reach: %+v, want %q", reach.Access, want)
		}
		for _, args := range [][]string{{"nodes"}, {"ssh-config"}, {"sessions"}} {
			if code, text, errText := c.run("", args...); code != 0 || !strings.Contains(text, want) {
				t.Errorf("%v: exit code %d: %s%s, want %q", args, code, text, errText, want)
			}
		}
	}
	check("host-1")
	for _, wrong := range []string{strings.Repeat("x", 129), " x", "a\x07"} {
		a := s.JSON(s.Admin, "ssm", "UpdateServiceSetting", fields{"SettingId": nameTag, "SettingValue": wrong})
		if a.Code() != "ValidationException" {
			t.Errorf("the tag %q: %d %s", wrong, a.Status, a.Body)
		}
	}
	a = s.JSON(s.Admin, "ssm", "UpdateServiceSetting", fields{"SettingId": nameTag, "SettingValue": "Asset"})
	if a.Status != http.StatusOK {
		t.Fatal(a.Body)
	}
	check("asset-1")
	s.Eventually("an event with the name", func() bool {
		return strings.Contains(s.JSON(s.Admin, "sekisho", "ListEvents", fields{}).Body, `"instance-name":"host-1"`)
	})
	if a := s.JSON(s.Admin, "ssm", "ResetServiceSetting", fields{"SettingId": nameTag}); a.Status != http.StatusOK {
		t.Fatal(a.Body)
	}
	check("host-1")
}
