package s3_test

import (
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"sekisho/internal/activity/audit/audittest"
	"sekisho/internal/api/s3"
	"sekisho/internal/iam/identity"
	"sekisho/internal/servertest/doortest"
	"sekisho/internal/storage/objects"
	"sekisho/internal/wire/sigv4"
)

const (
	account = doortest.Account
	region  = doortest.Region
)

type trail = audittest.Trail

type rig struct {
	t     *testing.T
	dir   *identity.Directory
	url   string
	trail *trail
	admin sigv4.Credentials
}

func start(t *testing.T) *rig {
	t.Helper()
	b := doortest.NewBase(t, nil)
	discard := slog.New(slog.DiscardHandler)
	store, err := objects.Open(t.Context(),
		objects.Config{Dir: t.TempDir(), Index: b.DB.Objects, Keys: b.Ring, Log: discard})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, dir: b.Directory, trail: b.Trail, admin: b.Admin}
	door := s3.New(s3.Config{API: b.API(), Log: discard, Objects: store, Policies: b.Directory.Sets,
		Account: account, Region: region})
	web := httptest.NewServer(door.Front(nil, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s3.Claims(r) {
			door.RefuseUnsigned(w, r)
			return
		}
		http.NotFound(w, r)
	})))
	t.Cleanup(web.Close)
	r.url = web.URL
	if got := r.do(r.admin, "PUT", "/bucket", "", nil); got.status != 200 {
		t.Fatalf("create: %+v", got)
	}
	return r
}

type result struct {
	status int
	code   string // of an error
	body   string
	header http.Header
}

func (r *rig) user(name, policy string) sigv4.Credentials {
	r.t.Helper()
	if _, err := r.dir.Users.Create(r.t.Context(), "/", name, "", nil); err != nil {
		r.t.Fatal(err)
	}
	r.grant(name, policy)
	k, err := r.dir.Keys.Create(r.t.Context(), name)
	if err != nil {
		r.t.Fatal(err)
	}
	return sigv4.Credentials{AccessKeyID: k.ID, SecretAccessKey: k.Secret}
}

func (r *rig) grant(name, statement string) {
	r.t.Helper()
	if err := r.dir.Holders.PutInline(r.t.Context(), identity.KindUser, name, "p",
		`{"Version":"2012-10-17","Statement":`+statement+`}`); err != nil {
		r.t.Fatal(err)
	}
}

// do makes a signed call.
func (r *rig) do(creds sigv4.Credentials, method, path, body string, header map[string]string) result {
	return r.send(creds, method, path, body, sigv4.HashBody([]byte(body)), region, header)
}

func (r *rig) send(creds sigv4.Credentials, method, path, body, hash, region string, header map[string]string) result {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	if creds.AccessKeyID != "" {
		sigv4.Sign(req, creds, region, "s3", time.Now(), hash)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	out := result{status: resp.StatusCode, body: string(b), header: resp.Header}
	if resp.StatusCode >= 300 {
		var e struct{ Code string }
		if xml.Unmarshal(b, &e) == nil {
			out.code = e.Code
		}
	}
	return out
}

// TestNodeRole: what a node's role may do, and what it no longer may.
func TestNodeRole(t *testing.T) {
	t.Parallel()
	r := start(t)
	const put = `{"Effect":"Allow","Action":"s3:PutObject","Resource":"arn:aws:s3:::bucket/logs/*"},` +
		`{"Effect":"Allow","Action":"s3:GetEncryptionConfiguration","Resource":"arn:aws:s3:::bucket"}`
	node := r.user("node", "["+put+"]")
	upload := func() result {
		return r.do(node, "PUT", "/bucket/logs/s.log", "what was done",
			map[string]string{"X-Amz-Acl": "bucket-owner-full-control", "Content-Type": "text/plain"})
	}
	if got := upload(); got.status != 200 || got.header.Get("X-Amz-Server-Side-Encryption") != "AES256" {
		t.Errorf("upload: %+v", got)
	}
	e := r.trail.Last()
	if e.EventSource != "s3.amazonaws.com" || e.EventName != "PutObject" || e.ErrorCode != "" ||
		e.UserIdentity.UserName != "node" || len(e.Resources) == 0 || e.Resources[0].ARN != "arn:aws:s3:::bucket/logs/s.log" {
		t.Errorf("in the trail: %+v", e)
	}
	if got := r.do(node, "GET", "/bucket?encryption", "", nil); got.status != 200 || !strings.Contains(got.body,
		"<SSEAlgorithm>AES256</SSEAlgorithm>") {
		t.Errorf("encryption: %+v", got)
	}
	for what, got := range map[string]result{
		"elsewhere":         r.do(node, "PUT", "/bucket/other.log", "x", nil),
		"the prefix itself": r.do(node, "PUT", "/bucket/logs", "x", nil),
		"read back":         r.do(node, "GET", "/bucket/logs/s.log", "", nil),
		"read nothing":      r.do(node, "GET", "/bucket/logs/none", "", nil),
		"delete":            r.do(node, "DELETE", "/bucket/logs/s.log", "", nil),
		"list":              r.do(node, "GET", "/bucket?list-type=2", "", nil),
		"buckets":           r.do(node, "GET", "/", "", nil),
		"another bucket":    r.do(node, "PUT", "/nobucket/logs/x", "x", nil),
		"copy": r.do(node, "PUT", "/bucket/logs/copy", "",
			map[string]string{"X-Amz-Copy-Source": "/bucket/logs/s.log"}),
		"policy":            r.do(node, "PUT", "/bucket?policy", "{}", nil),
		"remove the bucket": r.do(node, "DELETE", "/bucket", "", nil),
	} {
		if got.status != 403 || got.code != "AccessDenied" {
			t.Errorf("%s: %d %s", what, got.status, got.body)
		}
	}
	if got := r.do(node, "HEAD", "/bucket", "", nil); got.status != 403 ||
		got.header.Get("X-Amz-Bucket-Region") != region {
		t.Errorf("the region is missing in a refusal: %+v", got)
	}
	r.grant("node", `[{"Effect":"Allow","Action":"s3:GetEncryptionConfiguration","Resource":"*"}]`)
	if got := upload(); got.status != 403 || got.code != "AccessDenied" {
		t.Errorf("upload without the permission: %+v", got)
	}
	if e := r.trail.Last(); e.EventName != "PutObject" || e.ErrorCode != "AccessDenied" {
		t.Errorf("in the trail: %+v", e)
	}
}

func TestBucketPolicy(t *testing.T) {
	t.Parallel()
	r := start(t)
	alice := r.user(
		"alice",
		`[{"Effect":"Allow","Action":"s3:ListBucket","Resource":"*","Condition":{"StringLike":{"s3:prefix":"open/*"}}}]`,
	)
	for _, k := range []string{"open/a", "closed/a"} {
		r.do(r.admin, "PUT", "/bucket/"+k, "content", nil)
	}
	if got := r.do(alice, "GET", "/bucket/open/a", "", nil); got.code != "AccessDenied" {
		t.Errorf("before: %+v", got)
	}
	policy := `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:user/alice"},"Action":"s3:GetObject","Resource":"arn:aws:s3:::bucket/open/*"},
		{"Effect":"Deny","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::bucket/closed/*"}]}`
	if got := r.do(r.admin, "PUT", "/bucket?policy", policy, nil); got.status != 204 {
		t.Fatalf("put: %+v", got)
	}
	if got := r.do(alice, "GET", "/bucket/open/a", "", nil); got.status != 200 || got.body != "content" {
		t.Errorf("allowed by the bucket: %+v", got)
	}
	if got := r.do(r.admin, "GET", "/bucket/closed/a", "", nil); got.code != "AccessDenied" {
		t.Errorf("denied by the bucket: %+v", got)
	}
	// The Deny applies however the object is read.
	if got := r.do(r.admin, "PUT", "/bucket/copy", "",
		map[string]string{"X-Amz-Copy-Source": "bucket/closed/a"}); got.code != "AccessDenied" {
		t.Errorf("copied past the bucket: %+v", got)
	}
	if got := r.do(alice, "GET", "/bucket?list-type=2&prefix=open/", "", nil); got.status != 200 {
		t.Errorf("list: %+v", got)
	}
	if got := r.do(alice, "GET", "/bucket?list-type=2", "", nil); got.code != "AccessDenied" {
		t.Errorf("list without the prefix: %+v", got)
	}
	for what, p := range map[string]string{
		"public": `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*",` +
			`"Action":"s3:GetObject","Resource":"arn:aws:s3:::bucket/*"}]}`,
		"malformed": `{"Statement":`,
		"prefix longer than an address": `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*",` +
			`"Action":"s3:GetObject","Resource":"arn:aws:s3:::bucket/*",` +
			`"Condition":{"NotIpAddress":{"aws:SourceIp":"10.0.0.0/99"}}}]}`,
		"resource of another bucket": `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*",` +
			`"Action":"s3:GetObject","Resource":"arn:aws:s3:::other/*"}]}`,
		"action of another service": `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*",` +
			`"Action":"ssm:GetDocument","Resource":"arn:aws:s3:::bucket/*"}]}`,
		"no such user": strings.ReplaceAll(policy, "alice", "nobody"),
	} {
		if got := r.do(r.admin, "PUT", "/bucket?policy", p, nil); got.status < 400 || got.status >= 500 {
			t.Errorf("%s: %+v", what, got)
		}
	}
	// Unsigned requests are refused.
	if got := r.send(sigv4.Credentials{}, "GET", "/bucket/open/a?X-Amz-Credential=x/20261123/us-east-1/s3/aws4_request",
		"", "", region, nil); got.status < 400 {
		t.Errorf("unsigned: %+v", got)
	}
}

// TestStreaming: bodies that differ from their declaration leave no data
// behind.
func TestStreaming(t *testing.T) {
	t.Parallel()
	r := start(t)
	crc := func(s string) string {
		n := crc32.ChecksumIEEE([]byte(s))
		return base64.StdEncoding.EncodeToString([]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
	}
	chunked := func(s, sum string) string {
		return fmt.Sprintf("%x\r\n%s\r\n0\r\nx-amz-checksum-crc32:%s\r\n\r\n", len(s), s, sum)
	}
	trailer := func(n int) map[string]string {
		return map[string]string{"X-Amz-Trailer": "x-amz-checksum-crc32", "X-Amz-Decoded-Content-Length": fmt.Sprint(n),
			"Content-Encoding": "aws-chunked"}
	}
	for what, c := range map[string]struct {
		body, hash string
		header     map[string]string
		status     int
		code       string
	}{
		"trailer": {chunked("hello", crc("hello")), sigv4.StreamingUnsigned, trailer(5), 200, ""},
		"another trailer": {chunked("hello", crc("hallo")), sigv4.StreamingUnsigned, trailer(5), 400,
			"BadDigest"},
		"no trailer": {"5\r\nhello\r\n0\r\n\r\n", sigv4.StreamingUnsigned, trailer(5), 400,
			"MalformedTrailerError"},
		"trailer and an empty line": {chunked("hello", crc("hello")) + "\r\n", sigv4.StreamingUnsigned, trailer(5), 200,
			""},
		"trailer and two empty lines": {chunked("hello", crc("hello")) + "\r\n\r\n", sigv4.StreamingUnsigned, trailer(5),
			400, "IncompleteBody"},
		"trailer that is not a checksum": {chunked("hello", "x"), sigv4.StreamingUnsigned, trailer(5), 400, "InvalidRequest"},
		"another length": {chunked("hello", crc("hello")), sigv4.StreamingUnsigned, trailer(6), 400,
			"IncompleteBody"},
		"no length": {chunked("hello", crc("hello")), sigv4.StreamingUnsigned,
			map[string]string{"X-Amz-Trailer": "x-amz-checksum-crc32"}, 411, "MissingContentLength"},
		"an invalid trailer": {chunked("hello", crc("hello")), sigv4.StreamingUnsigned,
			map[string]string{"X-Amz-Trailer": "x-evil", "X-Amz-Decoded-Content-Length": "5"}, 400, "InvalidRequest"},
		"malformed": {"hello", sigv4.StreamingUnsigned, trailer(5), 400, "IncompleteBody"},
		"chunk unsigned": {"5\r\nhello\r\n0\r\n\r\n", sigv4.StreamingSigned,
			map[string]string{"X-Amz-Decoded-Content-Length": "5"}, 400, "IncompleteBody"},
		"chunk mis-signed": {"5;chunk-signature=" + strings.Repeat("0",
			64) + "\r\nhello\r\n0;chunk-signature=" + strings.Repeat("0", 64) + "\r\n\r\n", sigv4.StreamingSigned,
			map[string]string{"X-Amz-Decoded-Content-Length": "5"}, 403, "SignatureDoesNotMatch"},
		"another body": {"hallo", sigv4.HashBody([]byte("hello")), nil, 400, "XAmzContentSHA256Mismatch"},
		"not hashed":   {"hello", sigv4.UnsignedPayload, nil, 200, ""},
		"another MD5": {"hello", sigv4.UnsignedPayload,
			map[string]string{"Content-Md5": "AAAAAAAAAAAAAAAAAAAAAA=="}, 400, "BadDigest"},
		"no MD5": {"hello", sigv4.UnsignedPayload, map[string]string{"Content-Md5": "AAAA"}, 400,
			"InvalidDigest"},
		"two checksums": {"hello", sigv4.UnsignedPayload, map[string]string{"X-Amz-Checksum-Crc32": crc(
			"hello"), "X-Amz-Checksum-Sha1": "x"}, 400, "InvalidRequest"},
		"an invalid checksum": {"hello", sigv4.UnsignedPayload, map[string]string{"X-Amz-Checksum-Xxh3": "x"}, 400,
			"InvalidRequest"},
	} {
		key := "/bucket/" + strings.ReplaceAll(what, " ", "-")
		got := r.send(r.admin, "PUT", key, c.body, c.hash, region, c.header)
		if got.status != c.status || got.code != c.code {
			t.Errorf("%s: %d %s", what, got.status, got.body)
		}
		have := r.do(r.admin, "GET", key, "", nil)
		if c.status == 200 && have.body != "hello" || c.status != 200 && have.code != "NoSuchKey" {
			t.Errorf("%s: afterwards %d %s", what, have.status, have.body)
		}
		if enc := have.header.Get("Content-Encoding"); enc != "" {
			t.Errorf("%s: the framing was kept as content encoding %q", what, enc)
		}
	}
}

func TestReading(t *testing.T) {
	t.Parallel()
	r := start(t)
	put := r.do(r.admin, "PUT", "/bucket/k", "0123456789", map[string]string{"Content-Type": "text/html",
		"X-Amz-Meta-Who": "me"})
	etag := put.header.Get("Etag")
	for what, c := range map[string]struct {
		header map[string]string
		status int
		body   string
		code   string
	}{
		"all":                {nil, 200, "0123456789", ""},
		"range":              {map[string]string{"Range": "bytes=2-4"}, 206, "234", ""},
		"beyond":             {map[string]string{"Range": "bytes=10-"}, 416, "", "InvalidRange"},
		"match":              {map[string]string{"If-Match": etag}, 200, "0123456789", ""},
		"no match":           {map[string]string{"If-Match": `"x"`}, 412, "", "PreconditionFailed"},
		"unchanged":          {map[string]string{"If-None-Match": etag}, 304, "", ""},
		"changed":            {map[string]string{"If-None-Match": `"x"`}, 200, "0123456789", ""},
		"not modified since": {map[string]string{"If-Modified-Since": "Mon, 01 Jan 2125 00:00:00 GMT"}, 304, "", ""},
		"modified since": {map[string]string{"If-Unmodified-Since": "Mon, 01 Jan 2001 00:00:00 GMT"}, 412, "",
			"PreconditionFailed"},
		"If-Match takes precedence": {
			map[string]string{"If-Match": etag, "If-Unmodified-Since": "Mon, 01 Jan 2001 00:00:00 GMT"},
			200, "0123456789", ""},
		"another owner's bucket": {map[string]string{"X-Amz-Expected-Bucket-Owner": "999999999999"}, 403, "", "AccessDenied"},
	} {
		got := r.do(r.admin, "GET", "/bucket/k", "", c.header)
		if got.status != c.status || got.code != c.code || got.code == "" && got.body != c.body {
			t.Errorf("%s: %d %s", what, got.status, got.body)
		}
		if csp := got.header.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "sandbox") {
			t.Errorf("%s: an object could run as a page of this server (%q)", what, csp)
		}
	}
	head := r.do(r.admin, "HEAD", "/bucket/k", "", nil)
	if head.status != 200 || head.header.Get("Content-Length") != "10" || head.header.Get("X-Amz-Meta-Who") != "me" ||
		head.header.Get("X-Amz-Version-Id") != "" {
		t.Errorf("%+v", head)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.do(r.admin, "PUT", "/bucket/k", "x", nil)
	long := "/bucket/" + strings.Repeat("x", 1025)
	for what, c := range map[string]struct {
		method, path, body string
		header             map[string]string
		status             int
		code               string
	}{
		"no bucket":          {"GET", "/nobucket/k", "", nil, 404, "NoSuchBucket"},
		"no key":             {"GET", "/bucket/none", "", nil, 404, "NoSuchKey"},
		"no version":         {"GET", "/bucket/k?versionId=ABCDEFGHIJKLMNOPQRSTUVWXYZ012345", "", nil, 404, "NoSuchVersion"},
		"an invalid version": {"GET", "/bucket/k?versionId=none", "", nil, 400, "InvalidArgument"},
		"empty version":      {"GET", "/bucket/k?versionId=", "", nil, 400, "InvalidArgument"},
		"an invalid source": {"PUT", "/bucket/c", "", map[string]string{"X-Amz-Copy-Source": "/bucket/k?versionId=none"}, 400,
			"InvalidArgument"},
		"the owner of the source": {"PUT", "/bucket/c", "", map[string]string{"X-Amz-Copy-Source": "/bucket/k",
			"X-Amz-Source-Expected-Bucket-Owner": "999999999999"}, 403, "AccessDenied"},
		"default region": {"PUT", "/new-bucket",
			"<CreateBucketConfiguration><LocationConstraint>us-east-1</LocationConstraint></CreateBucketConfiguration>", nil,
			400, "InvalidLocationConstraint"},
		"an invalid region": {"PUT", "/new-bucket",
			"<CreateBucketConfiguration><LocationConstraint>moon</LocationConstraint></CreateBucketConfiguration>", nil, 400,
			"InvalidLocationConstraint"},
		"other region": {"PUT", "/new-bucket",
			"<CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>", nil,
			400, "IllegalLocationConstraintException"},

		"bucket exists":          {"PUT", "/bucket", "", nil, 409, "BucketAlreadyOwnedByYou"},
		"an invalid bucket name": {"PUT", "/Bad_Name", "", nil, 400, "InvalidBucketName"},
		"not empty":              {"DELETE", "/bucket", "", nil, 409, "BucketNotEmpty"},
		"long key":               {"PUT", long, "x", nil, 400, "KeyTooLongError"},
		"exists": {"PUT", "/bucket/k", "x", map[string]string{"If-None-Match": "*"}, 412,
			"PreconditionFailed"},
		"changed": {"PUT", "/bucket/k", "x", map[string]string{"If-Match": "no"}, 412, "PreconditionFailed"},
		"KMS": {"PUT", "/bucket/n", "x", map[string]string{"X-Amz-Server-Side-Encryption": "aws:kms"}, 501,
			"NotImplemented"},
		"an encryption key of the customer": {"PUT", "/bucket/n", "x",
			map[string]string{"X-Amz-Server-Side-Encryption-Customer-Algorithm": "AES256"}, 501, "NotImplemented"},
		"tag twice":    {"PUT", "/bucket/n", "x", map[string]string{"X-Amz-Tagging": "a=b&a=c"}, 400, "InvalidTag"},
		"invalid tags": {"PUT", "/bucket/n", "x", map[string]string{"X-Amz-Tagging": "a=%zz"}, 400, "InvalidArgument"},
		"public": {"PUT", "/bucket/n", "x", map[string]string{"X-Amz-Acl": "public-read"}, 400,
			"AccessControlListNotSupported"},
		"metadata": {"PUT", "/bucket/n", "x", map[string]string{"X-Amz-Meta-A": strings.Repeat("x", 3000)}, 400,
			"MetadataTooLarge"},
		"subresource":    {"PUT", "/bucket?cors", "x", nil, 501, "NotImplemented"},
		"two conditions": {"GET", "/bucket?policy&acl", "", nil, 501, "NotImplemented"},
		"method":         {"PATCH", "/bucket/k", "", nil, 501, "NotImplemented"},
		"XML":            {"PUT", "/bucket?versioning", "<a>", nil, 400, "MalformedXML"},
		"versioning": {"PUT", "/bucket?versioning", "<VersioningConfiguration/>", nil, 400,
			"IllegalVersioningConfigurationException"},
		"nothing deleted": {"POST", "/bucket?delete", "<Delete/>", nil, 400, "MalformedXML"},
		"upload":          {"PUT", "/bucket/k?uploadId=none&partNumber=1", "x", nil, 404, "NoSuchUpload"},
		"token":           {"GET", "/bucket?list-type=2&continuation-token=!", "", nil, 400, "InvalidArgument"},
		"max-keys":        {"GET", "/bucket?list-type=2&max-keys=x", "", nil, 400, "InvalidArgument"},
		"copy onto itself": {"PUT", "/bucket/k", "", map[string]string{"X-Amz-Copy-Source": "/bucket/k"}, 400,
			"InvalidRequest"},
		"copy of a missing object": {"PUT", "/bucket/c", "", map[string]string{"X-Amz-Copy-Source": "bucket"}, 400,
			"InvalidArgument"},
	} {
		got := r.do(r.admin, c.method, c.path, c.body, c.header)
		if got.status != c.status || got.code != c.code {
			t.Errorf("%s: %d %s", what, got.status, got.body)
		}
	}
	if got := r.send(r.admin, "GET", "/bucket/k", "", sigv4.HashBody(nil), "eu-west-1", nil); got.status != 400 ||
		got.code != "AuthorizationHeaderMalformed" || !strings.Contains(got.body, "<Region>us-east-1</Region>") {
		t.Errorf("another region: %+v", got)
	}
	if got := r.send(sigv4.Credentials{AccessKeyID: r.admin.AccessKeyID, SecretAccessKey: "wrong"}, "GET", "/bucket/k",
		"", sigv4.HashBody(nil), region, nil); got.status != 403 || got.code != "SignatureDoesNotMatch" {
		t.Errorf("a wrong secret: %+v", got)
	}
	if got := r.send(sigv4.Credentials{}, "GET", "/bucket/k?AWSAccessKeyId=A&Signature=B&Expires=1", "", "", region,
		nil); got.status != 400 || got.code != "InvalidRequest" {
		t.Errorf("the old signature: %+v", got)
	}
	if got := r.do(r.admin, "GET", "/healthz", "", nil); got.code != "NoSuchBucket" {
		t.Errorf("a bucket of another door's name: %+v", got)
	}
}
