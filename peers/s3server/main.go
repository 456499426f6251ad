// S3server serves S3 from a folder, for tests of Sekisho's client: versitygw
// with its backend for file systems.
//
//	s3server -listen 127.0.0.1:PORT -data DIR
//
// The credentials are AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
)

func main() {
	listen := flag.String("listen", "", "host:port to listen on")
	data := flag.String("data", "", "folder of the buckets")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *listen, *data); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "s3server:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, listen, data string) error {
	// Attributes are in separate files: not every file system has extended attributes.
	buckets, attributes := filepath.Join(data, "buckets"), filepath.Join(data, "attributes")
	versions := filepath.Join(data, "versions")
	if err := errors.Join(os.MkdirAll(buckets, 0o700), os.MkdirAll(attributes, 0o700),
		os.MkdirAll(versions, 0o700)); err != nil {
		return err
	}
	sidecar, err := meta.NewSideCar(attributes)
	if err != nil {
		return err
	}
	backend, err := posix.New(buckets, sidecar, posix.PosixOpts{SideCarDir: attributes, VersioningDir: versions})
	if err != nil {
		return err
	}
	return embedgw.RunVersityGW(ctx, backend, &embedgw.Config{
		RootUserAccess: os.Getenv("AWS_ACCESS_KEY_ID"), RootUserSecret: os.Getenv("AWS_SECRET_ACCESS_KEY"),
		Region: "us-east-1", Ports: []string{listen}, KeepAlive: true, Quiet: true,
		MaxConnections: 1024, MaxRequests: 1024, MultipartMaxParts: 10000,
	})
}
