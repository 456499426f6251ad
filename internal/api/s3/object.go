package s3

import (
	"context"
	"crypto/md5" //nolint:gosec // the S3 protocol requires MD5 here
	"encoding/base64"
	"encoding/xml"
	"errors"
	"net/http"
	"net/url"
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
	"GET tagging":       {"GetObjectTagging", getObjectTagging},
	"PUT tagging":       {"PutObjectTagging", putObjectTagging},
	"DELETE tagging":    {"DeleteObjectTagging", deleteObjectTagging},
	"POST uploads":      {"CreateMultipartUpload", startUpload},
	"PUT uploadId":      {"UploadPart", putPart},
	"PUT uploadId copy": {"UploadPartCopy", copyPart},
	"POST uploadId":     {"CompleteMultipartUpload", completeUpload},
	"DELETE uploadId":   {"AbortMultipartUpload", abortUpload},
	"GET uploadId":      {"ListParts", listParts},
}

// algorithms maps the suffix of a checksum header's name to the algorithm.
var algorithms = func() map[string]string {
	m := map[string]string{}
	for _, name := range objects.Algorithms() {
		m[strings.ToLower(name)] = name
	}
	return m
}()

const checksumPrefix = "x-amz-checksum-"

// checksumHeader returns the header of an algorithm's checksum.
func checksumHeader(algorithm string) string {
	return http.CanonicalHeaderKey(checksumPrefix + strings.ToLower(algorithm))
}

// invalidHeader returns the error for a header's invalid value.
func invalidHeader(name string) error {
	return fault("InvalidRequest", "Value for %s header is invalid.", strings.ToLower(name))
}

// checksum returns the checksum in a request's headers. Presigned URLs of the JavaScript SDK have
// the checksum of an empty body among their parameters; S3 ignores it there.
func (q *request) checksum() (algorithm, value string, err error) {
	for suffix, name := range algorithms {
		values := q.r.Header.Values(checksumPrefix + suffix)
		if len(values) == 0 {
			continue
		}
		if algorithm != "" || len(values) > 1 {
			return "", "", fault("InvalidRequest",
				"Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
		}
		algorithm, value = name, values[0]
	}
	for name := range q.r.Header {
		suffix, ok := strings.CutPrefix(strings.ToLower(name), checksumPrefix)
		if ok && algorithms[suffix] == "" && suffix != "mode" && suffix != "type" && suffix != "algorithm" {
			return "", "", fault(
				"InvalidRequest",
				"The algorithm type you specified in %s header is invalid.",
				checksumPrefix,
			)
		}
	}
	return algorithm, value, nil
}

var errAlgorithmName = fault("InvalidRequest",
	"Checksum algorithm provided is unsupported. Please try again with any of the valid types: [%s]",
	strings.Join(objects.Algorithms(), ", "))

// content returns the body, with its size and the checksums that the request states.
func (q *request) content() (objects.Content, error) {
	c := objects.Content{Body: q.Content(), Size: q.r.ContentLength}
	if q.Signature().Chunked() {
		n, err := strconv.ParseInt(q.r.Header.Get("X-Amz-Decoded-Content-Length"), 10, 64)
		if err != nil || n < 0 {
			n = -1
		}
		c.Size = n
	}
	if c.Size < 0 {
		return c, &awsproto.Error{
			Code: "MissingContentLength", Message: "You must provide the Content-Length HTTP header.",
			Status: http.StatusLengthRequired, Sender: true,
		}
	}
	if v := q.r.Header.Values("Content-Md5"); len(v) > 0 {
		sum, err := base64.StdEncoding.DecodeString(v[0])
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
		if !objects.ValidChecksum(algorithm, value) {
			return c, invalidHeader(checksumHeader(algorithm))
		}
		c.Algorithm, c.Want = algorithm, func() (string, error) { return value, nil }
	case trailer != "":
		suffix, _ := strings.CutPrefix(trailer, checksumPrefix)
		if c.Algorithm = algorithms[suffix]; c.Algorithm == "" {
			return c, fault("InvalidRequest", "The value specified in the x-amz-trailer header is not supported")
		}
		body := q.Content()
		c.Want = func() (string, error) {
			v := body.Trailer().Get(trailer)
			switch {
			case v == "": // announced but missing
				return "", fault(
					"MalformedTrailerError",
					"The request contained trailing data that was not well-formed or did not conform to our published schema.",
				)
			case !objects.ValidChecksum(c.Algorithm, v):
				return "", fault("InvalidRequest", "Value for %s trailing header is invalid.", trailer)
			}
			return v, nil
		}
	}
	if asked := strings.ToUpper(q.r.Header.Get("X-Amz-Sdk-Checksum-Algorithm")); asked != "" {
		switch {
		case !objects.KnownAlgorithm(asked), c.Algorithm != "" && asked != c.Algorithm:
			return c, invalidHeader("x-amz-sdk-checksum-algorithm")
		case c.Algorithm == "":
			return c, fault(
				"InvalidRequest",
				"x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* "+
					"or x-amz-trailer headers were found.",
			)
		}
	}
	return c, nil
}

// check compares a small body with the size and checksums that the request states.
func check(c objects.Content, b []byte) error {
	sum := md5.Sum(b) //nolint:gosec // the S3 protocol requires MD5 here
	if int64(len(b)) != c.Size {
		return objects.ErrIncomplete
	}
	if c.MD5 != nil && string(c.MD5) != string(sum[:]) {
		return objects.ErrDigest
	}
	if c.Want != nil {
		want, err := c.Want()
		if err != nil {
			return err
		}
		h := objects.NewHash(c.Algorithm)
		h.Write(b)
		if base64.StdEncoding.EncodeToString(h.Sum(nil)) != want {
			return objects.ErrChecksum
		}
	}
	return nil
}

// refused are headers of unsupported features. Ignoring one would imply support.
var refused = []string{
	"X-Amz-Server-Side-Encryption-Customer-Algorithm", "X-Amz-Server-Side-Encryption-Customer-Key",
	"X-Amz-Copy-Source-Server-Side-Encryption-Customer-Algorithm", "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id",
	"X-Amz-Server-Side-Encryption-Context", "X-Amz-Object-Lock-Mode", "X-Amz-Object-Lock-Retain-Until-Date",
	"X-Amz-Object-Lock-Legal-Hold",
	"X-Amz-Website-Redirect-Location", "X-Amz-Write-Offset-Bytes",
}

// facts returns the object's properties in a request.
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
		return f, fault(
			"InvalidStorageClass",
			"The storage class you specified is not valid: only STANDARD is supported.",
		)
	}
	h := q.r.Header
	f.ContentType, f.ContentLanguage, f.ContentDisposition = h.Get("Content-Type"), h.Get("Content-Language"),
		h.Get("Content-Disposition")
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
	var err error
	if f.Tags, err = q.tagsHeader(); err != nil {
		return f, err
	}
	if size > objects.MaxMetadata {
		return f, fault("MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size")
	}
	return f, nil
}

// condition returns the precondition of a write.
func (q *request) condition() (objects.Condition, error) {
	none, match := q.r.Header.Get("If-None-Match"), q.r.Header.Get("If-Match")
	if none != "" && none != "*" || none != "" && match != "" {
		return objects.Condition{}, notImplemented("If-None-Match other than * for a write")
	}
	return objects.Condition{Absent: none == "*", ETag: strings.Trim(match, `"`)}, nil
}

// written sets the response headers for a new version.
func (q *request) written(v *objects.Version) {
	h := q.w.Header()
	h.Set("Etag", `"`+v.ETag+`"`)
	h.Set("X-Amz-Server-Side-Encryption", "AES256")
	q.versionHeader(v.ID)
	q.expirationHeader(v)
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
	if err := q.allowPut(ctx); err != nil {
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
	v, err := log.write(ctx, func() (*objects.Version, error) {
		return q.Objects.Put(ctx, q.bucket, q.key, facts, body,
			cond)
	})
	if err != nil {
		return answer{}, bodyError(err)
	}
	q.written(v)
	q.w.Header().Set("X-Amz-Object-Size", itoa(v.Size))
	return answer{}, nil
}

// readable authorizes the caller to read a version. A caller without permission to list the bucket
// does not learn whether a key exists.
func (q *request) readable(ctx context.Context, b *objects.Bucket, bucket, key, version string) error {
	action := "s3:GetObject"
	if version != "" {
		action = "s3:GetObjectVersion"
	}
	keys, err := q.existingTags(ctx, b, key, version)
	if err != nil {
		return err
	}
	if err := q.may(ctx, b, action, objects.ObjectARN(bucket, key), keys...); err != nil {
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

// open opens the version that GET or HEAD reads.
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
	if err := q.checkPartNumber(); err != nil {
		return answer{}, err
	}
	o, err := q.open(ctx)
	if err != nil {
		return answer{}, err
	}
	part, err := q.section(o.Version)
	if err != nil || part.status == http.StatusNotModified {
		o.Close()
		if err == nil {
			q.describe(o.Version, objects.Checksum{})
		}
		return answer{status: part.status}, err
	}
	return answer{done: o.Close, body: func(w http.ResponseWriter) error {
		q.describe(o.Version, part.sum)
		q.override()
		w.Header().Set("Content-Length", itoa(part.size))
		w.WriteHeader(part.status)
		if !withBody {
			return nil
		}
		return o.WriteTo(&deadlineWriter{w, http.NewResponseController(w)}, part.off, part.size)
	}}, nil
}

// deadlineWriter bounds each write with [writeTimeout].
type deadlineWriter struct {
	http.ResponseWriter
	conn *http.ResponseController
}

// writeTimeout bounds sending one piece of a body.
const writeTimeout = time.Minute

// Write implements [io.Writer].
func (p *deadlineWriter) Write(b []byte) (int, error) {
	// The in-memory connections of tests have no deadlines.
	_ = p.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	n, err := p.ResponseWriter.Write(b)
	_ = p.conn.SetWriteDeadline(time.Time{})
	return n, err
}

// describe sets the headers of a version that is read. sum is the checksum of
// the section that is sent.
func (q *request) describe(v *objects.Version, sum objects.Checksum) {
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
	q.expirationHeader(v)
	for name, value := range f.Metadata {
		h["x-amz-meta-"+name] = []string{value} // the case matters to clients; Set would change it
	}
	if f.Tags != nil {
		h.Set("X-Amz-Tagging-Count", itoa(len(f.Tags)))
	}
	if sum.Value != "" && strings.EqualFold(q.header("X-Amz-Checksum-Mode"), "ENABLED") {
		h.Set(checksumHeader(sum.Algorithm), sum.Value)
		h.Set("X-Amz-Checksum-Type", sum.Type)
	}
}

// override sets the response headers that the request chooses.
func (q *request) override() {
	for _, name := range []string{"Content-Type", "Content-Language", "Expires", "Cache-Control", "Content-Disposition",
		"Content-Encoding"} {
		if v := q.query.Get("response-" + strings.ToLower(name)); v != "" {
			q.w.Header().Set(name, v)
		}
	}
}

// section is the part of a version that is sent.
type section struct {
	off, size int64
	status    int
	sum       objects.Checksum // of just this section; zero = not known
}

// checkPartNumber refuses an invalid partNumber parameter.
func (q *request) checkPartNumber() error {
	if !q.query.Has("partNumber") {
		return nil
	}
	if _, err := q.partNumber(); err != nil {
		return err
	}
	if q.r.Header.Get("Range") != "" {
		return fault("InvalidRequest", "Cannot specify both Range header and partNumber query parameter")
	}
	return nil
}

// section determines from conditions, part number and range which part of a version to send.
func (q *request) section(v *objects.Version) (section, error) {
	status, err := conditional(q.r.Header, "", v)
	if err != nil || status != http.StatusOK {
		return section{status: status}, err
	}
	if q.query.Has("partNumber") {
		n, err := q.partNumber()
		if err != nil {
			return section{}, err
		}
		off, size, sum, ok := v.Part(n)
		if !ok {
			return section{}, &awsproto.Error{
				Code: "InvalidPartNumber", Message: "The requested partnumber is not satisfiable",
				Status: http.StatusRequestedRangeNotSatisfiable, Sender: true,
				Extra: map[string]string{
					"PartNumberRequested": itoa(n),
					"ActualPartCount":     itoa(max(1, v.Facts.Parts)),
				},
			}
		}
		if v.Facts.Parts > 0 {
			q.w.Header().Set("X-Amz-Mp-Parts-Count", itoa(v.Facts.Parts))
		}
		if size > 0 {
			q.w.Header().Set("Content-Range", "bytes "+itoa(off)+"-"+itoa(off+size-1)+"/"+itoa(v.Size))
		}
		return section{off, size, http.StatusPartialContent, sum}, nil
	}
	off, n, some, err := parseRange(q.r.Header.Get("Range"), v.Size)
	if err != nil {
		return section{}, err
	}
	if !some {
		return section{0, v.Size, http.StatusOK, v.Facts.Checksum}, nil
	}
	q.w.Header().Set("Content-Range", "bytes "+itoa(off)+"-"+itoa(off+n-1)+"/"+itoa(v.Size))
	return section{off: off, size: n, status: http.StatusPartialContent}, nil
}

// parseRange reads a Range header. A malformed or multi-range header is ignored.
func parseRange(spec string, size int64) (off, n int64, some bool, err error) {
	bounds, ok := strings.CutPrefix(strings.TrimSpace(spec), "bytes=")
	first, last, dash := strings.Cut(bounds, "-")
	if !ok || !dash || !isDigits(first) || !isDigits(last) || first+last == "" {
		return 0, 0, false, nil
	}
	number := func(s string) int64 {
		v, err := strconv.ParseInt(s, 10, 64)
		if err != nil { // more digits than the largest size
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
			Code: "InvalidRange", Message: "The requested range is not satisfiable",
			Status: http.StatusRequestedRangeNotSatisfiable, Sender: true,
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
			Code: "PreconditionFailed", Message: "At least one of the pre-conditions you specified did not hold",
			Status: http.StatusPreconditionFailed, Sender: true,
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
	return log.remove(ctx, version, func() (objects.Deleted, error) {
		return q.Objects.Delete(ctx, q.bucket, key,
			version)
	})
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
		return answer{}, errMalformedXML
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
		if err := q.may(ctx, q.config, deleteAction(o.VersionID), objects.ObjectARN(q.bucket, o.Key),
			authz.One("s3:VersionId", o.VersionID)); err != nil {
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
	// Each key was authorized separately. Refusals are part of the answer.
	q.Allow()
	return answer{xml: out}, nil
}

// source opens the version to copy.
func (q *request) source(ctx context.Context) (*objects.Object, error) {
	name, query, _ := strings.Cut(q.header("X-Amz-Copy-Source"), "?")
	name, err := url.PathUnescape(name)
	bucket, key, ok := strings.Cut(strings.TrimPrefix(name, "/"), "/")
	if err != nil || !ok || key == "" {
		return nil, fault(
			"InvalidArgument",
			"Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
		)
	}
	version := ""
	if query != "" {
		if version, ok = strings.CutPrefix(query, "versionId="); !ok {
			return nil, fault("InvalidArgument", "Copy Source can have no query parameter other than versionId")
		}
		if err := checkVersionID(version); err != nil {
			return nil, err
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

// checksums are the checksum elements of requests and answers.
type checksums struct {
	CRC32     string `xml:"ChecksumCRC32,omitempty"`
	CRC32C    string `xml:"ChecksumCRC32C,omitempty"`
	CRC64NVME string `xml:"ChecksumCRC64NVME,omitempty"`
	SHA1      string `xml:"ChecksumSHA1,omitempty"`
	SHA256    string `xml:"ChecksumSHA256,omitempty"`
	SHA512    string `xml:"ChecksumSHA512,omitempty"`
	MD5       string `xml:"ChecksumMD5,omitempty"`
	XXHASH64  string `xml:"ChecksumXXHASH64,omitempty"`
	XXHASH3   string `xml:"ChecksumXXHASH3,omitempty"`
	XXHASH128 string `xml:"ChecksumXXHASH128,omitempty"`
	Type      string `xml:"ChecksumType,omitempty"`
}

// fields returns the elements by algorithm.
func (c *checksums) fields() map[string]*string {
	return map[string]*string{
		objects.CRC32: &c.CRC32, objects.CRC32C: &c.CRC32C, objects.CRC64NVME: &c.CRC64NVME, objects.SHA1: &c.SHA1,
		objects.SHA256: &c.SHA256,
		objects.SHA512: &c.SHA512, objects.MD5: &c.MD5, objects.XXHASH64: &c.XXHASH64, objects.XXHASH3: &c.XXHASH3,
		objects.XXHASH128: &c.XXHASH128,
	}
}

func checksumsOf(c objects.Checksum) checksums {
	out := checksums{Type: c.Type}
	if field := out.fields()[c.Algorithm]; field != nil {
		*field = c.Value
	}
	return out
}

// stated returns the only checksum among the elements of a part.
func (c *checksums) stated() (objects.Checksum, error) {
	var out objects.Checksum
	for algorithm, value := range c.fields() {
		if *value == "" {
			continue
		}
		if out.Value != "" || !objects.ValidChecksum(algorithm, *value) {
			return out, fault("InvalidArgument", "Invalid Base64 or multiple checksums present in request")
		}
		out = objects.Checksum{Algorithm: algorithm, Value: *value}
	}
	return out, nil
}

// Values of the metadata and tagging directives of a copy.
const (
	directiveCopy    = "COPY"
	directiveReplace = "REPLACE"
)

func copyObject(ctx context.Context, q *request) (answer, error) {
	if err := q.allowPut(ctx); err != nil {
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
	if asked := strings.ToUpper(q.header("X-Amz-Checksum-Algorithm")); asked != "" && !objects.KnownAlgorithm(asked) {
		return answer{}, errAlgorithmName
	}
	tagging := q.header("X-Amz-Tagging-Directive")
	if tagging != "" && tagging != directiveCopy && tagging != directiveReplace {
		return answer{}, fault("InvalidArgument", "Unknown tagging directive.")
	}
	from, err := q.source(ctx)
	if err != nil {
		return answer{}, err
	}
	defer from.Close()
	tags := facts.Tags
	switch q.header("X-Amz-Metadata-Directive") {
	case "", directiveCopy:
		// With versioning, a copy onto itself creates a new version.
		if from.Bucket == q.bucket && from.Key == q.key && from.Latest &&
			q.config.Versioning != objects.VersioningEnabled && tagging != directiveReplace {
			return answer{}, fault(
				"InvalidRequest",
				"This copy request is illegal because it is trying to copy an object to itself without changing the object's "+
					"metadata, storage class, website redirect location or encryption attributes.",
			)
		}
		facts = from.Facts
		facts.Parts = 0
	case directiveReplace:
	default:
		return answer{}, fault("InvalidArgument", "Unknown metadata directive.")
	}
	if facts.Tags = from.Facts.Tags; tagging == directiveReplace {
		facts.Tags = tags
	}
	if from.Size > objects.MaxObject {
		return answer{}, fault("InvalidRequest",
			"The specified copy source is larger than the maximum allowable size for a copy source: 5368709120")
	}
	content := objects.Content{Size: from.Size, Algorithm: from.Facts.Checksum.Algorithm}
	if asked := strings.ToUpper(q.header("X-Amz-Checksum-Algorithm")); asked != "" {
		content.Algorithm = asked
	}
	body := from.Reader(0, from.Size)
	defer body.Close()
	content.Body = body
	log, err := q.rewriteOf(ctx, q.key, "")
	if err != nil {
		return answer{}, err
	}
	v, err := log.write(ctx, func() (*objects.Version, error) {
		return q.Objects.Put(ctx, q.bucket, q.key, facts,
			content, cond)
	})
	if err != nil {
		return answer{}, err
	}
	q.w.Header().Set("X-Amz-Server-Side-Encryption", "AES256")
	q.versionHeader(v.ID)
	return answer{xml: copied{
		XMLName: xml.Name{Local: "CopyObjectResult"}, Xmlns: xmlns, LastModified: isoTime{v.ModifiedAt},
		ETag:      `"` + v.ETag + `"`,
		checksums: checksumsOf(v.Facts.Checksum),
	}}, nil
}

func getAttributes(ctx context.Context, q *request) (answer, error) {
	wanted, err := q.attributes()
	if err != nil {
		return answer{}, err
	}
	limit, err := number("x-amz-max-parts", q.header("X-Amz-Max-Parts"), maxPage, maxPage)
	if err != nil {
		return answer{}, err
	}
	marker, err := number("x-amz-part-number-marker", q.header("X-Amz-Part-Number-Marker"), 0, objects.MaxPart)
	if err != nil {
		return answer{}, err
	}
	o, err := q.open(ctx)
	if err != nil {
		return answer{}, err
	}
	defer o.Close()
	action := "s3:GetObjectAttributes"
	if q.query.Has("versionId") {
		action = "s3:GetObjectVersionAttributes"
	}
	if err := q.allow(ctx, action, q.arn(), tagKeys("s3:ExistingObjectTag/", o.Facts.Tags)...); err != nil {
		return answer{}, err
	}
	type part struct {
		PartNumber int
		Size       int64
		checksums
	}
	type parts struct {
		PartsCount           int
		PartNumberMarker     *int   `xml:",omitempty"`
		NextPartNumberMarker *int   `xml:",omitempty"`
		MaxParts             *int   `xml:",omitempty"`
		IsTruncated          *bool  `xml:",omitempty"`
		Part                 []part `xml:",omitempty"`
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
	for name := range wanted {
		switch name {
		case "ETag":
			out.ETag = o.ETag
		case "Checksum":
			c := checksumsOf(o.Facts.Checksum)
			out.Checksum = &c
		case "ObjectParts":
			if o.Facts.Parts == 0 {
				continue
			}
			out.ObjectParts = &parts{PartsCount: o.Facts.Parts}
			all := o.Parts()
			if all == nil {
				continue
			}
			p := out.ObjectParts
			truncated := false
			p.PartNumberMarker, p.MaxParts, p.IsTruncated = &marker, &limit, &truncated
			for _, x := range all {
				if x.Number <= marker {
					continue
				}
				if truncated = len(p.Part) == limit; truncated {
					break
				}
				sum := checksumsOf(x.Checksum)
				sum.Type = ""
				p.Part = append(p.Part, part{x.Number, x.Size, sum})
				p.NextPartNumberMarker = &x.Number
			}
		case "StorageClass":
			out.StorageClass = "STANDARD"
		case "ObjectSize":
			out.ObjectSize = &o.Size
		}
	}
	q.versionHeader(o.ID)
	q.w.Header().Set("Last-Modified", o.ModifiedAt.Format(http.TimeFormat))
	return answer{xml: out}, nil
}

// attributes returns the names of the requested attributes.
func (q *request) attributes() (map[string]bool, error) {
	wanted := map[string]bool{}
	for name := range strings.SplitSeq(strings.Join(q.r.Header.Values("X-Amz-Object-Attributes"), ","), ",") {
		switch name = strings.TrimSpace(name); name {
		case "ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize":
			wanted[name] = true
		case "":
		default:
			return nil, fault("InvalidArgument", "Invalid attribute name specified.")
		}
	}
	if len(wanted) == 0 {
		return nil, fault("InvalidRequest",
			"The x-amz-object-attributes header specifying the attributes to be retrieved is either missing or empty")
	}
	return wanted, nil
}

func objectACL(ctx context.Context, q *request) (answer, error) {
	action := "s3:GetObjectAcl"
	if q.query.Has("versionId") {
		action = "s3:GetObjectVersionAcl"
	}
	return q.existing(ctx, action, q.ownerACL())
}

// existing returns the answer v if the version exists.
func (q *request) existing(ctx context.Context, action string, v any) (answer, error) {
	keys, err := q.existingTags(ctx, q.config, q.key, q.query.Get("versionId"))
	if err != nil {
		return answer{}, err
	}
	if err := q.allow(ctx, action, q.arn(), keys...); err != nil {
		return answer{}, err
	}
	if _, err := q.Objects.Head(ctx, q.bucket, q.key, q.query.Get("versionId")); err != nil {
		return answer{}, q.hide(ctx, q.config, err)
	}
	return answer{xml: v}, nil
}
