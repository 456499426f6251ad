package sigv4_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"sekisho/internal/wire/sigv4"
)

const exampleSecret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"

// streamed is the request of the examples in "Signature calculations for the
// Authorization header: transferring payload in multiple chunks" (Amazon S3
// API Reference).
func streamed(payloadHash, signature string) *sigv4.Parsed {
	return &sigv4.Parsed{
		Credential: sigv4.Credential{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", Date: "20130524", Region: "us-east-1",
			Service: "s3"},
		Time:        time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC),
		PayloadHash: payloadHash, Signature: signature,
	}
}

const (
	plainSeed   = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
	trailerSeed = "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"
)

func chunk(n int, sig string) string {
	return fmt.Sprintf("%x;chunk-signature=%s\r\n%s\r\n", n, sig, strings.Repeat("a", n))
}

var (
	plainBody = chunk(65536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648") +
		chunk(1024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497") +
		chunk(0, "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9")
	trailerChunks = chunk(65536, "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2") +
		chunk(1024, "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7") +
		"0;chunk-signature=2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992\r\n"
	trailerSign = "x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n"
)

func readBody(p *sigv4.Parsed, body string) (string, http.Header, error) {
	b := p.Body(exampleSecret, iotest.OneByteReader(strings.NewReader(body)))
	got, err := io.ReadAll(b)
	if err == nil {
		// A body that was read to its end keeps returning io.EOF.
		if _, again := b.Read(make([]byte, 1)); !errors.Is(again, io.EOF) {
			err = fmt.Errorf("read after the end: %w", again)
		}
	}
	return string(got), b.Trailer(), err
}

func TestBodies(t *testing.T) {
	t.Parallel()
	as := strings.Repeat("a", 66560)
	for name, c := range map[string]struct {
		hash, seed, body, want, trailer string
	}{
		"one hash":                         {sigv4.HashBody([]byte("hello")), "", "hello", "hello", ""},
		"no hash":                          {sigv4.UnsignedPayload, "", "hello", "hello", ""},
		"signed chunks":                    {sigv4.StreamingSigned, plainSeed, plainBody, as, ""},
		"signed chunks, last CRLF missing": {sigv4.StreamingSigned, plainSeed, strings.TrimSuffix(plainBody, "\r\n"), as, ""},
		"unsigned chunks": {sigv4.StreamingUnsigned, "",
			"5\r\nhello\r\n1\r\n!\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n", "hello!", "AAAAAA=="},
		"unsigned, no trailer": {sigv4.StreamingUnsigned, "", "A\r\n0123456789\r\n0\r\n\r\n", "0123456789", ""},
		"empty": {sigv4.StreamingUnsigned, "", "0\r\nX-Amz-Checksum-Crc32: AAAAAA==\r\n\r\n", "",
			"AAAAAA=="},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, trailer, err := readBody(streamed(c.hash, c.seed), c.body)
			if err != nil {
				t.Fatal(err)
			}
			if got != c.want || trailer.Get("x-amz-checksum-crc32") != c.trailer {
				t.Errorf("%d bytes, trailer %v", len(got), trailer)
			}
		})
	}
}

func TestAlteredBodiesAreRefused(t *testing.T) {
	t.Parallel()
	const sum = "x-amz-checksum-crc32:AAAAAA==\r\n"
	for name, c := range map[string]struct{ hash, seed, body, code string }{
		"another body": {sigv4.HashBody([]byte("hello")), "", "hallo", sigv4.CodePayloadHash},
		"cut body":     {sigv4.HashBody([]byte("hello")), "", "hell", sigv4.CodePayloadHash},
		"changed chunk": {sigv4.StreamingSigned, plainSeed, strings.Replace(plainBody, "aaa", "aab", 1),
			sigv4.CodeMismatch},
		"another seed": {sigv4.StreamingSigned, trailerSeed, plainBody, sigv4.CodeMismatch},
		"chunks swapped out": {sigv4.StreamingSigned, plainSeed, plainBody[strings.Index(plainBody, "400;"):],
			sigv4.CodeMismatch},
		"last chunk missing": {sigv4.StreamingSigned, plainSeed, plainBody[:strings.Index(plainBody,
			"0;chunk-signature=b6")], sigv4.CodeIncompleteBody},
		"cut within a chunk": {sigv4.StreamingSigned, plainSeed, plainBody[:1000], sigv4.CodeIncompleteBody},
		"not signed":         {sigv4.StreamingSigned, plainSeed, "0\r\n\r\n", sigv4.CodeIncompleteBody},
		"trailer unannounced": {sigv4.StreamingSigned, plainSeed, strings.TrimSuffix(plainBody, "\r\n") + sum + "\r\n",
			sigv4.CodeIncompleteBody},
		"trailer not signed": {sigv4.StreamingSignedTrailers, trailerSeed, trailerChunks + sum + "\r\n",
			sigv4.CodeIncompleteBody},
		"another trailer": {sigv4.StreamingSignedTrailers, trailerSeed, trailerChunks + sum + trailerSign,
			sigv4.CodeMismatch},
		"size too large": {sigv4.StreamingUnsigned, "", "ffffffffffffffff\r\n", sigv4.CodeIncompleteBody},
		"negative size":  {sigv4.StreamingUnsigned, "", "-1\r\n", sigv4.CodeIncompleteBody},
		"no size":        {sigv4.StreamingUnsigned, "", "\r\n", sigv4.CodeIncompleteBody},
		"chunk too long": {sigv4.StreamingUnsigned, "", "2\r\nabc\r\n0\r\n\r\n", sigv4.CodeIncompleteBody},
		"endless line":   {sigv4.StreamingUnsigned, "", strings.Repeat("0", 1<<20), sigv4.CodeIncompleteBody},
		"endless trailer": {sigv4.StreamingUnsigned, "", "0\r\n" + strings.Repeat("a:b\r\n", 1<<10),
			sigv4.CodeIncompleteBody},
		"trailer repeated":      {sigv4.StreamingUnsigned, "", "0\r\n" + sum + sum + "\r\n", sigv4.CodeIncompleteBody},
		"more data at the end":  {sigv4.StreamingUnsigned, "", "0\r\n" + sum + "\r\nx", sigv4.CodeIncompleteBody},
		"an extension":          {sigv4.StreamingUnsigned, "", "0;a=b\r\n\r\n", sigv4.CodeIncompleteBody},
		"trailer without colon": {sigv4.StreamingUnsigned, "", "0\r\nabc\r\n\r\n", sigv4.CodeIncompleteBody},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := readBody(streamed(c.hash, c.seed), c.body)
			e, ok := errors.AsType[*sigv4.Error](err)
			if !ok || e.Code != c.code {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestSignedTrailer is the complete example of AWS's documentation.
func TestSignedTrailer(t *testing.T) {
	t.Parallel()
	for name, between := range map[string]string{"as SDKs send it": "\r\n", "as documented": "\n\r\n"} {
		got, trailer, err := readBody(streamed(sigv4.StreamingSignedTrailers, trailerSeed),
			trailerChunks+"x-amz-checksum-crc32c:sOO8/Q=="+between+trailerSign)
		if err != nil || len(got) != 66560 || trailer.Get("x-amz-checksum-crc32c") != "sOO8/Q==" {
			t.Errorf("%s: %d bytes, %v, %v", name, len(got), trailer, err)
		}
	}
}

// FuzzBody reads arbitrary bodies. The result must not depend on how the bytes arrive, and
// no body is accepted without a valid signature.
func FuzzBody(f *testing.F) {
	f.Add("5\r\nhello\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n", uint8(0))
	f.Add(chunk(3, plainSeed)+chunk(0, plainSeed), uint8(1))
	f.Add(trailerChunks+trailerSign, uint8(2))
	f.Add("0\r\n\r\n\r\n", uint8(0))
	f.Fuzz(func(t *testing.T, body string, kind uint8) {
		p := streamed([]string{sigv4.StreamingUnsigned, sigv4.StreamingSigned, sigv4.StreamingSignedTrailers}[kind%3],
			plainSeed)
		slow, _, err := readBody(p, body)
		if err == nil && kind%3 != 0 && body != plainBody {
			t.Fatalf("accepted %q", body)
		}
		fast, err2 := io.ReadAll(p.Body(exampleSecret, strings.NewReader(body)))
		if slow != string(fast) || (err == nil) != (err2 == nil) {
			t.Fatalf("one byte at a time %q %v, at once %q %v", slow, err, fast, err2)
		}
		if len(slow) > len(body) {
			t.Fatal("more came out than went in")
		}
	})
}
