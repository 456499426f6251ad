package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sekisho/internal/config"
	"sekisho/internal/safetext"
	"sekisho/internal/server"
)

// Exit codes of verify.
const (
	exitFindings  = 1
	exitUnchecked = 2
)

// findingsError is the error of verify if it found something, or could not check.
type findingsError struct {
	code int
	err  error
}

func (e *findingsError) Error() string { return e.err.Error() }

// Unwrap returns the cause.
func (e *findingsError) Unwrap() error { return e.err }

func verifyCommand() *cobra.Command {
	var file, data string
	var witnesses []string
	var asJSON bool
	c := &cobra.Command{
		Use:   "verify --config FILE | --data DIR",
		Short: "Check recordings, ledger, sessions and audit trail against each other",
		Long: `Check recordings, ledger, sessions and audit trail against each other.

verify reads everything and changes nothing. The server can be running. verify
lists everything missing, altered, swapped, truncated, rolled back or inserted, and
audit records without a signed head.

Without a witness, verify cannot detect that all data was replaced with an older
copy, or that the newest part of everything was removed. --witness names a file
that a witness has kept, or s3://BUCKET/PREFIX of a bucket. How to reach a bucket is
in the configuration file, or in the environment (AWS_ENDPOINT_URL, AWS_REGION,
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY): better use other credentials than the
server's. verify reads all versions of the objects there.

Exit codes: 0 no problems, 1 problems found, 2 the check could not run.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			at := server.State{Dir: data}
			var store server.RecordingStore
			var configured []config.Witness
			if data == "" {
				cfg, err := config.Read(file)
				if err != nil {
					return &findingsError{exitUnchecked, err}
				}
				configured = cfg.Witnesses
				if at, err = server.StateOf(cfg); err != nil {
					return &findingsError{exitUnchecked, err}
				}
				if store, err = server.OpenRecordingStore(&cfg.Recordings.Store); err != nil {
					return &findingsError{exitUnchecked, err}
				}
			}
			files, buckets := splitWitnesses(witnesses, configured)
			found, err := server.VerifyData(c.Context(), at, files, store.Store, buckets...)
			err = errors.Join(err, store.Close())
			if err != nil {
				return &findingsError{exitUnchecked, err}
			}
			if err := printFindings(c.OutOrStdout(), found, asJSON); err != nil {
				return &findingsError{exitUnchecked, err}
			}
			if n := len(found.Findings); n > 0 {
				return &findingsError{exitFindings, fmt.Errorf("found %d problems", n)}
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&file, "config", "/etc/sekisho/sekishod.yaml", "configuration file")
	f.StringVar(&data, "data", "", "data directory (default: the configuration file's)")
	f.StringArrayVar(&witnesses, "witness", nil,
		"file of heads that a witness has kept, or s3://BUCKET/PREFIX; repeatable")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// splitWitnesses tells files from buckets. A bucket that is configured is reached as configured.
func splitWitnesses(names []string, configured []config.Witness) (files []string, buckets []*config.WitnessBucket) {
	for _, name := range names {
		rest, isBucket := strings.CutPrefix(name, "s3://")
		if !isBucket {
			files = append(files, name)
			continue
		}
		bucket, prefix, _ := strings.Cut(rest, "/")
		prefix = strings.Trim(prefix, "/")
		i := slices.IndexFunc(configured, func(w config.Witness) bool {
			return w.S3 != nil && w.S3.Bucket == bucket && strings.Trim(w.S3.Prefix, "/") == prefix
		})
		if i >= 0 {
			buckets = append(buckets, configured[i].S3)
			continue
		}
		endpoint := cmp.Or(os.Getenv("AWS_ENDPOINT_URL_S3"), os.Getenv("AWS_ENDPOINT_URL"))
		buckets = append(buckets, &config.WitnessBucket{S3Store: config.S3Store{
			Endpoint: endpoint, Region: cmp.Or(os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION"), "us-east-1"),
			Bucket: bucket, Prefix: prefix, PathStyle: endpoint != "",
		}})
	}
	return files, buckets
}

// maxProblemText bounds a line of output, because names in it come from files.
const maxProblemText = 4 << 10

func printFindings(w io.Writer, found *server.Integrity, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(found)
	}
	for _, f := range found.Findings {
		if _, err := fmt.Fprintln(w,
			safetext.Line(fmt.Sprintf("%s: %s %s: %s", f.Kind, f.Where, f.Subject, f.Problem), maxProblemText)); err != nil {
			return err
		}
	}
	if n := found.OnlyStored; n > 0 {
		if _, err := fmt.Fprintf(w, "%d recordings are only in the store and were checked there: the server fetches "+
			"their seals when it runs\n", n); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(
		w,
		"Checked %d recordings, %d sessions, %d audit records and %d witness heads in %s: %d problems\n",
		found.Recordings,
		found.Sessions,
		found.Records,
		found.Witnesses,
		found.Took.Round(time.Millisecond),
		len(found.Findings),
	)
	return err
}
