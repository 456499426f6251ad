package objects

import (
	"context"
	"crypto/md5" //nolint:gosec // an ETag is one: S3 is spoken so
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"sekisho"
)

// Content is what is uploaded.
type Content struct {
	Body io.Reader
	Size int64  // -1 = whatever comes
	MD5  []byte // what the sender says; nil = nothing
	// Algorithm is the checksum to keep; "" = CRC64NVME, as S3 does.
	Algorithm string
	// Want returns the checksum the sender expects ("" = none). It is asked
	// when Body has ended, for it may have followed it.
	Want func() string
}

// taken is content that has become a blob.
type taken struct {
	blob     string
	size     int64
	md5      []byte
	checksum string
}

// take writes content to a blob that nothing names yet.
func (s *Store) take(ctx context.Context, c Content) (*taken, error) {
	sum, other := md5.New(), NewHash(c.Algorithm) //nolint:gosec // an ETag is one: S3 is spoken so
	if other == nil {
		return nil, ErrAlgorithm
	}
	if c.Size > MaxObject {
		return nil, ErrTooLarge
	}
	w, err := s.files.create()
	if err != nil {
		return nil, fmt.Errorf("write an object: %w", err)
	}
	n, err := io.Copy(io.MultiWriter(sum, other, w), io.LimitReader(contextReader{ctx, c.Body}, MaxObject+1))
	t := &taken{blob: w.id, size: n, md5: sum.Sum(nil), checksum: base64.StdEncoding.EncodeToString(other.Sum(nil))}
	switch {
	case err != nil:
	case n > MaxObject:
		err = ErrTooLarge
	case c.Size >= 0 && n != c.Size:
		err = ErrIncomplete
	case c.MD5 != nil && subtle.ConstantTimeCompare(c.MD5, t.md5) == 0:
		err = ErrDigest
	case c.Want != nil:
		if want := c.Want(); want != "" && want != t.checksum {
			err = ErrChecksum
		}
	}
	if err != nil {
		return nil, errors.Join(err, w.discard())
	}
	if err := s.files.commit(w); err != nil {
		return nil, fmt.Errorf("write an object: %w", err)
	}
	return t, nil
}

// contextReader ends with its context.
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

// Put makes a new version of an object. facts.Checksum is filled in.
func (s *Store) Put(ctx context.Context, bucket, key string, facts Facts, content Content, cond Condition) (*Version, error) {
	if err := CheckKey(key); err != nil {
		return nil, err
	}
	if content.Algorithm == "" {
		content.Algorithm = CRC64NVME
	}
	t, err := s.take(ctx, content)
	if err != nil {
		return nil, err
	}
	facts.Checksum = Checksum{content.Algorithm, FullObject, t.checksum}
	v := &Version{
		Bucket: bucket, Key: key, ID: newID(), Latest: true, Size: t.size, ETag: hex.EncodeToString(t.md5), ModifiedAt: s.time(),
		Facts: facts, Pieces: []Piece{{Blob: t.blob, Size: t.size}},
	}
	dead, err := s.index.PutVersion(ctx, v, cond, "")
	if err != nil {
		return nil, s.untake(err, t)
	}
	s.bury(ctx, dead)
	return v, nil
}

// untake removes a blob that the index did not take. Whether it took it is
// not always known (a canceled commit): then the next start finds out.
func (s *Store) untake(err error, t *taken) error {
	if sekisho.CodeOf(err) == sekisho.CodeInternal {
		return err
	}
	return errors.Join(err, s.files.remove(t.blob))
}

// Deleted is the outcome of a deletion.
type Deleted struct {
	VersionID    string // of the version that went, or of the marker; "" = a bucket without versioning
	DeleteMarker bool   // a marker was made, or the version that went was one
}

// Delete removes a version for good or, without an ID, makes the object
// appear deleted: where versions are kept, by a delete marker.
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

// StartUpload begins a multipart upload. checksum.Value stays empty.
func (s *Store) StartUpload(ctx context.Context, bucket, key, by string, facts Facts) (*Upload, error) {
	if err := CheckKey(key); err != nil {
		return nil, err
	}
	c := &facts.Checksum
	if c.Algorithm == "" {
		c.Algorithm = CRC64NVME
	}
	kind, ok := typeFor(c.Algorithm, c.Type)
	if !ok {
		return nil, sekisho.Errorf(sekisho.CodeInvalid, "The %s checksum type cannot be used with the %s checksum algorithm.", c.Type, c.Algorithm)
	}
	c.Type = kind
	u := &Upload{ID: newID(), Bucket: bucket, Key: key, StartedAt: s.time(), StartedBy: by, Facts: facts}
	return u, s.index.PutUpload(ctx, u)
}

// Upload returns an unfinished upload.
func (s *Store) Upload(ctx context.Context, bucket, key, id string) (*Upload, error) {
	return s.index.Upload(ctx, bucket, key, id)
}

// PutPart takes one part of an upload, in place of an earlier one of the same
// number.
func (s *Store) PutPart(ctx context.Context, u *Upload, number int, content Content) (*Part, error) {
	algorithm := u.Facts.Checksum.Algorithm
	if content.Algorithm != "" && content.Algorithm != algorithm {
		return nil, ErrAlgorithm
	}
	content.Algorithm = algorithm
	t, err := s.take(ctx, content)
	if err != nil {
		return nil, err
	}
	p := &Part{Upload: u.ID, Number: number, Blob: t.blob, Size: t.size, ETag: hex.EncodeToString(t.md5), Checksum: t.checksum, ModifiedAt: s.time()}
	dead, err := s.index.PutPart(ctx, p)
	if err != nil {
		return nil, s.untake(err, t)
	}
	s.bury(ctx, dead)
	return p, nil
}

// Parts lists the parts of an upload with greater numbers than after.
func (s *Store) Parts(ctx context.Context, u *Upload, after, limit int) ([]*Part, error) {
	return s.index.Parts(ctx, u.ID, after, limit)
}

// AbortUpload gives an upload up.
func (s *Store) AbortUpload(ctx context.Context, u *Upload) error {
	dead, err := s.index.DeleteUpload(ctx, u.ID)
	s.bury(ctx, dead)
	return err
}

// Chosen is a part as the end of an upload names it.
type Chosen struct {
	Number   int
	ETag     string
	Checksum string // "" = not said
}

// CompleteUpload makes an object of an upload's parts. want and size are the
// checksum and the size the sender expects of all of it, "" and -1 if none.
func (s *Store) CompleteUpload(ctx context.Context, u *Upload, chosen []Chosen, want string, size int64, cond Condition) (*Version, error) {
	all, err := s.index.Parts(ctx, u.ID, 0, MaxPart)
	if err != nil {
		return nil, err
	}
	have := make(map[int]*Part, len(all))
	for _, p := range all {
		have[p.Number] = p
	}
	v := &Version{Bucket: u.Bucket, Key: u.Key, ID: newID(), Latest: true, ModifiedAt: s.time(), Facts: u.Facts}
	sum := md5.New() //nolint:gosec // an ETag is one: S3 is spoken so
	var parts []*Part
	for i, c := range chosen {
		if i > 0 && c.Number <= chosen[i-1].Number {
			return nil, ErrPartOrder
		}
		p := have[c.Number]
		if p == nil || strings.Trim(c.ETag, `"`) != p.ETag || c.Checksum != "" && c.Checksum != p.Checksum {
			return nil, ErrPart
		}
		if i < len(chosen)-1 && p.Size < MinPart {
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
	if size >= 0 && size != v.Size {
		return nil, ErrIncomplete
	}
	v.ETag = fmt.Sprintf("%x-%d", sum.Sum(nil), len(parts))
	v.Facts.Parts = len(parts)
	check := &v.Facts.Checksum
	if check.Value, err = ofParts(check.Algorithm, check.Type, parts); err != nil {
		return nil, err
	}
	// Senders give a composite without its count.
	if want != "" && want != check.Value && (check.Type != Composite || !strings.HasPrefix(check.Value, want+"-")) {
		return nil, ErrChecksum
	}
	dead, err := s.index.PutVersion(ctx, v, cond, u.ID)
	if err != nil {
		return nil, err
	}
	s.bury(ctx, dead)
	return v, nil
}
