// Package s3 is the S3 door: the REST API of Amazon S3 over
// [sekisho/internal/storage/objects].
//
// Buckets are addressed by path (host/bucket/key) and by host
// (bucket.host/key). Requests are signed in the header or presigned. Bodies are
// plain or in aws-chunked framing, and are streamed. Unsigned requests are
// refused, whatever a bucket's policy says.
package s3

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/api"
	"sekisho/internal/iam/authz"
	"sekisho/internal/iam/policy"
	"sekisho/internal/safetext"
	"sekisho/internal/storage/objects"
	"sekisho/internal/wire/awsproto"
	"sekisho/internal/wire/id"
	"sekisho/internal/wire/sigv4"
)

const xmlns = "http://s3.amazonaws.com/doc/2006-03-01/"

// Policies joins a caller's policies with a resource's policy, and resolves the principals that the
// latter names.
type Policies interface {
	ResourcePolicy(ctx context.Context, document string) (names map[string]string, err error)
	ResourcePolicyToday(ctx context.Context, document string, names map[string]string) (string, error)
	SetWithResource(ctx context.Context, p *sekisho.Principal, resource *policy.Document) (*policy.Set, error)
}

// Config is the configuration of the door.
type Config struct {
	API      *api.Server
	Log      *slog.Logger
	Objects  *objects.Store
	Policies Policies
	Account  string
	Region   string
	// SessionLogs finds session logs, to protect them from the nodes that write them; nil disables
	// the protection.
	SessionLogs SessionLogs
	// RefuseLogRewrites refuses a node's second write to a log even if it would create a new
	// version.
	RefuseLogRewrites bool
}

// Door is the S3 door.
type Door struct {
	Config
	door *api.Door
}

// New returns the door.
func New(cfg Config) *Door {
	d := &Door{Config: cfg, door: &api.Door{
		Service: "s3", Protocol: awsproto.RESTXML, Operations: map[string]api.Operation{},
		SignatureError: func(e *sigv4.Error) *awsproto.Error {
			return &awsproto.Error{Code: e.S3Code(), Message: e.Message, Status: e.Status(), Sender: true}
		},
		Errors: map[sekisho.Code]string{
			sekisho.CodeInvalid:         "InvalidArgument",
			sekisho.CodeDenied:          "AccessDenied",
			sekisho.CodeUnauthenticated: "InvalidAccessKeyId",
			sekisho.CodeExpired:         "ExpiredToken",
			sekisho.CodeNotImplemented:  "NotImplemented",
			sekisho.CodeMalformedPolicy: "MalformedPolicy",
			sekisho.CodeThrottled:       "SlowDown",
		},
	}}
	for _, ops := range []map[string]operation{serviceOps, bucketOps, objectOps} {
		for route, op := range ops {
			method, _, _ := strings.Cut(route, " ")
			d.door.Operations[op.name] = api.Routed()
			if method == http.MethodGet || method == http.MethodHead {
				d.door.Operations[op.name] = api.Routed(api.Reads)
			}
		}
	}
	return d
}

// Operations returns the names of the door's operations.
func (d *Door) Operations() []string { return slices.Sorted(maps.Keys(d.door.Operations)) }

// Front returns a handler that serves the requests signed for S3 and passes others to next.
// Subdomains of hosts are buckets.
func (d *Door) Front(hosts []string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !wanted(r) {
			next.ServeHTTP(w, r)
			return
		}
		d.serve(w, r, hosts)
	})
}

// Claims reports whether a request that is not signed for S3 still looks like one
// for S3: it names no operation of another protocol.
func Claims(r *http.Request) bool {
	if r.Header.Get("X-Amz-Target") != "" || r.URL.Query().Has("Action") {
		return false
	}
	return r.URL.Path != "/" || r.Method != http.MethodPost && (r.Header.Get("Authorization") != "" ||
		strings.Contains(r.URL.RawQuery, "X-Amz-"))
}

// RefuseUnsigned answers a request for which [Claims] is true with S3's error for its signature.
func (d *Door) RefuseUnsigned(w http.ResponseWriter, r *http.Request) { d.serve(w, r, nil) }

// old reports whether a request is signed with version 2, which clients in
// us-east-1 still use for presigned URLs.
func old(r *http.Request) bool {
	q := r.URL.Query()
	return strings.HasPrefix(r.Header.Get("Authorization"), "AWS ") || q.Has("AWSAccessKeyId") && q.Has("Signature") &&
		q.Has("Expires")
}

// wanted reports whether a request is signed for S3.
func wanted(r *http.Request) bool {
	if old(r) {
		return true
	}
	scope := ""
	if auth := r.Header.Get("Authorization"); auth != "" {
		_, scope, _ = strings.Cut(auth, "Credential=")
		scope, _, _ = strings.Cut(scope, ",")
	} else if strings.Contains(r.URL.RawQuery, "X-Amz-Credential=") {
		scope = r.URL.Query().Get("X-Amz-Credential")
	}
	parts := strings.Split(strings.TrimSpace(scope), "/")
	return len(parts) == 5 && parts[3] == "s3"
}

// address returns the bucket and the key of a request.
func address(r *http.Request, hosts []string) (bucket, key string) {
	bucket = hostBucket(r.Host, hosts)
	path := strings.TrimPrefix(r.URL.Path, "/")
	if bucket != "" {
		return bucket, path
	}
	bucket, key, _ = strings.Cut(path, "/")
	return bucket, key
}

// hostBucket returns the bucket in a host name: the part before one of the server's own names, or
// before the label "s3" or "s3-…".
func hostBucket(host string, hosts []string) string {
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		host = host[:i]
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if slices.Contains(hosts, host) {
		return ""
	}
	best := ""
	for _, h := range hosts {
		if len(h) > len(best) && strings.HasSuffix(host, "."+h) {
			best = h
		}
	}
	if best != "" {
		bucket := strings.TrimSuffix(host, "."+best)
		if bucket == "s3" || strings.HasPrefix(bucket, "s3.") {
			return ""
		}
		return strings.TrimSuffix(bucket, ".s3")
	}
	labels := strings.Split(host, ".")
	for i := len(labels) - 1; i > 0; i-- {
		if labels[i] == "s3" || strings.HasPrefix(labels[i], "s3-") {
			return strings.Join(labels[:i], ".")
		}
	}
	return ""
}

// request is one call.
type request struct {
	*api.Call
	*Door
	w      http.ResponseWriter
	r      *http.Request
	query  url.Values
	bucket string
	key    string
	config *objects.Bucket // nil if the bucket does not exist
}

// operation is one operation of S3.
type operation struct {
	name   string
	handle func(ctx context.Context, q *request) (answer, error)
}

// answer is a response. It is sent after the call has been recorded in the audit trail.
type answer struct {
	status int
	xml    any // nil = no body
	body   func(w http.ResponseWriter) error
	done   func() // always called
}

// find selects the operation by method, level and subresource.
func (q *request) find() (operation, bool) {
	ops, level := objectOps, "object"
	switch {
	case q.bucket == "":
		ops, level = serviceOps, "service"
	case q.key == "":
		ops, level = bucketOps, "bucket"
	}
	route := q.r.Method
	for _, s := range subresources {
		if q.query.Has(s) {
			route += " " + s
		}
	}
	switch {
	case level == "object" && q.r.Method == http.MethodPut && q.r.Header.Get("X-Amz-Copy-Source") != "":
		route += " copy"
	case level == "bucket" && route == http.MethodGet && q.query.Get("list-type") == "2":
		route += " list-type"
	}
	op, ok := ops[route]
	if !ok {
		if op.name = modelRoutes[level+" "+route]; op.name == "" {
			_, subresource, _ := strings.Cut(route, " ")
			op.name = title(q.r.Method) + title(level) + title(strings.ReplaceAll(subresource, " ", ""))
		}
	}
	return op, ok
}

func title(s string) string {
	if len(s) > 40 {
		s = s[:40]
	}
	s = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return -1
	}, s)
	if s == strings.ToUpper(s) {
		s = strings.ToLower(s)
	}
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// ServeAs serves a request of a principal that the console has verified. Its path contains the
// bucket and the key.
func (d *Door) ServeAs(w http.ResponseWriter, r *http.Request, p *sekisho.Principal) {
	q := &request{Door: d, w: w, r: r, query: r.URL.Query()}
	q.bucket, q.key, _ = strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	d.answer(
		q,
		func(operation string) (*api.Call, bool) { return d.API.EnterStreamAs(w, r, p, d.door, operation), true },
	)
}

func (d *Door) serve(w http.ResponseWriter, r *http.Request, hosts []string) {
	continueEmpty(w, r)
	q := &request{Door: d, w: w, r: r, query: r.URL.Query()}
	q.bucket, q.key = address(r, hosts)
	d.answer(q, func(operation string) (*api.Call, bool) {
		if old(r) {
			e := fault(
				"InvalidRequest",
				"The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256: set the "+
					"client's signature version for S3 to s3v4.",
			)
			if err := awsproto.WriteRESTXMLError(w, id.UUID(), e); err != nil {
				d.Log.DebugContext(r.Context(), "answer not delivered", "service", "s3", "error", err)
			}
			return nil, false
		}
		return d.API.EnterStream(w, r, d.door, operation)
	})
}

// maxDrain bounds the part of a body that is read before a refusal. A client that is still sending
// its body might see a broken connection instead of the refusal.
const maxDrain = 8 << 20

// drain reads the rest of a short body that the client is already sending.
func (q *request) drain() {
	if q.r.ContentLength > 0 && q.r.ContentLength <= maxDrain && q.r.Header.Get("Expect") == "" {
		_, _ = io.Copy(io.Discard, q.Raw()) // an error ends the connection, with or without the refusal
	}
}

// continueEmpty answers "Expect: 100-continue" of a request with an empty body, which net/http does
// not. Otherwise botocore would wait for that answer in its next request on the connection.
func continueEmpty(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength == 0 && r.ProtoMajor == 1 && strings.EqualFold(r.Header.Get("Expect"), "100-continue") {
		w.WriteHeader(http.StatusContinue)
	}
}

// answer answers a request once enter has verified its caller.
func (d *Door) answer(q *request, enter func(operation string) (*api.Call, bool)) {
	w, r := q.w, q.r
	op, known := q.find()
	h := w.Header()
	// An object can be a page with scripts, which must not run on the console's origin.
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	if q.bucket != "" {
		h.Set("X-Amz-Bucket-Region", d.Region)
	}
	var ok bool
	if q.Call, ok = enter(op.name); !ok {
		return
	}
	q.SetParams(q.params())
	h.Set("X-Amz-Request-Id", q.RequestID)
	if !known {
		q.WriteError(w, r, sekisho.Errorf(sekisho.CodeNotImplemented,
			"A header or query you provided implies functionality that is not implemented: s3:%s.", op.name))
		return
	}
	if err := q.Begin(r.Context()); err != nil {
		q.WriteUnaudited(w, r, err)
		return
	}
	ans, err := q.run(r.Context(), op)
	if ans.done != nil {
		defer ans.done()
	}
	if err != nil {
		q.drain()
		q.WriteError(w, r, q.onWire(err))
		return
	}
	if err := q.AuditSuccess(r); err != nil {
		q.WriteUnaudited(w, r, err)
		return
	}
	if err := q.send(ans); err != nil {
		// The status has already been sent. Aborting the body shows the client that the call
		// failed.
		d.Log.WarnContext(r.Context(), "answer not delivered", "service", "s3", "operation", op.name, "request_id",
			q.RequestID, "error", err)
		panic(http.ErrAbortHandler)
	}
}

func (q *request) run(ctx context.Context, op operation) (answer, error) {
	for _, name := range []string{"X-Amz-Expected-Bucket-Owner", "X-Amz-Source-Expected-Bucket-Owner"} {
		if owner := q.header(name); owner != "" && owner != q.Account {
			return answer{}, sekisho.Errorf(
				sekisho.CodeDenied,
				"The bucket is not owned by the account %s, which %s names.",
				clip(owner),
				strings.ToLower(name),
			)
		}
	}
	if q.query.Has("versionId") {
		if err := checkVersionID(q.query.Get("versionId")); err != nil {
			return answer{}, err
		}
	}
	if q.bucket != "" {
		var err error
		if q.config, err = q.Objects.Bucket(ctx, q.bucket); err != nil && !errors.Is(err, objects.ErrNoBucket) {
			return answer{}, err
		}
	}
	return op.handle(ctx, q)
}

// checkVersionID refuses an invalid version ID.
func checkVersionID(versionID string) error {
	switch {
	case versionID == "":
		return fault("InvalidArgument", "Version id cannot be the empty string")
	case !objects.ValidVersionID(versionID):
		return fault("InvalidArgument", "Invalid version id specified")
	}
	return nil
}

func (q *request) send(ans answer) error {
	if ans.status == 0 {
		ans.status = http.StatusOK
	}
	switch {
	case ans.body != nil:
		return ans.body(q.w)
	case ans.xml != nil:
		return awsproto.WriteXML(q.w, ans.status, q.RequestID, ans.xml)
	}
	q.w.WriteHeader(ans.status)
	return nil
}

// params returns the request's parameters for the audit trail.
func (q *request) params() map[string]any {
	m := map[string]any{}
	if q.bucket != "" {
		m["bucketName"] = clip(q.bucket)
	}
	if q.key != "" {
		m["key"] = clip(q.key)
	}
	for _, name := range []string{"versionId", "uploadId", "partNumber", "prefix"} {
		if v := q.query.Get(name); v != "" {
			m[name] = clip(v)
		}
	}
	for _, name := range []string{"X-Amz-Copy-Source", "Range", "X-Amz-Acl"} {
		if v := q.header(name); v != "" {
			m[strings.ToLower(name)] = clip(v)
		}
	}
	return m
}

// clip bounds callers' text in messages and records. The longest key fits.
func clip(s string) string { return safetext.Line(s, objects.MaxKey) }

// header returns a header field, or the query parameter in which a presigned URL carries it.
func (q *request) header(name string) string {
	if v := q.r.Header.Get(name); v != "" {
		return v
	}
	if strings.HasPrefix(name, "X-Amz-") && q.query.Has("X-Amz-Signature") {
		for k, v := range q.query {
			if strings.EqualFold(k, name) && len(v) > 0 {
				return v[0]
			}
		}
	}
	return ""
}

// allow authorizes action on resource by the caller's policies and the bucket's. A missing bucket
// is an error.
func (q *request) allow(ctx context.Context, action, resource string, keys ...authz.Key) error {
	if err := q.may(ctx, q.config, action, resource, keys...); err != nil {
		return err
	}
	if q.config == nil && q.bucket != "" {
		return objects.ErrNoBucket
	}
	return nil
}

// may is allow for any bucket; b is nil if the bucket does not exist.
func (q *request) may(ctx context.Context, b *objects.Bucket, action, resource string, keys ...authz.Key) error {
	return q.authorize(ctx, q.Call, b, action, resource, append(keys, q.keys()...)...)
}

// AllowPut authorizes the caller to write a key, for other doors that write it on the caller's
// behalf. A missing bucket is an error.
func (d *Door) AllowPut(ctx context.Context, c *api.Call, bucket, key string) error {
	b, err := d.Objects.Bucket(ctx, bucket)
	if err != nil && !sekisho.IsNotFound(err) {
		return err
	}
	if denied := d.authorize(ctx, c, b, "s3:PutObject", objects.ObjectARN(bucket, key)); denied != nil {
		return denied
	}
	return err
}

// authorize evaluates the caller's policies and the bucket's.
func (d *Door) authorize(
	ctx context.Context,
	c *api.Call,
	b *objects.Bucket,
	action, resource string,
	keys ...authz.Key,
) error {
	if b == nil || b.Settings.Policy == "" {
		return c.Authorize(ctx, action, resource, keys...)
	}
	text, err := d.policy(ctx, b)
	if err != nil {
		return err
	}
	doc, err := policy.Parse([]byte(text))
	if err != nil {
		doc = policy.Unusable(b.Name, err)
	}
	v, err := c.DecideBy(ctx, authz.New(together{d.Policies, doc.WithSource(b.Name, policy.SourceResource)}), action,
		resource, keys...)
	if err != nil {
		return err
	}
	if !v.Allowed {
		return api.Denied(ctx, v)
	}
	c.Allow()
	return nil
}

// policy returns a bucket's policy with the current names of its principals.
func (d *Door) policy(ctx context.Context, b *objects.Bucket) (string, error) {
	return d.Policies.ResourcePolicyToday(ctx, b.Settings.Policy, b.Settings.PolicyNames)
}

// together joins a caller's policies with a bucket's.
type together struct {
	callers Policies
	bucket  *policy.Document
}

// Policies implements [authz.Policies].
func (t together) Policies(ctx context.Context, p *sekisho.Principal) (*policy.Set, error) {
	return t.callers.SetWithResource(ctx, p, t.bucket)
}

// keys returns the condition keys of every S3 request.
func (q *request) keys() []authz.Key {
	sig := q.Signature()
	how := "REST-HEADER"
	if sig.Presigned {
		how = "REST-QUERY-STRING"
	}
	keys := []authz.Key{
		authz.One("s3:authType", how), authz.One("s3:signatureversion", "AWS4-HMAC-SHA256"),
		authz.One("s3:ResourceAccount", q.Account),
		authz.One("s3:signatureAge", itoa(max(0, q.Time.Sub(sig.Time).Milliseconds()))),
	}
	if sig.PayloadHash != "" {
		keys = append(keys, authz.One("s3:x-amz-content-sha256", sig.PayloadHash))
	}
	for _, name := range []string{"X-Amz-Acl", "X-Amz-Server-Side-Encryption", "X-Amz-Copy-Source",
		"X-Amz-Metadata-Directive", "X-Amz-Storage-Class"} {
		if v := q.header(name); v != "" {
			keys = append(keys, authz.One("s3:"+strings.ToLower(name), v))
		}
	}
	if q.query.Has("versionId") {
		keys = append(keys, authz.One("s3:VersionId", q.query.Get("versionId")))
	}
	return keys
}

// ownerID returns the canonical user ID of the account.
func (d *Door) ownerID() string {
	sum := sha256.Sum256([]byte("canonical user of " + d.Account))
	return hex.EncodeToString(sum[:])
}

type owner struct {
	ID          string
	DisplayName string `xml:",omitempty"`
}

func (d *Door) owner() *owner { return &owner{ID: d.ownerID(), DisplayName: d.Account} }

// isoTime is a time in XML.
type isoTime struct{ time.Time }

// MarshalText implements [encoding.TextMarshaler].
func (t isoTime) MarshalText() ([]byte, error) {
	return []byte(t.UTC().Format("2006-01-02T15:04:05.000Z")), nil
}

// bodyError returns the signature error that caused a failed read of a body.
func bodyError(err error) error {
	if e, ok := errors.AsType[*sigv4.Error](err); ok {
		return e
	}
	return err
}
