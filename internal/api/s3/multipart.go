package s3

import (
	"context"
	"encoding/xml"
	"net/http"
	"strconv"
	"strings"

	"sekisho/internal/storage/objects"
)

func startUpload(ctx context.Context, q *request) (answer, error) {
	if err := q.allow(ctx, "s3:PutObject", q.arn()); err != nil {
		return answer{}, err
	}
	facts, err := q.facts()
	if err != nil {
		return answer{}, err
	}
	facts.Checksum = objects.Checksum{Algorithm: strings.ToUpper(q.header("X-Amz-Checksum-Algorithm")), Type: strings.ToUpper(q.header("X-Amz-Checksum-Type"))}
	if a := facts.Checksum.Algorithm; a != "" && !objects.KnownAlgorithm(a) {
		return answer{}, fault("InvalidRequest", "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]")
	}
	u, err := q.Objects.StartUpload(ctx, q.bucket, q.key, q.Principal.ARN, facts)
	if err != nil {
		return answer{}, err
	}
	h := q.w.Header()
	h.Set("X-Amz-Server-Side-Encryption", "AES256")
	h.Set("X-Amz-Checksum-Algorithm", u.Facts.Checksum.Algorithm)
	h.Set("X-Amz-Checksum-Type", u.Facts.Checksum.Type)
	return answer{xml: struct {
		XMLName  xml.Name `xml:"InitiateMultipartUploadResult"`
		Xmlns    string   `xml:"xmlns,attr"`
		Bucket   string
		Key      string
		UploadID string `xml:"UploadId"`
	}{Xmlns: xmlns, Bucket: q.bucket, Key: q.key, UploadID: u.ID}}, nil
}

// upload finds the upload that the query names, once policy allows action.
func (q *request) upload(ctx context.Context, action string) (*objects.Upload, error) {
	if err := q.allow(ctx, action, q.arn()); err != nil {
		return nil, err
	}
	return q.Objects.Upload(ctx, q.bucket, q.key, q.query.Get("uploadId"))
}

func (q *request) partNumber() (int, error) {
	n, err := strconv.Atoi(q.query.Get("partNumber"))
	if err != nil || n < 1 || n > objects.MaxPart {
		return 0, fault("InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive")
	}
	return n, nil
}

func putPart(ctx context.Context, q *request) (answer, error) {
	u, err := q.upload(ctx, "s3:PutObject")
	if err != nil {
		return answer{}, err
	}
	n, err := q.partNumber()
	if err != nil {
		return answer{}, err
	}
	for _, name := range refused {
		if q.header(name) != "" {
			return answer{}, notImplemented(strings.ToLower(name))
		}
	}
	content, err := q.content()
	if err != nil {
		return answer{}, err
	}
	p, err := q.Objects.PutPart(ctx, u, n, content)
	if err != nil {
		return answer{}, bodyError(err)
	}
	h := q.w.Header()
	h.Set("Etag", `"`+p.ETag+`"`)
	h.Set("X-Amz-Server-Side-Encryption", "AES256")
	h.Set(checksumHeader(u.Facts.Checksum.Algorithm), p.Checksum)
	return answer{}, nil
}

func copyPart(ctx context.Context, q *request) (answer, error) {
	u, err := q.upload(ctx, "s3:PutObject")
	if err != nil {
		return answer{}, err
	}
	n, err := q.partNumber()
	if err != nil {
		return answer{}, err
	}
	from, err := q.source(ctx)
	if err != nil {
		return answer{}, err
	}
	defer from.Close()
	off, size := int64(0), from.Size
	if spec := q.header("X-Amz-Copy-Source-Range"); spec != "" {
		var some bool
		if off, size, some, err = parseRange(spec, from.Size); err != nil {
			return answer{}, err
		}
		_, last, _ := strings.Cut(spec, "-")
		if end, err := strconv.ParseInt(last, 10, 64); err != nil || !some || end >= from.Size {
			return answer{}, fault("InvalidArgument", "Range specified is not valid for source object of size: %d", from.Size)
		}
	}
	body := from.Reader(off, size)
	defer body.Close()
	p, err := q.Objects.PutPart(ctx, u, n, objects.Content{Body: body, Size: size})
	if err != nil {
		return answer{}, err
	}
	q.w.Header().Set("X-Amz-Server-Side-Encryption", "AES256")
	return answer{xml: copied{
		XMLName: xml.Name{Local: "CopyPartResult"}, Xmlns: xmlns, LastModified: isoTime{p.ModifiedAt}, ETag: `"` + p.ETag + `"`,
		checksums: checksumsOf(objects.Checksum{Algorithm: u.Facts.Checksum.Algorithm, Value: p.Checksum}),
	}}, nil
}

func completeUpload(ctx context.Context, q *request) (answer, error) {
	var in struct {
		XMLName xml.Name `xml:"CompleteMultipartUpload"`
		Part    []struct {
			PartNumber int
			ETag       string
			checksums
		}
	}
	u, err := q.upload(ctx, "s3:PutObject")
	if err != nil {
		return answer{}, err
	}
	// Here the checksum headers speak of the object, not of this body.
	algorithm, want, err := q.checksum()
	if err != nil {
		return answer{}, err
	}
	if algorithm != "" && algorithm != u.Facts.Checksum.Algorithm {
		return answer{}, objects.ErrAlgorithm
	}
	if err := q.readXMLUnchecked(&in); err != nil {
		return answer{}, err
	}
	cond, err := q.condition()
	if err != nil {
		return answer{}, err
	}
	var chosen []objects.Chosen
	for _, p := range in.Part {
		chosen = append(chosen, objects.Chosen{Number: p.PartNumber, ETag: p.ETag, Checksum: p.value(u.Facts.Checksum.Algorithm)})
	}
	if len(chosen) == 0 || len(chosen) > objects.MaxPart {
		return answer{}, fault("MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema")
	}
	size := int64(-1)
	if said := q.header("X-Amz-Mp-Object-Size"); said != "" {
		if size, err = strconv.ParseInt(said, 10, 64); err != nil || size < 0 {
			return answer{}, fault("InvalidRequest", "Value for x-amz-mp-object-size header is invalid.")
		}
	}
	log, err := q.rewriteOf(ctx, q.key, "")
	if err != nil {
		return answer{}, err
	}
	v, err := log.write(ctx, func() (*objects.Version, error) { return q.Objects.CompleteUpload(ctx, u, chosen, want, size, cond) })
	if err != nil {
		return answer{}, err
	}
	q.w.Header().Set("X-Amz-Server-Side-Encryption", "AES256")
	q.versionHeader(v.ID)
	return answer{xml: struct {
		XMLName  xml.Name `xml:"CompleteMultipartUploadResult"`
		Xmlns    string   `xml:"xmlns,attr"`
		Location string
		Bucket   string
		Key      string
		ETag     string
		checksums
	}{
		Xmlns: xmlns, Location: "https://" + q.Host + "/" + encodeKey(q.bucket+"/"+q.key), Bucket: q.bucket, Key: q.key, ETag: `"` + v.ETag + `"`,
		checksums: checksumsOf(v.Facts.Checksum),
	}}, nil
}

func abortUpload(ctx context.Context, q *request) (answer, error) {
	u, err := q.upload(ctx, "s3:AbortMultipartUpload")
	if err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusNoContent}, q.Objects.AbortUpload(ctx, u)
}

func listParts(ctx context.Context, q *request) (answer, error) {
	u, err := q.upload(ctx, "s3:ListMultipartUploadParts")
	if err != nil {
		return answer{}, err
	}
	limit, err := q.number("max-parts", maxPage, maxPage)
	if err != nil {
		return answer{}, err
	}
	after, err := q.number("part-number-marker", 0, objects.MaxPart)
	if err != nil {
		return answer{}, err
	}
	all, err := q.Objects.Parts(ctx, u, after, limit+1)
	if err != nil {
		return answer{}, err
	}
	type part struct {
		PartNumber   int
		LastModified isoTime
		ETag         string
		Size         int64
		checksums
	}
	out := struct {
		XMLName              xml.Name `xml:"ListPartsResult"`
		Xmlns                string   `xml:"xmlns,attr"`
		Bucket               string
		Key                  string
		UploadID             string `xml:"UploadId"`
		Initiator            owner
		Owner                *owner
		StorageClass         string
		ChecksumAlgorithm    string
		ChecksumType         string
		PartNumberMarker     int
		NextPartNumberMarker int
		MaxParts             int
		IsTruncated          bool
		Part                 []part
	}{
		Xmlns: xmlns, Bucket: q.bucket, Key: q.key, UploadID: u.ID, Initiator: owner{ID: u.StartedBy}, Owner: q.owner(), StorageClass: "STANDARD",
		ChecksumAlgorithm: u.Facts.Checksum.Algorithm, ChecksumType: u.Facts.Checksum.Type, PartNumberMarker: after, MaxParts: limit,
	}
	for i, p := range all {
		if i == limit {
			out.IsTruncated = true
			break
		}
		out.NextPartNumberMarker = p.Number
		out.Part = append(out.Part, part{
			PartNumber: p.Number, LastModified: isoTime{p.ModifiedAt}, ETag: `"` + p.ETag + `"`, Size: p.Size,
			checksums: checksumsOf(objects.Checksum{Algorithm: u.Facts.Checksum.Algorithm, Value: p.Checksum}),
		})
	}
	return answer{xml: out}, nil
}
