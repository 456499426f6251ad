package client_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sekisho/internal/client"
	"sekisho/internal/wire/sigv4"
)

func home(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, ".aws"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"config": `
# comment
[default]
region = eu-default-1
endpoint_url = https://default.example
[profile work]
region=eu-work-1 # where it is
endpoint_url = https://work.example:8443
s3 =
    region = nested
[other]
region = no-profile
`,
		"credentials": `
[default]
aws_access_key_id = AKIADEFAULT
aws_secret_access_key = secret/default=
[work]
AWS_ACCESS_KEY_ID = ASIAWORK
aws_secret_access_key = secretwork
aws_session_token = tokenwork
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, ".aws", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestLoad(t *testing.T) {
	t.Parallel()
	dir := home(t)
	env := func(pairs ...string) map[string]string {
		m := map[string]string{"HOME": dir}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return m
	}
	envKeys := []string{"AWS_ACCESS_KEY_ID", "AKIAENV", "AWS_SECRET_ACCESS_KEY", "secretenv"}
	def := sigv4.Credentials{AccessKeyID: "AKIADEFAULT", SecretAccessKey: "secret/default="}
	work := sigv4.Credentials{AccessKeyID: "ASIAWORK", SecretAccessKey: "secretwork", SessionToken: "tokenwork"}
	fromEnv := sigv4.Credentials{AccessKeyID: "AKIAENV", SecretAccessKey: "secretenv"}
	for name, tc := range map[string]struct {
		profile          string
		env              map[string]string
		endpoint, region string
		creds            sigv4.Credentials
	}{
		"default profile": {"", env(), "https://default.example", "eu-default-1", def},
		"AWS_PROFILE":     {"", env("AWS_PROFILE", "work"), "https://work.example:8443", "eu-work-1", work},
		"environment": {"", env(append(envKeys, "AWS_REGION", "eu-env-1", "AWS_DEFAULT_REGION", "no", "AWS_ENDPOINT_URL",
			"https://env.example")...),
			"https://env.example", "eu-env-1", fromEnv},
		"endpoint of a service": {"", env("AWS_ENDPOINT_URL", "https://no", "AWS_ENDPOINT_URL_SSM", "https://ssm.example"),
			"https://ssm.example", "eu-default-1", def},
		"a named profile takes precedence over the environment": {"work", env(envKeys...), "https://work.example:8443",
			"eu-work-1", work},
		"no files": {"", map[string]string{"HOME": "/nonexistent", "AWS_ENDPOINT_URL": "https://env.example",
			envKeys[0]: envKeys[1], envKeys[2]: envKeys[3]},
			"https://env.example", "us-east-1", fromEnv},
	} {
		got, err := client.Load(tc.profile, func(k string) string { return tc.env[k] })
		if err != nil || got.Endpoint != tc.endpoint || got.Region != tc.region || got.Credentials != tc.creds ||
			got.Roots != nil {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	dir := home(t)
	empty := filepath.Join(dir, "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		profile string
		env     map[string]string
		want    string
	}{
		"nothing":         {"", map[string]string{"HOME": "/nonexistent"}, "AWS_ENDPOINT_URL"},
		"no credentials":  {"", map[string]string{"HOME": "/nonexistent", "AWS_ENDPOINT_URL": "https://x"}, "credentials"},
		"unknown profile": {"", map[string]string{"HOME": dir, "AWS_PROFILE": "holiday"}, `"holiday"`},
		"not a profile":   {"other", map[string]string{"HOME": dir}, `"other"`},
		"bad endpoint":    {"", map[string]string{"HOME": dir, "AWS_ENDPOINT_URL": "example.com"}, "https://"},
		"no bundle":       {"", map[string]string{"HOME": dir, "AWS_CA_BUNDLE": "/nonexistent"}, "no such file"},
		"empty bundle":    {"", map[string]string{"HOME": dir, "AWS_CA_BUNDLE": empty}, "no certificate"},
	} {
		_, err := client.Load(tc.profile, func(k string) string { return tc.env[k] })
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}
