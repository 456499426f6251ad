package servertest_test

import (
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sekisho/internal/server"
	"sekisho/internal/servertest"
	"sekisho/internal/wire/sigv4"
)

// reportRequest defines a report in AWS's shape.
func reportRequest(name string, more fields) fields {
	definition := fields{
		"ReportName": name, "TimeUnit": "DAILY", "Format": "textORcsv", "Compression": "GZIP",
		"AdditionalSchemaElements": []string{"RESOURCES"},
		"S3Bucket":                 "reports", "S3Prefix": "usage/", "S3Region": servertest.Region,
		"ReportVersioning": "OVERWRITE_REPORT",
	}
	for k, v := range more {
		definition[k] = v
	}
	return fields{"ReportDefinition": definition}
}

func makeBucket(t *testing.T, s *servertest.Server, name string) {
	t.Helper()
	if a := s.Do(nil, s.Admin, "s3", http.MethodPut, "/"+name, ""); a.Status != http.StatusOK {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
}

// usageRows reads the file of a day.
func usageRows(t *testing.T, s *servertest.Server, day time.Time) [][]string {
	t.Helper()
	key := "/reports/usage/daily/" + day.Format(
		"20060102",
	) + "-" + day.AddDate(0, 0, 1).
		Format("20060102") +
		"/daily-00001.csv.gz"
	a := s.Do(nil, s.Admin, "s3", http.MethodGet, key, "")
	if a.Status != http.StatusOK {
		t.Fatalf("%s: %d %s", key, a.Status, a.Body)
	}
	unzipped, err := gzip.NewReader(strings.NewReader(a.Body))
	must(t, err)
	rows, err := csv.NewReader(unzipped).ReadAll()
	must(t, err)
	return rows[1:]
}

// TestUsageReport: a report is written when it is defined, and once the day
// has passed. It has the same byte counts as the recording and the log.
func TestUsageReport(t *testing.T) {
	t.Parallel()
	base := time.Now()
	var ahead atomic.Int64
	s := servertest.StartWith(t, func(c *server.Config) {
		c.Now = func() time.Time { return base.Add(time.Duration(ahead.Load())) }
	})
	makeBucket(t, s, "reports")
	if a := s.JSON(s.Admin, "cur", "PutReportDefinition", reportRequest("daily", nil)); a.Status != http.StatusOK ||
		a.Body != "{}" {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	day := base.UTC().Truncate(24 * time.Hour)
	if rows := usageRows(t, s, day); len(rows) != 0 {
		t.Errorf("rows at the definition: %v", rows)
	}

	makeBucket(t, s, "session-logs")
	if a := s.JSON(s.Admin, "ssm", "CreateDocument", fields{"Name": preferencesName, "DocumentType": "Session",
		"Content": `{"schemaVersion":"1.0","sessionType":"Standard_Stream","inputs":{"s3BucketName":"session-logs",` +
			`"s3KeyPrefix":"a"}}`}); a.Status != http.StatusOK {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	n := s.Node()
	n.Connect()
	x := s.Session(s.Admin, n)
	must(
		t,
		s.Directory.Holders.PutInline(
			t.Context(),
			"role",
			"AmazonEC2RunCommandRoleForManagedInstances",
			"logs",
			servertest.Allow("*", "s3:PutObject"),
		),
	)
	if a := s.Do(nil, n.Credentials, "s3", http.MethodPut, "/session-logs/a/"+x.ID+".log",
		"seven b"); a.Status != http.StatusOK {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	if a := s.JSON(s.Admin, "ssm", "TerminateSession", fields{"SessionId": x.ID}); a.Status != http.StatusOK {
		t.Fatalf("%d %s", a.Status, a.Body)
	}

	ahead.Store(int64(48 * time.Hour))
	must(t, s.Usage.Deliver(t.Context()))
	rows := append(usageRows(t, s, day), usageRows(t, s, day.AddDate(0, 0, 1))...) // midnight may have passed meanwhile
	sum := [6]float64{}
	for _, row := range rows {
		if row[1] != "arn:aws:iam::"+servertest.Account+":user/admin" || row[2] != n.ID || row[3] != preferencesName {
			t.Errorf("a row about something else: %q", row)
		}
		for i := range sum {
			value, err := strconv.ParseFloat(row[4+i], 64)
			must(t, err)
			sum[i] += value
		}
	}
	if sessions, in, out, recording, log := sum[0], sum[2], sum[3], sum[4], sum[5]; sessions != 1 || in < 5 ||
		out < 5 ||
		recording < 100 ||
		log != 7 {
		t.Errorf("the rows do not have the session: %q", rows)
	}
	var all struct {
		ReportDefinitions []struct {
			ReportStatus struct{ LastDelivery, LastStatus string }
		}
	}
	s.JSON(s.Admin, "cur", "DescribeReportDefinitions", fields{}).Decode(t, &all)
	want := base.Add(48 * time.Hour).UTC().Format("20060102T150405Z")
	if st := all.ReportDefinitions[0].ReportStatus; st.LastDelivery != want || st.LastStatus != "SUCCESS" {
		t.Errorf("%+v, want a delivery at %s", st, want)
	}
}

func TestUsageReportRefusals(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	makeBucket(t, s, "reports")
	for name, c := range map[string]fields{
		"an invalid name":                   {"ReportName": "a/b"},
		"hours":                             {"TimeUnit": "HOURLY"},
		"format":                            {"Format": "Parquet", "Compression": "Parquet"},
		"compression":                       {"Compression": "Parquet"},
		"no bucket":                         {"S3Bucket": ""},
		"missing bucket":                    {"S3Bucket": "elsewhere"},
		"an invalid prefix":                 {"S3Prefix": "a b"},
		"a prefix that starts with a slash": {"S3Prefix": "/a"},
		"region":                            {"S3Region": "us-east-2"},
		"artifacts":                         {"AdditionalArtifacts": []string{"ATHENA"}},
		"schema":                            {"AdditionalSchemaElements": []string{"SPLIT_COST_ALLOCATION_DATA"}},
		"versioning":                        {"ReportVersioning": "x"},
		"a billing view":                    {"BillingViewArn": "x"},
		"a long name":                       {"ReportName": strings.Repeat("a", 257)},
	} {
		if a := s.JSON(s.Admin, "cur", "PutReportDefinition", reportRequest("daily", c)); a.Status != 400 ||
			a.Code() != "ValidationException" {
			t.Errorf("%s: %d %s", name, a.Status, a.Body)
		}
	}
	for operation, in := range map[string]fields{
		"PutReportDefinition":       {},
		"DescribeReportDefinitions": {"MaxResults": 4},
		"DeleteReportDefinition":    {"ReportName": "none"},
	} {
		if a := s.JSON(s.Admin, "cur", operation, in); a.Code() != "ValidationException" {
			t.Errorf("%s: %d %s", operation, a.Status, a.Body)
		}
	}
	for i := range 10 {
		if a := s.JSON(s.Admin, "cur", "PutReportDefinition",
			reportRequest("r"+strconv.Itoa(i), nil)); a.Status != http.StatusOK {
			t.Fatalf("%d %s", a.Status, a.Body)
		}
	}
	if a := s.JSON(s.Admin, "cur", "PutReportDefinition",
		reportRequest("r1", nil)); a.Code() != "DuplicateReportNameException" {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	if a := s.JSON(s.Admin, "cur", "PutReportDefinition",
		reportRequest("r10", nil)); a.Code() != "ReportLimitReachedException" {
		t.Errorf("%d %s", a.Status, a.Body)
	}
}

// A user who defines a report needs permission to write its files, from both the user's
// policies and the bucket's.
func TestUsageReportPermissions(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	makeBucket(t, s, "reports")
	arn := "arn:aws:cur:us-east-1:" + servertest.Account + ":definition/"
	both := func(definitions, objects string) string {
		b, err := json.Marshal(fields{"Version": "2012-10-17", "Statement": []fields{
			{"Effect": "Allow", "Action": "cur:*", "Resource": definitions},
			{"Effect": "Allow", "Action": "s3:PutObject", "Resource": objects},
		}})
		must(t, err)
		return string(b)
	}
	put := func(who sigv4.Credentials, name string) string {
		return s.JSON(who, "cur", "PutReportDefinition", reportRequest(name, nil)).Code()
	}
	withoutBucket := s.User("without-bucket", servertest.Allow("*", "cur:*"))
	elsewhere := s.User("elsewhere", both(arn+"*", "arn:aws:s3:::reports/other/*"))
	exact := s.User("exact", both(arn+"mine", "arn:aws:s3:::reports/usage/mine/*"))
	for name, got := range map[string]string{
		"without s3:PutObject":   put(withoutBucket, "a"),
		"s3:PutObject elsewhere": put(elsewhere, "a"),
		"another report":         put(exact, "other"),
		"the bucket is not told apart": s.JSON(withoutBucket, "cur", "PutReportDefinition",
			reportRequest("a", fields{"S3Bucket": "none"})).Code(),
		"listing":  s.JSON(exact, "cur", "DescribeReportDefinitions", fields{}).Code(),
		"deleting": s.JSON(exact, "cur", "DeleteReportDefinition", fields{"ReportName": "other"}).Code(),
	} {
		if got != "AccessDeniedException" {
			t.Errorf("%s: %q", name, got)
		}
	}
	if code := put(exact, "mine"); code != "" {
		t.Error(code)
	}
	deny := `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:PutObject",` +
		`"Resource":"arn:aws:s3:::reports/*"}]}`
	if a := s.Do(nil, s.Admin, "s3", http.MethodPut, "/reports?policy", deny); a.Status >= 300 {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	if code := put(s.Admin, "denied"); code != "AccessDeniedException" {
		t.Errorf("a write that the bucket's policy denies: code %q", code)
	}
}

func TestCURAnswersFitTheServiceModel(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	makeBucket(t, s, "reports")
	m := newModelled(t, s, "cur")
	for i := range 6 {
		m.call(
			"PutReportDefinition",
			reportRequest(
				"r"+strconv.Itoa(i),
				fields{"RefreshClosedReports": true, "ReportVersioning": "CREATE_NEW_REPORT"},
			),
		)
	}
	var page struct {
		ReportDefinitions []struct{ ReportName string }
		NextToken         string
	}
	m.call("DescribeReportDefinitions", fields{"MaxResults": 5}).Decode(t, &page)
	if len(page.ReportDefinitions) != 5 || page.NextToken == "" {
		t.Fatalf("%+v", page)
	}
	m.call("DescribeReportDefinitions", fields{"NextToken": page.NextToken}).Decode(t, &page)
	if len(page.ReportDefinitions) != 1 || page.ReportDefinitions[0].ReportName != "r5" {
		t.Errorf("%+v", page)
	}
	m.call("DeleteReportDefinition", fields{"ReportName": "r5"})
	m.complete()
}
