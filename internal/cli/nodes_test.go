package cli_test

import (
	"strings"
	"testing"
)

// The listing shows states and remedies, without terminal control sequences.
func TestNodesShowStateAndRemedy(t *testing.T) {
	t.Parallel()
	answers := map[string]func(map[string]any) any{
		"DescribeInstanceInformation": func(map[string]any) any {
			return map[string]any{"InstanceInformationList": []any{
				map[string]any{
					"InstanceId": "mi-1",
					"Name":       "web",
					"State":      "Connected",
					"SourceIp":   "192.0.2.1",
					"IPAddress":  "10.0.0.1",
				},
				map[string]any{
					"InstanceId": "mi-2", "Name": "db", "State": "IdentityChanged", "NotConnectedReason": "Another machine.\x1b[2J",
					"Notes": []any{
						map[string]any{
							"Kind":        "IdentityChanged",
							"Text":        "Seen.",
							"Fingerprint": "print",
							"LastAt":      1795433852.0,
							"Count":       3,
						},
					},
				},
			}}
		},
		"ListSeenMachines": func(map[string]any) any {
			return map[string]any{
				"Machines": []any{
					map[string]any{
						"Kind":       "ActivationWrong",
						"Reason":     "no\x1b[2J",
						"SourceIp":   "198.51.100.1",
						"LastSeenAt": 1795433852.0,
						"Count":      7,
					},
				},
				"Deregistered": []any{
					map[string]any{"InstanceId": "mi-3", "Name": "old", "DeregisteredAt": 1795433852.0},
				},
			}
		},
		"ApproveNodeIdentity": func(map[string]any) any { return map[string]any{} },
	}
	want := func(out string, parts ...string) {
		t.Helper()
		for _, p := range parts {
			if !strings.Contains(out, p) {
				t.Errorf("%q is not in\n%s", p, out)
			}
		}
		if strings.Contains(out, "\x1b") {
			t.Errorf("control characters in %q", out)
		}
	}
	out, asked, err := run(t, answers, "nodes")
	if err != nil {
		t.Fatal(err)
	}
	want(
		out,
		"Connected",
		"192.0.2.1",
		"\nmi-2\n  Another machine.",
		"3 times",
		"sekisho approve-identity mi-2 print\n",
	)
	if strings.Contains(out, "\nmi-1\n") || len(asked["GetConnectionStatus"]) != 0 {
		t.Errorf("asked %v, printed\n%s", asked, out)
	}
	if out, _, err = run(t, answers, "nodes", "--seen"); err != nil {
		t.Fatal(err)
	}
	want(out, "198.51.100.1  ActivationWrong", "Deregistered", "mi-3", "old")
	_, asked, err = run(t, answers, "approve-identity", "mi-2", "print")
	if got := asked["ApproveNodeIdentity"]; err != nil || len(got) != 1 || got[0]["InstanceId"] != "mi-2" ||
		got[0]["Fingerprint"] != "print" {
		t.Errorf("asked %v, %v", asked, err)
	}
}
