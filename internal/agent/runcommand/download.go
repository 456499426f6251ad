package runcommand

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"sekisho/internal/agent/uplink"
)

// Limits of the downloads of one step.
const (
	maxFiles        = 256
	maxDownload     = 1 << 30
	downloadTimeout = time.Hour
)

// downloadInput is the input of aws:downloadContent.
type downloadInput struct {
	SourceType      string
	SourceInfo      json.RawMessage // an object, or a string that contains one
	DestinationPath string
}

// source is the SourceInfo of all source types.
type source struct {
	Path string `json:"path"` // S3

	URL           string `json:"url"` // HTTP
	AuthMethod    string `json:"authMethod"`
	AllowInsecure bool   `json:"allowInsecureDownload"`
}

func newDownload(inputs any) (*downloadInput, error) {
	in := new(downloadInput)
	return in, remarshal(inputs, in)
}

func (in *downloadInput) source() (source, error) {
	var s source
	text := []byte(in.SourceInfo)
	var quoted string
	if json.Unmarshal(text, &quoted) == nil {
		text = []byte(quoted)
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return s, refuse("sourceInfo is not a JSON object such as {\"path\": \"…\"}: %w.", err)
	}
	s.Path, s.URL = strings.TrimSpace(s.Path), strings.TrimSpace(s.URL)
	return s, nil
}

// download runs the step. It stores the files in the destination path or, by default, the working
// directory of the command's scripts.
func (r *Runner) download(ctx context.Context, in *downloadInput, dir string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, downloadTimeout)
	defer cancel()
	to := in.DestinationPath
	if !filepath.IsAbs(to) {
		if to != "" && !filepath.IsLocal(to) {
			return "", refuse("destinationPath %.200q is outside the command's directory.", to)
		}
		slash := to == "" || strings.HasSuffix(to, "/")
		if to = filepath.Join(dir, to); slash {
			to += "/"
		}
	}
	from, err := in.source()
	if err != nil {
		return "", err
	}
	switch in.SourceType {
	case "S3":
		err = r.downloadS3(ctx, from, to)
	case "HTTP":
		err = r.downloadHTTP(ctx, from, to)
	case "GitHub", "Git", "SSMDocument":
		err = refuse("This agent cannot download from the sourceType %s. Use S3 or HTTP.", in.SourceType)
	default:
		err = refuse("Unknown sourceType %.60q. Use S3 or HTTP.", in.SourceType)
	}
	if err != nil {
		return "", err
	}
	return "Content downloaded to " + to, nil
}

// target returns the path for a file called name: inside to, if that is a directory, otherwise to
// itself.
func target(to, name string) string {
	if st, err := os.Stat(to); strings.HasSuffix(to, "/") || err == nil && st.IsDir() {
		return filepath.Join(to, name)
	}
	return to
}

// save atomically creates a file with what write writes. Like AWS's agent, it makes the file
// executable for the agent's user.
func save(file string, write func(io.Writer) error) (err error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".download-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // report the first error
		}
	}()
	err = errors.Join(write(f), f.Chmod(0o700), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}

var (
	awsPathHost    = regexp.MustCompile(`^s3([.-][a-z0-9-]+)?\.amazonaws\.com(\.cn)?$`)
	awsVirtualHost = regexp.MustCompile(
		`^([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])\.s3([.-][a-z0-9-]+)?\.amazonaws\.com(\.cn)?$`,
	)
)

// parseS3 parses the address of an object in any of its forms. Whatever the host, the object is
// fetched from the agent's own server.
func parseS3(text, endpoint string) (bucket, key string, err error) {
	u, err := url.Parse(strings.ReplaceAll(text, "+", "%20")) // S3 encodes a space as +
	if err != nil {
		return "", "", refuse("The path %.200q is not a URL: %w.", text, err)
	}
	host, rest := u.Host, strings.TrimPrefix(u.Path, "/")
	cut := func() { bucket, key, _ = strings.Cut(rest, "/") }
	virtual := awsVirtualHost.FindStringSubmatch(host)
	sub, own := strings.CutSuffix(host, "."+endpoint)
	switch {
	case u.Scheme == "s3":
		bucket, key = host, rest
	case u.Scheme != "https" && u.Scheme != "http":
	case host == endpoint || awsPathHost.MatchString(host):
		cut()
	case own:
		bucket, key = sub, rest
	case virtual != nil:
		bucket, key = virtual[1], rest
	}
	if bucket == "" {
		return "", "", refuse(
			"The path %.200q is not the URL of an S3 object, such as https://s3.amazonaws.com/BUCKET/KEY.",
			text,
		)
	}
	return bucket, key, nil
}

func (r *Runner) downloadS3(ctx context.Context, from source, to string) error {
	if from.Path == "" {
		return refuse("sourceInfo lacks a path.")
	}
	bucket, key, err := parseS3(from.Path, r.cfg.Services.Host())
	if err != nil {
		return err
	}
	left := int64(maxDownload)
	get := func(key, file string) error {
		err := save(file, func(w io.Writer) error {
			return r.cfg.Services.GetObject(ctx, bucket, key, &counted{w, &left}, left)
		})
		if err != nil {
			return fmt.Errorf("s3://%s/%s: %w", bucket, key, err)
		}
		return nil
	}
	if name := path.Base(key); key != "" && !strings.HasSuffix(key, "/") {
		if !filepath.IsLocal(name) {
			return refuse("The key %.200q is not a valid file name.", key)
		}
		err := get(key, target(to, name))
		if e, ok := errors.AsType[*uplink.APIError](err); !ok || e.Status != http.StatusNotFound ||
			e.Code == "NoSuchBucket" {
			return err
		}
	}
	folder := strings.TrimSuffix(key, "/")
	if folder != "" {
		folder += "/"
	}
	keys, err := r.cfg.Services.ListObjects(ctx, bucket, folder, maxFiles)
	if err != nil {
		return fmt.Errorf("s3://%s/%s: %w", bucket, key, err)
	}
	if len(keys) == 0 {
		return refuse("s3://%s/%s does not exist.", bucket, key)
	}
	for _, k := range keys {
		name := strings.TrimPrefix(k, folder)
		if name == "" || strings.HasSuffix(name, "/") {
			continue // a folder marker
		}
		if !filepath.IsLocal(name) {
			return refuse("The key %.200q is not a valid file name.", k)
		}
		if err := get(k, filepath.Join(to, name)); err != nil {
			return err
		}
	}
	return nil
}

// counted is a writer that subtracts the written bytes from a budget.
type counted struct {
	w    io.Writer
	left *int64
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	*c.left -= int64(n)
	return n, err
}

func (r *Runner) downloadHTTP(ctx context.Context, from source, to string) error {
	u, err := url.Parse(from.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return refuse("The url is not an http:// or https:// URL.")
	case u.Scheme == "http" && !from.AllowInsecure:
		return refuse("The url %.200q does not use TLS. Use https://, or set allowInsecureDownload.", plain(u))
	case from.AuthMethod != "" && !strings.EqualFold(from.AuthMethod, "None"):
		return refuse(
			"The authMethod %.40q is not supported. This agent downloads only without authentication.",
			from.AuthMethod,
		)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "sekisho-agent")
	req.Close = true
	client := http.Client{CheckRedirect: func(req *http.Request, via []*http.Request) error {
		if req.URL.Scheme != "https" && !from.AllowInsecure {
			return errors.New("it redirects to a URL without TLS")
		}
		if len(via) >= 10 {
			return errors.New("it redirects too often")
		}
		return nil
	}, Transport: r.cfg.Web}
	resp, err := client.Do(req)
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = fmt.Errorf("%s: %w", plain(u), e.Err) // without the query of the URL
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return refuse("%s answered %s.", plain(u), resp.Status)
	}
	name := path.Base(u.Path)
	if !filepath.IsLocal(name) || name == "." {
		name = "download"
	}
	return save(target(to, name), func(w io.Writer) error {
		n, err := io.Copy(w, io.LimitReader(resp.Body, maxDownload+1))
		if err == nil && n > maxDownload {
			err = uplink.ErrTooLarge
		}
		return err
	})
}

// plain returns a URL without its query, which is secret in presigned URLs.
func plain(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}
