package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sekisho/internal/config"
)

const good = `
account: "123456789012"
tls: {certificate: /c.pem, key: /k.pem}
trusted_proxies: [10.0.0.0/24, "2001:db8::1"]
proxy_protocol: [10.0.1.7]
`

const acme = "acme: {accept_terms: true, names: [sekisho.example.com], directory: 'https://ca.example/dir'}"

var withACME = strings.Replace(good, "certificate: /c.pem, key: /k.pem", acme, 1)

func TestACMEFile(t *testing.T) {
	t.Parallel()
	c, err := config.Parse([]byte(withACME))
	if err != nil {
		t.Fatal(err)
	}
	if c.TLS.ACME == nil || c.TLS.ACME.Names[0] != "sekisho.example.com" {
		t.Errorf("%+v", c.TLS)
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	c, err := config.Parse([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen != "0.0.0.0:8443" || c.Region != "us-east-1" || c.Data != "/var/lib/sekisho" || c.StrictDocuments ||
		!c.EndSessionsOnRevocation {
		t.Errorf("defaults: %+v", c)
	}
	p, err := c.Proxies()
	if err != nil || len(p) != 2 || p[1].String() != "2001:db8::1/128" {
		t.Errorf("proxies: %v, %v", p, err)
	}
	if p, err := c.Balancers(); err != nil || len(p) != 1 || p[0].String() != "10.0.1.7/32" {
		t.Errorf("balancers: %v, %v", p, err)
	}
	if c, err := config.Parse([]byte(good + "end_sessions_on_revocation: false\n")); err != nil ||
		c.EndSessionsOnRevocation {
		t.Errorf("set to false: %+v, %v", c, err)
	}
}

func TestRetentionSettings(t *testing.T) {
	t.Parallel()
	c, err := config.Parse([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	if c.Events != (config.Events{MaxRecords: 10_000}) ||
		c.Commands != (config.Commands{MaxAgeDays: 30, MaxRecords: 200_000}) {
		t.Errorf("defaults: %+v, %+v", c.Events, c.Commands)
	}
	c, err = config.Parse([]byte(good + "events: {max_age_days: 7}\ncommands: {max_records: 5000}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if c.Events != (config.Events{MaxAgeDays: 7, MaxRecords: 10_000}) ||
		c.Commands != (config.Commands{MaxAgeDays: 30, MaxRecords: 5000}) {
		t.Errorf("set: %+v, %+v", c.Events, c.Commands)
	}
	for _, bad := range []string{
		"events: {max_age_days: -1}", "events: {max_records: 0}", "events: {max_records: 100000000}",
		"commands: {max_age_days: 0}", "commands: {max_age_days: 40000}", "commands: {max_records: 10}",
		"commands: {keep: 3}",
	} {
		if _, err := config.Parse([]byte(good + bad + "\n")); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
}

func TestEveryMistakeIsNamed(t *testing.T) {
	t.Parallel()
	_, err := config.Parse(
		[]byte(`{listen: "8443", account: 12, region: here, trusted_proxies: [somewhere], proxy_protocol: [0.0.0.0/0],
		admin_listen: "0.0.0.0:9090", log_format: xml, max_connections: 1}`),
	)
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"listen:", "account:", "region:", "tls:", "trusted_proxies:", "proxy_protocol:",
		"admin_listen:", "log_format:", "max_connections:"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not mentioned in: %v", want, err)
		}
	}
	for name, text := range map[string]string{
		"unknown key":   good + "\nlog_levle: debug\n",
		"two documents": good + "\n---\n{}\n",
		"not YAML":      "account: [",
		"a provider without a name": good +
			"\nsign_in: [{issuer: \"https://idp.example.com\", client_id: x, role: " +
			"\"arn:aws:iam::100000000000:role/people\"}]\n",
		"a provider without TLS": good +
			"\nsign_in: [{name: x, issuer: \"http://idp.example.com\", client_id: x, role: " +
			"\"arn:aws:iam::100000000000:role/people\"}]\n",
		"a provider without a role": good + "\nsign_in: [{name: x, issuer: \"https://idp.example.com\", client_id: x}]\n",
		"two providers of one name": good +
			"\nsign_in: [{name: x, issuer: \"https://a.example\", client_id: x, role: " +
			"\"arn:aws:iam::100000000000:role/p\"}, {name: x, issuer: \"https://b.example\", client_id: x, role: " +
			"\"arn:aws:iam::100000000000:role/p\"}]\n",
		"files and an authority":   strings.Replace(good, "/k.pem", "/k.pem, "+acme, 1),
		"an address for ACME":      strings.Replace(withACME, "sekisho.example.com", "192.0.2.1", 1),
		"a wildcard for ACME":      strings.Replace(withACME, "sekisho.example.com", "'*.example.com'", 1),
		"an authority without TLS": strings.Replace(withACME, "https:", "http:", 1),
		"terms not accepted":       strings.Replace(withACME, "true", "false", 1),
		"trusts everyone":          strings.Replace(good, "10.0.0.0/24", "0.0.0.0/0", 1),
	} {
		if _, err := config.Parse([]byte(text)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestCheckExaminesTheMachine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key := filepath.Join(dir, "k.pem")
	if err := os.WriteFile(key, []byte("nothing"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	c := &config.Server{
		Data:      dir,
		AgentsDir: key,
		TLS:       config.TLS{Certificate: filepath.Join(dir, "missing.pem"), Key: key},
	}
	err := c.Check()
	for _, want := range []string{"missing.pem", "chmod 600", "chmod 700", "agents_dir: " + key + " is not a directory"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not mentioned in: %v", want, err)
		}
	}
}
