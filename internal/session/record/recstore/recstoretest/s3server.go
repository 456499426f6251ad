package recstoretest

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Credentials of the S3 server.
const (
	AccessKey = "recordings"
	SecretKey = "recordings-secret"
)

// Region of the S3 server.
const Region = "us-east-1"

// S3Server is a real S3 server in a separate process.
type S3Server struct {
	Endpoint string
	Data     string // folder

	program, address string
	cmd              *exec.Cmd
}

// patience is how long a test waits for the server.
const patience = 30 * time.Second

// StartS3Server starts the S3 server that `make bin/test/s3server` builds, with a
// bucket. It skips the test if there is no such program, unless
// SEKISHO_REQUIRE_S3 is set.
func StartS3Server(t testing.TB, bucket string) *S3Server {
	t.Helper()
	program := findProgram(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &S3Server{program: program, address: l.Addr().String(), Data: t.TempDir()}
	s.Endpoint = "http://" + s.address
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s.Start(t)
	t.Cleanup(func() { s.Stop(t) })
	if _, err := s.Client().CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &bucket}); err != nil {
		t.Fatal(err)
	}
	return s
}

func findProgram(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		program := filepath.Join(dir, "bin", "test", "s3server")
		if _, err := os.Stat(program); err == nil {
			return program
		}
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil || dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	if os.Getenv("SEKISHO_REQUIRE_S3") != "" {
		t.Fatal("bin/test/s3server is missing: run make bin/test/s3server")
	}
	t.Skip("bin/test/s3server is missing: run make bin/test/s3server")
	return ""
}

// Client returns an AWS SDK client for the server.
func (s *S3Server) Client() *s3.Client {
	return s3.New(s3.Options{
		Region: Region, BaseEndpoint: &s.Endpoint, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(AccessKey, SecretKey, ""),
	})
}

// Credentials returns the credentials of the server.
func (s *S3Server) Credentials() aws.CredentialsProvider {
	return credentials.NewStaticCredentialsProvider(AccessKey, SecretKey, "")
}

// Start starts the server again after Stop, with the same data.
func (s *S3Server) Start(t testing.TB) {
	t.Helper()
	s.cmd = exec.CommandContext(context.WithoutCancel(t.Context()), s.program, "-listen", s.address, "-data", s.Data)
	s.cmd.Env = []string{"AWS_ACCESS_KEY_ID=" + AccessKey, "AWS_SECRET_ACCESS_KEY=" + SecretKey,
		"PATH=" + os.Getenv("PATH")}
	log, err := os.OpenFile(filepath.Join(s.Data, "log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	s.cmd.Stdout, s.cmd.Stderr = log, log
	// It must not outlive a test that was killed.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := errors.Join(s.cmd.Start(), log.Close()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.address)
		if err == nil {
			_ = conn.Close()
			return
		}
		select {
		case <-ctx.Done():
			text, _ := os.ReadFile(filepath.Join(s.Data, "log"))
			t.Fatalf("the S3 server did not start: %v\n%s", err, text)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Stop kills the server.
func (s *S3Server) Stop(t testing.TB) {
	t.Helper()
	if s.cmd == nil {
		return
	}
	if err := s.cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = s.cmd.Wait() // it was killed
	s.cmd = nil
}
