package s3

import (
	"context"
	"encoding/xml"
	"strconv"
	"strings"

	"sekisho/internal/iam/authz"
	"sekisho/internal/storage/objects"
)

// maxPage is the largest page of a listing. Requests for more get this many.
const maxPage = 1000

// number parses a count in the query.
func (q *request) number(name string, otherwise, most int) (int, error) {
	return number(name, q.query.Get(name), otherwise, most)
}

// number parses a count, limited to most.
func number(name, s string, otherwise, most int) (int, error) {
	if s == "" {
		return otherwise, nil
	}
	n, err := strconv.ParseInt(s, 10, 32)
	switch {
	case err != nil:
		return 0, fault("InvalidArgument", "Provided %s not an integer or within integer range", name)
	case n < 0:
		return 0, fault("InvalidArgument", "Argument %s must be an integer between 0 and 2147483647", name)
	}
	return min(int(n), most), nil
}

// listing parses the parameters that all listings have, and authorizes the call.
func (q *request) listing(ctx context.Context, action, limit string) (objects.Listing, func(string) string, error) {
	l := objects.Listing{Bucket: q.bucket, Prefix: q.query.Get("prefix"), Delimiter: q.query.Get("delimiter")}
	plain := func(s string) string { return s }
	var keys []authz.Key
	// A condition key is absent if its parameter is absent.
	for _, name := range []string{"prefix", "delimiter"} {
		if q.query.Has(name) {
			keys = append(keys, authz.One("s3:"+name, q.query.Get(name)))
		}
	}
	if q.query.Has(limit) {
		keys = append(keys, authz.One("s3:max-keys", q.query.Get(limit)))
	}
	if err := q.allow(ctx, action, objects.ARN(q.bucket), keys...); err != nil {
		return l, plain, err
	}
	var err error
	if l.Limit, err = q.number(limit, maxPage, maxPage); err != nil {
		return l, plain, err
	}
	switch q.query.Get("encoding-type") {
	case "":
		return l, plain, nil
	case "url":
		return l, encodeKey, nil
	}
	return l, plain, fault("InvalidArgument", "Invalid Encoding Method specified in Request")
}

// encodeKey encodes a key for encoding-type url.
func encodeKey(s string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-_.~/*", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteString("%" + string(digits[c>>4]) + string(digits[c&15]))
	}
	return b.String()
}

type prefix struct{ Prefix string }

func prefixes(all []string, encode func(string) string) []prefix {
	var out []prefix
	for _, p := range all {
		out = append(out, prefix{encode(p)})
	}
	return out
}

type entry struct {
	Key               string
	LastModified      isoTime
	ETag              string
	ChecksumAlgorithm string `xml:",omitempty"`
	ChecksumType      string `xml:",omitempty"`
	Size              int64
	StorageClass      string
	Owner             *owner
}

func (q *request) entries(all []*objects.Version, encode func(string) string, owned bool) []entry {
	var out []entry
	for _, v := range all {
		e := entry{
			Key: encode(v.Key), LastModified: isoTime{v.ModifiedAt}, ETag: `"` + v.ETag + `"`, Size: v.Size,
			StorageClass:      "STANDARD",
			ChecksumAlgorithm: v.Facts.Checksum.Algorithm, ChecksumType: v.Facts.Checksum.Type,
		}
		if owned {
			e.Owner = q.owner()
		}
		out = append(out, e)
	}
	return out
}

func listObjectsV2(ctx context.Context, q *request) (answer, error) {
	l, encode, err := q.listing(ctx, "s3:ListBucket", "max-keys")
	if err != nil {
		return answer{}, err
	}
	l.After = q.query.Get("start-after")
	token := q.query.Get("continuation-token")
	if q.query.Has("continuation-token") {
		if l.After, err = readToken(token); err != nil || token == "" {
			return answer{}, fault("InvalidArgument", "The continuation token provided is incorrect")
		}
	}
	page, err := q.Objects.ListCurrent(ctx, l)
	if err != nil {
		return answer{}, err
	}
	out := struct {
		XMLName               xml.Name `xml:"ListBucketResult"`
		Xmlns                 string   `xml:"xmlns,attr"`
		Name                  string
		Prefix                string
		Delimiter             string `xml:",omitempty"`
		EncodingType          string `xml:",omitempty"`
		StartAfter            string `xml:",omitempty"`
		ContinuationToken     string `xml:",omitempty"`
		NextContinuationToken string `xml:",omitempty"`
		KeyCount              int
		MaxKeys               int
		IsTruncated           bool
		Contents              []entry
		CommonPrefixes        []prefix
	}{
		Xmlns: xmlns, Name: q.bucket, Prefix: encode(l.Prefix), Delimiter: encode(l.Delimiter), EncodingType: q.query.Get(
			"encoding-type"),
		StartAfter: encode(q.query.Get("start-after")), ContinuationToken: token, KeyCount: len(page.Entries) + len(
			page.Prefixes),
		MaxKeys: l.Limit, IsTruncated: page.Truncated, CommonPrefixes: prefixes(page.Prefixes, encode),
		Contents: q.entries(page.Entries, encode, q.query.Get("fetch-owner") == "true"),
	}
	if page.Truncated {
		out.NextContinuationToken = makeToken(page.NextKey)
	}
	return answer{xml: out}, nil
}

func listObjects(ctx context.Context, q *request) (answer, error) {
	l, encode, err := q.listing(ctx, "s3:ListBucket", "max-keys")
	if err != nil {
		return answer{}, err
	}
	l.After = q.query.Get("marker")
	page, err := q.Objects.ListCurrent(ctx, l)
	if err != nil {
		return answer{}, err
	}
	out := struct {
		XMLName        xml.Name `xml:"ListBucketResult"`
		Xmlns          string   `xml:"xmlns,attr"`
		Name           string
		Prefix         string
		Marker         string
		NextMarker     string `xml:",omitempty"`
		Delimiter      string `xml:",omitempty"`
		EncodingType   string `xml:",omitempty"`
		MaxKeys        int
		IsTruncated    bool
		Contents       []entry
		CommonPrefixes []prefix
	}{
		Xmlns: xmlns, Name: q.bucket, Prefix: encode(l.Prefix), Marker: encode(l.After), Delimiter: encode(l.Delimiter),
		EncodingType: q.query.Get("encoding-type"), MaxKeys: l.Limit, IsTruncated: page.Truncated,
		Contents: q.entries(page.Entries, encode, true), CommonPrefixes: prefixes(page.Prefixes, encode),
	}
	if page.Truncated && l.Delimiter != "" {
		out.NextMarker = encode(page.NextKey)
	}
	return answer{xml: out}, nil
}

func listObjectVersions(ctx context.Context, q *request) (answer, error) {
	l, encode, err := q.listing(ctx, "s3:ListBucketVersions", "max-keys")
	if err != nil {
		return answer{}, err
	}
	l.After, l.Place = q.query.Get("key-marker"), q.query.Get("version-id-marker")
	if l.Place != "" && l.After == "" {
		return answer{}, fault("InvalidArgument", "A version-id marker cannot be specified without a key marker.")
	}
	page, err := q.Objects.ListVersions(ctx, l)
	if err != nil {
		return answer{}, err
	}
	// Versions and delete markers are one sorted list with two kinds of elements.
	type version struct {
		XMLName           xml.Name
		Key               string
		VersionID         string `xml:"VersionId"`
		IsLatest          bool
		LastModified      isoTime
		ETag              string `xml:",omitempty"`
		ChecksumAlgorithm string `xml:",omitempty"`
		ChecksumType      string `xml:",omitempty"`
		Size              *int64
		StorageClass      string `xml:",omitempty"`
		Owner             *owner
	}
	out := struct {
		XMLName             xml.Name `xml:"ListVersionsResult"`
		Xmlns               string   `xml:"xmlns,attr"`
		Name                string
		Prefix              string
		KeyMarker           string
		VersionIDMarker     string `xml:"VersionIdMarker"`
		NextKeyMarker       string `xml:",omitempty"`
		NextVersionIDMarker string `xml:"NextVersionIdMarker,omitempty"`
		Delimiter           string `xml:",omitempty"`
		EncodingType        string `xml:",omitempty"`
		MaxKeys             int
		IsTruncated         bool
		Versions            []version
		CommonPrefixes      []prefix
	}{
		Xmlns: xmlns, Name: q.bucket, Prefix: encode(l.Prefix), KeyMarker: encode(l.After), VersionIDMarker: l.Place,
		Delimiter: encode(l.Delimiter),
		EncodingType: q.query.Get(
			"encoding-type",
		), MaxKeys: l.Limit, IsTruncated: page.Truncated, CommonPrefixes: prefixes(
			page.Prefixes, encode),
	}
	for _, v := range page.Entries {
		e := version{
			XMLName: xml.Name{Local: "DeleteMarker"}, Key: encode(v.Key), VersionID: v.ID, IsLatest: v.Latest,
			LastModified: isoTime{v.ModifiedAt}, Owner: q.owner(),
		}
		if !v.DeleteMarker {
			e.XMLName.Local, e.ETag, e.Size, e.StorageClass = "Version", `"`+v.ETag+`"`, &v.Size, "STANDARD"
			e.ChecksumAlgorithm, e.ChecksumType = v.Facts.Checksum.Algorithm, v.Facts.Checksum.Type
		}
		out.Versions = append(out.Versions, e)
	}
	if page.Truncated {
		out.NextKeyMarker, out.NextVersionIDMarker = encode(page.NextKey), page.NextPlace
	}
	return answer{xml: out}, nil
}

func listUploads(ctx context.Context, q *request) (answer, error) {
	l, encode, err := q.listing(ctx, "s3:ListBucketMultipartUploads", "max-uploads")
	if err != nil {
		return answer{}, err
	}
	l.After = q.query.Get("key-marker")
	if l.After != "" {
		l.Place = q.query.Get("upload-id-marker")
	}
	page, err := q.Objects.ListUploads(ctx, l)
	if err != nil {
		return answer{}, err
	}
	type upload struct {
		Key               string
		UploadID          string `xml:"UploadId"`
		Initiator         owner
		Owner             *owner
		StorageClass      string
		Initiated         isoTime
		ChecksumAlgorithm string `xml:",omitempty"`
		ChecksumType      string `xml:",omitempty"`
	}
	out := struct {
		XMLName            xml.Name `xml:"ListMultipartUploadsResult"`
		Xmlns              string   `xml:"xmlns,attr"`
		Bucket             string
		KeyMarker          string
		UploadIDMarker     string `xml:"UploadIdMarker"`
		NextKeyMarker      string `xml:",omitempty"`
		NextUploadIDMarker string `xml:"NextUploadIdMarker,omitempty"`
		Prefix             string
		Delimiter          string `xml:",omitempty"`
		EncodingType       string `xml:",omitempty"`
		MaxUploads         int
		IsTruncated        bool
		Upload             []upload
		CommonPrefixes     []prefix
	}{
		Xmlns: xmlns, Bucket: q.bucket, KeyMarker: encode(l.After), UploadIDMarker: l.Place, Prefix: encode(l.Prefix),
		Delimiter:    encode(l.Delimiter),
		EncodingType: q.query.Get("encoding-type"), MaxUploads: l.Limit, IsTruncated: page.Truncated,
		CommonPrefixes: prefixes(page.Prefixes, encode),
	}
	for _, u := range page.Entries {
		out.Upload = append(out.Upload, upload{
			Key: encode(
				u.Key,
			), UploadID: u.ID, Initiator: owner{ID: u.StartedBy}, Owner: q.owner(), StorageClass: "STANDARD",
			Initiated: isoTime{
				u.StartedAt,
			}, ChecksumAlgorithm: u.Facts.Checksum.Algorithm, ChecksumType: u.Facts.Checksum.Type,
		})
	}
	if page.Truncated {
		out.NextKeyMarker, out.NextUploadIDMarker = encode(page.NextKey), page.NextPlace
	}
	return answer{xml: out}, nil
}
