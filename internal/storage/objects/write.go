package objects

import (
	"cmp"
	"context"
	"crypto/md5" //nolint:gosec // the S3 protocol requires MD5 for ETags
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"sekisho"
)

// Content is the content of an upload.
type Content struct {
	Body io.Reader
	Size int64  // -1 = unknown
	MD5  []byte // expected by the sender; nil = none
	// Algorithm is the checksum algorithm that the sender chose; "" = none.
	Algorithm string
	// Want returns the checksum the sender expects ("" = none). It is called after
	// Body is drained: the checksum may arrive in a trailer. nil = none.
	Want func() (string, error)
}

// written is content that was stored as a blob.
type written struct {
	blob   string
	size   int64
	md5    []byte
	kept   string // checksum under the algorithm of the stored checksum
	stated string // checksum under the sender's algorithm
}

// write stores content as a blob that is not yet in the index. keep is the algorithm of the
// checksum to store with it.
func (s *Store) write(ctx context.Context, c Content, keep string) (*written, error) {
	if c.Algorithm == "" {
		c.Algorithm = keep
	}
	sum, kept := md5.New(), NewHash(keep) //nolint:gosec // the S3 protocol requires MD5 for ETags
	stated := kept
	if c.Algorithm != keep {
		stated = NewHash(c.Algorithm)
	}
	if kept == nil || stated == nil {
		return nil, ErrAlgorithm
	}
	if c.Size > MaxObject {
		return nil, ErrTooLarge
	}
	w, err := s.files.create()
	if err != nil {
		return nil, fmt.Errorf("write an object: %w", err)
	}
	hashes := []hash.Hash{sum, kept}
	if stated != kept {
		hashes = append(hashes, stated)
	}
	n, err := copyHashed(w, io.LimitReader(contextReader{ctx, c.Body}, MaxObject+1), c.Size, hashes...)
	encode := func(h hash.Hash) string { return base64.StdEncoding.EncodeToString(h.Sum(nil)) }
	out := &written{blob: w.id, size: n, md5: sum.Sum(nil), kept: encode(kept), stated: encode(stated)}
	switch {
	case err != nil:
	case n > MaxObject:
		err = ErrTooLarge
	case c.Size >= 0 && n != c.Size:
		err = ErrIncomplete
	case c.MD5 != nil && subtle.ConstantTimeCompare(c.MD5, out.md5) == 0:
		err = ErrDigest
	case c.Want != nil:
		var want string
		if want, err = c.Want(); err == nil && want != "" && want != out.stated {
			err = badChecksum(c.Algorithm)
		}
	}
	if err != nil {
		return nil, errors.Join(err, w.discard())
	}
	if err := s.files.commit(w); err != nil {
		return nil, fmt.Errorf("write an object: %w", err)
	}
	return out, nil
}

// badChecksum returns the error for content that does not match the sender's checksum.
func badChecksum(algorithm string) error {
	return &sekisho.Error{
		Code: sekisho.CodeInvalid, Err: ErrChecksum,
		Message: fmt.Sprintf("The %s you specified did not match the calculated checksum.", algorithm),
	}
}

// contextReader is a reader that ends with its context.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// Put creates a new version of an object. It sets facts.Checksum.
func (s *Store) Put(ctx context.Context, bucket, key string, facts Facts, content Content, cond Condition) (*Version,
	error) {
	if err := CheckKey(key); err != nil {
		return nil, err
	}
	algorithm := cmp.Or(content.Algorithm, CRC64NVME)
	t, err := s.write(ctx, content, algorithm)
	if err != nil {
		return nil, err
	}
	facts.Checksum = Checksum{algorithm, FullObject, t.kept}
	v := &Version{
		Bucket: bucket, Key: key, ID: newID(), Latest: true, Size: t.size, ETag: hex.EncodeToString(t.md5),
		ModifiedAt: s.time(),
		Facts:      facts, Pieces: []Piece{{Blob: t.blob, Size: t.size}},
	}
	dead, err := s.index.PutVersion(ctx, v, cond, "")
	if err != nil {
		return nil, s.unwrite(err, t)
	}
	s.bury(ctx, dead)
	return v, nil
}

// unwrite removes a blob that the index refused. After an internal error (a canceled
// commit) it is unknown whether the index has the blob; the next start determines it.
func (s *Store) unwrite(err error, t *written) error {
	if sekisho.CodeOf(err) == sekisho.CodeInternal {
		return err
	}
	return errors.Join(err, s.files.remove(t.blob))
}

// SetTags replaces the tags of a version; id "" is the current one.
func (s *Store) SetTags(ctx context.Context, bucket, key, id string, tags map[string]string) (*Version, error) {
	return s.index.UpdateVersion(ctx, bucket, key, id, func(v *Version) error {
		if v.DeleteMarker && id == "" {
			return ErrNoKey
		}
		if v.DeleteMarker {
			return ErrDeleteMarker
		}
		v.Facts.Tags = tags
		return nil
	})
}

// Deleted is the outcome of a deletion.
type Deleted struct {
	VersionID    string // of the removed version, or of the new marker; "" in a bucket without versioning
	DeleteMarker bool   // the removed version or the new one is a marker
}

// Delete removes a version permanently. Without an ID it removes the object, by adding a
// delete marker if the bucket keeps versions.
func (s *Store) Delete(ctx context.Context, bucket, key, id string) (Deleted, error) {
	if err := CheckKey(key); err != nil {
		return Deleted{}, err
	}
	if id != "" {
		gone, dead, err := s.index.DeleteVersion(ctx, bucket, key, id)
		s.bury(ctx, dead)
		return Deleted{VersionID: id, DeleteMarker: gone != nil && gone.DeleteMarker}, err
	}
	b, err := s.Bucket(ctx, bucket)
	if err != nil {
		return Deleted{}, err
	}
	if b.Versioning == VersioningNever {
		_, dead, err := s.index.DeleteVersion(ctx, bucket, key, NullVersion)
		s.bury(ctx, dead)
		return Deleted{}, err
	}
	v := &Version{Bucket: bucket, Key: key, ID: newID(), Latest: true, DeleteMarker: true, ModifiedAt: s.time()}
	dead, err := s.index.PutVersion(ctx, v, Condition{}, "")
	s.bury(ctx, dead)
	return Deleted{VersionID: v.ID, DeleteMarker: true}, err
}

// StartUpload begins a multipart upload. Without an algorithm in facts.Checksum its parts
// can have checksums of any algorithm, and the object gets a CRC64NVME.
func (s *Store) StartUpload(ctx context.Context, bucket, key, by string, facts Facts) (*Upload, error) {
	if err := CheckKey(key); err != nil {
		return nil, err
	}
	if c := &facts.Checksum; c.Algorithm != "" {
		kind, ok := typeFor(c.Algorithm, c.Type)
		if !ok {
			return nil, &sekisho.Error{
				Code: sekisho.CodeInvalid, Err: ErrChecksumType,
				Message: fmt.Sprintf("The %s checksum type cannot be used with the %s checksum algorithm.", c.Type,
					strings.ToLower(c.Algorithm)),
			}
		}
		c.Type = kind
	} else if c.Type != "" {
		return nil, ErrChecksumType
	}
	u := &Upload{ID: newID(), Bucket: bucket, Key: key, StartedAt: s.time(), StartedBy: by, Facts: facts}
	return u, s.index.PutUpload(ctx, u)
}

// Upload returns an unfinished upload.
func (s *Store) Upload(ctx context.Context, bucket, key, id string) (*Upload, error) {
	return s.index.Upload(ctx, bucket, key, id)
}

// PutPart stores one part of an upload. It replaces an earlier part with the same number. A
// part of a composite upload must state its checksum.
func (s *Store) PutPart(ctx context.Context, u *Upload, number int, content Content) (*Part, error) {
	of := u.Facts.Checksum
	if of.Algorithm != "" && content.Algorithm != of.Algorithm && (content.Algorithm != "" || of.Type == Composite) {
		return nil, &sekisho.Error{
			Code: sekisho.CodeInvalid, Err: ErrAlgorithm,
			Message: fmt.Sprintf(
				"Checksum Type mismatch occurred, expected checksum Type: %s, actual checksum Type: %s",
				strings.ToLower(of.Algorithm),
				cmp.Or(strings.ToLower(content.Algorithm), "null"),
			),
		}
	}
	t, err := s.write(ctx, content, cmp.Or(of.Algorithm, CRC64NVME))
	if err != nil {
		return nil, err
	}
	p := &Part{
		Upload: u.ID, Number: number, Blob: t.blob, Size: t.size, ETag: hex.EncodeToString(t.md5), Checksum: t.kept,
		ModifiedAt: s.time(),
		Stated:     Checksum{Algorithm: of.Algorithm, Value: t.kept},
	}
	if of.Algorithm == "" {
		p.Stated = Checksum{}
		if content.Algorithm != "" {
			p.Stated = Checksum{Algorithm: content.Algorithm, Value: t.stated}
		}
	}
	dead, err := s.index.PutPart(ctx, p)
	if err != nil {
		return nil, s.unwrite(err, t)
	}
	s.bury(ctx, dead)
	return p, nil
}

// Parts lists the parts of an upload with numbers greater than after.
func (s *Store) Parts(ctx context.Context, u *Upload, after, limit int) ([]*Part, error) {
	return s.index.Parts(ctx, u.ID, after, limit)
}

// AbortUpload removes an upload and its parts.
func (s *Store) AbortUpload(ctx context.Context, u *Upload) error {
	dead, err := s.index.DeleteUpload(ctx, u.ID)
	s.bury(ctx, dead)
	return err
}

// Chosen is a part that the request to complete an upload lists.
type Chosen struct {
	Number   int
	ETag     string
	Checksum Checksum // zero = not stated
}

// Completion is the request to assemble an object from an upload's parts.
type Completion struct {
	Parts    []Chosen
	Checksum string // expected by the caller; "" = none
	Size     int64  // expected by the caller; -1 = none
	Condition
}

// CompleteUpload assembles an object from an upload's parts.
func (s *Store) CompleteUpload(ctx context.Context, u *Upload, c Completion) (*Version, error) {
	all, err := s.index.Parts(ctx, u.ID, 0, MaxPart)
	if err != nil {
		return nil, err
	}
	have := make(map[int]*Part, len(all))
	for _, p := range all {
		have[p.Number] = p
	}
	v := &Version{Bucket: u.Bucket, Key: u.Key, ID: newID(), Latest: true, ModifiedAt: s.time(), Facts: u.Facts}
	check := &v.Facts.Checksum
	if check.Algorithm == "" {
		*check = Checksum{Algorithm: CRC64NVME, Type: FullObject}
	}
	sum := md5.New() //nolint:gosec // the S3 protocol requires MD5 for ETags
	var parts []*Part
	for i, chosen := range c.Parts {
		if i > 0 && chosen.Number <= c.Parts[i-1].Number {
			return nil, ErrPartOrder
		}
		p := have[chosen.Number]
		if p == nil || strings.Trim(chosen.ETag, `"`) != p.ETag {
			return nil, ErrPart
		}
		if err := checkPart(u.Facts.Checksum, chosen, p); err != nil {
			return nil, err
		}
		if i < len(c.Parts)-1 && p.Size < MinPart {
			return nil, ErrPartSize
		}
		tag, err := hex.DecodeString(p.ETag)
		if err != nil {
			return nil, fmt.Errorf("stored ETag: %w", err)
		}
		sum.Write(tag)
		parts = append(parts, p)
		v.Size += p.Size
		v.Pieces = append(v.Pieces, Piece{Blob: p.Blob, Size: p.Size, Checksum: p.Checksum, Number: p.Number})
	}
	if len(parts) == 0 {
		return nil, ErrPart
	}
	if c.Size >= 0 && c.Size != v.Size {
		return nil, &sekisho.Error{
			Code: sekisho.CodeInvalid, Err: ErrSize,
			Message: fmt.Sprintf(
				"The provided 'x-amz-mp-object-size' header value %d does not match what was computed: %d",
				c.Size,
				v.Size,
			),
		}
	}
	v.ETag = fmt.Sprintf("%x-%d", sum.Sum(nil), len(parts))
	v.Facts.Parts = len(parts)
	if check.Value, err = ofParts(check.Algorithm, check.Type, parts); err != nil {
		return nil, err
	}
	// Senders can omit the number of parts from a composite checksum.
	if c.Checksum != "" && u.Facts.Checksum.Algorithm != "" && c.Checksum != check.Value &&
		(check.Type != Composite || !strings.HasPrefix(check.Value, c.Checksum+"-")) {
		return nil, badChecksum(check.Algorithm)
	}
	dead, err := s.index.PutVersion(ctx, v, c.Condition, u.ID)
	if err != nil {
		return nil, err
	}
	s.bury(ctx, dead)
	return v, nil
}

// checkPart compares a part's checksum with the one in the request to complete the upload.
func checkPart(of Checksum, chosen Chosen, p *Part) error {
	stated := chosen.Checksum
	switch {
	case stated.Value == "" && of.Type == Composite:
		return &sekisho.Error{
			Code: sekisho.CodeInvalid, Err: ErrAlgorithm,
			Message: fmt.Sprintf(
				"The upload was created using a %s checksum. The complete request must include the checksum for each part. "+
					"It was missing for part %d in the request.",
				strings.ToLower(of.Algorithm),
				p.Number,
			),
		}
	case stated.Value == "", stated == p.Stated, stated == Checksum{Algorithm: CRC64NVME, Value: p.Checksum} &&
		of.Algorithm == "":
		return nil
	case stated.Algorithm != p.Stated.Algorithm:
		return &sekisho.Error{
			Code: sekisho.CodeInvalid, Err: ErrChecksum,
			Message: fmt.Sprintf("The %s you specified for part %d did not match what we received.",
				strings.ToLower(stated.Algorithm), p.Number),
		}
	}
	return ErrPart
}
