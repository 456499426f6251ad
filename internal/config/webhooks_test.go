package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sekisho/internal/config"
)

const webhookSecret = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

func TestWebhooks(t *testing.T) {
	t.Parallel()
	c, err := config.Parse([]byte(good + `
webhooks:
  - name: chatops
    url: https://hooks.example/sekisho?token=x
    secret_file: /etc/sekisho/chatops.secret
    events: [Session Started, Session Denied]
  - name: siem
    url: https://siem.internal.example/in
    secret_env: SIEM_SECRET
    pattern: {detail: {instance-tags: {Env: [prod, {prefix: stag}]}, duration-seconds: [1]}}
    allow_networks: [10.20.0.0/16, "fd00::1"]
    give_up_after: 48h
    concurrency: 8
`))
	if err != nil {
		t.Fatal(err)
	}
	a, b := &c.Webhooks[0], &c.Webhooks[1]
	p, err := a.Filter()
	if err != nil || !p.Match([]byte(`{"detail-type":"Session Denied"}`)) ||
		p.Match([]byte(`{"detail-type":"Node Up"}`)) {
		t.Errorf("%v", err)
	}
	p, err = b.Filter()
	if err != nil || !p.Match([]byte(`{"detail":{"instance-tags":{"Env":"staging"},"duration-seconds":1}}`)) ||
		p.Match([]byte(`{"detail":{"instance-tags":{"Env":"test"},"duration-seconds":1}}`)) {
		t.Errorf("%v", err)
	}
	networks, err := b.Networks()
	if err != nil || len(networks) != 2 || networks[0].String() != "10.20.0.0/16" ||
		networks[1].String() != "fd00::1/128" {
		t.Errorf("%v, %v", networks, err)
	}
	if b.GiveUpAfter != 48*time.Hour || b.Concurrency != 8 {
		t.Errorf("%+v", b)
	}
}

func TestWebhookMistakesAreNamed(t *testing.T) {
	t.Parallel()
	const rest = `name: w, url: "https://a.example", secret_env: X`
	for text, want := range map[string]string{
		`name: "", url: "https://a.example", secret_env: X`:   "name:",
		`name: Big, url: "https://a.example", secret_env: X`:  "name:",
		`name: "%s", url: "https://a.example", secret_env: X`: `name: "%s"`,
		`name: w, secret_env: X`: "url: must begin with " +
			"https://",
		`name: w, url: "http://127.0.0.1:9/", secret_env: X`:               "allow_networks: [127.0.0.1]",
		`name: w, url: "https://u:swordfish@a.example/", secret_env: X`:    "user name",
		`name: w, url: "https://a.example"`:                                "openssl rand",
		`name: w, url: "https://a.example", secret_env: X, secret_file: Y`: "secret_file",
		rest + `, events: [Session Begun]`: `unknown event type ` +
			`"Session Begun"`,
		rest + `, pattern: {source: [{wildcard: "x*"}]}`:          `operator "wildcard"`,
		rest + `, pattern: {source: [{numeric: [">", 1]}]}`:       `operator "numeric"`,
		rest + `, events: [Node Up], pattern: {source: [x]}`:      "events or pattern",
		rest + `, allow_networks: [somewhere]`:                    `allow_networks: "somewhere"`,
		rest + `, allow_networks: ["0.0.0.0/0"]`:                  "every private network",
		rest + `, allow_networks: [169.254.169.254]`:              "never sent to link-local",
		rest + `, allow_networks: ["fd00:ec2::/32"]`:              "never sent to link-local",
		`name: w, url: "https://169.254.169.254/", secret_env: X`: "never sent there",
		`name: w, url: "https://[::ffff:10.0.0.1]/", secret_env: X`: "name its network in " +
			"allow_networks",
		`name: w, url: "http://127.0.0.1/", secret_env: X, allow_networks: [10.0.0.0/8]`: "name its network in " +
			"allow_networks",
		rest + `, give_up_after: 1s`:                           "give_up_after",
		rest + `, give_up_after: 9999h`:                        "give_up_after",
		rest + `, concurrency: 65`:                             "concurrency",
		rest + `, concurrency: -1`:                             "concurrency",
		rest + `, retries: 3`:                                  "retries",
		rest + `}, {` + rest:                                   `two named "w"`,
		rest + `, secret: ` + webhookSecret:                    "secret",
		`name: w, url: "https://a.example/%zz", secret_env: X`: "not a valid URL",
		`name: w, url: "https://a.example/#part", secret_env: X, pattern: {detail: {x: "y"}}`: "the pattern's detail.x",
	} {
		_, err := config.Parse([]byte(good + "webhooks: [{" + text + "}]\n"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
		if err != nil && (strings.Contains(err.Error(), "swordfish") || strings.Contains(err.Error(), webhookSecret)) {
			t.Errorf("%s: %v repeats a secret", text, err)
		}
	}
}

func TestWebhookSecretsAreChecked(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Setenv("GOOD_SECRET", webhookSecret+" "+webhookSecret)
	t.Setenv("BAD_SECRET", "swordfish")
	c := &config.Server{Data: dir, Webhooks: []config.Webhook{
		{Name: "a", SecretFile: file("good", webhookSecret+"\n", 0o600)}, {Name: "b", SecretEnv: "GOOD_SECRET"},
	}}
	if err := c.Check(); strings.Contains(err.Error(), "webhooks") { // its certificate is missing
		t.Errorf("good ones: %v", err)
	}
	if text, err := c.Webhooks[0].Secret(); err != nil || strings.TrimSpace(text) != webhookSecret {
		t.Errorf("%q, %v", text, err)
	}
	c.Webhooks = []config.Webhook{
		{
			Name:       "missing",
			SecretFile: filepath.Join(dir, "none"),
		}, {Name: "open", SecretFile: file("open", webhookSecret, 0o644)},
		{Name: "bad", SecretEnv: "BAD_SECRET"}, {Name: "unset", SecretEnv: "NO_SUCH_VARIABLE_IS_SET"},
		{Name: "large", SecretFile: file("large", strings.Repeat("x", 10_000), 0o600)},
		{Name: "noca", SecretEnv: "GOOD_SECRET", CA: file("ca", "nothing", 0o600)},
	}
	err := c.Check()
	for _, want := range []string{
		"missing: secret of", "chmod 600 " + dir + "/open", "BAD_SECRET: secret 1",
		"NO_SUCH_VARIABLE_IS_SET: got 0 secrets", "large: secret of", "noca: ca:",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not mentioned in: %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "swordfish") {
		t.Errorf("%v repeats a secret", err)
	}
}
