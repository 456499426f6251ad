package session

import (
	"testing"
)

func TestRunAs(t *testing.T) {
	t.Parallel()
	tests := []struct {
		inputs, user, want string
		ok                 bool
	}{
		{`{}`, "", "", true},
		{`{}`, "alice", "", true}, // off: the name is ignored, as in AWS's agent
		{`{"runAsEnabled":false,"runAsDefaultUser":"bob"}`, "", "", true},
		{`{"runAsEnabled":"false"}`, "", "", true},
		{`{"runAsEnabled":null}`, "", "", true},
		{`{"runAsEnabled":true,"runAsDefaultUser":"bob"}`, "", "bob", true},
		{`{"runAsEnabled":"true","runAsDefaultUser":"bob"}`, "alice", "alice", true},
		{`{"runAsEnabled":true}`, "alice", "alice", true},
		{`{"runAsEnabled":true}`, "", "", false},
		{`{"runAsEnabled":"yes","runAsDefaultUser":"bob"}`, "", "", false},
		{`{"runAsEnabled":1,"runAsDefaultUser":"bob"}`, "", "", false},
		{`{"runAsEnabled":[],"runAsDefaultUser":"bob"}`, "", "", false},
		{`{"runAsEnabled":"{{ x }}","runAsDefaultUser":"bob"}`, "", "", false},
	}
	for _, tt := range tests {
		d, err := parseDocument(
			[]byte(`{"schemaVersion":"1.0","sessionType":"Standard_Stream","inputs":`+tt.inputs+`}`),
			nil,
		)
		got := ""
		if err == nil {
			got, err = d.runAs(tt.user)
		}
		if (err == nil) != tt.ok || got != tt.want {
			t.Errorf("%s with user %q: %q, %v", tt.inputs, tt.user, got, err)
		}
	}
}

// FuzzParseDocument searches for documents with run-as turned on that run
// without a user.
func FuzzParseDocument(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":"1.0","sessionType":"Standard_Stream","inputs":{"runAsEnabled":"true"}}`))
	f.Add([]byte(`{"schemaVersion":"1.0","sessionType":"Standard_Stream","inputs":null}`))
	f.Add([]byte(`{"schemaVersion":1}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := parseDocument(b, map[string]any{"command": "{{ user }}", "user": "x"})
		if err != nil {
			return
		}
		if d.SessionType == "" {
			t.Fatalf("accepted %+v", d)
		}
		user, err := d.runAs("")
		if bool(d.Inputs.RunAsEnabled) == (err == nil && user == "") {
			t.Errorf("run as %v gives %q, %v", d.Inputs.RunAsEnabled, user, err)
		}
	})
}

func TestMaxPayload(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]int{
		"1.3.0.0": 8 << 10, "1.2.331.0": 8 << 10, "sekisho/0.1": 60 << 10,
		"0.0.1": 1 << 10, "": 1 << 10, "1.0.6": 1 << 10, "2.0.0.0": 1 << 10,
	} {
		if got := maxPayload(version); got != want {
			t.Errorf("%q: %d, want %d", version, got, want)
		}
	}
}
