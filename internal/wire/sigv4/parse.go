package sigv4

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Values of X-Amz-Content-Sha256 that are not a hash.
const (
	UnsignedPayload         = "UNSIGNED-PAYLOAD"
	StreamingUnsigned       = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
	StreamingSigned         = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
	StreamingSignedTrailers = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
)

const (
	algorithm  = "AWS4-HMAC-SHA256"
	timeFormat = "20060102T150405Z"
	dateFormat = "20060102"
	terminator = "aws4_request"
	serviceS3  = "s3"

	defaultSkew    = 5 * time.Minute
	defaultSkewS3  = 15 * time.Minute
	defaultExpires = 15 * time.Minute // of presigned requests that specify none, outside S3
	maxExpires     = 7 * 24 * time.Hour

	maxAuthorization = 8 << 10
	maxSignature     = 2 << 10
	maxSignedHeaders = 128
	maxQueryPairs    = 1024
)

// Credential is the scope of a signature: which key, for which day, region
// and service.
type Credential struct {
	AccessKeyID string
	Date        string // YYYYMMDD
	Region      string
	Service     string
}

func (c Credential) scope() string {
	return c.Date + "/" + c.Region + "/" + c.Service + "/" + terminator
}

// Parsed is the signature that a request carries. Nothing in it is authenticated
// before [Parsed.Verify] or [VerifyRSA] returns nil.
type Parsed struct {
	Credential
	SignedHeaders []string // lower case, sorted
	Signature     string   // 64 hexadecimal digits, or base64 in the RSA variant
	Presigned     bool
	Time          time.Time
	Expires       time.Duration // presigned only
	SecurityToken string

	// PayloadHash is the declared hash of the body: hexadecimal SHA-256, one
	// of the constants of this package (S3 only), or empty when the request
	// declares none.
	PayloadHash string

	// MaxSkew is the allowed difference of the caller's clock. Parse sets 15 minutes
	// for S3 and 5 for other services. It can be changed before Verify.
	MaxSkew time.Duration
}

// Parse reads the signature of r, from the Authorization header or from the
// presigned query. Every error is an *Error.
func Parse(r *http.Request) (*Parsed, error) {
	query, qerr := queryPairs(r.URL.RawQuery)
	presigned := slices.ContainsFunc(query, func(p pair) bool {
		return strings.HasPrefix(p.key, "X-Amz-") && (p.key == "X-Amz-Algorithm" || p.key == "X-Amz-Signature" ||
			p.key == "X-Amz-Credential")
	})
	auth := r.Header["Authorization"]
	var p *Parsed
	var err *Error
	switch {
	case len(auth) == 0 && !presigned:
		if qerr != nil {
			return nil, qerr
		}
		return nil, errorf(CodeMissingToken,
			"The request is not signed: it has neither an Authorization header nor a presigned query.")
	case len(auth) > 0 && presigned:
		return nil, errorf(CodeIncomplete,
			"The request is signed twice, in the Authorization header and in the query; use one of them.")
	case len(auth) > 1:
		return nil, errorf(CodeIncomplete, "The request has %d Authorization headers; send one.", len(auth))
	case qerr != nil:
		return nil, qerr
	case presigned:
		p, err = parseQuery(query)
	default:
		p, err = parseHeader(r, auth[0])
	}
	if err == nil {
		err = p.check(r)
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

func parseHeader(r *http.Request, value string) (*Parsed, *Error) {
	if len(value) > maxAuthorization {
		return nil, errorf(CodeIncomplete, "The Authorization header is longer than %d bytes.", maxAuthorization)
	}
	name, rest, _ := strings.Cut(strings.TrimSpace(value), " ")
	if name != algorithm {
		return nil, errorf(CodeIncomplete,
			"The Authorization header does not start with %s, the only algorithm understood here.", algorithm)
	}
	var parts [3]string
	keys := [3]string{"Credential", "SignedHeaders", "Signature"}
	for part := range strings.SplitSeq(rest, ",") {
		k, v, _ := strings.Cut(strings.TrimSpace(part), "=")
		i := slices.Index(keys[:], k)
		if i < 0 {
			return nil, errorf(CodeIncomplete,
				"The Authorization header has a part other than Credential, SignedHeaders and Signature.")
		}
		if parts[i] != "" {
			return nil, errorf(CodeIncomplete, "The Authorization header names %s twice.", k)
		}
		parts[i] = v
	}
	for i, v := range parts {
		if v == "" {
			return nil, errorf(CodeIncomplete, "Authorization header requires '%s' parameter.", keys[i])
		}
	}
	p := &Parsed{Signature: parts[2]}
	if err := p.setCredential(parts[0], CodeIncomplete); err != nil {
		return nil, err
	}
	if err := p.setSignedHeaders(parts[1], CodeIncomplete); err != nil {
		return nil, err
	}
	amzDate, err := single(r.Header, "X-Amz-Date")
	if err != nil {
		return nil, err
	}
	var perr error
	if amzDate != "" {
		p.Time, perr = parseTime(amzDate)
	} else {
		date, err := single(r.Header, "Date")
		if err != nil {
			return nil, err
		}
		if date == "" {
			return nil, errorf(CodeIncomplete,
				"Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
		}
		p.Time, perr = http.ParseTime(date)
		p.Time = p.Time.UTC()
	}
	if perr != nil {
		return nil, errorf(CodeIncomplete, "The request's date is not in the form YYYYMMDD'T'HHMMSS'Z'.")
	}
	if p.SecurityToken, err = single(r.Header, "X-Amz-Security-Token"); err != nil {
		return nil, err
	}
	p.PayloadHash, err = single(r.Header, "X-Amz-Content-Sha256")
	return p, err
}

func parseQuery(query []pair) (*Parsed, *Error) {
	const code = CodeQueryParameters
	values := map[string]string{}
	for _, q := range query {
		switch q.key {
		case "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders",
			"X-Amz-Signature", "X-Amz-Security-Token", "X-Amz-Content-Sha256":
			if _, dup := values[q.key]; dup {
				return nil, errorf(code, "The query names %s twice.", q.key)
			}
			values[q.key] = q.value
		}
	}
	for _, k := range []string{"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-SignedHeaders",
		"X-Amz-Signature"} {
		if values[k] == "" {
			return nil, errorf(
				code,
				"A presigned query must have X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date and "+
					"X-Amz-SignedHeaders; %s is missing.",
				k,
			)
		}
	}
	if values["X-Amz-Algorithm"] != algorithm {
		return nil, errorf(code, "X-Amz-Algorithm only supports %q.", algorithm)
	}
	p := &Parsed{
		Presigned:     true,
		Signature:     values["X-Amz-Signature"],
		SecurityToken: values["X-Amz-Security-Token"],
		PayloadHash:   values["X-Amz-Content-Sha256"],
		Expires:       defaultExpires,
	}
	if err := p.setCredential(values["X-Amz-Credential"], code); err != nil {
		return nil, err
	}
	if err := p.setSignedHeaders(values["X-Amz-SignedHeaders"], code); err != nil {
		return nil, err
	}
	var perr error
	if p.Time, perr = parseTime(values["X-Amz-Date"]); perr != nil {
		return nil, errorf(code, "X-Amz-Date must be in the form YYYYMMDD'T'HHMMSS'Z'.")
	}
	expires, named := values["X-Amz-Expires"]
	if !named {
		if p.Service == serviceS3 {
			return nil, errorf(code, "A presigned query must have X-Amz-Expires.")
		}
		return p, nil
	}
	n, perr := strconv.ParseInt(expires, 10, 32)
	if perr != nil || n < 1 || time.Duration(n)*time.Second > maxExpires {
		return nil, errorf(code, "X-Amz-Expires must be a number of seconds between 1 and 604800 (a week).")
	}
	p.Expires = time.Duration(n) * time.Second
	return p, nil
}

// check checks the parts that headers and presigned queries have in common.
func (p *Parsed) check(r *http.Request) *Error {
	code := CodeIncomplete
	if p.Presigned {
		code = CodeQueryParameters
		token, err := single(r.Header, "X-Amz-Security-Token")
		if err != nil {
			return err
		}
		if token != "" {
			return errorf(code, "A presigned request carries its security token in the query, not in a header.")
		}
		declared, err := single(r.Header, "X-Amz-Content-Sha256")
		if err != nil {
			return err
		}
		if p.PayloadHash == "" {
			p.PayloadHash = declared
		} else if declared != "" && declared != p.PayloadHash {
			return errorf(code, "X-Amz-Content-Sha256 differs between query and header.")
		}
		if p.PayloadHash == "" && p.Service == serviceS3 {
			p.PayloadHash = UnsignedPayload
		}
	}
	if len(p.Signature) > maxSignature {
		return errorf(code, "The signature is longer than %d characters.", maxSignature)
	}
	if got := p.Time.Format(dateFormat); got != p.Date {
		return errorf(code, "Date in Credential scope does not match the request's date: '%s' != '%s'.", p.Date, got)
	}
	switch p.PayloadHash {
	case "":
	case UnsignedPayload, StreamingUnsigned, StreamingSigned, StreamingSignedTrailers:
		if p.Service != serviceS3 {
			return errorf(code, "The body must be signed: X-Amz-Content-Sha256 %s is for S3 only.", p.PayloadHash)
		}
	default:
		if !isHexHash(p.PayloadHash) {
			return errorf(
				code,
				"X-Amz-Content-Sha256 must be the SHA-256 of the body in 64 lower-case hexadecimal digits, "+
					"or a value known for S3.",
			)
		}
	}
	p.MaxSkew = defaultSkew
	if p.Service == serviceS3 {
		p.MaxSkew = defaultSkewS3
	}
	return nil
}

func (p *Parsed) setCredential(s, code string) *Error {
	parts := strings.Split(s, "/")
	if len(parts) != 5 || parts[4] != terminator {
		return errorf(code, "Credential must have the form ACCESS-KEY-ID/YYYYMMDD/REGION/SERVICE/%s.", terminator)
	}
	if !isName(parts[0], 128) || !isName(parts[2], 64) || !isName(parts[3], 64) {
		return errorf(code, "Credential has an empty, overlong or malformed access key ID, region or service.")
	}
	if _, err := time.Parse(dateFormat, parts[1]); err != nil || len(parts[1]) != len(dateFormat) {
		return errorf(code, "The date in Credential must have the form YYYYMMDD.")
	}
	p.Credential = Credential{AccessKeyID: parts[0], Date: parts[1], Region: parts[2], Service: parts[3]}
	return nil
}

func (p *Parsed) setSignedHeaders(s, code string) *Error {
	if strings.Count(s, ";") >= maxSignedHeaders {
		return errorf(code, "More than %d headers are named in SignedHeaders.", maxSignedHeaders)
	}
	names := strings.Split(s, ";")
	for i, n := range names {
		if !isHeaderName(n) {
			return errorf(code, "SignedHeaders must be lower-case header names separated by semicolons.")
		}
		if i > 0 && names[i-1] >= n {
			return errorf(code, "SignedHeaders must be sorted, each name once.")
		}
	}
	if !slices.Contains(names, "host") {
		return errorf(code, "'Host' must be a 'SignedHeader' in the AWS Authorization.")
	}
	p.SignedHeaders = names
	return nil
}

// parseTime refuses fractions of seconds, which time.Parse accepts.
func parseTime(s string) (time.Time, error) {
	t, err := time.Parse(timeFormat, s)
	if err == nil && t.Format(timeFormat) != s {
		err = errors.New("not in canonical form")
	}
	return t, err
}

// single returns the only value of a header, or "" when it is absent.
func single(h http.Header, name string) (string, *Error) {
	v := h[name]
	switch len(v) {
	case 0:
		return "", nil
	case 1:
		return strings.TrimSpace(v[0]), nil
	}
	return "", errorf(CodeIncomplete, "The request has %d %s headers; send one.", len(v), name)
}

type pair struct{ key, value string }

// queryPairs decodes a raw query in order and refuses malformed escapes.
func queryPairs(raw string) ([]pair, *Error) {
	if strings.Count(raw, "&") >= maxQueryPairs {
		return nil, errorf(CodeIncomplete, "The query has more than %d parameters.", maxQueryPairs)
	}
	var pairs []pair
	for part := range strings.SplitSeq(raw, "&") {
		if part == "" {
			continue
		}
		k, v, _ := strings.Cut(part, "=")
		key, err := url.QueryUnescape(k)
		value, err2 := url.QueryUnescape(v)
		if err != nil || err2 != nil {
			return nil, errorf(CodeIncomplete, "The query has a malformed percent escape.")
		}
		pairs = append(pairs, pair{key, value})
	}
	return pairs, nil
}

func isHexHash(s string) bool {
	if len(s) != 64 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func isName(s string, limit int) bool {
	if s == "" || len(s) > limit {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isAlphanumeric(c) && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return true
}

func isHeaderName(s string) bool {
	if s == "" {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return true
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
