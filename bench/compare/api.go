package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sekisho/e2e/harness"
	"sekisho/internal/wire/sigv4"
)

// objectSize is the size of the objects put to and got from a bucket.
const objectSize = 100 << 20

// apiTime is how long a sample of calls takes.
const apiTime = 2 * time.Second

func (b *bench) api() []measurement {
	return []measurement{
		{
			name: "signed calls (GetCallerIdentity), 8 connections", unit: "/s", target: "≥ 10000/s",
			ours: func() (float64, error) {
				return b.calls(
					8,
					"sts",
					"application/x-www-form-urlencoded",
					"",
					"Action=GetCallerIdentity&Version=2011-06-15",
				)
			},
		},
		{
			name: "StartSession, 16 connections", unit: "/s", target: "≥ 1000/s",
			ours: func() (float64, error) {
				return b.calls(
					16,
					"ssm",
					"application/x-amz-json-1.1",
					"AmazonSSM.StartSession",
					`{"Target":"`+b.target+`"}`,
				)
			},
		},
		b.object("S3 put, 100 MiB", http.MethodPut),
		b.object("S3 get, 100 MiB", http.MethodGet),
		{
			name: "server: resident memory after all of the above", unit: "MB",
			ours: func() (float64, error) { return resident(b.server.Pid()) },
		},
	}
}

// request sends one signed request and returns the body's size.
func (b *bench) request(
	client *http.Client,
	method, path, service, contentType, target string,
	body []byte,
) (int64, error) {
	r, err := http.NewRequestWithContext(b.ctx, method, b.env["AWS_ENDPOINT_URL"]+path, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	if target != "" {
		r.Header.Set("X-Amz-Target", target)
	}
	sum := sha256.Sum256(body)
	hash := hex.EncodeToString(sum[:])
	if service == "s3" {
		r.Header.Set("X-Amz-Content-Sha256", hash)
	}
	creds := sigv4.Credentials{AccessKeyID: b.env["AWS_ACCESS_KEY_ID"], SecretAccessKey: b.env["AWS_SECRET_ACCESS_KEY"]}
	sigv4.Sign(r, creds, b.env["AWS_REGION"], service, time.Now(), hash)
	resp, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: status %d", method, path, resp.StatusCode)
	}
	return n, err
}

// calls repeats a call over several connections and returns the rate.
func (b *bench) calls(connections int, service, contentType, target, body string) (float64, error) {
	var done atomic.Int64
	var wg sync.WaitGroup
	failed := make([]error, connections)
	began := time.Now()
	for i := range connections {
		client, err := harness.Client(b.env)
		if err != nil {
			return 0, err
		}
		wg.Go(func() {
			for time.Since(began) < apiTime {
				if _, failed[i] = b.request(client, http.MethodPost, "/", service, contentType, target,
					[]byte(body)); failed[i] != nil {
					return
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	for _, err := range failed {
		if err != nil {
			return 0, err
		}
	}
	return float64(done.Load()) / took.Seconds(), nil
}

const bucket = "bench-objects"

// object measures putting or getting one object.
func (b *bench) object(name, method string) measurement {
	content := bytes.Repeat([]byte("0123456789abcdef"), objectSize/16)
	made := false
	return measurement{
		name: name, unit: "MB/s", target: "≥ 0.5", peer: "encrypted file with fsync",
		ours: func() (float64, error) {
			client, err := harness.Client(b.env)
			if err != nil {
				return 0, err
			}
			if !made {
				if _, err := b.request(client, http.MethodPut, "/"+bucket, "s3", "", "", nil); err != nil &&
					!strings.Contains(err.Error(), "409") {
					return 0, err
				}
				if method == http.MethodGet {
					if _, err := b.request(client, http.MethodPut, "/"+bucket+"/object", "s3", "", "", content); err != nil {
						return 0, err
					}
				}
				made = true
			}
			body, want := content, int64(0)
			if method == http.MethodGet {
				body, want = nil, objectSize
			}
			began := time.Now()
			n, err := b.request(client, method, "/"+bucket+"/object", "s3", "", "", body)
			took := time.Since(began)
			if err == nil && n != want {
				err = fmt.Errorf("%d bytes in the body, want %d", n, want)
			}
			return rate(objectSize, took, err)
		},
		theirs: func() (float64, error) {
			took, err := b.encryptedFile(content)
			return rate(objectSize, took, err)
		},
	}
}

// resident returns the resident memory of a process in MB.
func resident(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		var kb float64
		if n, _ := fmt.Sscanf(line, "VmRSS: %f kB", &kb); n == 1 {
			return kb / 1000, nil
		}
	}
	return 0, fmt.Errorf("process %d shows no resident memory", pid)
}
