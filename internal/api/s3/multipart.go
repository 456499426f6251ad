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
	if err := q.allowPut(ctx); err != nil {
		return answer{}, err
	}
	facts, err := q.facts()
	if err != nil {
		return answer{}, err
	}
	facts.Checksum = objects.Checksum{Algorithm: strings.ToUpper(q.header("X-Amz-Checksum-Algorithm")),
		Type: strings.ToUpper(q.header("X-Amz-Checksum-Type"))}
	if a := facts.Checksum.Algorithm; a != "" && !objects.KnownAlgorithm(a) {
		return answer{}, errAlgorithmName
	}
	if t := facts.Checksum.Type; t != "" && t != objects.FullObject && t != objects.Composite {
		return answer{}, invalidHeader("x-amz-checksum-type")
	}
	u, err := q.Objects.StartUpload(ctx, q.bucket, q.key, q.Principal.ARN, facts)
	if err != nil {
		return answer{}, err
	}
	h := q.w.Header()
	h.Set("X-Amz-Server-Side-Encryption", "AES256")
	if c := u.Facts.Checksum; c.Algorithm != "" {
		h.Set("X-Amz-Checksum-Algorithm", c.Algorithm)
		h.Set("X-Amz-Checksum-Type", c.Type)
	}
	return answer{xml: struct {
		XMLName  xml.Name `xml:"InitiateMultipartUploadResult"`
		Xmlns    string   `xml:"xmlns,attr"`
		Bucket   string
		Key      string
		UploadID string `xml:"UploadId"`
	}{Xmlns: xmlns, Bucket: q.bucket, Key: q.key, UploadID: u.ID}}, nil
}

// upload authorizes action and returns the upload that the query names.
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
	n, err := q.partNumber()
	if err != nil {
		return answer{}, err
	}
	u, err := q.upload(ctx, "s3:PutObject")
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
	if p.Stated.Value != "" {
		h.Set(checksumHeader(p.Stated.Algorithm), p.Stated.Value)
	}
	return answer{}, nil
}

func copyPart(ctx context.Context, q *request) (answer, error) {
	n, err := q.partNumber()
	if err != nil {
		return answer{}, err
	}
	u, err := q.upload(ctx, "s3:PutObject")
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
		off, size, some, err = parseRange(spec, from.Size)
		_, last, _ := strings.Cut(spec, "-")
		if end, badEnd := strconv.ParseInt(last, 10, 64); err != nil || badEnd != nil || !some || end >= from.Size {
			return answer{}, fault(
				"InvalidArgument",
				"Range specified is not valid for source object of size: %d",
				from.Size,
			)
		}
	}
	body := from.Reader(off, size)
	defer body.Close()
	p, err := q.Objects.PutPart(
		ctx,
		u,
		n,
		objects.Content{Body: body, Size: size, Algorithm: u.Facts.Checksum.Algorithm},
	)
	if err != nil {
		return answer{}, err
	}
	q.w.Header().Set("X-Amz-Server-Side-Encryption", "AES256")
	return answer{xml: copied{
		XMLName: xml.Name{Local: "CopyPartResult"}, Xmlns: xmlns, LastModified: isoTime{p.ModifiedAt},
		ETag:      `"` + p.ETag + `"`,
		checksums: checksumsOf(p.Stated),
	}}, nil
}

func completeUpload(ctx context.Context, q *request) (answer, error) {
	var in struct {
		XMLName xml.Name `xml:"CompleteMultipartUpload"`
		Part    []struct {
			PartNumber *int
			ETag       string
			checksums
		}
	}
	u, err := q.upload(ctx, "s3:PutObject")
	if err != nil {
		return answer{}, err
	}
	// The checksum headers of this operation apply to the object, not this body.
	algorithm, want, err := q.checksum()
	if err != nil {
		return answer{}, err
	}
	of := u.Facts.Checksum
	if value, _, _ := strings.Cut(want, "-"); algorithm != "" && !objects.ValidChecksum(algorithm, value) {
		return answer{}, invalidHeader(checksumHeader(algorithm))
	}
	switch kind := strings.ToUpper(q.header("X-Amz-Checksum-Type")); {
	case kind != "" && kind != objects.FullObject && kind != objects.Composite:
		return answer{}, invalidHeader("x-amz-checksum-type")
	case kind != "" && of.Type != "" && kind != of.Type:
		return answer{}, fault(
			"InvalidRequest",
			"The upload was created using the %s checksum mode. The complete request must use the same checksum mode.",
			of.Type,
		)
	}
	if algorithm != "" && of.Algorithm != "" && algorithm != of.Algorithm {
		return answer{}, objects.ErrAlgorithm
	}
	if err := q.readXMLUnchecked(&in); err != nil {
		return answer{}, err
	}
	cond, err := q.condition()
	if err != nil {
		return answer{}, err
	}
	c := objects.Completion{Checksum: want, Size: -1, Condition: cond}
	for _, p := range in.Part {
		if p.PartNumber == nil || p.ETag == "" {
			return answer{}, errMalformedXML
		}
		if n := *p.PartNumber; n < 1 || n > objects.MaxPart {
			return answer{}, fault("InvalidArgument", "PartNumber must be >= 1 and <= %d", objects.MaxPart)
		}
		stated, err := p.stated()
		if err != nil {
			return answer{}, err
		}
		c.Parts = append(c.Parts, objects.Chosen{Number: *p.PartNumber, ETag: p.ETag, Checksum: stated})
	}
	if len(c.Parts) == 0 || len(c.Parts) > objects.MaxPart {
		return answer{}, errMalformedXML
	}
	if stated := q.header("X-Amz-Mp-Object-Size"); stated != "" {
		if c.Size, err = strconv.ParseInt(stated, 10, 64); err != nil || c.Size < 0 {
			return answer{}, invalidHeader("x-amz-mp-object-size")
		}
	}
	log, err := q.rewriteOf(ctx, q.key, "")
	if err != nil {
		return answer{}, err
	}
	v, err := log.write(ctx, func() (*objects.Version, error) { return q.Objects.CompleteUpload(ctx, u, c) })
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
		Xmlns: xmlns, Location: "https://" + q.Host + "/" + encodeKey(q.bucket+"/"+q.key), Bucket: q.bucket, Key: q.key,
		ETag:      `"` + v.ETag + `"`,
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
		ChecksumAlgorithm    string `xml:",omitempty"`
		ChecksumType         string `xml:",omitempty"`
		PartNumberMarker     int
		NextPartNumberMarker int
		MaxParts             int
		IsTruncated          bool
		Part                 []part
	}{
		Xmlns: xmlns, Bucket: q.bucket, Key: q.key, UploadID: u.ID, Initiator: owner{ID: u.StartedBy}, Owner: q.owner(),
		StorageClass:      "STANDARD",
		ChecksumAlgorithm: u.Facts.Checksum.Algorithm, ChecksumType: u.Facts.Checksum.Type, PartNumberMarker: after,
		MaxParts: limit,
	}
	for i, p := range all {
		if i == limit {
			out.IsTruncated = true
			break
		}
		out.NextPartNumberMarker = p.Number
		out.Part = append(out.Part, part{
			PartNumber: p.Number, LastModified: isoTime{p.ModifiedAt}, ETag: `"` + p.ETag + `"`, Size: p.Size,
			checksums: checksumsOf(p.Stated),
		})
	}
	return answer{xml: out}, nil
}
