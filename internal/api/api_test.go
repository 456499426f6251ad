package api_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sekisho"
	"sekisho/internal/activity/audit"
	"sekisho/internal/api"
	"sekisho/internal/iam/authz"
	"sekisho/internal/iam/policy"
	"sekisho/internal/wire/awsproto"
	"sekisho/internal/wire/sigv4"
)

const (
	account = "123456789012"
	region  = "eu-central-1"
	node    = "mi-0123456789abcdef0"
)

var (
	alice  = sigv4.Credentials{AccessKeyID: "AKIAALICE", SecretAccessKey: "alice's secret"}
	nobody = sigv4.Credentials{AccessKeyID: "AKIANOBODY", SecretAccessKey: "nobody's secret"} // has no policies
	broken = sigv4.Credentials{
		AccessKeyID:     "AKIABROKEN",
		SecretAccessKey: "broken's secret",
	} // has policies that cannot be read
	temp    = sigv4.Credentials{AccessKeyID: "ASIATEMP", SecretAccessKey: "temp's secret", SessionToken: "good"}
	onNode  = sigv4.Credentials{AccessKeyID: "ASIANODE", SecretAccessKey: "node's secret", SessionToken: "node"}
	nodeKey = sync.OnceValue(func() *rsa.PrivateKey {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		return k
	})
)

// world is an [api.Server] and everything around it.
type world struct {
	*api.Server
	cfg          api.Config
	mu           sync.Mutex
	events       []audit.Event
	auditFails   error
	changes      int // that Change made
	begun        int // calls that are neither completed nor abandoned
	deregistered bool
	touched      int
	log          bytes.Buffer
}

func (w *world) Credential(_ context.Context, key, token string) (string, *sekisho.Principal, error) {
	for _, c := range []sigv4.Credentials{alice, nobody, broken, temp, onNode} {
		if c.AccessKeyID != key {
			continue
		}
		if token == "expired" {
			return "", nil, sekisho.Errorf(sekisho.CodeExpired, "The security token included in the request is expired")
		}
		if token != c.SessionToken {
			break
		}
		name := strings.ToLower(key[4:])
		p := &sekisho.Principal{
			Type:        sekisho.PrincipalUser,
			Account:     account,
			ARN:         "arn:aws:iam::" + account + ":user/" + name,
			UserName:    name,
			UserID:      "AIDA" + name,
			AccessKeyID: key,
		}
		if c.AccessKeyID == onNode.AccessKeyID {
			p.Node = node
		}
		return c.SecretAccessKey, p, nil
	}
	return "", nil, sekisho.Errorf(
		sekisho.CodeUnauthenticated,
		"The security token included in the request is invalid.",
	)
}

func (w *world) TouchKey(string, string, string, time.Time) { w.touched++ }

func (w *world) NodePublicKey(_ context.Context, id sekisho.NodeID) (*rsa.PublicKey, error) {
	if id != node || w.deregistered {
		return nil, sekisho.Errorf(sekisho.CodeUnauthenticated, "The node %s is not registered here.", id)
	}
	return &nodeKey().PublicKey, nil
}

func (w *world) Policies(_ context.Context, p *sekisho.Principal) (*policy.Set, error) {
	switch p.AccessKeyID {
	case broken.AccessKeyID:
		return nil, errors.New("the policy store is on fire")
	case nobody.AccessKeyID:
		return policy.Compile(policy.Policies{}), nil
	}
	doc, err := policy.Parse(
		[]byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},
		{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:UserAgent":"forbidden"}}},
		{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":"203.0.113.0/24"}}}]}`),
	)
	if err != nil {
		return nil, err
	}
	return policy.Compile(policy.Policies{Identity: []*policy.Document{doc}}), nil
}

func (w *world) Begin(_ context.Context, e *audit.Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.auditFails != nil {
		return w.auditFails
	}
	w.begun++
	e.ID = "begun"
	return nil
}

func (w *world) Complete(_ context.Context, e audit.Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.begun--
	w.events = append(w.events, e)
	return nil
}

func (w *world) Abandon(context.Context, string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.begun--
	return nil
}

func (w *world) Record(ctx context.Context, e audit.Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.auditFails != nil {
		return w.auditFails
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	w.events = append(w.events, e)
	return nil
}

func (w *world) last(t *testing.T) audit.Event {
	t.Helper()
	if len(w.events) == 0 {
		t.Fatal("nothing was recorded")
	}
	return w.events[len(w.events)-1]
}

type pingRequest struct {
	Name           string
	ActivationCode string
}
type pingAnswer struct{ Hello string }

func ping(ctx context.Context, c *api.Call, in *pingRequest) (*pingAnswer, error) {
	if err := c.Authorize(ctx, "toy:Ping", "arn:aws:toy:::thing/"+in.Name); err != nil {
		return nil, err
	}
	c.Annotate(map[string]any{"tokenValue": "the-answer's-secret", "hello": in.Name})
	return &pingAnswer{"hello " + in.Name}, nil
}

const secretOutput = "must never leave"

type changeRequest struct{ DiskFills bool }

func (in *changeRequest) thenFail() error {
	if in.DiskFills {
		return errors.New("the disk is full")
	}
	return nil
}

func operations(w *world) map[string]api.Operation {
	return map[string]api.Operation{
		"Ping": api.Read(ping),
		"Forget": api.Write(func(context.Context, *api.Call, *struct{}) (*pingAnswer, error) {
			return &pingAnswer{secretOutput}, nil
		}),
		"Open": api.Write(func(_ context.Context, c *api.Call, _ *struct{}) (*pingAnswer, error) {
			if c.Principal != nil {
				return nil, errors.New("an anonymous call has a principal")
			}
			return &pingAnswer{"anybody"}, nil
		}, api.By(api.Anonymous), api.NoPolicy("a test")),
		"OpenAuthorized": api.Write(ping, api.By(api.Anonymous)),
		"NodeOnly": api.Write(func(_ context.Context, c *api.Call, _ *struct{}) (*pingAnswer, error) {
			return &pingAnswer{string(c.Principal.Node)}, nil
		}, api.By(api.NodeKey), api.NoPolicy("a test")),
		"Change": api.Write(func(ctx context.Context, c *api.Call, in *changeRequest) (*pingAnswer, error) {
			if err := c.Authorize(ctx, "toy:Change", "*"); err != nil {
				return nil, err
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			w.changes++
			w.auditFails = in.thenFail()
			return &pingAnswer{"changed"}, nil
		}),
		"Around": api.Write(around, api.NoPolicy("each operation that it calls asks by itself")),
		"Panic":  {Handle: func(context.Context, *api.Call) (any, error) { panic("oh no " + secretOutput) }},
		"Fault": {
			Handle: func(context.Context, *api.Call) (any, error) { return nil, errors.New("sql: " + secretOutput) },
		},
		"Uncoded": {Handle: func(context.Context, *api.Call) (any, error) {
			return nil, &sekisho.Error{Code: "nonsense", Message: secretOutput}
		}},
		"Limit": {Handle: func(context.Context, *api.Call) (any, error) {
			return nil, sekisho.Errorf(sekisho.CodeLimit, "Full.").WithHint("Delete one.")
		}},
	}
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{}
	w.cfg = api.Config{
		Doors: []*api.Door{
			{Service: "ssm", Protocol: awsproto.JSON, Operations: operations(w)},
			{
				Service:    "iam",
				Protocol:   awsproto.Query,
				XMLNS:      "https://iam.amazonaws.com/doc/2010-05-08/",
				Version:    "2010-05-08",
				Global:     true,
				Operations: operations(w),
			},
			{
				Service:    "ec2",
				Protocol:   awsproto.EC2,
				XMLNS:      "http://ec2.amazonaws.com/doc/2016-11-15/",
				Version:    "2016-11-15",
				Operations: operations(w),
			},
		},
		Credentials: w, NodeKeys: w, Authorizer: authz.New(w), Trail: w, Account: account, Region: region,
		Log: slog.New(slog.NewTextHandler(&w.log, nil)),
	}
	w.Server = api.New(w.cfg)
	return w
}

// call is one request, signed as alice unless it says otherwise.
type call struct {
	as      sigv4.Credentials
	service string
	region  string
	skew    time.Duration
	body    string
	target  string                // X-Amz-Target
	before  func(r *http.Request) // included in the signature
	after   func(r *http.Request) // included in the signature
	sign    func(r *http.Request) // instead of the usual one
	from    string                // TCP peer
}

func (w *world) do(t *testing.T, c call) *httptest.ResponseRecorder {
	t.Helper()
	r := c.request(t)
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, r)
	return rec
}

func (c call) request(t *testing.T) *http.Request {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "https://sekisho.test/", strings.NewReader(c.body))
	r.RemoteAddr = "192.0.2.44:5555"
	if c.from != "" {
		r.RemoteAddr = c.from
	}
	if c.target != "" {
		r.Header.Set("X-Amz-Target", c.target)
		r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	} else {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if c.before != nil {
		c.before(r)
	}
	if c.as.AccessKeyID == "" {
		c.as = alice
	}
	if c.service == "" {
		c.service = "ssm"
	}
	if c.region == "" {
		c.region = region
	}
	if c.sign != nil {
		c.sign(r)
	} else {
		sigv4.Sign(r, c.as, c.region, c.service, time.Now().Add(c.skew), sigv4.HashBody([]byte(c.body)))
	}
	if c.after != nil {
		c.after(r)
	}
	return r
}

func unsigned(*http.Request) {}

func TestAnswers(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		c    call
		want string
	}{
		"JSON": {call{target: "AmazonSSM.Ping", body: `{"Name":"x"}`}, `{"Hello":"hello x"}`},
		"query": {call{service: "iam", body: "Action=Ping&Version=2010-05-08&Name=x"},
			"<PingResult><Hello>hello x</Hello></PingResult>"},
		"EC2": {call{service: "ec2", body: "Action=Ping&Version=2016-11-15&Name=x"}, "hello x"},
		"any region": {call{service: "iam", region: "us-east-1",
			body: "Action=Ping&Version=2010-05-08&Name=x"}, "hello x"},
		"anonymous": {call{target: "AmazonSSM.Open", sign: unsigned}, `{"Hello":"anybody"}`},
		"temporary": {call{as: temp, target: "AmazonSSM.Ping", body: `{"Name":"x"}`}, "hello x"},
		"a node":    {call{as: onNode, target: "AmazonSSM.Ping", body: `{"Name":"x"}`}, "hello x"},
		"an anonymous query, recognized by its version": {call{sign: unsigned, body: "Action=Open&Version=2010-05-08"},
			"<Hello>anybody</Hello>"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			rec := w.do(t, tc.c)
			if rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), tc.want) {
				t.Errorf("%d %s", rec.Code, rec.Body)
			}
			e := w.last(t)
			if e.ErrorCode != "" || len(w.events) != 1 || e.RequestID == "" {
				t.Errorf("recorded %+v", w.events)
			}
			id := rec.Header().Get("X-Amzn-Requestid")
			if id == "" {
				id = e.RequestID // the query protocols have it in the body
			}
			if id != e.RequestID {
				t.Errorf("answered as %s, recorded as %s", id, e.RequestID)
			}
		})
	}
}

func TestTheEventOfAnAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.do(t, call{
		target: "AmazonSSM.Ping", body: `{"Name":"x","ActivationCode":"hush-hush"}`,
		before: func(r *http.Request) { r.Header.Set("User-Agent", strings.Repeat("ü", 400)) },
	})
	e := w.last(t)
	if e.EventSource != "ssm.amazonaws.com" || e.EventName != "Ping" || e.Region != region ||
		e.SourceIP != "192.0.2.44" ||
		!e.ReadOnly ||
		e.UserIdentity.UserName != "alice" ||
		e.UserIdentity.AccessKeyID != alice.AccessKeyID {
		t.Errorf("%+v", e)
	}
	if len(e.UserAgent) > 520 || !strings.HasSuffix(e.UserAgent, "ü…") {
		t.Errorf("user agent of %d bytes", len(e.UserAgent))
	}
	if !slices.Contains(e.Resources, audit.Resource{ARN: "arn:aws:toy:::thing/x"}) ||
		!strings.Contains(e.Reason, "allowed") {
		t.Errorf("resources %v, reason %q", e.Resources, e.Reason)
	}
	if w.touched != 1 {
		t.Errorf("the key's use was noted %d times", w.touched)
	}
	// The trail redacts the parameters. Here, the test applies the same rules.
	for what, v := range map[string]any{"request": e.RequestParameters, "response": e.ResponseElements} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		var plain any
		if err := json.Unmarshal(b, &plain); err != nil {
			t.Fatal(err)
		}
		if b, err = json.Marshal(audit.Redact(plain)); err != nil {
			t.Fatal(err)
		}
		if s := string(b); strings.Contains(s, "hush-hush") || strings.Contains(s, "the-answer's-secret") ||
			!strings.Contains(s, `"x"`) {
			t.Errorf("%s: %s", what, s)
		}
	}
}

// Every refusal has AWS's code, says one helpful thing, and is in the audit
// trail.
func TestRefusals(t *testing.T) {
	t.Parallel()
	const good = "AmazonSSM.Ping"
	long := strings.Repeat("x", 1<<20)
	for name, tc := range map[string]struct {
		c      call
		status int
		code   string
		text   string
		none   bool // nothing to record: the request names no service
	}{
		"unsigned": {c: call{target: good, sign: unsigned}, status: 400,
			code: "MissingAuthenticationTokenException"},
		"unsigned query": {c: call{service: "iam", sign: unsigned, body: "Action=Ping&Version=2010-05-08"}, status: 403,
			code: "MissingAuthenticationToken"},
		"unsigned, no API": {c: call{service: "iam", sign: unsigned, body: "Action=Ping&Version=1999-01-01"}, status: 400,
			code: "InvalidAction", none: true},
		"garbage": {c: call{target: good,
			sign: func(r *http.Request) { r.Header.Set("Authorization", "AWS4-HMAC-SHA256 \xff=,,") }}, status: 400,
			code: "IncompleteSignatureException"},
		"another scheme": {c: call{target: good, sign: func(r *http.Request) { r.SetBasicAuth("alice", "x") }},
			status: 400},
		"unknown key": {c: call{target: good, as: sigv4.Credentials{AccessKeyID: "AKIAOTHER", SecretAccessKey: "x"}},
			status: 400, code: "UnrecognizedClientException", text: "security token included in the request is invalid"},
		"unknown key, query": {c: call{service: "iam", body: "Action=Ping&Version=2010-05-08",
			as: sigv4.Credentials{AccessKeyID: "AKIAOTHER", SecretAccessKey: "x"}}, status: 403, code: "InvalidClientTokenId"},
		"wrong secret": {c: call{target: good,
			as: sigv4.Credentials{AccessKeyID: alice.AccessKeyID, SecretAccessKey: "x"}}, status: 400,
			code: "InvalidSignatureException"},
		"wrong secret, query": {c: call{service: "iam", body: "Action=Ping&Version=2010-05-08",
			as: sigv4.Credentials{AccessKeyID: alice.AccessKeyID, SecretAccessKey: "x"}},
			status: 403, code: "SignatureDoesNotMatch"},
		"slow clock": {c: call{target: good, skew: -time.Hour}, status: 400, code: "InvalidSignatureException",
			text: "the server's clock says " + time.Now().UTC().Format("20060102T")},
		"fast clock": {c: call{target: good, skew: time.Hour}, status: 400, code: "InvalidSignatureException",
			text: "the request's time is " + time.Now().Add(time.Hour).UTC().Format("20060102T15")},
		"expired token": {
			c: call{target: good, as: sigv4.Credentials{AccessKeyID: temp.AccessKeyID, SecretAccessKey: temp.SecretAccessKey,
				SessionToken: "expired"}}, status: 400, code: "ExpiredTokenException"},
		"expired token, query": {c: call{service: "iam", body: "Action=Ping&Version=2010-05-08",
			as: sigv4.Credentials{AccessKeyID: temp.AccessKeyID, SecretAccessKey: temp.SecretAccessKey,
				SessionToken: "expired"}}, status: 403, code: "ExpiredToken"},
		"no token": {
			c: call{target: good,
				as: sigv4.Credentials{AccessKeyID: temp.AccessKeyID, SecretAccessKey: temp.SecretAccessKey}},
			status: 400, code: "UnrecognizedClientException"},
		"another user's token": {
			c: call{target: good, as: sigv4.Credentials{AccessKeyID: temp.AccessKeyID, SecretAccessKey: temp.SecretAccessKey,
				SessionToken: "node"}}, status: 400, code: "UnrecognizedClientException"},
		"another region": {c: call{target: good, region: "us-west-2"}, status: 400, code: "InvalidSignatureException",
			text: region},
		"another service": {c: call{target: good, service: "iam"}, status: 400, code: "InvalidSignatureException",
			text: "'ssm'"},
		"altered body": {c: call{target: good, body: `{}`,
			after: func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader(`{"Name":"y"}`)) }}, status: 400,
			code: "InvalidSignatureException"},
		"altered operation": {
			c:      call{target: good, after: func(r *http.Request) { r.Header.Set("X-Amz-Target", "AmazonSSM.Forget") }},
			status: 400, code: "InvalidSignatureException"},
		"added header": {c: call{target: good, after: func(r *http.Request) { r.Header.Set("X-Amz-Date2", "x") }},
			status: 400, code: "InvalidSignatureException", text: "not signed"},
		"altered query": {c: call{service: "iam", body: "Action=Ping",
			after: func(r *http.Request) { r.URL.RawQuery = "Name=other" }}, status: 403, code: "SignatureDoesNotMatch"},

		"oversized": {c: call{target: good, body: `{"Name":"` + long + `"}`}, status: 413,
			code: "RequestEntityTooLarge", text: "1024 KiB"},
		"oversized, unsigned": {c: call{target: good, body: `{"Name":"` + long + `"}`, sign: unsigned}, status: 400,
			code: "MissingAuthenticationTokenException"},
		"a body that is cut off": {
			c: call{target: good, after: func(r *http.Request) {
				r.Body = io.NopCloser(io.MultiReader(strings.NewReader("{"), failing{}))
			}}, status: 400, code: "IncompleteBody"},
		"not JSON": {c: call{target: good, body: `{"Name":`}, status: 400, code: "SerializationException"},
		"twice": {c: call{target: good, body: `{"Name":"a","Name":"b"}`}, status: 400,
			code: "SerializationException", text: "twice"},
		"a wrong type": {c: call{target: good, body: `{"Name":[]}`}, status: 400, code: "SerializationException"},
		"an invalid form": {c: call{service: "iam", body: "Action=%zz"}, status: 400, code: "MalformedQueryString",
			none: true},

		"unknown service": {c: call{target: "AmazonNothing.Ping"}, status: 404, code: "UnknownOperationException",
			text: "AmazonNothing.Ping", none: true},
		"a query service as JSON": {c: call{target: "iam.Ping"}, status: 404, code: "UnknownOperationException",
			none: true},
		"no operation": {c: call{service: "iam", body: "x=y"}, status: 400, code: "MissingAction", none: true},
		"unknown query service": {c: call{service: "sns", body: "Action=Publish"}, status: 400, code: "InvalidAction",
			text: "Publish", none: true},
		"a JSON service as query": {c: call{service: "ssm", body: "Action=Ping"}, status: 400, code: "InvalidAction",
			none: true},
		"unknown operation": {c: call{target: "AmazonSSM.SendPigeon"}, status: 501, code: "NotImplemented",
			text: "ssm:SendPigeon is not implemented by Sekisho."},
		"unknown operation, query": {c: call{service: "iam", body: "Action=SendPigeon&Version=2010-05-08"}, status: 501,
			code: "NotImplemented", text: "iam:SendPigeon is not implemented by Sekisho."},
		"an unknown operation, anonymous": {c: call{target: "AmazonSSM.SendPigeon", sign: unsigned}, status: 400,
			code: "MissingAuthenticationTokenException"},
		"an endless operation name": {c: call{target: "AmazonSSM." + strings.Repeat("A", 5000)}, status: 404,
			code: "UnknownOperationException", none: true},

		"no policy": {c: call{as: nobody, target: good, body: `{"Name":"x"}`}, status: 400,
			code: "AccessDeniedException", text: "is not authorized to perform: toy:Ping on resource: arn:aws:toy:::thing/x"},
		"no policy, query": {c: call{as: nobody, service: "iam", body: "Action=Ping&Name=x"}, status: 403,
			code: "AccessDenied"},
		"no policy, EC2": {c: call{as: nobody, service: "ec2", body: "Action=Ping&Name=x"}, status: 403,
			code: "UnauthorizedOperation"},
		"denied by a condition": {c: call{target: good,
			before: func(r *http.Request) { r.Header.Set("User-Agent", "forbidden") }}, status: 400,
			code: "AccessDeniedException", text: "explicit deny"},
		"denied by the address": {c: call{target: good, from: "203.0.113.9:1"}, status: 400, code: "AccessDeniedException"},
		"unreadable policies": {c: call{as: broken, target: good, body: `{"Name":"x"}`}, status: 500,
			code: "InternalServerError", text: "request ID"},
		"no policy check":        {c: call{target: "AmazonSSM.Forget"}, status: 500, code: "InternalServerError"},
		"no policy check, query": {c: call{service: "iam", body: "Action=Forget"}, status: 500, code: "ServiceFailure"},
		"an anonymous policy check": {c: call{target: "AmazonSSM.OpenAuthorized", sign: unsigned}, status: 400,
			code: "UnrecognizedClientException"},
		"panic":           {c: call{target: "AmazonSSM.Panic"}, status: 500, code: "InternalServerError"},
		"fault":           {c: call{target: "AmazonSSM.Fault"}, status: 500, code: "InternalServerError"},
		"fault, EC2":      {c: call{service: "ec2", body: "Action=Fault"}, status: 500, code: "InternalError"},
		"an unknown code": {c: call{target: "AmazonSSM.Uncoded"}, status: 500, code: "InternalServerError"},
		"limit": {c: call{target: "AmazonSSM.Limit"}, status: 400, code: "LimitExceededException",
			text: "Full. Delete one."},
		"limit, query": {c: call{service: "iam", body: "Action=Limit"}, status: 409, code: "LimitExceeded"},
		"a user as a node": {c: call{target: "AmazonSSM.NodeOnly"}, status: 400, code: "UnrecognizedClientException",
			text: "not registered"},
		"a form for a JSON door": {c: call{body: "Action=Ping",
			before: func(r *http.Request) { r.Header.Set("X-Amz-Target", good) }}, status: 400, code: "SerializationException"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			rec := w.do(t, tc.c)
			got := rec.Body.String()
			if rec.Code == http.StatusOK || tc.status != 0 && rec.Code != tc.status ||
				!strings.Contains(got, tc.code) ||
				!strings.Contains(html(got), tc.text) {
				t.Errorf("%d %.400s\nwant %d %s %q", rec.Code, got, tc.status, tc.code, tc.text)
			}
			if strings.Contains(got, secretOutput) || len(got) > 4000 {
				t.Errorf("it says too much: %.500s", got)
			}
			if tc.none {
				if len(w.events) != 0 {
					t.Errorf("recorded %+v", w.events)
				}
				return
			}
			if len(w.events) != 1 {
				t.Fatalf("%d events", len(w.events))
			}
			e := w.events[0]
			if e.ErrorCode == "" || !strings.Contains(tc.code, e.ErrorCode) && tc.code != "" || e.ErrorMessage == "" ||
				len(e.EventName) > 110 {
				t.Errorf("recorded %+v", e)
			}
			if rec.Code == http.StatusInternalServerError && !strings.Contains(e.Reason, "internal error: ") {
				t.Errorf("the trail does not say why: %q", e.Reason)
			}
			if tc.code == "AccessDeniedException" && e.Reason == "" {
				t.Error("the trail does not say why")
			}
		})
	}
}

func html(s string) string { return strings.NewReplacer("&#39;", "'", "&quot;", `"`).Replace(s) }

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestNodeKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	as := func(id string) call {
		return call{target: "AmazonSSM.NodeOnly", sign: func(r *http.Request) {
			if err := sigv4.SignRSA(r, nodeKey(), id, region, "ssm", time.Now(), sigv4.HashBody(nil)); err != nil {
				t.Error(err)
			}
		}}
	}
	if rec := w.do(t, as(node)); rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), node) {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	if e := w.last(t); e.UserIdentity.PrincipalID != node {
		t.Errorf("recorded %+v", e.UserIdentity)
	}
	if rec := w.do(t, as("mi-0123456789abcdef1")); rec.Code != http.StatusBadRequest {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	// The node key is valid for node operations and nothing else.
	c := as(node)
	c.target = "AmazonSSM.Ping"
	if rec := w.do(t, c); rec.Code != http.StatusBadRequest ||
		!strings.Contains(rec.Body.String(), "UnrecognizedClientException") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	w.deregistered = true
	for name, c := range map[string]call{"key": as(node), "credentials": {as: onNode, target: "AmazonSSM.Ping"}} {
		if rec := w.do(t, c); rec.Code != http.StatusBadRequest ||
			!strings.Contains(rec.Body.String(), "not registered here") {
			t.Errorf("%s of a deregistered node: %d %s", name, rec.Code, rec.Body)
		}
	}
}

func TestCallsThatCannotBeRecordedFail(t *testing.T) {
	t.Parallel()
	for _, c := range []call{
		{target: "AmazonSSM.Ping", body: `{"Name":"x"}`},
		{service: "iam", body: "Action=Ping&Name=x"},
		{target: "AmazonSSM.Ping", as: nobody},
		{target: "AmazonSSM.Ping", sign: unsigned},
	} {
		w := newWorld(t)
		w.auditFails = errors.New("the trail is on fire")
		rec := w.do(t, c)
		got := rec.Body.String()
		if rec.Code != http.StatusInternalServerError || strings.Contains(got, "hello") ||
			strings.Contains(got, "fire") ||
			!strings.Contains(got, "audit trail") {
			t.Errorf("%d %s", rec.Code, got)
		}
		if !strings.Contains(w.log.String(), "the trail is on fire") {
			t.Error("the log does not say so")
		}
	}
}

func TestNoChangeWithoutAnAuditEvent(t *testing.T) {
	t.Parallel()
	t.Run("a call that cannot be recorded does not begin", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.auditFails = errors.New("the disk is full")
		if rec := w.do(t, call{target: "AmazonSSM.Change", body: `{}`}); rec.Code != http.StatusInternalServerError ||
			w.changes != 0 {
			t.Errorf("%d %s, %d changes", rec.Code, rec.Body, w.changes)
		}
	})
	t.Run("a change that is in force is answered as such", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		if rec := w.do(t, call{target: "AmazonSSM.Change", body: `{"DiskFills":true}`}); rec.Code != http.StatusOK ||
			w.changes != 1 {
			t.Errorf("%d %s, %d changes", rec.Code, rec.Body, w.changes)
		}
	})
	t.Run("a refused call leaves no intent", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		if rec := w.do(t, call{as: nobody, target: "AmazonSSM.Change", body: `{}`}); rec.Code != http.StatusBadRequest ||
			w.begun != 0 ||
			w.changes != 0 {
			t.Errorf("%d %s, %d intents, %d changes", rec.Code, rec.Body, w.begun, w.changes)
		}
	})
}

// The call of a client that disconnects before the response is still recorded.
func TestDisconnectedClientsAreRecorded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := call{target: "AmazonSSM.Ping", body: `{"Name":"x"}`}.request(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w.ServeHTTP(httptest.NewRecorder(), r.WithContext(ctx))
	if e := w.last(t); e.ErrorCode != "" {
		t.Errorf("recorded %+v", e)
	}
}

func TestForwardedHeadersAreNotTrusted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rec := w.do(t, call{target: "AmazonSSM.Ping", from: "203.0.113.9:1", after: func(r *http.Request) {
		r.Header.Set("X-Forwarded-For", "192.0.2.1")
		r.Header.Set("X-Real-Ip", "192.0.2.1")
		r.Header.Set("Forwarded", "for=192.0.2.1")
	}})
	if rec.Code != http.StatusBadRequest || w.last(t).SourceIP != "203.0.113.9" {
		t.Errorf("%d, recorded from %s", rec.Code, w.last(t).SourceIP)
	}
	// Unless the administrator configures trusted headers.
	cfg := w.cfg
	cfg.SourceIP = func(r *http.Request) netip.Addr { return netip.MustParseAddr(r.Header.Get("X-Forwarded-For")) }
	w.Server = api.New(cfg)
	w.do(
		t,
		call{
			target: "AmazonSSM.Ping",
			from:   "203.0.113.9:1",
			after:  func(r *http.Request) { r.Header.Set("X-Forwarded-For", "198.51.100.2") },
		},
	)
	if e := w.last(t); e.SourceIP != "198.51.100.2" || e.ErrorCode != "" {
		t.Errorf("recorded from %s: %s", e.SourceIP, e.ErrorMessage)
	}
}

func TestConsole(t *testing.T) {
	t.Parallel()
	as := func(name string) *sekisho.Principal {
		return &sekisho.Principal{
			Type:        sekisho.PrincipalUser,
			Account:     account,
			ARN:         "arn:aws:iam::" + account + ":user/" + name,
			UserName:    name,
			AccessKeyID: map[string]string{"nobody": nobody.AccessKeyID}[name],
		}
	}
	for name, tc := range map[string]struct {
		who, service, target, body string
		status                     int
		want                       string
	}{
		"JSON":            {"alice", "ssm", "AmazonSSM.Ping", `{"Name":"x"}`, 200, "hello x"},
		"query":           {"alice", "iam", "", "Action=Ping&Name=x", 200, "hello x"},
		"policy holds":    {"nobody", "ssm", "AmazonSSM.Ping", `{"Name":"x"}`, 400, "AccessDeniedException"},
		"no policy check": {"alice", "ssm", "AmazonSSM.Forget", "", 500, "InternalServerError"},
		"for nodes":       {"alice", "ssm", "AmazonSSM.NodeOnly", "", 400, "for managed nodes"},
		"not found":       {"alice", "ssm", "AmazonSSM.SendPigeon", "", 501, "is not implemented by Sekisho"},
		"unknown service": {"alice", "sns", "", "Action=Publish", 400, "InvalidAction"},
		"oversized":       {"alice", "ssm", "AmazonSSM.Ping", strings.Repeat("x", 2<<20), 413, "RequestEntityTooLarge"},
		"an empty target": {"alice", "", "Nothing.Ping", "", 404, "UnknownOperationException"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			r := call{target: tc.target, body: tc.body, sign: unsigned}.request(t)
			rec := httptest.NewRecorder()
			w.ServeAs(rec, r, as(tc.who), tc.service)
			if rec.Code != tc.status || !strings.Contains(rec.Body.String(), tc.want) ||
				strings.Contains(rec.Body.String(), secretOutput) {
				t.Errorf("%d %.300s", rec.Code, rec.Body)
			}
			if tc.status != 200 && tc.service != "sns" && tc.service != "" &&
				(len(w.events) != 1 || w.events[0].ErrorCode == "" || w.events[0].UserIdentity.UserName != tc.who) {
				t.Errorf("recorded %+v", w.events)
			}
		})
	}
}

func TestPresigned(t *testing.T) {
	t.Parallel()
	// A query parameter cannot be added to a signed request.
	w := newWorld(t)
	rec := w.do(t, call{service: "iam", body: "Action=Ping&Name=x", after: func(r *http.Request) {
		q := url.Values{"Action": {"Forget"}}
		r.URL.RawQuery = q.Encode()
	}})
	if rec.Code != http.StatusForbidden {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

func FuzzRequests(f *testing.F) {
	f.Add("AmazonSSM.Ping", "", "application/x-amz-json-1.1", `{"Name":"x"}`, "")
	f.Add("AmazonSSM.Open", "", "", ``, "")
	f.Add("", "Action=Open&Version=2010-05-08", "application/x-www-form-urlencoded", "Action=Ping", "")
	f.Add(
		".",
		"%",
		"application/x-www-form-urlencoded",
		"%",
		"AWS4-HMAC-SHA256 Credential=a/20261123/r/iam/aws4_request, SignedHeaders=host, Signature=00",
	)
	f.Add("", "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=a/20261123/r/iam/aws4_request&Action=Ping", "", "", "")
	f.Fuzz(func(t *testing.T, target, query, contentType, body, authorization string) {
		w := newWorld(t)
		r := httptest.NewRequest(http.MethodPost, "https://sekisho.test/", strings.NewReader(body))
		r.URL.RawQuery = query
		r.Header = http.Header{
			"X-Amz-Target":  {target},
			"Content-Type":  {contentType},
			"Authorization": {authorization},
		}
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, r)
		// The request is unsigned, so only public operations may succeed.
		if rec.Code == http.StatusOK && !strings.Contains(rec.Body.String(), "anybody") {
			t.Errorf("%d %s", rec.Code, rec.Body)
		}
		if rec.Code >= 500 && rec.Code != http.StatusNotImplemented {
			t.Errorf("%d %s\n%s", rec.Code, rec.Body, w.log.String())
		}
	})
}
