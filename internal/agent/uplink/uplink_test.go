package uplink_test

import (
	"context"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"sekisho"
	"sekisho/internal/agent/uplink"
	"sekisho/internal/wire/mgs"
	"sekisho/internal/wire/sigv4"
)

func creds(context.Context) (sigv4.Credentials, error) {
	return sigv4.Credentials{AccessKeyID: "ASIAX", SecretAccessKey: "secret", SessionToken: "token"}, nil
}

func TestEndpoints(t *testing.T) {
	t.Parallel()
	tests := []struct {
		endpoint, hostPort string
		ok                 bool
	}{
		{"https://ssm.example", "ssm.example:443", true},
		{"https://ssm.example:443/", "ssm.example:443", true},
		{"https://ssm.example:8443", "ssm.example:8443", true},
		{"https://[2001:db8::1]:8443", "[2001:db8::1]:8443", true},
		{"https://[2001:db8::1]", "[2001:db8::1]:443", true},
		{"http://127.0.0.1:8080", "127.0.0.1:8080", true},
		{"http://localhost", "localhost:80", true},
		{"http://ssm.example", "", false},
		{"http://10.0.0.1", "", false},
		{"ssm.example", "", false},
		{"ssm.example:443", "", false},
		{"https://", "", false},
		{"https://user:secret@ssm.example", "", false},
		{"https://ssm.example/path", "", false},
		{"https://ssm.example?x", "", false},
		{"https://ssm.example#x", "", false},
		{"ftp://ssm.example", "", false},
		{"https://ssm.example\n", "", false},
		{"", "", false},
	}
	for _, tt := range tests {
		c, err := uplink.New(uplink.Server{Endpoint: tt.endpoint, Region: "us-east-1"}, creds)
		if (err == nil) != tt.ok {
			t.Errorf("%q: %v", tt.endpoint, err)
			continue
		}
		if err == nil && c.HostPort() != tt.hostPort {
			t.Errorf("%q is at %s, want %s", tt.endpoint, c.HostPort(), tt.hostPort)
		}
		if err != nil && sekisho.CodeOf(err) != sekisho.CodeInvalid {
			t.Errorf("%q: code %q", tt.endpoint, sekisho.CodeOf(err))
		}
	}
	for _, region := range []string{"", "a b", "eu/west", "-x", strings.Repeat("a", 64), "é"} {
		if _, err := uplink.New(uplink.Server{Endpoint: "https://ssm.example", Region: region}, creds); err == nil {
			t.Errorf("region %q was accepted", region)
		}
	}
}

func serve(t *testing.T, h http.HandlerFunc) *uplink.Client {
	t.Helper()
	srv := httptest.NewTLSServer(h)
	t.Cleanup(srv.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	c, err := uplink.New(uplink.Server{Endpoint: srv.URL, Region: "us-east-1", CA: string(ca)}, creds)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// TestAnswers: responses of servers that fail or lie.
func TestAnswers(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the agent followed a redirect")
	}))
	t.Cleanup(elsewhere.Close)
	tests := []struct {
		name    string
		answer  http.HandlerFunc
		want    string // part of the error
		code    string
		control bool // call CreateControlChannel
	}{
		{"AWS error", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(400)
			_, _ = w.Write([]byte(`{"__type":"com.amazonaws.ssm#ExpiredTokenException","message":"old"}`))
		}, "400 ExpiredTokenException: old", "ExpiredTokenException", false},
		{"control characters", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(500)
			_, _ = w.Write([]byte("\x1b]0;owned\x07\xff\nnext=line \u009b2J" + strings.Repeat("x", 5000)))
		}, "500: ]0;owned\ufffd next=line 2Jxxx", "", false},
		{"redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		}, "307", "", false},
		{
			"endless",
			func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 1<<20)) },
			"larger than",
			"",
			false,
		},
		{
			"no JSON",
			func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
			"JSON",
			"",
			false,
		},
		{"channel with 200", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte("<R><TokenValue>x</TokenValue></R>"))
		}, "status 200", "", true},
		{"channel without token", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(201)
			_, _ = w.Write([]byte("<R></R>"))
		}, "no TokenValue", "", true},
		{"channel refused in XML", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(403)
			_, _ = w.Write([]byte("<AccessDeniedException><Message>not you</Message></AccessDeniedException>"))
		}, "403: not you", "", true},
		{"S3 error with entities", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(403)
			_, _ = w.Write(
				[]byte(
					"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Message>a &lt;b&gt; &amp; c</Message></Error>",
				),
			)
		}, "403 AccessDenied: a <b> & c", "AccessDenied", true},
		{"query protocol error", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(403)
			_, _ = w.Write(
				[]byte(
					"<ErrorResponse xmlns=\"x\"><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>",
				),
			)
		}, "403 AccessDenied: no", "AccessDenied", true},
		{"EC2 error", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(400)
			_, _ = w.Write(
				[]byte(
					"<Response><Errors><Error><Code>InvalidParameterValue</Code><Message>no</Message></Error></Errors></Response>",
				),
			)
		}, "400 InvalidParameterValue: no", "InvalidParameterValue", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := serve(t, tt.answer)
			var err error
			if tt.control {
				err = c.CheckControl(t.Context(), "mi-0123456789abcdef0")
			} else {
				err = c.SSM(t.Context(), "UpdateInstanceInformation", struct{}{}, &struct{}{})
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || len(err.Error()) > 600 ||
				strings.ContainsAny(err.Error(), "\x1b\n\x07") {
				t.Errorf("got %q", err)
			}
			api, ok := errors.AsType[*uplink.APIError](err)
			if tt.code != "" && (!ok || api.Code != tt.code) {
				t.Errorf("got %+v", api)
			}
			if uplink.SessionGone(err) {
				t.Error("SessionGone is true for another error")
			}
			if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "token ") {
				t.Errorf("the error contains a secret: %v", err)
			}
		})
	}
}

func TestSessionGone(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		http.Error(
			w,
			"<BadRequest><Message>Session is already terminated</Message></BadRequest>",
			http.StatusBadRequest,
		)
	})
	_, err := c.OpenData(t.Context(), "mi-0123456789abcdef0", "alice-x")
	if !uplink.SessionGone(err) {
		t.Errorf("got %v", err)
	}
}

// TestDataChannelOfAnySessionID: role session names, with which session IDs
// begin, may contain all of these characters.
func TestDataChannelOfAnySessionID(t *testing.T) {
	t.Parallel()
	const session = "a,b=c+d@e._-xj2xglra6tgghygav3e2w2w4jk"
	requests := make(chan string, 2)
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		requests <- r.Method + " " + r.URL.Path
		if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusCreated)
			_, _ = w.Write(
				mgs.MarshalChannelResponse(
					mgs.CreateDataChannelResponse,
					mgs.ChannelResponse{MessageSchemaVersion: "1.0", TokenValue: "t"},
				),
			)
			return
		}
		http.Error(w, "no", http.StatusForbidden)
	})
	if _, err := c.OpenData(t.Context(), "mi-0123456789abcdef0", session); err == nil {
		t.Error("OpenData succeeded although the server refused the channel")
	}
	for _, want := range []string{"POST /v1/data-channel/" + session, "GET /v1/data-channel/" + session} {
		if got := <-requests; got != want {
			t.Errorf("requested %q, want %q", got, want)
		}
	}
}

// TestAnotherCAIsNotTrusted: with its own CA, the agent does not trust those
// of the system.
func TestAnotherCAIsNotTrusted(t *testing.T) {
	t.Parallel()
	srv := httptest.NewTLSServer(nil)
	t.Cleanup(srv.Close)
	c, err := uplink.New(uplink.Server{Endpoint: srv.URL, Region: "us-east-1"}, creds)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SSM(t.Context(), "X", struct{}{}, &struct{}{}); err == nil ||
		!strings.Contains(err.Error(), "certificate") {
		t.Errorf("got %v", err)
	}
}
