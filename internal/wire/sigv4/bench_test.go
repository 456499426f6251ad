package sigv4_test

import (
	"net/http"
	"testing"

	"sekisho/internal/wire/sigv4"
)

// BenchmarkVerify measures the cost of verifying a signed call.
func BenchmarkVerify(b *testing.B) {
	const body = "Action=GetCallerIdentity&Version=2011-06-15"
	hash := sigv4.HashBody([]byte(body))
	req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, "https://sekisho.example/", http.NoBody)
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	sigv4.Sign(
		req,
		sigv4.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: secret},
		"us-east-1",
		"sts",
		signedAt,
		hash,
	)
	got := arrive(b, req, "")
	b.ReportAllocs()
	for b.Loop() {
		p, err := sigv4.Parse(got)
		if err != nil {
			b.Fatal(err)
		}
		if err := p.Verify(secret, got, sigv4.HashBody([]byte(body)), signedAt); err != nil {
			b.Fatal(err)
		}
	}
}
