package servertest_test

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsssm "github.com/aws/aws-sdk-go-v2/service/ssm"

	"sekisho"
	"sekisho/internal/activity/event"
	"sekisho/internal/activity/webhook"
	"sekisho/internal/iam/identity"
	"sekisho/internal/server"
	"sekisho/internal/servertest"
	"sekisho/internal/wire/link"
	"sekisho/internal/wire/mgs"
	"sekisho/internal/wire/sigv4"
)

// happened is an event as a receiver gets it.
type happened struct {
	ID        string
	Type      string `json:"detail-type"`
	Source    string
	Account   string
	Region    string
	Resources []string
	Detail    map[string]any
}

func (h happened) says(name string) string { s, _ := h.Detail[name].(string); return s }

// receiver accepts webhooks and verifies their signatures.
type receiver struct {
	t       *testing.T
	url     string
	down    atomic.Bool
	refused atomic.Int32 // while it was down
	secrets []webhook.Secret

	mu  sync.Mutex
	all []happened
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	secrets, err := webhook.ParseSecrets("whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 32)))
	must(t, err)
	r := &receiver{t: t, secrets: secrets}
	srv := httptest.NewServer(r)
	t.Cleanup(srv.Close)
	r.url = srv.URL
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	if err != nil {
		r.t.Error(err)
	}
	if r.down.Load() {
		r.refused.Add(1)
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	var h happened
	if err := json.Unmarshal(body, &h); err != nil {
		r.t.Errorf("%s: %v", body, err)
	}
	at, err := strconv.ParseInt(q.Header.Get("webhook-timestamp"), 10, 64)
	if err != nil || q.Header.Get("webhook-id") != h.ID ||
		q.Header.Get("webhook-signature") != webhook.Sign(r.secrets, h.ID, time.Unix(at, 0), body) {
		r.t.Errorf("wrong signature headers: %v", q.Header)
	}
	if h.Account != servertest.Account || h.Region != servertest.Region {
		r.t.Errorf("from %s %s", h.Account, h.Region)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, h)
}

// of returns the received events of a type with a value in their detail.
func (r *receiver) of(typ, name, value string) []happened {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []happened
	for _, h := range r.all {
		if h.Type == typ && h.says(name) == value {
			out = append(out, h)
		}
	}
	return out
}

// types lists the types of received events with a value in their detail, in
// order.
func (r *receiver) types(name, value string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, h := range r.all {
		if h.says(name) == value {
			out = append(out, h.Type)
		}
	}
	return out
}

func (r *receiver) await(s *servertest.Server, typ, name, value string) happened {
	r.t.Helper()
	s.Eventually(typ+" of "+value, func() bool { return len(r.of(typ, name, value)) > 0 })
	return r.of(typ, name, value)[0]
}

// withReceiver starts a server that sends events to r. A node counts as down
// after downAfter; 0 is the default, longer than any test. A receiver that was
// down is up when a server starts again.
func withReceiver(t *testing.T, r *receiver, downAfter time.Duration, types ...string) *servertest.Server {
	t.Helper()
	pattern, err := event.OfTypes(types)
	must(t, err)
	return servertest.StartWith(t, func(c *server.Config) {
		end, err := webhook.New(webhook.Config{
			URL: r.url, Secrets: func() ([]webhook.Secret, error) { return r.secrets, nil },
			Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")},
		})
		must(t, err)
		r.down.Store(false)
		c.NodeDownAfter = downAfter
		c.Webhooks = []event.Webhook{{Name: "hook", Endpoint: end, Pattern: pattern}}
	})
}

func nodeARN(id string) string {
	return "arn:aws:ssm:" + servertest.Region + ":" + servertest.Account + ":managed-instance/" + id
}

func sessionARN(id string) string {
	return "arn:aws:ssm:" + servertest.Region + ":" + servertest.Account + ":session/" + id
}

func TestSessionEvents(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	s := withReceiver(t, r, 0)
	n := s.Node()
	control := n.Connect()

	x := s.Session(s.Admin, n)
	started := r.await(s, "Session Started", "session-id", x.ID)
	if !slices.Equal(started.Resources, []string{sessionARN(x.ID), nodeARN(n.ID)}) ||
		started.Source != "sekisho.session" ||
		started.says("instance-id") != n.ID ||
		started.says("source-ip") != "127.0.0.1" ||
		!strings.HasSuffix(started.says("owner"), ":user/admin") {
		t.Errorf("%+v", started)
	}
	if _, err := s.SSM(s.Admin).TerminateSession(t.Context(),
		&awsssm.TerminateSessionInput{SessionId: &x.ID}); err != nil {
		t.Fatal(err)
	}
	ended := r.await(s, "Session Ended", "session-id", x.ID)
	if ended.says("ended-at") == "" || ended.Detail["duration-seconds"] == nil {
		t.Errorf("%+v", ended)
	}

	failing, _ := s.StartSession(s.Admin, n)
	control.Send(
		mgs.NewTaskComplete(
			mgs.TaskComplete{TaskID: failing, FinalTaskStatus: mgs.TaskFailed, Output: "no such shell"},
		),
	)
	if h := r.await(s, "Session Failed", "session-id", failing); !strings.Contains(h.says("cause"), "no such shell") {
		t.Errorf("%+v", h)
	}
	for id, last := range map[string]string{x.ID: "Session Ended", failing: "Session Failed"} {
		if got := r.types("session-id", id); !slices.Equal(got, []string{"Session Started", last}) {
			t.Errorf("%s: %q", id, got)
		}
	}

	// Denials of known principals become events. Unauthenticated calls do not.
	bob := s.User("bob", servertest.Allow("*", "ssm:DescribeSessions"))
	for _, as := range []struct {
		who  string
		code string
	}{{"bob", "AccessDeniedException"}, {"nobody", "MissingAuthenticationTokenException"},
		{"stranger", "UnrecognizedClientException"}} {
		key := bob
		switch as.who {
		case "nobody":
			key.AccessKeyID = ""
		case "stranger":
			key.AccessKeyID = "AKIAIOSFODNN7EXAMPLE"
		}
		in := map[string]string{"Target": n.ID, "Reason": "curiosity of " + as.who}
		if got := s.JSON(key, "ssm", "StartSession", in).Code(); got != as.code {
			t.Errorf("%s: %s", as.who, got)
		}
	}
	if got := s.JSON(bob, "ssm", "ResumeSession",
		map[string]string{"SessionId": x.ID}).Code(); got != "AccessDeniedException" {
		t.Errorf("resume: %s", got)
	}
	denied := r.await(s, "Session Denied", "operation", "StartSession")
	if denied.says("principal") != "arn:aws:iam::"+servertest.Account+":user/bob" ||
		denied.says("reason") != "curiosity of bob" ||
		!slices.Equal(denied.Resources, []string{nodeARN(n.ID)}) ||
		denied.says("error-code") != "AccessDeniedException" ||
		denied.says("request-id") == "" {
		t.Errorf("%+v", denied)
	}
	if h := r.await(s, "Session Denied", "operation", "ResumeSession"); !slices.Equal(
		h.Resources,
		[]string{sessionARN(x.ID)},
	) {
		t.Errorf("%+v", h)
	}
	for _, who := range []string{"nobody", "stranger"} {
		if got := r.of("Session Denied", "reason", "curiosity of "+who); len(got) != 0 {
			t.Errorf("%+v", got)
		}
	}
}

// Subscribers to AWS's own events receive calls in CloudTrail's format.
func TestCallEventsInAWSForm(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	s := withReceiver(t, r, 0, string(event.APICall))
	n := s.Node()
	n.Connect()
	id, token := s.StartSession(s.Admin, n)
	bob := s.User("bob", servertest.Allow("*", "ssm:DescribeSessions"))
	long := strings.Repeat("x", 60_000)
	for _, in := range []map[string]any{{"Target": n.ID, "Parameters": map[string]any{"command": []string{long}}},
		{"Target": n.ID}} {
		if got := s.JSON(bob, "ssm", "StartSession", in).Code(); got != "AccessDeniedException" {
			t.Errorf("bob: %s", got)
		}
	}
	if got := s.JSON(sigv4.Credentials{}, "ssm", "StartSession",
		map[string]string{"Target": n.ID}).Code(); got != "MissingAuthenticationTokenException" {
		t.Errorf("nobody: %s", got)
	}
	if _, err := s.SSM(s.Admin).TerminateSession(t.Context(), &awsssm.TerminateSessionInput{SessionId: &id}); err != nil {
		t.Fatal(err)
	}
	r.await(s, "AWS API Call via CloudTrail", "eventName", "TerminateSession")
	s.Eventually(
		"three calls",
		func() bool { return len(r.of("AWS API Call via CloudTrail", "eventName", "StartSession")) == 3 },
	)
	refused := 0
	for _, h := range r.of("AWS API Call via CloudTrail", "eventName", "StartSession") {
		text, err := json.Marshal(h)
		must(t, err)
		if h.Source != "aws.ssm" || h.says("eventSource") != "ssm.amazonaws.com" ||
			strings.Contains(string(text), token) ||
			strings.Contains(string(text), long) {
			t.Errorf("%.500s", text)
		}
		if h.says("errorCode") == "AccessDeniedException" {
			refused++
		} else if answer, _ := h.Detail["responseElements"].(map[string]any); answer["sessionId"] != id {
			t.Errorf("%.500s", text)
		}
	}
	if got := r.types("session-id", id); refused != 2 || len(got) != 0 {
		t.Errorf("%d refusals, want 2; events that the webhook did not subscribe to: %q", refused, got)
	}
}

func TestNodeEvents(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	s := withReceiver(t, r, time.Second)
	a, err := s.SSM(s.Admin).CreateActivation(t.Context(), &awsssm.CreateActivationInput{
		IamRole: aws.String("service-role/" + identity.NodeRole), DefaultInstanceName: aws.String("web-1"),
	})
	must(t, err)
	n := s.NodeOf(*a.ActivationId, *a.ActivationCode)
	control := n.Connect()
	up := r.await(s, "Node Up", "instance-id", n.ID)
	if up.says("instance-name") != "web-1" || up.says("source-ip") != "127.0.0.1" ||
		!slices.Equal(up.Resources, []string{nodeARN(n.ID)}) {
		t.Errorf("%+v", up)
	}
	control.Close(link.CloseNormal, "")
	down := r.await(s, "Node Down", "instance-id", n.ID)
	if down.says("cause") == "" || down.says("disconnected-at") == "" || down.says("state") != "down" {
		t.Errorf("%+v", down)
	}
	control = n.Connect()
	s.Eventually("it is up again", func() bool { return len(r.of("Node Up", "instance-id", n.ID)) == 2 })
	// Reports from another address do not change the address of a connected
	// node.
	control.Close(link.CloseNormal, "")
	s.Eventually("it is disconnected", func() bool { return !s.Fleet.IsConnected(sekisho.NodeID(n.ID)) })

	s.From("127.0.0.2", func() {
		if got := s.JSON(n.Credentials, "ssm", "UpdateInstanceInformation",
			map[string]string{"InstanceId": n.ID}); got.Status != http.StatusOK {
			t.Errorf("%d %s", got.Status, got.Body)
		}
	})
	if h := r.await(s, "Node Address Changed", "instance-id", n.ID); h.says("source-ip") != "127.0.0.2" ||
		h.says("other-source-ip") != "127.0.0.1" {
		t.Errorf("%+v", h)
	}
	if got := n.RoleToken("another machine").Code(); got != "MachineFingerprintDoesNotMatch" {
		t.Errorf("another fingerprint: %s", got)
	}
	if h := r.await(s, "Node Identity Changed", "instance-id", n.ID); h.says("fingerprint") != "another machine" {
		t.Errorf("%+v", h)
	}
	if got := s.Register(*a.ActivationId, *a.ActivationCode, "f").Code(); got != "ActivationExpired" {
		t.Errorf("a second registration: %s", got)
	}
	if h := r.await(s, "Registration Refused", "kind", "ActivationUsedUp"); h.says("source-ip") != "127.0.0.1" ||
		len(h.Resources) != 0 {
		t.Errorf("%+v", h)
	}
	if _, err := s.SSM(s.Admin).DeregisterManagedInstance(t.Context(),
		&awsssm.DeregisterManagedInstanceInput{InstanceId: &n.ID}); err != nil {
		t.Fatal(err)
	}
	s.Eventually("it is down for good", func() bool {
		all := r.of("Node Down", "instance-id", n.ID)
		return len(all) == 2 && strings.Contains(all[1].says("cause"), "deregistered")
	})
}

// No event is lost when a receiver is down and the server restarts meanwhile.
// A restart creates no events for nodes that reconnect.
func TestEventsSurviveARestart(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	s := withReceiver(t, r, 0)
	n := s.Node()
	n.Connect()
	r.await(s, "Node Up", "instance-id", n.ID)
	r.down.Store(true)
	var ids []string
	for range 3 {
		id, _ := s.StartSession(s.Admin, n)
		if _, err := s.SSM(s.Admin).TerminateSession(t.Context(), &awsssm.TerminateSessionInput{SessionId: &id}); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	var state []webhookState
	s.Eventually("all wait, and one was tried", func() bool {
		state = webhooks(t, s)
		return len(state) == 1 && state[0].Waiting == 6 && state[0].Status == "Failing"
	})
	if state[0].Name != "hook" || r.refused.Load() == 0 || !strings.Contains(state[0].LastFailure, "503") ||
		!strings.HasPrefix(r.url, state[0].Address) {
		t.Errorf("%+v", state)
	}
	s.Restart()
	n.Connect()
	for _, id := range ids {
		r.await(s, "Session Ended", "session-id", id)
		if got := r.types("session-id", id); !slices.Equal(got, []string{"Session Started", "Session Ended"}) {
			t.Errorf("%s: %q", id, got)
		}
	}
	s.Eventually("all is well", func() bool {
		state = webhooks(t, s)
		return state[0].Status == "Working" && state[0].Waiting == 0
	})
	if state[0].Delivered != 7 || state[0].GivenUp != 0 || state[0].Dropped != 0 {
		t.Errorf("%+v", state)
	}
	if got := r.types("instance-id", n.ID); slices.Contains(got, "Node Down") ||
		len(r.of("Node Up", "instance-id", n.ID)) != 1 {
		t.Errorf("%q", got)
	}
}

type webhookState struct {
	Name, Address, Status, LastFailure   string
	Waiting, Delivered, GivenUp, Dropped int
}

func webhooks(t *testing.T, s *servertest.Server) []webhookState {
	t.Helper()
	var out struct{ Webhooks []webhookState }
	s.JSON(s.Admin, "sekisho", "ListWebhooks", map[string]any{}).Decode(t, &out)
	return out.Webhooks
}

// The newest events can be listed in pages by users with permission.
func TestListEvents(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t) // without a webhook
	n := s.Node()
	n.Connect()
	id, _ := s.StartSession(s.Admin, n)
	if _, err := s.SSM(s.Admin).TerminateSession(t.Context(), &awsssm.TerminateSessionInput{SessionId: &id}); err != nil {
		t.Fatal(err)
	}
	type page struct {
		Events    []happened
		NextToken string
	}
	list := func(in map[string]any) page {
		t.Helper()
		a := s.JSON(s.Admin, "sekisho", "ListEvents", in)
		if a.Status != http.StatusOK {
			t.Fatalf("%d %s", a.Status, a.Body)
		}
		var p page
		a.Decode(t, &p)
		return p
	}
	var all page
	s.Eventually("three events are stored", func() bool { all = list(map[string]any{}); return len(all.Events) == 3 })
	if all.NextToken != "" {
		t.Errorf("a single page returned the token %q", all.NextToken)
	}
	var paged []string
	for token := ""; ; {
		p := list(map[string]any{"MaxResults": 2, "NextToken": token})
		for _, h := range p.Events {
			paged = append(paged, h.ID)
		}
		if token = p.NextToken; token == "" {
			break
		}
	}
	if len(paged) != 3 || paged[0] != all.Events[0].ID || paged[2] != all.Events[2].ID {
		t.Errorf("%q", paged)
	}
	if p := list(map[string]any{"Subject": id}); len(p.Events) != 2 || p.Events[0].Type != "Session Ended" ||
		p.Events[1].Type != "Session Started" {
		t.Errorf("%+v", p)
	}
	if p := list(map[string]any{"DetailType": "Node Up"}); len(p.Events) != 1 ||
		p.Events[0].says("instance-id") != n.ID {
		t.Errorf("%+v", p)
	}
	for name, in := range map[string]map[string]any{
		"unknown type": {"DetailType": "Everything"}, "no number": {"NextToken": "x"}, "negative": {"NextToken": "-1"},
		"too many": {"MaxResults": 201}, "none": {"MaxResults": -1},
		"long": {"Subject": strings.Repeat("x", 97)},
	} {
		if a := s.JSON(s.Admin, "sekisho", "ListEvents", in); a.Status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", name, a.Status, a.Body)
		}
	}
	reader := s.User("reader", servertest.Allow("*", "sekisho:ListEvents"))
	if a := s.JSON(reader, "sekisho", "ListEvents", map[string]any{}); a.Status != http.StatusOK {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	if a := s.JSON(reader, "sekisho", "ListWebhooks", map[string]any{}); a.Code() != "AccessDeniedException" {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	if got := webhooks(t, s); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}
