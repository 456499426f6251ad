package dev

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestSettleKeepsAccountAndRegion(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name            string
		kept            state
		given           Options
		account, region string
		fails           bool
	}{
		{"a new directory", state{}, Options{}, defaultAccount, defaultRegion, false},
		{"a new directory with options", state{}, Options{Account: "123456789012", Region: "eu-west-1"}, "123456789012",
			"eu-west-1", false},
		{"an old directory", state{Account: "123456789012", Region: "eu-west-1"}, Options{}, "123456789012", "eu-west-1",
			false},
		{"the same options", state{Account: "123456789012", Region: "eu-west-1"}, Options{Region: "eu-west-1"},
			"123456789012", "eu-west-1", false},
		{"another region", state{Account: "123456789012", Region: "eu-west-1"}, Options{Region: "us-east-1"}, "123456789012",
			"eu-west-1", true},
		{"another account", state{Account: "123456789012", Region: "eu-west-1"}, Options{Account: "210987654321"},
			"123456789012", "eu-west-1", true},
		{"an account that is too short", state{}, Options{Account: "12345"}, "12345", defaultRegion, true},
		{"an account with letters", state{}, Options{Account: "12345678901x"}, "12345678901x", defaultRegion, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			st := c.kept
			if err := settle(&st, c.given); (err != nil) != c.fails {
				t.Errorf("error %v, want one: %v", err, c.fails)
			}
			if st.Account != c.account || st.Region != c.region {
				t.Errorf("account %s in %s, want %s in %s", st.Account, st.Region, c.account, c.region)
			}
		})
	}
}

func TestStateIsKeptSecret(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if st, err := readState(dir); err != nil || st.Account != "" {
		t.Fatalf("a new directory: %+v, %v", st, err)
	}
	want := state{Account: "123456789012", AdminPassword: "secret", Nodes: map[string]string{"host": "mi-1"}}
	for range 2 { // the second replaces the first
		if err := want.write(dir); err != nil {
			t.Fatal(err)
		}
	}
	got, err := readState(dir)
	if err != nil || got.AdminPassword != "secret" || got.Nodes["host"] != "mi-1" {
		t.Errorf("%+v, %v", got, err)
	}
	file := filepath.Join(dir, "dev.json")
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(file, []byte(`{"Account":"1","Unknown":1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readState(dir); err == nil {
		t.Error("read a file of another version")
	}
}

func TestListenReusesThePort(t *testing.T) {
	t.Parallel()
	first, err := listen("127.0.0.1:0", "")
	if err != nil {
		t.Fatal(err)
	}
	last := first.Addr().String()
	other, err := listen("127.0.0.1:0", last)
	if err != nil || other.Addr().String() == last {
		t.Fatalf("while the port is in use: %v, %v", other, err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := listen("127.0.0.1:0", last)
	if err != nil || again.Addr().String() != last {
		t.Errorf("listens on %v, want %s: %v", again.Addr(), last, err)
	}
	for _, l := range []net.Listener{other, again} {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := listen("no port", ""); err == nil {
		t.Error("listens on an address without a port")
	}
}

func TestDialable(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"0.0.0.0:443": "127.0.0.1:443", "[::]:443": "127.0.0.1:443", "192.0.2.1:80": "192.0.2.1:80", "[::1]:80": "[::1]:80",
	} {
		a, err := net.ResolveTCPAddr("tcp", in)
		if err != nil {
			t.Fatal(err)
		}
		if got := dialable(a); got != want {
			t.Errorf("dialable(%s) = %s, want %s", in, got, want)
		}
	}
	if names := certificateNames("sekisho.example"); !slices.Contains(names, "sekisho.example") ||
		!slices.Contains(names, "127.0.0.1") {
		t.Errorf("the certificate is for %v", names)
	}
}

func TestPolicyClock(t *testing.T) {
	t.Parallel()
	if clock, err := policyClock(""); clock != nil || err != nil {
		t.Errorf("without the option: %v", err)
	}
	at := time.Date(2026, 11, 30, 9, 0, 0, 0, time.UTC)
	clock, err := policyClock(at.Format(time.RFC3339))
	if err != nil || !clock().Equal(at) {
		t.Errorf("a time: %v", err)
	}
	file := filepath.Join(t.TempDir(), "clock")
	if _, err := policyClock(file); err == nil {
		t.Error("took a file that does not exist")
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(at.Format(time.RFC3339) + "\n")
	if clock, err = policyClock(file); err != nil {
		t.Fatal(err)
	}
	write(at.Add(time.Hour).Format(time.RFC3339))
	if !clock().Equal(at.Add(time.Hour)) {
		t.Error("the file is not read again")
	}
	write("soon")
	if !clock().IsZero() {
		t.Error("an unreadable clock is inside some window")
	}
}

func TestWebhookSecretIsCreatedOnce(t *testing.T) {
	t.Parallel()
	st := &state{}
	o := Options{}
	if all, err := o.webhooks(st); err != nil || all != nil || st.WebhookSecret != "" {
		t.Errorf("without a webhook: %v, %v", all, err)
	}
	o.Webhook = "http://127.0.0.1:8080/hook"
	if all, err := o.webhooks(st); err != nil || len(all) != 1 || st.WebhookSecret == "" {
		t.Fatalf("%v, %v", all, err)
	}
	secret := st.WebhookSecret
	if _, err := o.webhooks(st); err != nil || st.WebhookSecret != secret {
		t.Errorf("the secret changed: %v", err)
	}
	o.Webhook = "ftp://127.0.0.1/hook"
	if _, err := o.webhooks(st); err == nil {
		t.Error("took a URL that is not HTTP")
	}
}
