package s3

import (
	"context"
	"crypto/md5" //nolint:gosec // Content-MD5 is one: S3 is spoken so
	"encoding/base64"
	"encoding/xml"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/iam/authz"
	"sekisho/internal/storage/objects"
	"sekisho/internal/wire/awsproto"
)

var objectOps = map[string]operation{
	"PUT":               {"PutObject", putObject},
	"PUT copy":          {"CopyObject", copyObject},
	"GET":               {"GetObject", getObject},
	"HEAD":              {"HeadObject", headObject},
	"DELETE":            {"DeleteObject", deleteObject},
	"GET attributes":    {"GetObjectAttributes", getAttributes},
	"GET acl":           {"GetObjectAcl", objectACL},
	"GET tagging":       {"GetObjectTagging", objectTagging},
	"POST uploads":      {"CreateMultipartUpload", startUpload},
	"PUT uploadId":      {"UploadPart", putPart},
	"PUT uploadId copy": {"UploadPartCopy", copyPart},
	"POST uploadId":     {"CompleteMultipartUpload", completeUpload},
	"DELETE uploadId":   {"AbortMultipartUpload", abortUpload},
	"GET uploadId":      {"ListParts", listParts},
}

// algorithms are the checksum algorithms by the ends of their headers' names.
var algorithms = map[string]string{
	"crc32": objects.CRC32, "crc32c": objects.CRC32C, "crc64nvme": objects.CRC64NVME, "sha1": objects.SHA1, "sha256": objects.SHA256,
}

const checksumPrefix = "x-amz-checksum-"

// checksumHeader is the header of an algorithm's checksum.
func checksumHeader(algorithm string) string {
	return http.CanonicalHeaderKey(checksumPrefix + strings.ToLower(algorithm))
}

// checksum is the checksum that a request's headers give.
func (q *request) checksum() (algorithm, value string, err error) {
	for _, end := range slices.Sorted(maps.Keys(algorithms)) {
		v := q.header(http.CanonicalHeaderKey(checksumPrefix + end))
		if v == "" {
			continue
		}
		if algorithm != "" {
			return "", "", fault("InvalidRequest", "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
		}
		algorithm, value = algorithms[end], v
	}
	for name := range q.r.Header {
		end, ok := strings.CutPrefix(strings.ToLower(name), checksumPrefix)
		if ok && algorithms[end] == "" && end != "mode" && end != "type" && end != "algorithm" {
			return "", "", fault("InvalidRequest", "The algorithm type you specified in the %s header is invalid.", clip(strings.ToLower(name)))
		}
	}
	return algorithm, value, nil
}

// content is the body with all that the request says of it.
func (q *request) content() (objects.Content, error) {
	c := objects.Content{Body: q.Content(), Size: q.r.ContentLength}
	if q.Signature().Chunked() {
		n, err := strconv.ParseInt(q.r.Header.Get("X-Amz-Decoded-Content-Length"), 10, 64)
		if err != nil || n < 0 {
			return c, &awsproto.Error{Code: "MissingContentLength", Message: "You must provide the X-Amz-Decoded-Content-Length HTTP header.", Status: http.StatusLengthRequired, Sender: true}
		}
		c.Size = n
	}
	if c.Size < 0 {
		return c, &awsproto.Error{Code: "MissingContentLength", Message: "You must provide the Content-Length HTTP header.", Status: http.StatusLengthRequired, Sender: true}
	}
	if v := q.r.Header.Get("Content-Md5"); v != "" {
		sum, err := base64.StdEncoding.DecodeString(v)
		if err != nil || len(sum) != md5.Size {
			return c, fault("InvalidDigest", "The Content-MD5 you specified was invalid.")
		}
		c.MD5 = sum
	}
	algorithm, value, err := q.checksum()
	if err != nil {
		return c, err
	}
	trailer := strings.ToLower(strings.TrimSpace(q.r.Header.Get("X-Amz-Trailer")))
	switch {
	case algorithm != "" && trailer != "":
		return c, fault("InvalidRequest", "Expecting a single x-amz-checksum- header")
	case algorithm != "":
		c.Algorithm, c.Want = algorithm, func() string { return value }
	case trailer != "":
		end, _ := strings.CutPrefix(trailer, checksumPrefix)
		if c.Algorithm = algorithms[end]; c.Algorithm == "" {
			return c, fault("InvalidRequest", "The value specified in the x-amz-trailer header is not supported")
		}
		// A trailer that was announced and did not come fits nothing.
		body := q.Content()
		c.Want = func() string {
			if v := body.Trailer().Get(trailer); v != "" {
				return v
			}
			return "missing"
		}
	default:
		if asked := q.header("X-Amz-Sdk-Checksum-Algorithm"); asked != "" {
			if c.Algorithm = strings.ToUpper(asked); !objects.KnownAlgorithm(c.Algorithm) {
				return c, fault("InvalidRequest", "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]")
			}
		}
	}
	return c, nil
}

// check holds a small body to what the request says of it.
func check(c objects.Content, b []byte) error {
	sum := md5.Sum(b) //nolint:gosec // Content-MD5 is one: S3 is spoken so
	if int64(len(b)) != c.Size {
		return objects.ErrIncomplete
	}
	if c.MD5 != nil && string(c.MD5) != string(sum[:]) {
		return objects.ErrDigest
	}
	if c.Want != nil {
		h := objects.NewHash(c.Algorithm)
		h.Write(b)
		if base64.StdEncoding.EncodeToString(h.Sum(nil)) != c.Want() {
			return objects.ErrChecksum
		}
	}
	return nil
}

// refused are headers that ask for what is not here. To ignore one would be
// to promise it.
var refused = []string{
	"X-Amz-Server-Side-Encryption-Customer-Algorithm", "X-Amz-Server-Side-Encryption-Customer-Key",
	"X-Amz-Copy-Source-Server-Side-Encryption-Customer-Algorithm", "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id",
	"X-Amz-Server-Side-Encryption-Context", "X-Amz-Object-Lock-Mode", "X-Amz-Object-Lock-Retain-Until-Date", "X-Amz-Object-Lock-Legal-Hold",
	"X-Amz-Website-Redirect-Location", "X-Amz-Tagging", "X-Amz-Write-Offset-Bytes",
}

// facts are what a request says about the object it makes.
func (q *request) facts() (objects.Facts, error) {
	f := objects.Facts{}
	if err := q.noACL("bucket-owner-full-control"); err != nil && q.header("X-Amz-Acl") != "private" {
		return f, err
	}
	for _, name := range refused {
		if q.header(name) != "" {
			return f, notImplemented(strings.ToLower(name))
		}
	}
	if sse := q.header("X-Amz-Server-Side-Encryption"); sse != "" && sse != "AES256" {
		return f, notImplemented("server-side encryption other than AES256 (SSE-S3)")
	}
	if class := q.header("X-Amz-Storage-Class"); class != "" && class != "STANDARD" {
		return f, fault("InvalidStorageClass", "The storage class you specified is not valid: STANDARD is the only one here.")
	}
	h := q.r.Header
	f.ContentType, f.ContentLanguage, f.ContentDisposition = h.Get("Content-Type"), h.Get("Content-Language"), h.Get("Content-Disposition")
	f.CacheControl, f.Expires = h.Get("Cache-Control"), h.Get("Expires")
	var encodings []string
	for e := range strings.SplitSeq(h.Get("Content-Encoding"), ",") {
		if e = strings.TrimSpace(e); e != "" && !strings.EqualFold(e, "aws-chunked") {
			encodings = append(encodings, e)
		}
	}
	f.ContentEncoding = strings.Join(encodings, ",")
	size := 0
	add := func(name, value string) {
		end, ok := strings.CutPrefix(strings.ToLower(name), "x-amz-meta-")
		if !ok || end == "" {
			return
		}
		if f.Metadata == nil {
			f.Metadata = map[string]string{}
		}
		f.Metadata[end] = value
		size += len(end) + len(value)
	}
	for name, v := range h {
		add(name, strings.Join(v, ","))
	}
	if q.Signature().Presigned {
		for name, v := range q.query {
			add(name, strings.Join(v, ","))
		}
	}
	if size > objects.MaxMetadata {
		return f, fault("MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size")
	}
	return f, nil
}

// condition is what must hold for a write.
func (q *request) condition() (objects.Condition, error) {
	none, match := q.r.Header.Get("If-None-Match"), q.r.Header.Get("If-Match")
	if none != "" && none != "*" || none != "" && match != "" {
		return objects.Condition{}, notImplemented("If-None-Match other than * for a write")
	}
	return objects.Condition{Absent: none == "*", ETag: strings.Trim(match, `"`)}, nil
}

// written tells of a version that was made.
func (q *request) written(v *objects.Version) {
	h := q.w.Header()
	h.Set("Etag", `"`+v.ETag+`"`)
	h.Set("X-Amz-Server-Side-Encryption", "AES256")
	q.versionHeader(v.ID)
	if c := v.Facts.Checksum; c.Value != "" {
		h.Set(checksumHeader(c.Algorithm), c.Value)
		h.Set("X-Amz-Checksum-Type", c.Type)
	}
}

func (q *request) versionHeader(id string) {
	if q.config != nil && q.config.Versioning != objects.VersioningNever {
		q.w.Header().Set("X-Amz-Version-Id", id)
	}
}

func (q *request) arn() string { return objects.ObjectARN(q.bucket, q.key) }

func putObject(ctx context.Context, q *request) (answer, error) {
	if err := q.allow(ctx, "s3:PutObject", q.arn()); err != nil {
		return answer{}, err
	}
	facts, err := q.facts()
	if err != nil {
		return answer{}, err
	}
	cond, err := q.condition()
	if err != nil {
		return answer{}, err
	}
	body, err := q.content()
	if err != nil {
		return answer{}, err
	}
	log, err := q.rewriteOf(ctx, q.key, "")
	if err != nil {
		return answer{}, err
	}
	v, err := log.write(ctx, func() (*objects.Version, error) { return q.Objects.Put(ctx, q.bucket, q.key, facts, body, cond) })
	if err != nil {
		return answer{}, bodyError(err)
	}
	q.written(v)
	q.w.Header().Set("X-Amz-Object-Size", itoa(v.Size))
	return answer{}, nil
}

// readable asks whether the caller may read a version. Who may not list the
// bucket does not learn whether a key exists.
func (q *request) readable(ctx context.Context, b *objects.Bucket, bucket, key, version string) error {
	action := "s3:GetObject"
	if version != "" {
		action = "s3:GetObjectVersion"
	}
	if err := q.may(ctx, b, action, objects.ObjectARN(bucket, key)); err != nil {
		return err
	}
	if b == nil {
		return objects.ErrNoBucket
	}
	return nil
}

func (q *request) hide(ctx context.Context, b *objects.Bucket, err error) error {
	if !errors.Is(err, objects.ErrNoKey) && !errors.Is(err, objects.ErrNoVersion) {
		return err
	}
	if denied := q.may(ctx, b, "s3:ListBucket", objects.ARN(b.Name)); denied != nil {
		return denied
	}
	return err
}

// open finds what is to be read, for GET and HEAD.
func (q *request) open(ctx context.Context) (*objects.Object, error) {
	version := q.query.Get("versionId")
	if err := q.readable(ctx, q.config, q.bucket, q.key, version); err != nil {
		return nil, err
	}
	o, err := q.Objects.Get(ctx, q.bucket, q.key, version)
	if err != nil {
		if o != nil && o.Version != nil && o.DeleteMarker {
			q.w.Header().Set("X-Amz-Delete-Marker", "true")
			q.w.Header().Set("Last-Modified", o.ModifiedAt.Format(http.TimeFormat))
			q.versionHeader(o.ID)
		}
		return nil, q.hide(ctx, q.config, err)
	}
	return o, nil
}

func getObject(ctx context.Context, q *request) (answer, error) { return q.read(ctx, true) }

func headObject(ctx context.Context, q *request) (answer, error) { return q.read(ctx, false) }

func (q *request) read(ctx context.Context, withBody bool) (answer, error) {
	o, err := q.open(ctx)
	if err != nil {
		return answer{}, err
	}
	off, n, status, err := q.section(o.Version)
	if err != nil || status == http.StatusNotModified {
		o.Close()
		if err == nil {
			q.describe(o.Version, false)
		}
		return answer{status: status}, err
	}
	whole := status == http.StatusOK
	return answer{done: o.Close, body: func(w http.ResponseWriter) error {
		q.describe(o.Version, whole)
		q.override()
		w.Header().Set("Content-Length", itoa(n))
		w.WriteHeader(status)
		if !withBody {
			return nil
		}
		return o.WriteTo(&patient{w, http.NewResponseController(w)}, off, n)
	}}, nil
}

// patient writes to a peer as long as it goes on reading.
type patient struct {
	http.ResponseWriter
	conn *http.ResponseController
}

// writeTimeout is how long a peer may take for one piece of a body.
const writeTimeout = time.Minute

// Write implements [io.Writer].
func (p *patient) Write(b []byte) (int, error) {
	// Not every connection has deadlines; those of tests in memory do not.
	_ = p.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	n, err := p.ResponseWriter.Write(b)
	_ = p.conn.SetWriteDeadline(time.Time{})
	return n, err
}

// describe sets the headers of a version that is read.
func (q *request) describe(v *objects.Version, whole bool) {
	h := q.w.Header()
	f := v.Facts
	for name, value := range map[string]string{
		"Content-Type": f.ContentType, "Content-Encoding": f.ContentEncoding, "Content-Language": f.ContentLanguage,
		"Content-Disposition": f.ContentDisposition, "Cache-Control": f.CacheControl, "Expires": f.Expires,
	} {
		if value != "" {
			h.Set(name, value)
		}
	}
	if f.ContentType == "" {
		h.Set("Content-Type", "binary/octet-stream")
	}
	h.Set("Accept-Ranges", "bytes")
	h.Set("Etag", `"`+v.ETag+`"`)
	h.Set("Last-Modified", v.ModifiedAt.Format(http.TimeFormat))
	h.Set("X-Amz-Server-Side-Encryption", "AES256")
	q.versionHeader(v.ID)
	for name, value := range f.Metadata {
		h["x-amz-meta-"+name] = []string{value} // Set would change the case, which readers keep
	}
	if c := f.Checksum; whole && c.Value != "" && strings.EqualFold(q.header("X-Amz-Checksum-Mode"), "ENABLED") {
		h.Set(checksumHeader(c.Algorithm), c.Value)
		h.Set("X-Amz-Checksum-Type", c.Type)
	}
}

// override sets the headers that a reader chooses.
func (q *request) override() {
	for _, name := range []string{"Content-Type", "Content-Language", "Expires", "Cache-Control", "Content-Disposition", "Content-Encoding"} {
		if v := q.query.Get("response-" + strings.ToLower(name)); v != "" {
			q.w.Header().Set(name, v)
		}
	}
}

// section decides what of a version is sent, by conditions and range.
func (q *request) section(v *objects.Version) (off, n int64, status int, err error) {
	status, err = conditional(q.r.Header, "", v)
	if err != nil || status != http.StatusOK {
		return 0, 0, status, err
	}
	spec := q.r.Header.Get("Range")
	if number := q.query.Get("partNumber"); number != "" {
		k, err := strconv.Atoi(number)
		if err != nil || k < 1 || k > objects.MaxPart || spec != "" {
			return 0, 0, 0, fault("InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive, and cannot be combined with a range")
		}
		off, n, ok := v.Part(k)
		if !ok {
			return 0, 0, 0, &awsproto.Error{Code: "InvalidPartNumber", Message: "The requested partnumber is not satisfiable", Status: http.StatusRequestedRangeNotSatisfiable, Sender: true}
		}
		if v.Facts.Parts > 0 {
			q.w.Header().Set("X-Amz-Mp-Parts-Count", itoa(v.Facts.Parts))
		}
		if n > 0 {
			q.w.Header().Set("Content-Range", "bytes "+itoa(off)+"-"+itoa(off+n-1)+"/"+itoa(v.Size))
		}
		return off, n, http.StatusPartialContent, nil
	}
	off, n, some, err := parseRange(spec, v.Size)
	if err != nil {
		return 0, 0, 0, err
	}
	if !some {
		return 0, v.Size, http.StatusOK, nil
	}
	q.w.Header().Set("Content-Range", "bytes "+itoa(off)+"-"+itoa(off+n-1)+"/"+itoa(v.Size))
	return off, n, http.StatusPartialContent, nil
}

// parseRange reads a Range header. One that is malformed, or names several
// ranges, is as none.
func parseRange(spec string, size int64) (off, n int64, some bool, err error) {
	bounds, ok := strings.CutPrefix(strings.TrimSpace(spec), "bytes=")
	first, last, dash := strings.Cut(bounds, "-")
	first, last = strings.TrimSpace(first), strings.TrimSpace(last)
	if !ok || !dash || !isDigits(first) || !isDigits(last) || first+last == "" {
		return 0, 0, false, nil
	}
	number := func(s string) int64 {
		v, err := strconv.ParseInt(s, 10, 64)
		if err != nil { // more digits than any size has
			return 1<<63 - 1
		}
		return v
	}
	var from int64
	to := size - 1
	if first == "" {
		from = max(0, size-number(last))
	} else {
		from = number(first)
		if last != "" {
			if number(last) < from {
				return 0, 0, false, nil
			}
			to = min(to, number(last))
		}
	}
	if from >= size {
		return 0, 0, false, &awsproto.Error{
			Code: "InvalidRange", Message: "The requested range is not satisfiable", Status: http.StatusRequestedRangeNotSatisfiable, Sender: true,
			Extra: map[string]string{"RangeRequested": clip(spec), "ActualObjectSize": itoa(size)},
		}
	}
	return from, to - from + 1, true, nil
}

func isDigits(s string) bool { return strings.Trim(s, "0123456789") == "" }

// conditional evaluates the conditions of a read, whose headers begin with
// prefix, in the order of RFC 9110.
func conditional(h http.Header, prefix string, v *objects.Version) (int, error) {
	fails := func(what string) error {
		return &awsproto.Error{
			Code: "PreconditionFailed", Message: "At least one of the pre-conditions you specified did not hold", Status: http.StatusPreconditionFailed, Sender: true,
			Extra: map[string]string{"Condition": what},
		}
	}
	modified := v.ModifiedAt.Truncate(time.Second)
	since := func(name string) (time.Time, bool) {
		t, err := http.ParseTime(h.Get(prefix + name))
		return t, err == nil
	}
	if m := h.Get(prefix + "If-Match"); m != "" {
		if !matches(m, v.ETag) {
			return 0, fails("If-Match")
		}
	} else if t, ok := since("If-Unmodified-Since"); ok && modified.After(t) {
		return 0, fails("If-Unmodified-Since")
	}
	if m := h.Get(prefix + "If-None-Match"); m != "" {
		if matches(m, v.ETag) {
			if prefix != "" {
				return 0, fails("If-None-Match")
			}
			return http.StatusNotModified, nil
		}
	} else if t, ok := since("If-Modified-Since"); ok && !modified.After(t) {
		if prefix != "" {
			return 0, fails("If-Modified-Since")
		}
		return http.StatusNotModified, nil
	}
	return http.StatusOK, nil
}

func matches(list, etag string) bool {
	for m := range strings.SplitSeq(list, ",") {
		m = strings.Trim(strings.TrimPrefix(strings.TrimSpace(m), "W/"), `"`)
		if m == "*" || m == etag {
			return true
		}
	}
	return false
}

func deleteObject(ctx context.Context, q *request) (answer, error) {
	version := q.query.Get("versionId")
	if err := q.allow(ctx, deleteAction(version), q.arn()); err != nil {
		return answer{}, err
	}
	if q.r.Header.Get("If-Match") != "" {
		return answer{}, notImplemented("If-Match for a deletion")
	}
	gone, err := q.remove(ctx, q.key, version)
	if err != nil {
		return answer{}, err
	}
	if gone.VersionID != "" {
		q.versionHeader(gone.VersionID)
	}
	if gone.DeleteMarker {
		q.w.Header().Set("X-Amz-Delete-Marker", "true")
	}
	return answer{status: http.StatusNoContent}, nil
}

func (q *request) remove(ctx context.Context, key, version string) (objects.Deleted, error) {
	log, err := q.rewriteOf(ctx, key, version)
	if err != nil {
		return objects.Deleted{}, err
	}
	return log.remove(ctx, version, func() (objects.Deleted, error) { return q.Objects.Delete(ctx, q.bucket, key, version) })
}

func deleteAction(version string) string {
	if version != "" {
		return "s3:DeleteObjectVersion"
	}
	return "s3:DeleteObject"
}

const maxDelete = 1000

func deleteObjects(ctx context.Context, q *request) (answer, error) {
	var in struct {
		XMLName xml.Name `xml:"Delete"`
		Quiet   bool
		Object  []struct {
			Key              string
			VersionID        string `xml:"VersionId"`
			ETag             string
			LastModifiedTime string
			Size             string
		}
	}
	if err := q.readXML(&in); err != nil {
		return answer{}, err
	}
	if len(in.Object) == 0 || len(in.Object) > maxDelete {
		return answer{}, fault("MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema")
	}
	type deleted struct {
		Key                   string
		VersionID             string `xml:"VersionId,omitempty"`
		DeleteMarker          bool   `xml:",omitempty"`
		DeleteMarkerVersionID string `xml:"DeleteMarkerVersionId,omitempty"`
	}
	type failed struct {
		Key       string
		VersionID string `xml:"VersionId,omitempty"`
		Code      string
		Message   string
	}
	out := struct {
		XMLName xml.Name `xml:"DeleteResult"`
		Xmlns   string   `xml:"xmlns,attr"`
		Deleted []deleted
		Error   []failed
	}{Xmlns: xmlns}
	for _, o := range in.Object {
		fail := func(err error) error {
			e, ok := errors.AsType[*awsproto.Error](q.onWire(err))
			if !ok {
				if sekisho.CodeOf(err) != sekisho.CodeDenied {
					return err
				}
				e = fault("AccessDenied", "%s", err.Error())
			}
			out.Error = append(out.Error, failed{o.Key, o.VersionID, e.Code, e.Message})
			return nil
		}
		if o.ETag != "" || o.LastModifiedTime != "" || o.Size != "" {
			return answer{}, notImplemented("conditional deletion")
		}
		if err := q.may(ctx, q.config, deleteAction(o.VersionID), objects.ObjectARN(q.bucket, o.Key), authz.One("s3:VersionId", o.VersionID)); err != nil {
			if err := fail(err); err != nil {
				return answer{}, err
			}
			continue
		}
		if q.config == nil {
			return answer{}, objects.ErrNoBucket
		}
		gone, err := q.remove(ctx, o.Key, o.VersionID)
		if err != nil {
			if err := fail(err); err != nil {
				return answer{}, err
			}
			continue
		}
		if in.Quiet {
			continue
		}
		d := deleted{Key: o.Key, VersionID: o.VersionID, DeleteMarker: gone.DeleteMarker}
		if gone.DeleteMarker {
			d.DeleteMarkerVersionID = gone.VersionID
		}
		out.Deleted = append(out.Deleted, d)
	}
	// Every key was decided on: the refusals are part of the answer.
	q.Allow()
	return answer{xml: out}, nil
}

// source finds what is to be copied.
func (q *request) source(ctx context.Context) (*objects.Object, error) {
	name, query, _ := strings.Cut(q.header("X-Amz-Copy-Source"), "?")
	name, err := url.PathUnescape(name)
	bucket, key, ok := strings.Cut(strings.TrimPrefix(name, "/"), "/")
	if err != nil || !ok || key == "" {
		return nil, fault("InvalidArgument", "Copy Source must mention the source bucket and key: sourcebucket/sourcekey")
	}
	version := ""
	if query != "" {
		if version, ok = strings.CutPrefix(query, "versionId="); !ok {
			return nil, fault("InvalidArgument", "Copy Source may have the query versionId and no other")
		}
	}
	from, err := q.Objects.Bucket(ctx, bucket)
	if err != nil && !errors.Is(err, objects.ErrNoBucket) {
		return nil, err
	}
	if err := q.readable(ctx, from, bucket, key, version); err != nil {
		return nil, err
	}
	o, err := q.Objects.Get(ctx, bucket, key, version)
	if err != nil {
		return nil, q.hide(ctx, from, err)
	}
	if _, err := conditional(q.r.Header, "X-Amz-Copy-Source-", o.Version); err != nil {
		o.Close()
		return nil, err
	}
	if from.Versioning != objects.VersioningNever {
		q.w.Header().Set("X-Amz-Copy-Source-Version-Id", o.ID)
	}
	return o, nil
}

// copied is the answer to a copy.
type copied struct {
	XMLName      xml.Name
	Xmlns        string `xml:"xmlns,attr"`
	LastModified isoTime
	ETag         string
	checksums
}

// checksums are the checksum elements of answers.
type checksums struct {
	CRC32     string `xml:"ChecksumCRC32,omitempty"`
	CRC32C    string `xml:"ChecksumCRC32C,omitempty"`
	CRC64NVME string `xml:"ChecksumCRC64NVME,omitempty"`
	SHA1      string `xml:"ChecksumSHA1,omitempty"`
	SHA256    string `xml:"ChecksumSHA256,omitempty"`
	Type      string `xml:"ChecksumType,omitempty"`
}

func checksumsOf(c objects.Checksum) checksums {
	out := checksums{Type: c.Type}
	switch c.Algorithm {
	case objects.CRC32:
		out.CRC32 = c.Value
	case objects.CRC32C:
		out.CRC32C = c.Value
	case objects.CRC64NVME:
		out.CRC64NVME = c.Value
	case objects.SHA1:
		out.SHA1 = c.Value
	case objects.SHA256:
		out.SHA256 = c.Value
	}
	return out
}

func (c checksums) value(algorithm string) string {
	return map[string]string{objects.CRC32: c.CRC32, objects.CRC32C: c.CRC32C, objects.CRC64NVME: c.CRC64NVME, objects.SHA1: c.SHA1, objects.SHA256: c.SHA256}[algorithm]
}

func copyObject(ctx context.Context, q *request) (answer, error) {
	if err := q.allow(ctx, "s3:PutObject", q.arn()); err != nil {
		return answer{}, err
	}
	facts, err := q.facts()
	if err != nil {
		return answer{}, err
	}
	cond, err := q.condition()
	if err != nil {
		return answer{}, err
	}
	from, err := q.source(ctx)
	if err != nil {
		return answer{}, err
	}
	defer from.Close()
	switch q.header("X-Amz-Metadata-Directive") {
	case "", "COPY":
		if from.Bucket == q.bucket && from.Key == q.key && from.Latest {
			return answer{}, fault("InvalidRequest", "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.")
		}
		facts = from.Facts
		facts.Parts = 0
	case "REPLACE":
	default:
		return answer{}, fault("InvalidArgument", "Unknown metadata directive.")
	}
	if d := q.header("X-Amz-Tagging-Directive"); d != "" && d != "COPY" {
		return answer{}, notImplemented("x-amz-tagging-directive")
	}
	if from.Size > objects.MaxObject {
		return answer{}, fault("InvalidRequest", "The specified copy source is larger than the maximum allowable size for a copy source: 5368709120")
	}
	content := objects.Content{Size: from.Size, Algorithm: from.Facts.Checksum.Algorithm}
	if asked := strings.ToUpper(q.header("X-Amz-Checksum-Algorithm")); asked != "" {
		if content.Algorithm = asked; !objects.KnownAlgorithm(asked) {
			return answer{}, objects.ErrAlgorithm
		}
	}
	body := from.Reader(0, from.Size)
	defer body.Close()
	content.Body = body
	log, err := q.rewriteOf(ctx, q.key, "")
	if err != nil {
		return answer{}, err
	}
	v, err := log.write(ctx, func() (*objects.Version, error) { return q.Objects.Put(ctx, q.bucket, q.key, facts, content, cond) })
	if err != nil {
		return answer{}, err
	}
	q.w.Header().Set("X-Amz-Server-Side-Encryption", "AES256")
	q.versionHeader(v.ID)
	return answer{xml: copied{
		XMLName: xml.Name{Local: "CopyObjectResult"}, Xmlns: xmlns, LastModified: isoTime{v.ModifiedAt}, ETag: `"` + v.ETag + `"`,
		checksums: checksumsOf(v.Facts.Checksum),
	}}, nil
}

func getAttributes(ctx context.Context, q *request) (answer, error) {
	o, err := q.open(ctx)
	if err != nil {
		return answer{}, err
	}
	defer o.Close()
	action := "s3:GetObjectAttributes"
	if q.query.Has("versionId") {
		action = "s3:GetObjectVersionAttributes"
	}
	if err := q.allow(ctx, action, q.arn()); err != nil {
		return answer{}, err
	}
	type parts struct {
		TotalPartsCount int `xml:"PartsCount"`
	}
	out := struct {
		XMLName      xml.Name `xml:"GetObjectAttributesResponse"`
		Xmlns        string   `xml:"xmlns,attr"`
		ETag         string   `xml:",omitempty"`
		Checksum     *checksums
		ObjectParts  *parts
		StorageClass string `xml:",omitempty"`
		ObjectSize   *int64
	}{Xmlns: xmlns}
	for name := range strings.SplitSeq(strings.Join(q.r.Header.Values("X-Amz-Object-Attributes"), ","), ",") {
		switch strings.TrimSpace(name) {
		case "ETag":
			out.ETag = o.ETag
		case "Checksum":
			c := checksumsOf(o.Facts.Checksum)
			out.Checksum = &c
		case "ObjectParts":
			if o.Facts.Parts > 0 {
				out.ObjectParts = &parts{o.Facts.Parts}
			}
		case "StorageClass":
			out.StorageClass = "STANDARD"
		case "ObjectSize":
			out.ObjectSize = &o.Size
		default:
			return answer{}, fault("InvalidArgument", "Invalid attribute name specified.")
		}
	}
	q.versionHeader(o.ID)
	q.w.Header().Set("Last-Modified", o.ModifiedAt.Format(http.TimeFormat))
	return answer{xml: out}, nil
}

func objectACL(ctx context.Context, q *request) (answer, error) {
	action := "s3:GetObjectAcl"
	if q.query.Has("versionId") {
		action = "s3:GetObjectVersionAcl"
	}
	return q.existing(ctx, action, q.ownerACL())
}

func objectTagging(ctx context.Context, q *request) (answer, error) {
	action := "s3:GetObjectTagging"
	if q.query.Has("versionId") {
		action = "s3:GetObjectVersionTagging"
	}
	return q.existing(ctx, action, tagging{Xmlns: xmlns})
}

// existing answers v when the version exists.
func (q *request) existing(ctx context.Context, action string, v any) (answer, error) {
	if err := q.allow(ctx, action, q.arn()); err != nil {
		return answer{}, err
	}
	if _, err := q.Objects.Head(ctx, q.bucket, q.key, q.query.Get("versionId")); err != nil {
		return answer{}, q.hide(ctx, q.config, err)
	}
	return answer{xml: v}, nil
}
