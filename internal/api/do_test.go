package api_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"sekisho/internal/api"
	"sekisho/internal/wire/sigv4"
)

type aroundRequest struct {
	Service, Operation, Name string
	Odd                      bool // returns a value that the door cannot encode
}

// around is an operation that calls another one.
func around(ctx context.Context, c *api.Call, in *aroundRequest) (*pingAnswer, error) {
	var request any = url.Values{"Name": {in.Name}}
	if in.Service == "ssm" {
		request = pingRequest{Name: in.Name, ActivationCode: "hush-hush"}
	}
	if in.Odd {
		request = func() {}
	}
	var out struct {
		Hello string `xml:"-"`
		XML   string `xml:"PingResult>Hello"`
		EC2   string `xml:"Hello"`
	}
	if err := c.Do(ctx, in.Service, in.Operation, request, &out); err != nil {
		return nil, err
	}
	return &pingAnswer{"it said: " + out.Hello + out.XML + out.EC2}, nil
}

// A call within a call is made by the same caller, through any door, and
// recorded twice: as the outer and as the inner call.
func TestDo(t *testing.T) {
	t.Parallel()
	for _, service := range []string{"ssm", "iam", "ec2"} {
		t.Run(service, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			rec := w.do(
				t,
				call{target: "AmazonSSM.Around", body: `{"Service":"` + service + `","Operation":"Ping","Name":"x"}`},
			)
			if rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), "it said: hello x") {
				t.Fatalf("%d %s", rec.Code, rec.Body)
			}
			if len(w.events) != 2 {
				t.Fatalf("recorded %+v", w.events)
			}
			inner, outer := w.events[0], w.events[1]
			if inner.EventSource != service+".amazonaws.com" || inner.EventName != "Ping" ||
				inner.UserIdentity.UserName != "alice" || inner.SourceIP != "192.0.2.44" ||
				!inner.ReadOnly || inner.Additional["calledFor"] != "ssm:Around" ||
				inner.Additional["calledForRequestID"] != outer.RequestID ||
				inner.RequestID == outer.RequestID {
				t.Errorf("what was called: %+v", inner)
			}
			if outer.EventName != "Around" || outer.Additional != nil || len(outer.Resources) != 0 {
				t.Errorf("what called it: %+v", outer)
			}
		})
	}
}

// The caller's own policies decide, and what the caller cannot call directly
// cannot be called from within either.
func TestDoRefuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		as   sigv4.Credentials
		body string
		from string
		want string
		code int
		kept string // the error of the inner call's event; "-" if there is none
	}{
		"no permission": {as: nobody, body: `{"Service":"iam","Operation":"Ping","Name":"x"}`,
			want: "AccessDeniedException", code: 400, kept: "AccessDenied"},
		"a forbidden address": {body: `{"Service":"ssm","Operation":"Ping","Name":"x"}`, from: "203.0.113.9:1",
			want: "AccessDeniedException", code: 400, kept: "AccessDeniedException"},
		"a refusal by the operation": {body: `{"Service":"ssm","Operation":"Limit"}`, want: "LimitExceededException",
			code: 400, kept: "LimitExceededException"},
		"no policy check": {body: `{"Service":"ssm","Operation":"Forget"}`, want: "InternalServerError", code: 500,
			kept: "InternalServerError"},
		"a panic": {body: `{"Service":"ssm","Operation":"Panic"}`, want: "InternalServerError", code: 500,
			kept: "InternalServerError"},
		"for node keys only": {body: `{"Service":"ssm","Operation":"NodeOnly"}`, want: "InternalServerError",
			code: 500, kept: "-"},
		"for anonymous callers": {body: `{"Service":"ssm","Operation":"Open"}`, want: "InternalServerError", code: 500,
			kept: "-"},
		"an unknown operation": {body: `{"Service":"ssm","Operation":"Nothing"}`, want: "InternalServerError", code: 500,
			kept: "-"},
		"an unknown service": {body: `{"Service":"sqs","Operation":"Ping"}`, want: "InternalServerError", code: 500,
			kept: "-"},
		"not a form": {body: `{"Service":"iam","Operation":"Ping","Odd":true}`, want: "InternalServerError",
			code: 500, kept: "-"},
		"not JSON": {body: `{"Service":"ssm","Operation":"Ping","Odd":true}`, want: "InternalServerError",
			code: 500, kept: "-"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			rec := w.do(t, call{as: tc.as, from: tc.from, target: "AmazonSSM.Around", body: tc.body})
			if rec.Code != tc.code || !strings.Contains(rec.Body.String(), tc.want) ||
				strings.Contains(rec.Body.String(), secretOutput) {
				t.Errorf("%d %s", rec.Code, rec.Body)
			}
			if tc.kept == "-" && len(w.events) == 1 {
				return
			}
			if len(w.events) != 2 || w.events[0].ErrorCode != tc.kept || w.events[1].ErrorCode != tc.want {
				t.Errorf("recorded %+v", w.events)
			}
		})
	}
}
