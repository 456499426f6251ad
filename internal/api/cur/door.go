// Package cur is the door of AWS's Cost and Usage Reports. Its reports contain usage only, because
// Sekisho has no prices.
package cur

import (
	"context"
	"encoding/base64"
	"regexp"
	"slices"
	"strings"

	"sekisho"
	"sekisho/internal/activity/usage"
	"sekisho/internal/api"
	"sekisho/internal/wire/awsproto"
)

// Reports defines and lists reports.
type Reports interface {
	Create(ctx context.Context, d usage.Definition) error
	List(ctx context.Context) ([]*usage.Definition, error)
	Delete(ctx context.Context, name string) error
}

// Config is the configuration of the door.
type Config struct {
	Reports Reports
	// AllowPut refuses a caller who is not allowed to write a key of a bucket,
	// and a bucket that does not exist.
	AllowPut        func(ctx context.Context, c *api.Call, bucket, key string) error
	Account, Region string
}

type door struct{ Config }

// New returns the door.
func New(cfg Config) *api.Door {
	d := &door{cfg}
	return &api.Door{
		Service: "cur", Protocol: awsproto.JSON,
		// AWS offers this service only in us-east-1, so scripts name that region.
		Global: true,
		Errors: map[sekisho.Code]string{
			sekisho.CodeConflict: "DuplicateReportNameException", sekisho.CodeLimit: "ReportLimitReachedException",
			sekisho.CodeNotFound: "ValidationException", // the operations have no other error
		},
		Operations: map[string]api.Operation{
			"PutReportDefinition":       api.Write(d.put),
			"DescribeReportDefinitions": api.Read(d.describe),
			"DeleteReportDefinition":    api.Write(d.delete),
		},
	}
}

func (d *door) arn(name string) string {
	return "arn:aws:cur:us-east-1:" + d.Account + ":definition/" + name
}

// reportDefinition is a report in AWS's shape.
type reportDefinition struct {
	ReportName               string
	TimeUnit                 string
	Format                   string
	Compression              string
	AdditionalSchemaElements []string
	S3Bucket                 string
	S3Prefix                 string
	S3Region                 string
	AdditionalArtifacts      []string
	RefreshClosedReports     *bool
	ReportVersioning         string
	BillingViewArn           string        `json:"BillingViewArn,omitempty"`
	ReportStatus             *reportStatus `json:"ReportStatus,omitempty"`
}

type reportStatus struct {
	LastDelivery string `json:"lastDelivery,omitempty"`
	LastStatus   string `json:"lastStatus,omitempty"`
}

type putRequest struct {
	ReportDefinition *reportDefinition
	Tags             []struct{ Key, Value string }
}

type empty struct{}

// Values of AWS's enumerations.
const (
	daily           = "DAILY"
	formatCSV       = "textORcsv"
	resources       = "RESOURCES"
	createNewReport = "CREATE_NEW_REPORT"
	overwriteReport = "OVERWRITE_REPORT"
)

var (
	validName   = regexp.MustCompile(`^[0-9A-Za-z!\-_.*'()]{1,256}$`)
	validPrefix = regexp.MustCompile(`^[0-9A-Za-z!\-_.*'()/]{0,256}$`)
)

func invalid(format string, args ...any) error {
	return sekisho.Errorf(sekisho.CodeInvalid, format, args...)
}

func (d *door) put(ctx context.Context, c *api.Call, in *putRequest) (*empty, error) {
	report, err := d.definition(in)
	if err != nil {
		return nil, err
	}
	if err := c.Authorize(ctx, "cur:PutReportDefinition", d.arn(report.Name)); err != nil {
		return nil, err
	}
	// The server writes the files later. The caller must be allowed to write them; otherwise a
	// report could bypass the bucket's policies.
	if err := d.AllowPut(ctx, c, report.Bucket, report.Key(c.Time.UTC(), c.Time)); err != nil {
		return nil, err
	}
	report.CreatedBy = c.Principal.ARN
	return &empty{}, d.Reports.Create(ctx, *report)
}

// definition checks a request.
func (d *door) definition(in *putRequest) (*usage.Definition, error) {
	r := in.ReportDefinition
	if r == nil {
		return nil, invalid("ReportDefinition is missing.")
	}
	if len(in.Tags) > 0 {
		return nil, invalid("Tags of reports are not supported. Omit Tags.")
	}
	switch {
	case !validName.MatchString(r.ReportName):
		return nil, invalid(
			"ReportName must have 1 to 256 characters of [0-9A-Za-z!-_.*'()], not %.100q.",
			r.ReportName,
		)
	case r.TimeUnit != daily:
		return nil, invalid("TimeUnit must be %s, not %.100q: usage is reported by day.", daily, r.TimeUnit)
	case r.Format != formatCSV:
		return nil, invalid("Format must be %s, not %.100q.", formatCSV, r.Format)
	case r.Compression != string(usage.GZIP) && r.Compression != string(usage.ZIP):
		return nil, invalid("Compression must be %s or %s, not %.100q.", usage.GZIP, usage.ZIP, r.Compression)
	case r.S3Bucket == "":
		return nil, invalid("S3Bucket is missing.")
	case !validPrefix.MatchString(r.S3Prefix) || strings.HasPrefix(r.S3Prefix, "/"):
		return nil, invalid(
			"S3Prefix must have at most 256 characters of [0-9A-Za-z!-_.*'()/] and not begin with a slash, not %.100q.",
			r.S3Prefix,
		)
	case r.S3Region != d.Region:
		return nil, invalid(
			"S3Region must be %s, the region of this server's buckets, not %.100q.",
			d.Region,
			r.S3Region,
		)
	case len(r.AdditionalArtifacts) > 0:
		return nil, invalid("AdditionalArtifacts are not supported. Omit them.")
	case r.BillingViewArn != "":
		return nil, invalid("BillingViewArn is not supported. Omit it.")
	case !slices.Contains([]string{"", createNewReport, overwriteReport}, r.ReportVersioning):
		return nil, invalid(
			"ReportVersioning must be %s or %s, not %.100q.",
			createNewReport,
			overwriteReport,
			r.ReportVersioning,
		)
	}
	for _, element := range r.AdditionalSchemaElements {
		if element != resources {
			return nil, invalid("AdditionalSchemaElements can contain only %s, not %.100q.", resources, element)
		}
	}
	return &usage.Definition{
		Name: r.ReportName, Bucket: r.S3Bucket, Prefix: strings.TrimRight(r.S3Prefix, "/"),
		Compression: usage.Compression(r.Compression),
		Resources:   len(r.AdditionalSchemaElements) > 0, KeepVersions: r.ReportVersioning != overwriteReport,
		RefreshClosed: r.RefreshClosedReports != nil && *r.RefreshClosedReports,
	}, nil
}

type describeRequest struct {
	MaxResults *int64
	NextToken  string
}

type describeAnswer struct {
	ReportDefinitions []reportDefinition
	NextToken         string `json:"NextToken,omitempty"`
}

// pageSize is the only page size that AWS allows.
const pageSize = 5

func (d *door) describe(ctx context.Context, c *api.Call, in *describeRequest) (*describeAnswer, error) {
	if in.MaxResults != nil && *in.MaxResults != pageSize {
		return nil, invalid("MaxResults must be %d, not %d.", pageSize, *in.MaxResults)
	}
	after, err := base64.RawURLEncoding.DecodeString(in.NextToken)
	if err != nil || in.NextToken != "" && !validName.Match(after) {
		return nil, invalid(
			"This operation did not return the NextToken %.100q. Repeat the request without it.",
			in.NextToken,
		)
	}
	if err := c.Authorize(ctx, "cur:DescribeReportDefinitions", "*"); err != nil {
		return nil, err
	}
	all, err := d.Reports.List(ctx)
	if err != nil {
		return nil, err
	}
	out := &describeAnswer{ReportDefinitions: []reportDefinition{}}
	for i, r := range all {
		if r.Name <= string(after) {
			continue
		}
		if len(out.ReportDefinitions) == pageSize {
			out.NextToken = base64.RawURLEncoding.EncodeToString([]byte(all[i-1].Name))
			break
		}
		out.ReportDefinitions = append(out.ReportDefinitions, d.onWire(r))
	}
	return out, nil
}

func (d *door) onWire(r *usage.Definition) reportDefinition {
	w := reportDefinition{
		ReportName: r.Name, TimeUnit: daily, Format: formatCSV, Compression: string(r.Compression),
		AdditionalSchemaElements: []string{}, S3Bucket: r.Bucket, S3Prefix: r.Prefix, S3Region: d.Region,
		AdditionalArtifacts:  []string{},
		RefreshClosedReports: &r.RefreshClosed, ReportVersioning: overwriteReport,
	}
	if r.Resources {
		w.AdditionalSchemaElements = []string{resources}
	}
	if r.KeepVersions {
		w.ReportVersioning = createNewReport
	}
	if r.Status != "" {
		w.ReportStatus = &reportStatus{LastStatus: string(r.Status)}
	}
	if !r.DeliveredAt.IsZero() {
		w.ReportStatus.LastDelivery = r.DeliveredAt.UTC().Format("20060102T150405Z")
	}
	return w
}

type deleteRequest struct{ ReportName string }

type deleteAnswer struct{ ResponseMessage string }

func (d *door) delete(ctx context.Context, c *api.Call, in *deleteRequest) (*deleteAnswer, error) {
	if !validName.MatchString(in.ReportName) {
		return nil, invalid(
			"ReportName must have 1 to 256 characters of [0-9A-Za-z!-_.*'()], not %.100q.",
			in.ReportName,
		)
	}
	if err := c.Authorize(ctx, "cur:DeleteReportDefinition", d.arn(in.ReportName)); err != nil {
		return nil, err
	}
	if err := d.Reports.Delete(ctx, in.ReportName); err != nil {
		return nil, err
	}
	return &deleteAnswer{
		ResponseMessage: "The report " + in.ReportName + " was deleted. Its files stay in their bucket.",
	}, nil
}
