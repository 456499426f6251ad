package sigv4_test

import (
	"bufio"
	"bytes"
	"crypto/rsa"
	"math/big"
	"net/http"
	"testing"

	"sekisho/internal/wire/sigv4"
)

// FuzzVerify feeds arbitrary requests. None must cause a panic, and none must be accepted
// under a secret that signed nothing.
func FuzzVerify(f *testing.F) {
	for _, c := range readCaptured(f) {
		r := c.request()
		r.URL.Host = ""
		var b bytes.Buffer
		if err := r.Write(&b); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Add(
		[]byte(
			"GET /a//../b%2f?x&y=+%20&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=A/20260415/r/s3/aws4_request&" +
				"X-Amz-Date=20260415T093000Z&X-Amz-SignedHeaders=content-length;host&" +
				"X-Amz-Signature=0000000000000000000000000000000000000000000000000000000000000000&X-Amz-Expires=60 HTTP/" +
				"1.1\r\nHost: [::1]:443\r\n\r\n",
		),
	)
	n := new(big.Int).Lsh(big.NewInt(1), 2047)
	pub := &rsa.PublicKey{N: n.Add(n, big.NewInt(981)), E: 65537}
	f.Fuzz(func(t *testing.T, wire []byte) {
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(wire)))
		if err != nil {
			return
		}
		p, err := sigv4.Parse(r)
		if err != nil {
			if codeOf(t, err) == "" {
				t.Fatal("error without a code")
			}
			return
		}
		if p.AccessKeyID == "" || p.Region == "" || p.Service == "" || p.Signature == "" || len(p.SignedHeaders) == 0 {
			t.Fatalf("parsed %+v", p)
		}
		hash := sigv4.HashBody(nil)
		if p.Verify("a secret nobody signs with", r, hash, p.Time) == nil {
			t.Fatal("accepted under a wrong secret")
		}
		if sigv4.VerifyRSA(p, pub, r, hash, p.Time) == nil {
			t.Fatal("accepted under a wrong key")
		}
	})
}

// FuzzCanonical signs a request with an arbitrary target and host: the request that the
// server receives must verify, and must not verify with a changed query.
func FuzzCanonical(f *testing.F) {
	for _, o := range oddRequests {
		r, _ := o.build(f)
		f.Add(r.URL.RequestURI(), o.service == "s3", "a  b")
	}
	f.Add("/%41%7e%2f?%61=%7E;b&&=&=x&+", true, "\t x \t")
	f.Fuzz(func(t *testing.T, target string, s3 bool, header string) {
		wire := "GET " + target + " HTTP/1.1\r\nHost: h.example\r\nX-Amz-Meta-A: " + header + "\r\n\r\n"
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader([]byte(wire))))
		if err != nil {
			return
		}
		service := "ssm"
		if s3 {
			service = "s3"
		}
		for _, k := range []string{"Authorization", "X-Amz-Security-Token", "X-Amz-Content-Sha256"} {
			r.Header.Del(k)
		}
		hash := sigv4.HashBody(nil)
		sigv4.Sign(r, sigv4.Credentials{AccessKeyID: "AKIA1", SecretAccessKey: secret}, "r", service, signedAt, hash)
		p, err := sigv4.Parse(r)
		if err != nil {
			return // a query that is itself presigned, or malformed
		}
		if err := p.Verify(secret, r, hash, signedAt); err != nil {
			t.Fatalf("own signature refused: %v", err)
		}
		r.URL.RawQuery += "&more"
		if p.Verify(secret, r, hash, signedAt) == nil {
			t.Fatal("accepted with another query")
		}
	})
}
