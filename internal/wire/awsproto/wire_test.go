package awsproto_test

import (
	"context"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"sekisho/internal/wire/awsproto"
)

// serve answers requests with handle and checks that it wrote a response.
func serve(t *testing.T, handle func(w http.ResponseWriter, r *http.Request, body []byte) error) (endpoint *string) {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body []byte
		if r.Header.Get("X-Amz-Target") == "" {
			if err := r.ParseForm(); err != nil {
				t.Error(err)
			}
		} else {
			var err error
			if body, err = io.ReadAll(r.Body); err != nil {
				t.Error(err)
			}
		}
		if err := handle(w, r, body); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(srv.Close)
	return aws.String(srv.URL)
}

var (
	keys  = credentials.NewStaticCredentialsProvider("AKIA1", "secret", "")
	since = time.Date(2026, 11, 23, 12, 37, 28, 123e6, time.UTC)
)

func TestSSMClient(t *testing.T) {
	t.Parallel()
	endpoint := serve(t, func(w http.ResponseWriter, r *http.Request, body []byte) error {
		service, op, ok := awsproto.Target(r)
		if !ok || service != "ssm" {
			t.Errorf("target %q %q %v", service, op, ok)
		}
		if op == "StartSession" {
			return awsproto.WriteJSONError(w, "req-2", &awsproto.Error{Code: "TargetNotConnected",
				Message: "mi-0 is <not> connected.", Sender: true})
		}
		var in struct {
			MaxResults *int32
			Filters    []struct {
				Key    string
				Values []string
			}
		}
		if err := awsproto.DecodeJSON(body, &in); err != nil {
			t.Error(err)
		}
		if in.MaxResults == nil || *in.MaxResults != 7 || len(in.Filters) != 1 || in.Filters[0].Values[0] != "Online" {
			t.Errorf("got %+v", in)
		}
		type info struct {
			InstanceId       string
			LastPingDateTime awsproto.Epoch `json:",omitzero"`
			RegistrationDate awsproto.Epoch `json:",omitzero"`
		}
		return awsproto.WriteJSON(w, "req-1", map[string]any{
			"InstanceInformationList": []info{{InstanceId: "mi-0", LastPingDateTime: awsproto.NewEpoch(since)}},
			"NextToken":               "a&b",
		})
	})
	client := ssm.New(ssm.Options{Region: "r", BaseEndpoint: endpoint, Credentials: keys})
	out, err := client.DescribeInstanceInformation(context.Background(), &ssm.DescribeInstanceInformationInput{
		MaxResults: aws.Int32(7),
		Filters: []ssmtypes.InstanceInformationStringFilter{
			{Key: aws.String("PingStatus"), Values: []string{"Online"}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := out.InstanceInformationList[0]
	if *got.InstanceId != "mi-0" || !got.LastPingDateTime.Equal(since) || got.RegistrationDate != nil ||
		*out.NextToken != "a&b" {
		t.Errorf("got %+v", got)
	}
	_, err = client.StartSession(context.Background(), &ssm.StartSessionInput{Target: aws.String("mi-0")})
	e, ok := errors.AsType[*ssmtypes.TargetNotConnected](err)
	if !ok || e.ErrorMessage() != "mi-0 is <not> connected." || !strings.Contains(err.Error(), "req-2") {
		t.Errorf("got %v", err)
	}
}

func TestSTSClient(t *testing.T) {
	t.Parallel()
	const xmlns = "https://sts.amazonaws.com/doc/2011-06-15/"
	endpoint := serve(t, func(w http.ResponseWriter, r *http.Request, _ []byte) error {
		switch r.PostForm.Get("Action") {
		case "GetCallerIdentity":
			return awsproto.WriteQuery(w, "req-1", "GetCallerIdentity", xmlns, struct {
				Arn, UserId, Account string
			}{"arn:aws:iam::123456789012:user/alice", "AIDA1", "123456789012"})
		case "AssumeRole":
			var in struct {
				RoleArn         string
				DurationSeconds int32
				Tags            []tag
			}
			if err := awsproto.DecodeQuery(r.PostForm, &in); err != nil {
				t.Error(err)
			}
			if in.RoleArn != "arn:aws:iam::123456789012:role/r" || in.DurationSeconds != 900 || len(in.Tags) != 1 ||
				*in.Tags[0].Value != "w&x y" {
				t.Errorf("got %+v", in)
			}
			type issued struct {
				AccessKeyId, SecretAccessKey, SessionToken string
				Expiration                                 awsproto.Epoch
			}
			return awsproto.WriteQuery(w, "req-1", "AssumeRole", xmlns, struct{ Credentials issued }{
				issued{"ASIA1", "s", "t<>", awsproto.NewEpoch(since)}})
		}
		return awsproto.WriteQueryError(w, "req-2", "https://iam.amazonaws.com/doc/2010-05-08/",
			&awsproto.Error{Code: "AccessDenied", Message: "No & no.", Status: 403, Sender: true})
	})
	client := sts.New(sts.Options{Region: "r", BaseEndpoint: endpoint, Credentials: keys})
	who, err := client.GetCallerIdentity(context.Background(), &sts.GetCallerIdentityInput{})
	if err != nil || *who.Arn != "arn:aws:iam::123456789012:user/alice" || *who.Account != "123456789012" {
		t.Errorf("got %+v, %v", who, err)
	}
	role, err := client.AssumeRole(context.Background(), &sts.AssumeRoleInput{
		RoleArn: aws.String("arn:aws:iam::123456789012:role/r"), RoleSessionName: aws.String("s"),
		DurationSeconds: aws.Int32(900),
		Tags:            []ststypes.Tag{{Key: aws.String("k"), Value: aws.String("w&x y")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if !role.Credentials.Expiration.Equal(since) || *role.Credentials.SessionToken != "t<>" {
		t.Errorf("got %+v", role.Credentials)
	}
	_, err = client.GetSessionToken(context.Background(), &sts.GetSessionTokenInput{})
	e, ok := errors.AsType[smithy.APIError](err)
	if !ok || e.ErrorCode() != "AccessDenied" || e.ErrorMessage() != "No & no." || !strings.Contains(err.Error(),
		"req-2") {
		t.Errorf("got %v", err)
	}
}

func TestIAMClient(t *testing.T) {
	t.Parallel()
	const xmlns = "https://iam.amazonaws.com/doc/2010-05-08/"
	type user struct {
		UserName   string
		CreateDate awsproto.Epoch
		Tags       []tag `xml:"Tags>member,omitempty"`
	}
	endpoint := serve(t, func(w http.ResponseWriter, r *http.Request, _ []byte) error {
		switch r.PostForm.Get("Action") {
		case "ListUsers":
			return awsproto.WriteQuery(w, "req-1", "ListUsers", xmlns, struct {
				IsTruncated bool
				Users       []user `xml:"Users>member"`
			}{true, []user{{"alice", awsproto.NewEpoch(since), []tag{{"k", ptr("a\x01b")}}}, {UserName: "bob"}}})
		case "CreateUser":
			var in struct {
				UserName string
				Tags     []tag
			}
			if err := awsproto.DecodeQuery(r.PostForm, &in); err != nil {
				t.Error(err)
			}
			if d := cmp.Diff([]tag{{"k", ptr("v")}, {"l", ptr("")}}, in.Tags); d != "" {
				t.Error(d)
			}
			return awsproto.WriteQueryError(w, "req-2", "https://iam.amazonaws.com/doc/2010-05-08/",
				awsproto.SenderError("EntityAlreadyExists", "User with name %s already exists.", in.UserName))
		}
		return awsproto.WriteQuery(w, "req-3", "DeleteUser", xmlns, nil)
	})
	client := iam.New(iam.Options{Region: "r", BaseEndpoint: endpoint, Credentials: keys})
	list, err := client.ListUsers(context.Background(), &iam.ListUsersInput{})
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Users) != 2 || !list.IsTruncated || *list.Users[1].UserName != "bob" || !list.Users[0].CreateDate.Equal(
		since) || *list.Users[0].Tags[0].Value != "a\uFFFDb" {
		t.Errorf("got %+v", list)
	}
	_, err = client.CreateUser(context.Background(), &iam.CreateUserInput{UserName: aws.String("alice"),
		Tags: []iamtypes.Tag{
			{Key: aws.String("k"), Value: aws.String("v")}, {Key: aws.String("l"), Value: aws.String("")}}})
	if e, ok := errors.AsType[*iamtypes.EntityAlreadyExistsException](err); !ok ||
		e.ErrorMessage() != "User with name alice already exists." {
		t.Errorf("got %v", err)
	}
	if _, err := client.DeleteUser(context.Background(), &iam.DeleteUserInput{UserName: aws.String("alice")}); err != nil {
		t.Error(err)
	}
}

func TestXMLForms(t *testing.T) {
	t.Parallel()
	type root struct {
		XMLName xml.Name `xml:"CreateControlChannelResponse"`
		Token   string   `xml:"TokenValue"`
	}
	failure := &awsproto.Error{Code: "C", Message: "a<b", Status: 409, Extra: map[string]string{"BucketName": "b"}}
	for name, c := range map[string]struct {
		write  func(w http.ResponseWriter) error
		status int
		want   string
	}{
		"ec2": {func(w http.ResponseWriter) error {
			return awsproto.WriteEC2(w, "id", "DescribeInstances", "http://ec2.amazonaws.com/doc/2016-11-15/", struct {
				Set []string `xml:"reservationSet>item"`
			}{[]string{"x"}})
		}, 200, `<DescribeInstancesResponse ` +
			`xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>id</requestId><reservationSet><item>x</item>` +
			`</reservationSet></DescribeInstancesResponse>`},
		"ec2, nothing": {func(w http.ResponseWriter) error { return awsproto.WriteEC2(w, "id", "CreateTags", "ns", nil) },
			200, `<CreateTagsResponse xmlns="ns"><requestId>id</requestId><return>true</return></CreateTagsResponse>`},
		"ec2 error": {func(w http.ResponseWriter) error { return awsproto.EC2.WriteError(w, "id", "urn:x", failure) },
			409, `<Response><Errors><Error><Code>C</Code><Message>a&lt;b</Message><BucketName>b</BucketName></Error></Errors>` +
				`<RequestID>id</RequestID></Response>`},
		"query error": {func(w http.ResponseWriter) error { return awsproto.Query.WriteError(w, "id", "urn:x", failure) },
			409, `<ErrorResponse ` +
				`xmlns="urn:x"><Error><Type>Sender</Type><Code>C</Code><Message>a&lt;b</Message><BucketName>b</BucketName>` +
				`</Error><RequestId>id</RequestId></ErrorResponse>`},
		"rest error": {func(w http.ResponseWriter) error { return awsproto.RESTXML.WriteError(w, "id", "urn:x", failure) },
			409, `<Error><Code>C</Code><Message>a&lt;b</Message><BucketName>b</BucketName><RequestId>id</RequestId></Error>`},
		"rest": {func(w http.ResponseWriter) error { return awsproto.WriteXML(w, 201, "id", root{Token: "t"}) },
			201, `<CreateControlChannelResponse><TokenValue>t</TokenValue></CreateControlChannelResponse>`},
		"json error": {func(w http.ResponseWriter) error {
			return awsproto.JSON.WriteError(w, "id", "urn:x", &awsproto.Error{Code: "C", Message: "m",
				Extra: map[string]string{"x": "y"}})
		}, 500, `{"__type":"C","message":"m","x":"y"}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := httptest.NewRecorder()
			if err := c.write(w); err != nil {
				t.Fatal(err)
			}
			got := strings.TrimPrefix(w.Body.String(), `<?xml version="1.0" encoding="UTF-8"?>`+"\n")
			if w.Code != c.status || got != c.want {
				t.Errorf("%d %s\nwant %d %s", w.Code, got, c.status, c.want)
			}
			if w.Header().Get("X-Amzn-Requestid")+w.Header().Get("X-Amz-Request-Id") != "id" {
				t.Errorf("headers %v", w.Header())
			}
		})
	}
	t.Run("nothing is sent when encoding fails", func(t *testing.T) {
		t.Parallel()
		w := httptest.NewRecorder()
		if err := awsproto.WriteEC2(w, "id", "X", "", struct{ C chan int }{make(chan int)}); err == nil ||
			w.Body.Len() > 0 {
			t.Errorf("%v, body %q", err, w.Body)
		}
		if err := awsproto.WriteJSON(w, "id", make(chan int)); err == nil || w.Body.Len() > 0 {
			t.Errorf("%v, body %q", err, w.Body)
		}
	})
}

func TestTarget(t *testing.T) {
	t.Parallel()
	for target, want := range map[string]string{
		"AmazonSSM.StartSession":                                              "ssm StartSession",
		"EC2WindowsMessageDeliveryService.GetMessages":                        "ec2messages GetMessages",
		"TrentService.Decrypt":                                                "kms Decrypt",
		"Logs_20140328.PutLogEvents":                                          "logs PutLogEvents",
		"CloudTrail_20131101.LookupEvents":                                    "cloudtrail LookupEvents",
		"com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101.LookupEvents": "cloudtrail LookupEvents",
		"Sekisho.Why":             "sekisho Why",
		"AmazonSSM":               "",
		"AmazonSSM.":              "",
		"AmazonSSM.Start/Session": "",
		"amazonssm.StartSession":  "",
		"x.AmazonSSM.Start":       "",
		"":                        "",
	} {
		r := httptest.NewRequest("POST", "/", nil)
		r.Header.Set("X-Amz-Target", target)
		service, op, ok := awsproto.Target(r)
		if got := strings.TrimSpace(service + " " + op); got != want || ok != (want != "") {
			t.Errorf("%q: got %q, %v", target, got, ok)
		}
	}
	r := httptest.NewRequest("POST", "/", nil)
	r.Header["X-Amz-Target"] = []string{"AmazonSSM.A", "AmazonSSM.B"}
	if _, _, ok := awsproto.Target(r); ok {
		t.Error("two targets accepted")
	}
}

func TestConstraints(t *testing.T) {
	t.Parallel()
	var c awsproto.Constraints
	c.Length("target", "mi-0", 1, 400)
	c.Count("filters", 3, 0, 5)
	c.Range("maxResults", 50, 1, 50)
	c.Enum("state", "Active", "Active", "History")
	if err := c.Err(); err != nil {
		t.Fatal(err)
	}
	c.Length("target", "ü", 2, 400)
	if got, want := c.Err().Error(),
		"ValidationException: 1 validation error detected: Value 'ü' at 'target' failed to satisfy constraint: Member "+
			"must have length greater than or equal to 2"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	c = awsproto.Constraints{Code: "ValidationError"}
	c.Hide("activationCode")
	c.Require("target", false)
	c.Length("reason", strings.Repeat("a", 3), 0, 2)
	c.Range("maxResults", 51, 1, 50)
	c.Pattern("activationCode", "swordfish", regexp.MustCompile(`^[0-9]+$`))
	c.Enum("state", "x", "Active", "History")
	want := "ValidationError: 5 validation errors detected: " +
		"Value null at 'target' failed to satisfy constraint: Member must not be null; " +
		"Value 'aaa' at 'reason' failed to satisfy constraint: Member must have length less than or equal to 2; " +
		"Value '51' at 'maxResults' failed to satisfy constraint: Member must have value less than or equal to 50; " +
		"Value '***sensitiveInformation***' at 'activationCode' failed to satisfy constraint: Member must satisfy " +
		"regular expression pattern: ^[0-9]+$; " +
		"Value 'x' at 'state' failed to satisfy constraint: Member must satisfy enum value set: [Active, History]"
	if got := c.Err().Error(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
