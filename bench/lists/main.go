// Command lists measures how long a page of each list takes, with each of its
// filters, when the server has many nodes and sessions. It starts a server, stops it,
// fills its database, starts it again and calls the API over TLS.
//
//	lists [-bin DIR] [-nodes N] [-sessions N] [-others N] [-runs N] [-page FILE]
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sekisho/bench/page"
	"sekisho/bench/program"
	"sekisho/e2e/harness"
	"sekisho/internal/wire/sigv4"
)

func main() { program.Main("lists", run) }

func run(ctx context.Context, out io.Writer, args []string) (err error) {
	flags := flag.NewFlagSet("lists", flag.ContinueOnError)
	bin := flags.String("bin", "../bin", "folder of sekishod, sekisho-agent and sekisho")
	nodes := flags.Int("nodes", 50_000, "number of nodes")
	sessions := flags.Int("sessions", 1_000_000, "number of sessions")
	others := flags.Int("others", 50_000, "number of activations, commands, log streams and objects")
	runs := flags.Int("runs", 5, "times that each page is read")
	into := flags.String("page", "", "Markdown page to write the results to")
	if err := flags.Parse(args); err != nil {
		return err
	}
	server, _, stop, err := program.Serve(*bin, "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	c := &caller{ctx: ctx, server: server}
	if err := c.prepare(); err != nil {
		return err
	}
	if err := server.Stop(); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(server.Data, "*.db"))
	if more, e := filepath.Glob(filepath.Join(server.Data, "*", "*.db")); e == nil {
		files = append(files, more...)
	}
	if err != nil || len(files) != 1 {
		return errors.Join(err, fmt.Errorf("the databases in %s are %q, want one", server.Data, files))
	}
	began := time.Now()
	if err := fill(ctx, files[0], filling(*nodes, *sessions, *others)); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "filled in %s\n", time.Since(began).Round(time.Second))
	began = time.Now()
	if err := server.Run(); err != nil {
		return err
	}
	ready := time.Since(began)
	if err := c.connect(); err != nil {
		return err
	}
	var table strings.Builder
	fmt.Fprintf(&table, "%d nodes, %d sessions, %d audit events, %d each of activations, commands, log streams and "+
		"objects. "+
		"The server was ready %d ms after its start.\n\n| list | filter | median ms | slowest ms |\n|---|---|---|---|\n",
		*nodes, *sessions, *sessions/5, *others, ready.Milliseconds())
	for _, l := range lists(*nodes) {
		median, slowest, err := c.measure(&l, *runs)
		if err != nil {
			return fmt.Errorf("%s by %s: %w", l.name, l.filter, err)
		}
		fmt.Fprintf(&table, "| %s | %s | %.1f | %.1f |\n", l.name, l.filter, ms(median), ms(slowest))
	}
	took, err := c.command(filepath.Join(server.Programs.Bin, "sekisho"), "nodes")
	if err != nil {
		return err
	}
	fmt.Fprintf(&table, "| `sekisho nodes` | whole | %.0f | |\n", ms(took))
	fmt.Fprint(out, table.String())
	if *into != "" {
		return page.Replace(*into, "bench/lists", page.Measured("lists", args)+"\n\n"+table.String())
	}
	return nil
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// caller calls the API.
type caller struct {
	ctx    context.Context
	server *harness.Server
	env    map[string]string
	client *http.Client
	target string
}

func (c *caller) connect() (err error) {
	if c.env, err = c.server.Env(); err != nil {
		return err
	}
	c.client, err = harness.Client(c.env)
	return err
}

// call makes a signed request and returns the body of its answer.
func (c *caller) call(l *list, token string) ([]byte, error) {
	method, path, body, contentType := http.MethodPost, "/", "", "application/x-amz-json-1.1"
	switch {
	case l.query != nil: // the query protocol
		form := maps(l.query)
		if token != "" {
			form.Set(l.tokenIn, token)
		}
		body, contentType = form.Encode(), "application/x-www-form-urlencoded"
	case l.path != "":
		method, path, contentType = l.method, l.path, ""
		if token != "" {
			path += "&" + l.tokenIn + "=" + url.QueryEscape(token)
		}
		body = l.body
	default:
		in := map[string]any{}
		if err := json.Unmarshal([]byte(l.body), &in); err != nil {
			return nil, err
		}
		if token != "" {
			in[l.tokenIn] = token
		}
		text, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = string(text)
	}
	r, err := http.NewRequestWithContext(c.ctx, method, c.env["AWS_ENDPOINT_URL"]+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	if l.operation != "" {
		r.Header.Set("X-Amz-Target", l.operation)
	}
	sum := sha256.Sum256([]byte(body))
	hash := hex.EncodeToString(sum[:])
	if l.service == "s3" {
		r.Header.Set("X-Amz-Content-Sha256", hash)
	}
	creds := sigv4.Credentials{AccessKeyID: c.env["AWS_ACCESS_KEY_ID"], SecretAccessKey: c.env["AWS_SECRET_ACCESS_KEY"]}
	sigv4.Sign(r, creds, c.env["AWS_REGION"], l.service, time.Now(), hash)
	resp, err := c.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("status %d: %s", resp.StatusCode, bytes.TrimSpace(answer))
	}
	return answer, err
}

// measure reads the first pages of a list, several times, and returns the median and
// the slowest time of a page.
func (c *caller) measure(l *list, runs int) (median, slowest time.Duration, err error) {
	var all []time.Duration
	for range runs {
		token := ""
		for range 4 {
			began := time.Now()
			answer, err := c.call(l, token)
			if err != nil {
				return 0, 0, err
			}
			all = append(all, time.Since(began))
			if l.want != "" && !bytes.Contains(answer, []byte(l.want)) {
				return 0, 0, fmt.Errorf("the answer lacks %s: %.300s", l.want, answer)
			}
			if token = l.next(answer); token == "" {
				break
			}
		}
	}
	slices.Sort(all)
	return all[len(all)/2], all[len(all)-1], nil
}

// command runs a program once.
func (c *caller) command(name string, args ...string) (time.Duration, error) {
	cmd := c.server.Shell(c.ctx, nil, `exec "$@" >/dev/null`, append([]string{name}, args...)...)
	began := time.Now()
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return time.Since(began), err
}
