package s3

import (
	"net/http/httptest"
	"testing"
)

func TestAddresses(t *testing.T) {
	t.Parallel()
	hosts := []string{"localhost", "s3.localhost", "sekisho.example"}
	for _, c := range []struct{ url, bucket, key string }{
		{"https://127.0.0.1:8443/", "", ""},
		{"https://127.0.0.1:8443/bucket", "bucket", ""},
		{"https://127.0.0.1:8443/bucket/", "bucket", ""},
		{"https://[::1]:8443/bucket/a/b", "bucket", "a/b"},
		{"https://sekisho.example/bucket/a//b", "bucket", "a//b"},
		{"https://SEKISHO.example:443/bucket//a", "bucket", "/a"},
		{"https://bucket.sekisho.example/a/b", "bucket", "a/b"},
		{"https://my.bucket.sekisho.example/a", "my.bucket", "a"},
		{"https://bucket.sekisho.example./", "bucket", ""},
		{"https://s3.sekisho.example/bucket/a", "bucket", "a"},
		{"https://bucket.s3.sekisho.example/a", "bucket", "a"},
		{"https://bucket.s3.localhost:1/a", "bucket", "a"},
		{"https://s3.localhost:1/bucket/a", "bucket", "a"},
		{"https://s3.amazonaws.com/bucket/a", "bucket", "a"},
		{"https://bucket.s3.eu-west-1.amazonaws.com/a", "bucket", "a"},
		{"https://bucket.s3-eu-west-1.amazonaws.com/a", "bucket", "a"},
		{"https://other.example/bucket/a%2Fb%20c", "bucket", "a/b c"},
		{"https://other.example/bucket/../../etc/passwd", "bucket", "../../etc/passwd"},
		{"https://other.example/bucket/%2e%2e/x", "bucket", "../x"},
	} {
		if bucket, key := address(httptest.NewRequest("GET", c.url, nil), hosts); bucket != c.bucket || key != c.key {
			t.Errorf("%s: %q %q", c.url, bucket, key)
		}
	}
}

func TestRequestsForS3(t *testing.T) {
	t.Parallel()
	scope := func(service string) string { return "AKIA/20261123/us-east-1/" + service + "/aws4_request" }
	for _, c := range []struct {
		url, auth string
		want      bool
	}{
		{"/console/", "", false},
		{"/healthz", "", false},
		{"/healthz", "AWS4-HMAC-SHA256 Credential=" + scope("s3") + ", SignedHeaders=host, Signature=0", true},
		{"/v1/control-channel/mi-0", "AWS4-HMAC-SHA256 Credential=" + scope(
			"ssmmessages") + ", SignedHeaders=host, Signature=0", false},
		{"/", "AWS4-HMAC-SHA256 SignedHeaders=host,Credential=" + scope("s3") + ",Signature=0", true},
		{"/b/k?X-Amz-Credential=" + scope("s3"), "", true},
		{"/b/k?X-Amz-Credential=" + scope("sts"), "", false},
		{"/b/k?AWSAccessKeyId=A&Signature=B&Expires=1", "", true},
		{"/b/k", "AWS AKIA:sig", true},
		{"/b/k", "Bearer s3", false},
	} {
		r := httptest.NewRequest("GET", c.url, nil)
		if c.auth != "" {
			r.Header.Set("Authorization", c.auth)
		}
		if got := wanted(r); got != c.want {
			t.Errorf("%s %s: %v", c.url, c.auth, got)
		}
	}
}

func TestPublicPolicies(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		statement string
		want      bool
	}{
		"everybody": {`{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"*"}`, true},
		"everyone, as a map": {
			`{"Effect":"Allow","Principal":{"AWS":["arn:aws:iam::1:root","*"]},"Action":"s3:*","Resource":"*"}`, true},
		"everyone except": {
			`{"Effect":"Allow","NotPrincipal":{"AWS":"arn:aws:iam::1:root"},"Action":"s3:*","Resource":"*"}`, true},
		"a deny": {`{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"*"}`, false},
		"one account": {
			`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},"Action":"s3:*","Resource":"*"}`, false},
		"from a network": {
			`{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"*",` +
				`"Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}}`, false},
		"from all networks": {
			`{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"*",` +
				`"Condition":{"IpAddress":{"aws:SourceIp":["10.0.0.0/8","0.0.0.0/0"]}}}`, true},
		"not from a network": {
			`{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"*",` +
				`"Condition":{"NotIpAddress":{"aws:SourceIp":"10.0.0.0/8"}}}`, true},
		"a condition without effect": {
			`{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"*",` +
				`"Condition":{"Bool":{"aws:SecureTransport":"true"}}}`, true},
		"a pattern": {
			`{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"*","Condition":{"StringLike":{"aws:userid":"*"}}}`,
			true},
	} {
		for _, doc := range []string{`{"Statement":` + c.statement + `}`, `{"Statement":[` + c.statement + `]}`} {
			if got := isPublic([]byte(doc)); got != c.want {
				t.Errorf("%s: %v", name, got)
			}
		}
	}
}

func TestParseRange(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		spec   string
		size   int64
		off, n int64
		some   bool
		bad    bool
	}{
		{"", 10, 0, 0, false, false},
		{"bytes=0-0", 10, 0, 1, true, false},
		{"bytes=2-", 10, 2, 8, true, false},
		{"bytes=2-99", 10, 2, 8, true, false},
		{"bytes=-3", 10, 7, 3, true, false},
		{"bytes=-99", 10, 0, 10, true, false},
		{"bytes=9-9", 10, 9, 1, true, false},
		{"bytes=10-", 10, 0, 0, false, true},
		{"bytes=-0", 10, 0, 0, false, true},
		{"bytes=0-", 0, 0, 0, false, true},
		{"bytes=99999999999999999999-", 10, 0, 0, false, true},
		{"bytes=5-2", 10, 0, 0, false, false},
		{"bytes=0-1,3-4", 10, 0, 0, false, false},
		{"bytes=-", 10, 0, 0, false, false},
		{"bytes=a-b", 10, 0, 0, false, false},
		{"lines=1-2", 10, 0, 0, false, false},
		{"bytes=--1", 10, 0, 0, false, false},
	} {
		off, n, some, err := parseRange(c.spec, c.size)
		if off != c.off || n != c.n || some != c.some || (err != nil) != c.bad {
			t.Errorf("%q of %d: %d %d %v %v", c.spec, c.size, off, n, some, err)
		}
	}
}

func FuzzParseRange(f *testing.F) {
	f.Add("bytes=1-2", int64(3))
	f.Add("bytes=-9223372036854775808", int64(1))
	f.Fuzz(func(t *testing.T, spec string, size int64) {
		if size < 0 {
			return
		}
		off, n, some, err := parseRange(spec, size)
		if err == nil && some && (off < 0 || n < 1 || off+n > size) {
			t.Errorf("%q of %d: %d bytes at %d", spec, size, n, off)
		}
	})
}
