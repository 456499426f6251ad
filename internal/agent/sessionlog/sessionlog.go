// Package sessionlog stores a session's output on the node and delivers it to the bucket and the
// log group in the session's document, with the credentials of the node's role. It also delivers
// the output of commands.
package sessionlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"sekisho"
	"sekisho/internal/agent/plugin"
	"sekisho/internal/agent/uplink"
	"sekisho/internal/wire/mgs"
)

// Places are the destinations of a log.
type Places struct {
	Bucket          string
	Prefix          string // of the log's key
	BucketEncrypted bool   // requires an encrypted bucket
	Group           string
	GroupEncrypted  bool // requires an encrypted group
	Streaming       bool // to the group while the session runs
}

// Services are where logs are delivered to; see [uplink.Client].
type Services interface {
	BucketEncryption(ctx context.Context, bucket string) (string, error)
	PutObject(ctx context.Context, bucket, key string, content io.ReaderAt, size int64, headers http.Header) error
	Logs(ctx context.Context, op string, in, out any) error
	Region() string
}

// Config describes one log.
type Config struct {
	Places   Places
	Services Services
	Dir      string // directory for the log until delivery
	Session  sekisho.SessionID
	Node     sekisho.NodeID
	Owner    string // ARN
	User     string // OS user
	Log      *slog.Logger
}

// maxLog bounds the log of one session on the node.
const maxLog = 1 << 30

// deliveryTimeout bounds the delivery of a log, including retries.
const deliveryTimeout = 15 * time.Minute

// Log is the log of one session. A nil Log discards everything.
type Log struct {
	cfg   Config
	group *group // nil = none

	mu       sync.Mutex
	file     *os.File // already unlinked
	size     int64
	problems []string
}

// Delivery is the result of a delivery: the log's locations, and why others failed.
type Delivery struct {
	Bucket, Key   string
	Group, Stream string
	Problem       string
}

// Open begins a log. It fails if a destination is required to be encrypted but is not. Other
// problems do not prevent the session; Deliver reports them.
func Open(ctx context.Context, cfg Config) (*Log, error) {
	p := cfg.Places
	if p.Bucket == "" && p.Group == "" {
		return nil, nil
	}
	l := &Log{cfg: cfg}
	if p.Bucket != "" && p.BucketEncrypted {
		if err := l.checkBucket(ctx); err != nil {
			return nil, err
		}
	}
	if p.Group != "" {
		var err error
		if l.group, err = openGroup(ctx, cfg); err != nil {
			return nil, err
		}
	}
	if err := l.openFile(); err != nil {
		cfg.Log.Error("cannot store the session log on this node", "error", err)
		l.problems = append(l.problems, fmt.Sprintf("the node could not store it: %v.", err))
	}
	l.write([]byte("Script started on " + stamp() + " [session=" + string(cfg.Session) + "]\n"))
	return l, nil
}

func stamp() string { return time.Now().UTC().Format("2006-01-02 15:04:05+00:00") }

func (l *Log) checkBucket(ctx context.Context) error {
	bucket := l.cfg.Places.Bucket
	algorithm, err := l.cfg.Services.BucketEncryption(ctx, bucket)
	if err != nil {
		return sekisho.Errorf(
			sekisho.CodeInvalid,
			"The session's log must be encrypted, but the node cannot determine whether the bucket %q is. Allow the "+
				"node's role s3:GetEncryptionConfiguration, or turn off s3EncryptionEnabled in the session preferences. (%w)",
			bucket,
			err,
		)
	}
	if algorithm != "AES256" && algorithm != "aws:kms" {
		return sekisho.Errorf(sekisho.CodeInvalid,
			"The session's log must be encrypted, but the bucket %q is not encrypted.", bucket).
			WithHint("Encrypt the bucket, or turn off s3EncryptionEnabled in the session preferences.")
	}
	return nil
}

// openFile creates the log's file and unlinks it immediately, so that it disappears even after a
// crash.
func (l *Log) openFile() error {
	f, err := os.CreateTemp(l.cfg.Dir, ".session-*.log")
	if err != nil {
		return err
	}
	if err := os.Remove(f.Name()); err != nil {
		return errors.Join(err, f.Close())
	}
	l.file = f
	return nil
}

// write appends b. It does nothing once the log is full or broken.
func (l *Log) write(b []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil || len(l.problems) > 0 {
		return
	}
	if l.size+int64(len(b)) > maxLog {
		l.problems = append(l.problems, fmt.Sprintf("it was cut at %d MiB.", maxLog>>20))
		return
	}
	n, err := l.file.WriteAt(b, l.size)
	l.size += int64(n)
	if err != nil {
		l.problems = append(l.problems, fmt.Sprintf("the node could not store all of it: %v.", err))
	}
}

// Stream returns s with its output copied to the log.
func (l *Log) Stream(s plugin.Stream) plugin.Stream {
	if l == nil {
		return s
	}
	return &tap{s, l}
}

type tap struct {
	plugin.Stream
	log *Log
}

func (t *tap) Send(ctx context.Context, pt mgs.PayloadType, b []byte) error {
	if pt == mgs.PayloadOutput || pt == mgs.PayloadStdErr {
		t.log.write(b)
		if t.log.group != nil {
			t.log.group.write(b)
		}
	}
	return t.Stream.Send(ctx, pt, b)
}

// Deliver sends the log to its destinations and deletes it.
func (l *Log) Deliver(ctx context.Context) Delivery {
	if l == nil {
		return Delivery{}
	}
	ctx, cancel := context.WithTimeout(ctx, deliveryTimeout)
	defer cancel()
	l.write([]byte("\nScript done on " + stamp() + "\n"))
	l.mu.Lock()
	defer l.mu.Unlock()
	d := Delivery{Problem: strings.Join(l.problems, " ")}
	fail := func(err error) {
		l.cfg.Log.Error("could not deliver the session's log", "error", err)
		d.Problem = strings.TrimSpace(d.Problem + " " + err.Error() + ".")
	}
	if bucket := l.cfg.Places.Bucket; bucket != "" && l.file != nil {
		key := path.Join(l.cfg.Places.Prefix, string(l.cfg.Session)+".log")
		if err := l.upload(ctx, bucket, key); err != nil {
			fail(fmt.Errorf("to s3://%s/%s: %w", bucket, key, err))
		} else {
			d.Bucket, d.Key = bucket, key
		}
	}
	if l.group != nil {
		var kept io.Reader = strings.NewReader("")
		if l.file != nil {
			kept = io.NewSectionReader(l.file, 0, l.size)
		}
		if err := l.group.deliver(ctx, kept); err != nil {
			fail(fmt.Errorf("to the log group %s: %w", l.cfg.Places.Group, err))
		} else {
			d.Group, d.Stream = l.cfg.Places.Group, string(l.cfg.Session)
		}
	}
	if l.file != nil {
		_ = l.file.Close() // already delivered
		l.file = nil
	}
	return d
}

func (l *Log) upload(ctx context.Context, bucket, key string) error {
	return Upload(ctx, l.cfg.Services, bucket, key, l.file, l.size)
}

// Upload writes size bytes of content to a bucket, as AWS's agent does.
func Upload(ctx context.Context, services Services, bucket, key string, content io.ReaderAt, size int64) error {
	h := http.Header{
		"Content-Type": {"text/plain"},
		"X-Amz-Acl":    {"bucket-owner-full-control"}, // the bucket may belong to another account
	}
	// Without permission to read the setting, rely on the bucket's default.
	if algorithm, err := services.BucketEncryption(ctx, bucket); err == nil && algorithm != "" {
		h.Set("X-Amz-Server-Side-Encryption", algorithm)
	}
	return again(ctx, func() error { return services.PutObject(ctx, bucket, key, content, size, h.Clone()) })
}

// attempts is the number of delivery attempts, at growing intervals. Together they take longer than
// a restart of the server.
const attempts = 7

// again retries f until it succeeds or is refused.
func again(ctx context.Context, f func() error) error {
	for n := 0; ; n++ {
		err := f()
		e, refused := errors.AsType[*uplink.APIError](err)
		if err == nil || n == attempts-1 ||
			refused && e.Status < http.StatusInternalServerError && e.Status != http.StatusTooManyRequests {
			return err
		}
		t := time.NewTimer(500 * time.Millisecond << n)
		select {
		case <-ctx.Done():
			t.Stop()
			return err
		case <-t.C:
		}
	}
}
