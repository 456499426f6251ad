package objects

import (
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"sekisho"
)

// Limits of S3.
const (
	MaxObject   = 5 << 30 // of a single upload; larger objects need multipart uploads
	MinPart     = 5 << 20 // of all parts but the last
	MaxPart     = 10_000  // part numbers
	MaxKey      = 1024
	MaxMetadata = 2 << 10
	MaxPolicy   = 20 << 10
	MaxBuckets  = 1000
)

// NullVersion is the ID of versions in a bucket without versioning.
const NullVersion = "null"

// Errors that callers distinguish.
var (
	ErrNoBucket     = sekisho.Errorf(sekisho.CodeNotFound, "The specified bucket does not exist")
	ErrBucketExists = sekisho.Errorf(sekisho.CodeConflict,
		"Your previous request to create the named bucket succeeded and you already own it.")
	ErrBucketNotEmpty = sekisho.Errorf(sekisho.CodeInUse, "The bucket you tried to delete is not empty.").WithHint(
		"You must delete all versions in the bucket.")
	ErrBucketName = sekisho.Errorf(sekisho.CodeInvalid, "The specified bucket is not valid.").WithHint(
		"A name has 3 to 63 characters: lower-case letters, digits, hyphens and dots, beginning and ending with a " +
			"letter or digit.")
	ErrTooManyBuckets = sekisho.Errorf(sekisho.CodeLimit, "You have attempted to create more buckets than allowed: %d.",
		MaxBuckets)
	ErrNoKey        = sekisho.Errorf(sekisho.CodeNotFound, "The specified key does not exist.")
	ErrNoVersion    = sekisho.Errorf(sekisho.CodeNotFound, "The specified version does not exist.")
	ErrDeleteMarker = sekisho.Errorf(sekisho.CodeInvalid, "The specified method is not allowed against this resource.")
	ErrKeyTooLong   = sekisho.Errorf(sekisho.CodeInvalid, "Your key is too long").WithHint(
		"A key has at most %d bytes.", MaxKey)
	ErrKey        = sekisho.Errorf(sekisho.CodeInvalid, "A key is UTF-8 text of at least one byte.")
	ErrTooLarge   = sekisho.Errorf(sekisho.CodeInvalid, "Your proposed upload exceeds the maximum allowed size")
	ErrIncomplete = sekisho.Errorf(sekisho.CodeInvalid,
		"You did not provide the number of bytes specified by the Content-Length HTTP header")
	ErrDigest = sekisho.Errorf(sekisho.CodeInvalid,
		"The Content-MD5 you specified did not match what we received.")
	ErrChecksum = sekisho.Errorf(sekisho.CodeInvalid,
		"The checksum you specified did not match the calculated checksum.")
	ErrPrecondition = sekisho.Errorf(sekisho.CodeConflict,
		"At least one of the pre-conditions you specified did not hold")
	ErrNoUpload = sekisho.Errorf(
		sekisho.CodeNotFound,
		"The specified multipart upload does not exist. The upload ID might be invalid, or the multipart upload might "+
			"have been aborted or completed.",
	)
	ErrPart = sekisho.Errorf(sekisho.CodeInvalid,
		"One or more of the specified parts could not be found.").WithHint(
		"The part might not have been uploaded, or the specified entity tag might not have matched the part's entity tag.")
	ErrPartOrder = sekisho.Errorf(sekisho.CodeInvalid, "The list of parts was not in ascending order.").WithHint(
		"Parts must be ordered by part number.")
	ErrPartSize = sekisho.Errorf(sekisho.CodeInvalid,
		"Your proposed upload is smaller than the minimum allowed size")
	ErrAlgorithm = sekisho.Errorf(sekisho.CodeInvalid,
		"The checksum algorithm is not the one the upload was created with.")
	ErrChecksumType = sekisho.Errorf(sekisho.CodeInvalid,
		"The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.")
	ErrSize = sekisho.Errorf(sekisho.CodeInvalid, "The object does not have the size you specified.")
)

// Versioning says whether a bucket keeps old versions.
type Versioning string

// Values of Versioning. A new bucket has VersioningNever.
const (
	VersioningNever     Versioning = ""
	VersioningEnabled   Versioning = "Enabled"
	VersioningSuspended Versioning = "Suspended"
)

// Bucket is a bucket. Its objects are always encrypted with AES-256, regardless of its
// settings.
type Bucket struct {
	Name       string
	CreatedAt  time.Time
	Versioning Versioning
	Settings   Settings
}

// Settings are the configuration of a bucket.
type Settings struct {
	PublicAccess *PublicAccess     `json:"publicAccess,omitempty"`
	Ownership    string            `json:"ownership,omitempty"`
	Policy       string            `json:"policy,omitempty"`
	PolicyNames  map[string]string `json:"policyNames,omitempty"` // principals in Policy, and their IDs
	BucketKey    bool              `json:"bucketKey,omitempty"`
	Tags         map[string]string `json:"tags,omitempty"`
	Lifecycle    []LifecycleRule   `json:"lifecycle,omitempty"`
}

// PublicAccess is the block public access configuration.
type PublicAccess struct {
	BlockACLs       bool `json:"blockACLs"`
	IgnoreACLs      bool `json:"ignoreACLs"`
	BlockPolicy     bool `json:"blockPolicy"`
	RestrictBuckets bool `json:"restrictBuckets"`
}

// ARN is the bucket's ARN.
func ARN(bucket string) string { return "arn:aws:s3:::" + bucket }

// ObjectARN is the ARN of an object.
func ObjectARN(bucket, key string) string { return "arn:aws:s3:::" + bucket + "/" + key }

// Facts are the properties of a version besides its content.
type Facts struct {
	ContentType        string            `json:"contentType,omitempty"`
	ContentEncoding    string            `json:"contentEncoding,omitempty"`
	ContentLanguage    string            `json:"contentLanguage,omitempty"`
	ContentDisposition string            `json:"contentDisposition,omitempty"`
	CacheControl       string            `json:"cacheControl,omitempty"`
	Expires            string            `json:"expires,omitempty"`
	Metadata           map[string]string `json:"metadata,omitempty"` // lower-case names
	Checksum           Checksum          `json:"checksum,omitzero"`
	Parts              int               `json:"parts,omitempty"` // 0 = not a multipart object
	Tags               map[string]string `json:"tags,omitempty"`
}

// Version is one version of an object, or a delete marker.
type Version struct {
	Bucket       string
	Key          string
	ID           string
	Seq          int64 // grows with every version of a key
	Latest       bool
	DeleteMarker bool
	Size         int64
	ETag         string // without quotes
	ModifiedAt   time.Time
	Facts        Facts
	Pieces       []Piece // nil in listings
}

// Piece is a blob of a version: one part, or the whole content.
type Piece struct {
	Blob     string `json:"blob"`
	Size     int64  `json:"size"`
	Checksum string `json:"checksum,omitempty"`
	Number   int    `json:"number,omitempty"` // of the part
}

// Upload is an unfinished multipart upload.
type Upload struct {
	ID        string
	Bucket    string
	Key       string
	StartedAt time.Time
	StartedBy string // ARN
	Facts     Facts
}

// Part is one part of an upload.
type Part struct {
	Upload     string
	Number     int
	Blob       string
	Size       int64
	ETag       string
	Checksum   string   // under the upload's algorithm, CRC64NVME if it has none
	Stated     Checksum // as the sender sees it: under its own algorithm, or the upload's
	ModifiedAt time.Time
}

// Condition is the precondition of a write.
type Condition struct {
	Absent bool   // the key has no current version
	ETag   string // the current version has this ETag
}

// Range is a part of an ordered listing: keys from From (inclusive) to To
// (exclusive, "" = no end). Before and After leave out entries of From itself.
type Range struct {
	Bucket string
	From   string
	To     string
	Before int64  // versions of From: only smaller Seqs; 0 = all
	After  string // uploads of From: only greater IDs; "" = all
	Limit  int
}

// Index stores everything except content. A method that removes the last use of a
// blob marks the blob dead in the same transaction and returns its ID.
type Index interface {
	CreateBucket(ctx context.Context, b *Bucket) error // ErrBucketExists
	Bucket(ctx context.Context, name string) (*Bucket, error)
	Buckets(ctx context.Context) ([]*Bucket, error)
	UpdateBucket(ctx context.Context, name string, change func(*Bucket) error) error
	// DeleteBucket removes an empty bucket with its unfinished uploads.
	DeleteBucket(ctx context.Context, name string) (dead []string, err error)

	// PutVersion makes v the current version of its key. It sets Seq and,
	// unless the bucket's versioning is enabled, replaces the version with the ID
	// null. If upload is not empty, that upload is removed together with the parts
	// that v does not use.
	PutVersion(ctx context.Context, v *Version, c Condition, upload string) (dead []string, err error)
	// Version returns a version with its pieces; id "" is the current one.
	Version(ctx context.Context, bucket, key, id string) (*Version, error)
	// UpdateVersion atomically reads a version, lets change alter its facts, and stores
	// them; id "" is the current version.
	UpdateVersion(ctx context.Context, bucket, key, id string, change func(*Version) error) (*Version, error)
	// DeleteVersion removes a version permanently; gone is nil if there was none.
	DeleteVersion(ctx context.Context, bucket, key, id string) (gone *Version, dead []string, err error)
	// Versions lists by key, newest version first.
	Versions(ctx context.Context, r Range) ([]*Version, error)
	// Current lists the current versions that are not delete markers.
	Current(ctx context.Context, r Range) ([]*Version, error)

	PutUpload(ctx context.Context, u *Upload) error
	Upload(ctx context.Context, bucket, key, id string) (*Upload, error)
	Uploads(ctx context.Context, r Range) ([]*Upload, error)
	DeleteUpload(ctx context.Context, id string) (dead []string, err error)
	PutPart(ctx context.Context, p *Part) (dead []string, err error)
	// Parts lists the parts of an upload with numbers greater than after.
	Parts(ctx context.Context, upload string, after, limit int) ([]*Part, error)

	// Blobs returns the blobs, dead ones included, whose IDs begin with prefix.
	Blobs(ctx context.Context, prefix string) (map[string]bool, error)
	DeadBlobs(ctx context.Context) ([]string, error)
	ForgetBlobs(ctx context.Context, ids []string) error
}

// Config configures a Store.
type Config struct {
	Dir string
	// Shared means that other processes use Dir too: files without an entry in the index may be theirs.
	Shared bool
	Index  Index
	Keys   Keys
	Log    *slog.Logger
	Now    func() time.Time // nil = time.Now
}

// Store is an object store. It is safe for concurrent use.
type Store struct {
	detached context.Context // for removing dead blobs after their last reader
	index    Index
	files    folder
	log      *slog.Logger
	now      func() time.Time

	// lookup is read-locked from the look-up of a version until its blobs are pinned, and
	// write-locked while dead blobs are chosen for removal, so that no blob is removed
	// before it is pinned.
	lookup  sync.RWMutex
	pins    map[string]*pin
	pinning sync.Mutex // guards pins; taken inside lookup
}

type pin struct {
	readers int
	doomed  bool
}

// Open opens the store and removes files that a crash left.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	s := &Store{
		detached: context.WithoutCancel(ctx),
		index:    cfg.Index,
		files:    folder{filepath.Clean(cfg.Dir), cfg.Keys},
		log:      cfg.Log,
		now:      cfg.Now,
		pins:     map[string]*pin{},
	}
	if s.now == nil {
		s.now = time.Now
	}
	dead, err := s.index.DeadBlobs(ctx)
	if err != nil {
		return nil, err
	}
	if !cfg.Shared {
		if err := s.files.sweep(ctx, s.index.Blobs); err != nil {
			return nil, fmt.Errorf("open the object store in %s: %w", cfg.Dir, err)
		}
	}
	s.bury(ctx, dead)
	return s, nil
}

// bury removes the files of dead blobs. A file that cannot be removed stays until
// the next start.
func (s *Store) bury(ctx context.Context, dead []string) {
	if len(dead) == 0 {
		return
	}
	s.lookup.Lock()
	gone := make([]string, 0, len(dead))
	s.pinning.Lock()
	for _, id := range dead {
		if p := s.pins[id]; p != nil {
			p.doomed = true
			continue
		}
		gone = append(gone, id)
	}
	s.pinning.Unlock()
	s.lookup.Unlock()
	s.erase(context.WithoutCancel(ctx), gone)
}

func (s *Store) erase(ctx context.Context, ids []string) {
	gone := ids[:0]
	for _, id := range ids {
		if err := s.files.remove(id); err != nil {
			s.log.Error("could not remove a deleted object's file; the next start will", "blob", id, "error", err)
			continue
		}
		gone = append(gone, id)
	}
	if len(gone) == 0 {
		return
	}
	if err := s.index.ForgetBlobs(ctx, gone); err != nil {
		s.log.Error("could not remove deleted files from the index; the next start will", "error", err)
	}
}

func (s *Store) pin(pieces []Piece) {
	s.pinning.Lock()
	defer s.pinning.Unlock()
	for _, p := range pieces {
		if s.pins[p.Blob] == nil {
			s.pins[p.Blob] = &pin{}
		}
		s.pins[p.Blob].readers++
	}
}

func (s *Store) unpin(pieces []Piece) {
	var gone []string
	s.pinning.Lock()
	for _, p := range pieces {
		have := s.pins[p.Blob]
		if have.readers--; have.readers > 0 {
			continue
		}
		if have.doomed {
			gone = append(gone, p.Blob)
		}
		delete(s.pins, p.Blob)
	}
	s.pinning.Unlock()
	if len(gone) > 0 {
		s.erase(s.detached, gone)
	}
}

// CreateBucket makes a bucket with public access blocked, as AWS does.
func (s *Store) CreateBucket(ctx context.Context, name string, tags map[string]string) (*Bucket, error) {
	if !ValidBucket(name) {
		return nil, ErrBucketName
	}
	all, err := s.index.Buckets(ctx)
	if err != nil {
		return nil, err
	}
	if len(all) >= MaxBuckets {
		return nil, ErrTooManyBuckets
	}
	b := &Bucket{Name: name, CreatedAt: s.time(), Settings: Settings{
		PublicAccess: &PublicAccess{true, true, true, true}, Ownership: "BucketOwnerEnforced", Tags: tags,
	}}
	return b, s.index.CreateBucket(ctx, b)
}

// time returns the current time at the precision of the index.
func (s *Store) time() time.Time { return s.now().UTC().Truncate(time.Millisecond) }

// Bucket returns a bucket.
func (s *Store) Bucket(ctx context.Context, name string) (*Bucket, error) {
	if !ValidBucket(name) {
		return nil, ErrNoBucket
	}
	return s.index.Bucket(ctx, name)
}

// Buckets returns all buckets by name.
func (s *Store) Buckets(ctx context.Context) ([]*Bucket, error) { return s.index.Buckets(ctx) }

// UpdateBucket changes a bucket's versioning and settings.
func (s *Store) UpdateBucket(ctx context.Context, name string, change func(*Bucket) error) error {
	return s.index.UpdateBucket(ctx, name, change)
}

// DeleteBucket removes an empty bucket.
func (s *Store) DeleteBucket(ctx context.Context, name string) error {
	dead, err := s.index.DeleteBucket(ctx, name)
	s.bury(ctx, dead)
	return err
}

// ValidBucket reports whether name is a valid bucket name.
func ValidBucket(name string) bool {
	if len(name) < 3 || len(name) > 63 || strings.Contains(name, "..") || net.ParseIP(name) != nil {
		return false
	}
	if strings.HasPrefix(name, "xn--") || strings.HasPrefix(name, "sthree-") || strings.HasSuffix(name, "-s3alias") ||
		strings.HasSuffix(name, "--ol-s3") {
		return false
	}
	for i := range len(name) {
		c := name[i]
		inner := i > 0 && i < len(name)-1
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && (!inner || c != '-' && c != '.') {
			return false
		}
	}
	return true
}

// CheckKey returns an error for an invalid key.
func CheckKey(key string) error {
	switch {
	case key == "" || !utf8.ValidString(key):
		return ErrKey
	case len(key) > MaxKey:
		return ErrKeyTooLong
	}
	return nil
}

// newID returns the ID of a version or an upload. It begins with a letter: the aws CLI
// treats a value that begins with a hyphen as an option.
func newID() string { return "v" + base64.RawURLEncoding.EncodeToString(random(24)) }

// versionID is the form of version IDs in S3: opaque, and longer than IDs that people
// invent. IDs of another store in a restored database also have this form.
var versionID = regexp.MustCompile(`^[A-Za-z0-9._-]{24,200}$`)

// ValidVersionID reports whether a version could have this ID.
func ValidVersionID(s string) bool { return s == NullVersion || versionID.MatchString(s) }
