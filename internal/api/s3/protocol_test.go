package s3_test

import (
	"bufio"
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"sekisho/internal/api/s3"
	"sekisho/internal/servertest/awsmodel"
	"sekisho/internal/wire/sigv4"
)

// TestSubresourcesOfTheServiceModel calls every unsupported operation that
// S3's service model distinguishes by a query parameter. It is refused by
// name, and the operation of the plain method does not run.
func TestSubresourcesOfTheServiceModel(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.do(r.admin, "PUT", "/bucket/key", "content", nil)
	here := s3.Routes()
	refused := 0
	for route, name := range s3.ModelRoutes() {
		if here[route] != "" {
			if here[route] != name {
				t.Errorf("%s is %s, in the service model %s", route, here[route], name)
			}
			continue
		}
		refused++
		f := strings.Fields(route)
		for _, bucket := range []string{"bucket", "new-bucket"} {
			path := "/" + bucket
			if f[0] == "object" {
				path += "/key"
			}
			got := r.do(r.admin, f[1], path+"?"+strings.Join(f[2:], "&"), "", nil)
			if got.status != http.StatusNotImplemented || got.code != "NotImplemented" {
				t.Errorf("%s (%s): %d %s", name, route, got.status, got.body)
			}
			if e := r.trail.Last(); e.EventName != name {
				t.Errorf("%s: the trail has %s", name, e.EventName)
			}
		}
	}
	if refused == 0 {
		t.Error("no operation of the model is missing here: the test tries nothing")
	}
	if got := r.do(r.admin, "HEAD", "/new-bucket", "", nil); got.status != http.StatusNotFound {
		t.Errorf("a sub-resource created a bucket: %d", got.status)
	}
	if got := r.do(r.admin, "GET", "/bucket/key", "", nil); got.body != "content" {
		t.Errorf("a sub-resource changed an object: %+v", got)
	}
}

// TestModelRoutesAreComplete compares the table of operations with botocore's
// service model.
func TestModelRoutesAreComplete(t *testing.T) {
	t.Parallel()
	m := awsmodel.Load(t, "s3")
	levels := map[string]string{"/": "service", "/{Bucket}": "bucket", "/{Bucket}/{Key+}": "object"}
	routes := s3.ModelRoutes()
	for op := range m.Operations {
		method, uri, ok := m.Route(op)
		path, query, _ := strings.Cut(uri, "?")
		if !ok || levels[path] == "" || query == "" {
			continue
		}
		route := levels[path] + " " + method
		for p := range strings.SplitSeq(query, "&") {
			if name, _, _ := strings.Cut(p, "="); name != "select-type" {
				route += " " + name
			}
		}
		if routes[route] == "" {
			t.Errorf("%s (%s) is missing", op, route)
		}
	}
}

// TestExpectContinueWithEmptyBody reads the interim response that botocore
// waits for, and then uses the connection again.
func TestExpectContinueWithEmptyBody(t *testing.T) {
	t.Parallel()
	r := start(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	for range 2 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, r.url+"/bucket/empty", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		sigv4.Sign(req, r.admin, region, "s3", time.Now(), sigv4.HashBody(nil))
		var head strings.Builder
		fmt.Fprintf(&head, "PUT /bucket/empty HTTP/1.1\r\nHost: %s\r\nContent-Length: 0\r\nExpect: 100-continue\r\n",
			req.URL.Host)
		if err := req.Header.Write(&head); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, head.String()+"\r\n"); err != nil {
			t.Fatal(err)
		}
		for _, want := range []int{http.StatusContinue, http.StatusOK} {
			resp, err := http.ReadResponse(in, req)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != want {
				t.Fatalf("status %d, want %d", resp.StatusCode, want)
			}
			if _, err := io.Copy(io.Discard, resp.Body); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestPresignedURLOfTheJavaScriptSDK uploads a body through a URL that has the
// checksum of an empty one.
func TestPresignedURLOfTheJavaScriptSDK(t *testing.T) {
	t.Parallel()
	r := start(t)
	query := url.Values{
		"X-Amz-Expires": {"900"}, "X-Amz-Content-Sha256": {sigv4.UnsignedPayload}, "x-amz-checksum-crc32": {"AAAAAA=="},
		"x-amz-sdk-checksum-algorithm": {"CRC32"}, "x-id": {"PutObject"},
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, r.url+"/bucket/presigned?"+query.Encode(),
		http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	creds := aws.Credentials{AccessKeyID: r.admin.AccessKeyID, SecretAccessKey: r.admin.SecretAccessKey}
	signed, _, err := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }).
		PresignHTTP(context.Background(), creds, req, sigv4.UnsignedPayload, "s3", region, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	put, err := http.NewRequestWithContext(t.Context(), http.MethodPut, signed, strings.NewReader("not empty"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(put)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%d %s %v", resp.StatusCode, b, err)
	}
	if got := r.do(r.admin, "GET", "/bucket/presigned", "", nil); got.body != "not empty" {
		t.Errorf("%+v", got)
	}
}

// TestUnsignedRequestsAreRefusedAsByS3 checks requests whose signature does
// not lead to a door.
func TestUnsignedRequestsAreRefusedAsByS3(t *testing.T) {
	t.Parallel()
	r := start(t)
	for name, c := range map[string]struct {
		method, path, authorization string
		claimed                     bool
		code                        string
	}{
		"unsigned": {"GET", "/bucket/key", "", true, "AccessDenied"},
		"malformed credential": {"PUT", "/bucket/key", "AWS4-HMAC-SHA256 Credential=x, SignedHeaders=host, Signature=x",
			true, "AuthorizationHeaderMalformed"},
		"unsigned listing":         {"GET", "/", "", false, ""},
		"another protocol":         {"POST", "/", "", false, ""},
		"query of another service": {"GET", "/?Action=ListUsers", "", false, ""},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, r.url+c.path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if c.authorization != "" {
			req.Header.Set("Authorization", c.authorization)
		}
		if got := s3.Claims(req); got != c.claimed {
			t.Errorf("%s: claimed %v", name, got)
		}
		if !c.claimed {
			continue
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var e struct {
			XMLName xml.Name `xml:"Error"`
			Code    string
		}
		if err := xml.NewDecoder(resp.Body).Decode(&e); err != nil || e.Code != c.code {
			t.Errorf("%s: %s, %v", name, e.Code, err)
		}
		resp.Body.Close()
	}
}

// TestMultipartOverHTTP uploads parts with checksums that were not announced,
// and reads the object's checksums.
func TestMultipartOverHTTP(t *testing.T) {
	t.Parallel()
	r := start(t)
	const hello = "NhCmhg==" // CRC32 of "hello"
	upload := func(header map[string]string) string {
		t.Helper()
		got := r.do(r.admin, "POST", "/bucket/mp?uploads", "", header)
		var out struct {
			UploadID string `xml:"UploadId"`
		}
		if err := xml.Unmarshal([]byte(got.body), &out); err != nil || got.status != 200 {
			t.Fatalf("%+v %v", got, err)
		}
		return out.UploadID
	}
	complete := func(id, etag, checksum string, header map[string]string) result {
		t.Helper()
		return r.do(
			r.admin,
			"POST",
			"/bucket/mp?uploadId="+id,
			"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>"+etag+"</ETag>"+checksum+
				"</Part></CompleteMultipartUpload>",
			header,
		)
	}
	crc := map[string]string{"X-Amz-Checksum-Crc32": hello, "X-Amz-Sdk-Checksum-Algorithm": "CRC32"}
	const stated = "<ChecksumCRC32>" + hello + "</ChecksumCRC32>"

	// Without an algorithm, as the SDKs upload by default.
	id := upload(nil)
	part := r.do(r.admin, "PUT", "/bucket/mp?partNumber=1&uploadId="+id, "hello", crc)
	if part.status != 200 || part.header.Get("X-Amz-Checksum-Crc32") != hello {
		t.Fatalf("%+v", part)
	}
	etag := part.header.Get("Etag")
	if got := r.do(r.admin, "GET", "/bucket/mp?uploadId="+id, "", nil); !strings.Contains(got.body, stated) {
		t.Errorf("ListParts: %+v", got)
	}
	if got := complete(id, etag, stated, nil); got.status != 200 || !strings.Contains(got.body,
		"<ChecksumType>FULL_OBJECT</ChecksumType>") ||
		!strings.Contains(got.body, "<ChecksumCRC64NVME>") {
		t.Errorf("complete: %+v", got)
	}

	// Composite.
	id = upload(map[string]string{"X-Amz-Checksum-Algorithm": "CRC32"})
	if got := r.do(r.admin, "PUT", "/bucket/mp?partNumber=1&uploadId="+id, "hello", nil); got.code != "InvalidRequest" {
		t.Errorf("a part without its checksum: %+v", got)
	}
	if got := r.do(r.admin, "PUT", "/bucket/mp?partNumber=1&uploadId="+id, "hello", crc); got.status != 200 {
		t.Fatalf("%+v", got)
	}
	for name, c := range map[string]struct {
		checksum string
		header   map[string]string
		code     string
	}{
		"missing part checksum":   {"", nil, "InvalidRequest"},
		"malformed part checksum": {"<ChecksumCRC32>x</ChecksumCRC32>", nil, "InvalidArgument"},
		"wrong part checksum":     {"<ChecksumCRC32>AAAAAA==</ChecksumCRC32>", nil, "InvalidPart"},
		"another type":            {stated, map[string]string{"X-Amz-Checksum-Type": "FULL_OBJECT"}, "InvalidRequest"},
		"an unknown type":         {stated, map[string]string{"X-Amz-Checksum-Type": "x"}, "InvalidRequest"},
		"malformed checksum":      {stated, map[string]string{"X-Amz-Checksum-Crc32": "x"}, "InvalidRequest"},
		"wrong checksum":          {stated, map[string]string{"X-Amz-Checksum-Crc32": "AAAAAA=="}, "BadDigest"},
	} {
		if got := complete(id, etag, c.checksum, c.header); got.code != c.code {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if got := complete(id, etag, stated, map[string]string{"X-Amz-Checksum-Type": "COMPOSITE"}); got.status != 200 {
		t.Fatalf("%+v", got)
	}
	got := r.do(r.admin, "GET", "/bucket/mp?partNumber=1", "", map[string]string{"X-Amz-Checksum-Mode": "ENABLED"})
	if got.status != 206 || got.header.Get("X-Amz-Checksum-Crc32") != hello ||
		got.header.Get("X-Amz-Mp-Parts-Count") != "1" {
		t.Errorf("GET by part number: %+v", got)
	}
	if got := r.do(r.admin, "GET", "/bucket/mp?partNumber=2", "", nil); got.status != 416 ||
		got.code != "InvalidPartNumber" {
		t.Errorf("GET of a missing part: %+v", got)
	}
	got = r.do(r.admin, "HEAD", "/bucket/mp", "", map[string]string{"X-Amz-Checksum-Mode": "ENABLED"})
	if sum := got.header.Get("X-Amz-Checksum-Crc32"); !strings.HasSuffix(sum, "-1") ||
		got.header.Get("X-Amz-Checksum-Type") != "COMPOSITE" {
		t.Errorf("HEAD: %+v", got)
	}
	got = r.do(r.admin, "GET", "/bucket/mp?attributes", "",
		map[string]string{"X-Amz-Object-Attributes": "ObjectParts,Checksum"})
	if !strings.Contains(got.body, "<PartsCount>1</PartsCount>") ||
		!strings.Contains(got.body, "<Size>5</Size>"+stated) {
		t.Errorf("GetObjectAttributes: %+v", got)
	}
}

// TestCopyOntoItself creates a new version if versioning is on.
func TestCopyOntoItself(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.do(r.admin, "PUT", "/bucket/k", "x", nil)
	self := map[string]string{"X-Amz-Copy-Source": "/bucket/k"}
	if got := r.do(r.admin, "PUT", "/bucket/k", "", self); got.code != "InvalidRequest" {
		t.Errorf("without versions: %+v", got)
	}
	r.do(r.admin, "PUT", "/bucket?versioning",
		"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>", nil)
	if got := r.do(r.admin, "PUT", "/bucket/k", "", self); got.status != 200 ||
		got.header.Get("X-Amz-Version-Id") == "" {
		t.Errorf("with versions: %+v", got)
	}
}
