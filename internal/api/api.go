// Package api is the one way in. Every call of every door, from a signed
// request or from the console, becomes (principal, action, resource, context),
// is decided by policy, and is written to the audit trail.
//
// A [Door] is one AWS service: its names, its wire protocol, its operations.
// The packages below this one each make a door. A handler must ask
// [Call.Authorize] before it answers; an answer of one that did not is
// withheld.
package api

import (
	"cmp"
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/activity/audit"
	"sekisho/internal/iam/authz"
	"sekisho/internal/node/admission"
	"sekisho/internal/wire/awsproto"
	"sekisho/internal/wire/id"
	"sekisho/internal/wire/sigv4"
)

// maxBody bounds a request of the JSON and query protocols. The largest
// legitimate ones carry a session document of 64 KiB.
const maxBody = 1 << 20

// Auth says how callers of an operation prove who they are.
type Auth int

// The ways.
const (
	Signed    Auth = iota // SigV4, or a console sign-in
	Anonymous             // the operation checks what it needs by itself
	NodeKey               // the RSA key of a managed node (RequestManagedInstanceRoleToken)
)

// Operation is one operation of a door.
type Operation struct {
	// Handle answers a call. See [Handle] for the typed form.
	Handle func(ctx context.Context, c *Call) (any, error)
	Auth   Auth
	// NoPolicy is the reason why no policy is asked; empty for all but a
	// few operations that AWS leaves open too.
	NoPolicy string
	ReadOnly bool
	// AnswerOnly says that a call changes nothing that is stored: its only
	// effect is its answer, which is withheld until its event is stored.
	AnswerOnly bool
	// Hidden is a member of the request that nobody reads in the audit trail.
	Hidden string
	// Busy is the name of the error when there are too many such calls; empty
	// = ThrottlingException.
	Busy string
}

// hiddenValue stands in the audit trail for a member that is hidden whole.
const hiddenValue = "HIDDEN_DUE_TO_SECURITY_REASONS"

// Door is one AWS service.
type Door struct {
	Service    string // SigV4 service name: "ssm"
	Protocol   awsproto.Protocol
	XMLNS      string // namespace of answers; query protocols only
	Version    string // API version: "2010-05-08"; query protocols only
	Global     bool   // signed for any region, as IAM and STS are
	Operations map[string]Operation
	// Errors overrides the error name of a code for this service.
	Errors map[sekisho.Code]string
	// Guard refuses a call before its operation runs; nil refuses none.
	Guard func(c *Call) error
	// Fault words an operation's error as this service does; nil leaves it.
	Fault func(err error) error
}

// Source is the event source of the audit trail: "ssm.amazonaws.com".
func (d *Door) Source() string { return d.Service + ".amazonaws.com" }

// Handle makes an operation's handler from a typed function: the request is
// decoded by the door's protocol before f is called.
func Handle[In, Out any](f func(ctx context.Context, c *Call, in *In) (*Out, error)) func(context.Context, *Call) (any, error) {
	return func(ctx context.Context, c *Call) (any, error) {
		in := new(In)
		if err := c.Decode(in); err != nil {
			return nil, err
		}
		return f(ctx, c, in)
	}
}

// Read is the operation of a handler that changes nothing.
func Read[In, Out any](f func(ctx context.Context, c *Call, in *In) (*Out, error)) Operation {
	return Operation{Handle: Handle(f), ReadOnly: true}
}

// Write is the operation of a handler that may change something.
func Write[In, Out any](f func(ctx context.Context, c *Call, in *In) (*Out, error)) Operation {
	return Operation{Handle: Handle(f)}
}

// Credentials resolves an access key for signature checks.
type Credentials interface {
	// Credential returns the secret and the principal of an access key.
	// sessionToken is empty for long-term keys.
	Credential(ctx context.Context, accessKeyID, sessionToken string) (secret string, p *sekisho.Principal, err error)
	// TouchKey notes the use of a long-term key.
	TouchKey(accessKeyID, service, region string, t time.Time)
}

// NodeKeys finds the public key of a managed node.
type NodeKeys interface {
	NodePublicKey(ctx context.Context, node sekisho.NodeID) (*rsa.PublicKey, error)
}

// Trail keeps audit events.
type Trail interface {
	// Begin stores what is known of a call that may change something before
	// it does, and gives the event its ID. Complete stores the event of such a
	// call, Abandon drops it.
	Begin(ctx context.Context, e *audit.Event) error
	Complete(ctx context.Context, e audit.Event) error
	Abandon(ctx context.Context, id string) error
	// Record stores the event of any other call.
	Record(ctx context.Context, e audit.Event) error
}

// Config is what a Server needs.
type Config struct {
	Doors       []*Door
	Credentials Credentials
	NodeKeys    NodeKeys
	Nodes       NodeWatch // may be nil
	Authorizer  *authz.Authorizer
	Trail       Trail
	Account     string
	Region      string
	Now         func() time.Time // for aws:CurrentTime; nil = time.Now
	// SourceIP finds the caller's address; nil = the TCP peer.
	SourceIP func(r *http.Request) netip.Addr
	Log      *slog.Logger
}

// Server answers calls of all doors that speak JSON 1.1 or a query protocol.
type Server struct {
	Config
	byService map[string]*Door
	refusals  *refusals
}

// New returns a Server.
func New(cfg Config) *Server {
	s := &Server{Config: cfg, byService: map[string]*Door{}, refusals: newRefusals()}
	if s.Now == nil {
		s.Now = time.Now
	}
	if s.SourceIP == nil {
		s.SourceIP = peer
	}
	for _, d := range cfg.Doors {
		s.byService[d.Service] = d
	}
	return s
}

// peer is the TCP peer of r.
func peer(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

// Call is one call of one operation.
type Call struct {
	Service   string
	Operation string
	RequestID string
	Region    string
	Account   string
	Time      time.Time
	Principal *sekisho.Principal // nil for an anonymous call
	SourceIP  netip.Addr
	UserAgent string
	Host      string // as the client addressed the server: scheme-less host[:port]

	server     *Server
	door       *Door
	facts      authz.Facts
	body       []byte
	content    *content // of a streaming call, in place of body
	form       url.Values
	authorized bool
	begun      string // ID of the event whose intent is stored; "" for none
	calledFor  *Call  // the call that this one was made within

	// What the audit event will say.
	params    any
	response  any
	reasons   []string
	resources []audit.Resource
}

// Decode reads the request into v by the door's protocol.
func (c *Call) Decode(v any) error {
	if c.door.Protocol == awsproto.JSON {
		return awsproto.DecodeJSON(c.body, v)
	}
	return awsproto.DecodeQuery(c.form, v)
}

// Authorize asks the caller's policies for action ("ssm:StartSession") on
// resource (an ARN, or "*" for actions without resources). The error is the
// refusal to hand to the caller.
func (c *Call) Authorize(ctx context.Context, action, resource string, keys ...authz.Key) error {
	v, err := c.Decide(ctx, action, resource, keys...)
	if err != nil {
		return err
	}
	if !v.Allowed {
		return Denied(v)
	}
	c.authorized = true
	return nil
}

// Decide is Authorize for handlers that combine several decisions: they call
// [Call.Allow] themselves, or return [Denied].
func (c *Call) Decide(ctx context.Context, action, resource string, keys ...authz.Key) (authz.Verdict, error) {
	return c.DecideBy(ctx, c.server.Authorizer, action, resource, keys...)
}

// DecideBy is Decide with other policies than the caller's alone: those of a
// role's trust, too.
func (c *Call) DecideBy(ctx context.Context, a *authz.Authorizer, action, resource string, keys ...authz.Key) (authz.Verdict, error) {
	v, err := a.Decide(ctx, &c.facts, action, resource, keys...)
	if err != nil {
		return v, err
	}
	c.reasons = append(c.reasons, v.Reason)
	c.resources = append(c.resources, audit.Resource{ARN: resource})
	return v, nil
}

// Allow notes that the handler reached a positive decision.
func (c *Call) Allow() { c.authorized = true }

// Facts returns what policy conditions see of this call.
func (c *Call) Facts() authz.Facts { return c.facts }

// Annotate adds what the answer was to the audit event. Secrets in it are
// redacted by their names.
func (c *Call) Annotate(response any) { c.response = response }

// Denied is the refusal of v.
func Denied(v authz.Verdict) error {
	return sekisho.Errorf(sekisho.CodeDenied, "%s", v.Message)
}

// ServeHTTP answers a signed (or, where an operation says so, anonymous) call.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c, err := s.begin(w, r)
	// A request whose body could not be read still says by its head whom it
	// is for, and so is refused in the right shape and recorded.
	if rerr := s.route(c, r); err == nil {
		err = rerr
	}
	if err != nil {
		s.fail(w, r, c, err)
		return
	}
	op, known := c.door.Operations[c.Operation]
	if !known || op.Auth != Anonymous {
		if err := s.authenticate(r, c, op.Auth); err != nil {
			s.fail(w, r, c, err)
			return
		}
	}
	s.serve(w, r, c)
}

// ServeAs answers a call of a principal that the console has verified.
// service is needed for query protocols, whose requests do not name it.
func (s *Server) ServeAs(w http.ResponseWriter, r *http.Request, p *sekisho.Principal, service string) {
	c, err := s.begin(w, r)
	c.Service = service
	if rerr := s.route(c, r); err == nil {
		err = rerr
	}
	s.as(c, p)
	if err == nil && c.door.Operations[c.Operation].Auth == NodeKey {
		err = sekisho.Errorf(sekisho.CodeUnauthenticated, "%s:%s is for managed nodes: it is signed with a node's key.", c.Service, c.Operation)
	}
	if err != nil {
		s.fail(w, r, c, err)
		return
	}
	s.serve(w, r, c)
}

func (s *Server) begin(w http.ResponseWriter, r *http.Request) (*Call, error) {
	c := s.call(r)
	limit := maxBody
	if target := r.Header.Get("X-Amz-Target"); strings.HasPrefix(target, "Logs_") || target == "AmazonSSM.PutInventory" {
		limit = awsproto.MaxBody // a batch of log events has up to 1 MiB before it is JSON, and an item of the inventory
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(limit)))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return c, &awsproto.Error{Code: "RequestEntityTooLarge", Message: "The request is larger than " + byteSize(limit) + ".", Status: http.StatusRequestEntityTooLarge}
	}
	if err != nil {
		return c, &awsproto.Error{Code: "IncompleteBody", Message: "The request ended before its body did.", Status: http.StatusBadRequest}
	}
	c.body = body
	return c, nil
}

// call is what is known of a request before its body is read.
func (s *Server) call(r *http.Request) *Call {
	c := &Call{
		RequestID: id.UUID(), Account: s.Account, Region: s.Region, Time: s.Now(),
		SourceIP: s.SourceIP(r), UserAgent: r.UserAgent(), Host: r.Host, server: s,
	}
	c.facts = authz.Facts{
		Time: c.Time, SourceIP: c.SourceIP, Secure: r.TLS != nil,
		UserAgent: c.UserAgent, Referer: r.Referer(), Region: s.Region,
	}
	return c
}

func byteSize(n int) string { return fmt.Sprintf("%d KiB", n>>10) }

// route finds the door and the operation: by X-Amz-Target, else by the
// Action of a form and the service it was signed for.
func (s *Server) route(c *Call, r *http.Request) error {
	if r.Header.Get("X-Amz-Target") != "" {
		service, op, ok := awsproto.Target(r)
		d := s.byService[service]
		if !ok || d == nil || d.Protocol != awsproto.JSON {
			return &awsproto.Error{Code: "UnknownOperationException", Message: fmt.Sprintf("Sekisho has no operation %q.", clip(r.Header.Get("X-Amz-Target"))), Status: http.StatusNotFound}
		}
		c.door, c.Service, c.Operation = d, d.Service, op
		return nil
	}
	form, err := formOf(r, c.body)
	if err != nil {
		return &awsproto.Error{Code: "MalformedQueryString", Message: "The form of the request cannot be read.", Status: http.StatusBadRequest}
	}
	action := form.Get("Action")
	if action == "" {
		return &awsproto.Error{Code: "MissingAction", Message: "The request names no operation: neither an X-Amz-Target header nor an Action.", Status: http.StatusBadRequest}
	}
	service := c.Service
	if p, err := sigv4.Parse(r); service == "" && err == nil {
		service = p.Service
	}
	d := s.byService[service]
	if service == "" { // unsigned: only the API version tells
		for _, cand := range s.Doors {
			if cand.Version != "" && cand.Version == form.Get("Version") {
				d = cand
			}
		}
	}
	if d == nil || d.Protocol != awsproto.Query && d.Protocol != awsproto.EC2 {
		return &awsproto.Error{Code: "InvalidAction", Message: fmt.Sprintf("Sekisho has no query service for the action %q.", clip(action)), Status: http.StatusBadRequest}
	}
	c.door, c.Service, c.Operation, c.form = d, d.Service, action, form
	return nil
}

// maxUserAgent bounds what an audit event keeps of a program's name: those of
// the AWS CLI have some 200 bytes.
const maxUserAgent = 512

func clip(s string) string { return clipTo(s, 100) }

func clipTo(s string, most int) string {
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

func formOf(r *http.Request, body []byte) (url.Values, error) {
	form, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		post, err := url.ParseQuery(string(body))
		if err != nil {
			return nil, err
		}
		for k, v := range post {
			form[k] = append(v, form[k]...)
		}
	}
	return form, nil
}

// authenticate verifies the signature of r and fills in the caller.
func (s *Server) authenticate(r *http.Request, c *Call, how Auth) error {
	p, principal, err := s.verify(r, c, how)
	if err != nil {
		return err
	}
	c.Region = p.Region
	s.as(c, principal)
	return nil
}

func (s *Server) as(c *Call, p *sekisho.Principal) {
	c.Principal = p
	c.facts.Principal = p
	c.facts.Region = c.Region
}

func (s *Server) verify(r *http.Request, c *Call, how Auth) (*sigv4.Parsed, *sekisho.Principal, error) {
	p, err := sigv4.Parse(r)
	if err != nil {
		return nil, nil, err
	}
	if p.Service != c.Service {
		return nil, nil, &sigv4.Error{Code: "SignatureDoesNotMatch", Message: fmt.Sprintf("Credential should be scoped to correct service: '%s'.", c.Service)}
	}
	if p.Region != s.Region && c.content != nil {
		return nil, nil, wrongRegion(s.Region, p.Region)
	}
	if p.Region != s.Region && (c.door == nil || !c.door.Global) {
		return nil, nil, &sigv4.Error{Code: "SignatureDoesNotMatch", Message: fmt.Sprintf("Credential should be scoped to a valid region: this server's is '%s', the request was signed for '%s'.", s.Region, clip(p.Region))}
	}
	if how == NodeKey {
		node := sekisho.NodeID(p.AccessKeyID)
		key, err := s.NodeKeys.NodePublicKey(r.Context(), node)
		if err == nil {
			err = sigv4.VerifyRSA(p, key, r, sigv4.HashBody(c.body), time.Now())
		}
		if err != nil {
			return nil, nil, s.nodeRefused(r.Context(), c, node, err)
		}
		return p, &sekisho.Principal{Type: sekisho.PrincipalAnonymous, Account: s.Account, ARN: nodeARN(s.Region, s.Account, node), UserID: "anonymous", Node: node}, nil
	}
	secret, principal, err := s.Credentials.Credential(r.Context(), p.AccessKeyID, p.SecurityToken)
	if err != nil {
		return nil, nil, err
	}
	hash := sigv4.HashBody(c.body)
	if c.content != nil {
		hash = "" // the body is held to what was signed while it is read
	}
	if err := p.Verify(secret, r, hash, time.Now()); err != nil {
		if principal.Agent(principal.Node) {
			err = s.nodeRefused(r.Context(), c, principal.Node, err)
		}
		return nil, nil, err
	}
	if c.content != nil {
		c.content.body, c.content.signed = p.Body(secret, c.content.raw), p
	}
	// A node's credentials end with the node, not with their hour.
	if principal.Node != "" {
		if _, err := s.NodeKeys.NodePublicKey(r.Context(), principal.Node); err != nil {
			return nil, nil, s.nodeRefused(r.Context(), c, principal.Node, err)
		}
		if principal.Agent(principal.Node) {
			s.nodeCalled(r.Context(), c, principal.Node)
		}
	}
	if p.SecurityToken == "" {
		s.Credentials.TouchKey(p.AccessKeyID, p.Service, p.Region, c.Time)
	}
	return p, principal, nil
}

func nodeARN(region, account string, node sekisho.NodeID) string {
	return "arn:aws:ssm:" + region + ":" + account + ":managed-instance/" + string(node)
}

// serve runs the operation and writes its answer and its audit event.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, c *Call) {
	c.params = s.paramsOf(c)
	op, ok := c.door.Operations[c.Operation]
	if !ok {
		s.fail(w, r, c, sekisho.Errorf(sekisho.CodeNotImplemented, "%s:%s is not implemented by Sekisho.", c.Service, clip(c.Operation)))
		return
	}
	if err := c.Begin(r.Context()); err != nil {
		s.unrecorded(w, r, c, err)
		return
	}
	out, err := handle(r.Context(), op, c)
	if err == nil && !c.authorized && op.NoPolicy == "" {
		err = fmt.Errorf("%s:%s answered without asking policy", c.Service, c.Operation)
	}
	if err != nil {
		s.fail(w, r, c, err)
		return
	}
	if err := s.record(r, c, op.ReadOnly, nil); err != nil {
		s.unrecorded(w, r, c, err)
		return
	}
	if err := write(w, c, out); err != nil {
		s.Log.WarnContext(r.Context(), "answer not delivered", "request_id", c.RequestID, "error", err)
	}
}

// Begin makes sure that the audit trail knows of c before c changes anything.
// An error means that it does not, and that the call must not go ahead. Doors
// that run their operations themselves call it first.
func (c *Call) Begin(ctx context.Context) error {
	op := c.door.Operations[c.Operation]
	if op.ReadOnly || op.AnswerOnly {
		return nil
	}
	ev := c.event(false, nil)
	if err := c.server.Trail.Begin(context.WithoutCancel(ctx), &ev); err != nil {
		return err
	}
	c.begun = ev.ID
	return nil
}

// handle runs op. A panic is an internal error like any other: it is answered
// and recorded.
func handle(ctx context.Context, op Operation, c *Call) (out any, err error) {
	defer func() {
		if v := recover(); v != nil {
			out, err = nil, fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	if guard := c.door.Guard; guard != nil {
		err = guard(c)
	}
	if err == nil {
		out, err = op.Handle(ctx, c)
	}
	if fault := c.door.Fault; err != nil && fault != nil {
		err = fault(err)
	}
	return out, err
}

// write answers in the door's protocol.
func write(w http.ResponseWriter, c *Call, out any) error {
	switch c.door.Protocol {
	case awsproto.JSON:
		return awsproto.WriteJSON(w, c.RequestID, out)
	case awsproto.EC2:
		return awsproto.WriteEC2(w, c.RequestID, c.Operation, c.door.XMLNS, out)
	case awsproto.RESTXML:
		return awsproto.WriteXML(w, http.StatusOK, c.RequestID, out)
	case awsproto.Query:
	}
	return awsproto.WriteQuery(w, c.RequestID, c.Operation, c.door.XMLNS, out)
}

// paramsOf is the request as the audit trail keeps it.
func (s *Server) paramsOf(c *Call) any {
	m := map[string]any{}
	if c.door.Protocol == awsproto.JSON {
		if len(c.body) > 0 && json.Unmarshal(c.body, &m) != nil {
			return nil
		}
	} else {
		for k, v := range c.form {
			if k != "Action" && k != "Version" && !strings.HasPrefix(k, "X-Amz-") && len(v) > 0 {
				m[k] = v[0]
			}
		}
	}
	if len(m) == 0 {
		return nil
	}
	hidden := c.door.Operations[c.Operation].Hidden
	out := make(map[string]any, len(m))
	for k, v := range m {
		if hidden != "" && strings.EqualFold(k, hidden) {
			v = hiddenValue
		}
		out[lowerFirst(k)] = v
	}
	return out
}

func lowerFirst(s string) string {
	if s == "" || s[0] < 'A' || s[0] > 'Z' {
		return s
	}
	return string(s[0]+'a'-'A') + s[1:]
}

// fail answers with an error in the door's shape and records it. c may lack
// a door when the request could not be routed.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, c *Call, err error) {
	if busy, ok := errors.AsType[*admission.Busy](err); ok {
		s.failBusy(w, r, c, busy)
		return
	}
	e := s.refusal(r, c, err)
	if c.door != nil {
		if err := s.record(r, c, c.door.Operations[c.Operation].ReadOnly, e); err != nil {
			s.unrecorded(w, r, c, err)
			return
		}
	}
	s.answerError(w, r, c, e)
}

// failBusy answers a call for which there is no room. It is not recorded: that
// would be as much work as the call, and the gate counts it.
func (s *Server) failBusy(w http.ResponseWriter, r *http.Request, c *Call, busy *admission.Busy) {
	if c.begun != "" {
		if err := s.Trail.Abandon(context.WithoutCancel(r.Context()), c.begun); err != nil {
			s.unrecorded(w, r, c, err)
			return
		}
	}
	w.Header().Set("Retry-After", strconv.Itoa(int(busy.After.Seconds())+1))
	s.answerError(w, r, c, &awsproto.Error{
		Code: cmp.Or(c.door.Operations[c.Operation].Busy, "ThrottlingException"), Message: busy.Error(), Status: http.StatusTooManyRequests, Sender: true,
	})
}

// refusal words err for the caller. What only the server may know goes to its
// log and to the reason in the audit trail.
func (s *Server) refusal(r *http.Request, c *Call, err error) *awsproto.Error {
	e := s.errorOf(c.door, err)
	if internal(err) {
		s.Log.ErrorContext(r.Context(), "call failed", "service", c.Service, "operation", c.Operation, "request_id", c.RequestID, "error", err)
		c.reasons = append(c.reasons, "internal error: "+clip(err.Error()))
	}
	return e
}

// internal reports whether err is a fault of the server rather than a refusal
// that somebody worded.
func internal(err error) bool {
	if e, ok := errors.AsType[*awsproto.Error](err); ok {
		return e.Status >= http.StatusInternalServerError || e.Status == 0 && !e.Sender
	}
	if _, ok := errors.AsType[*sigv4.Error](err); ok {
		return false
	}
	_, known := names[sekisho.CodeOf(err)]
	return !known
}

// unrecorded answers a call that the audit trail does not have: whatever it
// would have been answered is withheld.
func (s *Server) unrecorded(w http.ResponseWriter, r *http.Request, c *Call, err error) {
	s.Log.ErrorContext(r.Context(), "audit event lost", "service", c.Service, "operation", c.Operation, "request_id", c.RequestID, "error", err)
	s.answerError(w, r, c, &awsproto.Error{
		Code: internalName(c.door.Protocol), Message: "The call could not be written to the audit trail.", Status: http.StatusInternalServerError,
	})
}

func (s *Server) answerError(w http.ResponseWriter, r *http.Request, c *Call, e *awsproto.Error) {
	proto, xmlns := awsproto.Query, ""
	switch {
	case c.door != nil:
		proto, xmlns = c.door.Protocol, c.door.XMLNS
	case r.Header.Get("X-Amz-Target") != "":
		proto = awsproto.JSON
	}
	if err := proto.WriteError(w, c.RequestID, xmlns, e); err != nil {
		s.Log.WarnContext(r.Context(), "answer not delivered", "request_id", c.RequestID, "error", err)
	}
}

// record writes the audit event of c, or sums it up with others.
func (s *Server) record(r *http.Request, c *Call, readOnly bool, e *awsproto.Error) error {
	// The event outlives a client that hangs up.
	ctx := context.WithoutCancel(r.Context())
	if e != nil && e.Status < http.StatusInternalServerError && c.Principal == nil && s.refusals.sum(c.SourceIP, c.Time, func() { s.flush(false) }) {
		if c.begun != "" {
			return s.Trail.Abandon(ctx, c.begun)
		}
		return nil
	}
	return s.recordCall(ctx, c, readOnly, e)
}

// recordCall writes the audit event of c.
func (s *Server) recordCall(ctx context.Context, c *Call, readOnly bool, e *awsproto.Error) error {
	if c.begun != "" {
		return s.Trail.Complete(ctx, c.event(readOnly, e))
	}
	return s.Trail.Record(ctx, c.event(readOnly, e))
}

// event is the audit event of c as far as c has come; e is its error or nil.
func (c *Call) event(readOnly bool, e *awsproto.Error) audit.Event {
	ev := audit.Event{
		ID: c.begun, Time: c.Time, EventSource: c.door.Source(), EventName: clip(c.Operation), Region: c.Region,
		SourceIP: c.SourceIP.String(), UserAgent: clipTo(c.UserAgent, maxUserAgent), RequestID: c.RequestID,
		UserIdentity: audit.IdentityOf(c.Principal), RequestParameters: c.params, ResponseElements: c.response,
		Resources: slices.CompactFunc(c.resources, func(a, b audit.Resource) bool { return a == b }),
		ReadOnly:  readOnly, Reason: strings.Join(c.reasons, "; "), Additional: calledFor(c.calledFor),
	}
	if e != nil {
		ev.ErrorCode, ev.ErrorMessage = e.Code, e.Message
	}
	return ev
}

// errorOf words err for the door's protocol.
func (s *Server) errorOf(d *Door, err error) *awsproto.Error {
	if e, ok := errors.AsType[*awsproto.Error](err); ok {
		return e
	}
	proto := awsproto.JSON
	if d != nil {
		proto = d.Protocol
	}
	if e, ok := errors.AsType[*sigv4.Error](err); ok {
		if d != nil && d.Service == "s3" {
			return &awsproto.Error{Code: e.S3Code(), Message: e.Message, Status: e.Status(), Sender: true}
		}
		return signatureError(proto, e)
	}
	code := sekisho.CodeOf(err)
	n, known := names[code]
	if !known {
		return &awsproto.Error{Code: internalName(proto), Message: "An internal error has occurred. The server's log has it under this request ID.", Status: http.StatusInternalServerError}
	}
	name, status := n.query, n.status
	switch proto {
	case awsproto.JSON:
		name = n.json
		if status < 500 {
			status = http.StatusBadRequest // JSON 1.1 services answer 400 whatever the fault
		}
	case awsproto.EC2:
		name = n.ec2
	case awsproto.RESTXML:
		name = n.json // ssmmessages names errors as ssm does
	case awsproto.Query:
	}
	if d != nil && d.Errors[code] != "" {
		name = d.Errors[code]
	}
	e, _ := errors.AsType[*sekisho.Error](err)
	return &awsproto.Error{Code: name, Message: e.Error(), Status: status, Sender: status < 500}
}

func internalName(p awsproto.Protocol) string {
	switch p {
	case awsproto.EC2, awsproto.RESTXML:
		return "InternalError"
	case awsproto.Query:
		return "ServiceFailure"
	case awsproto.JSON:
	}
	return "InternalServerError"
}

// names are the error names AWS uses for a code, by protocol.
var names = map[sekisho.Code]struct {
	json, query, ec2 string
	status           int // of the query protocols
}{
	sekisho.CodeInvalid:         {"ValidationException", "ValidationError", "InvalidParameterValue", http.StatusBadRequest},
	sekisho.CodeUnauthenticated: {"UnrecognizedClientException", "InvalidClientTokenId", "AuthFailure", http.StatusForbidden},
	sekisho.CodeDenied:          {"AccessDeniedException", "AccessDenied", "UnauthorizedOperation", http.StatusForbidden},
	sekisho.CodeNotFound:        {"ResourceNotFoundException", "NoSuchEntity", "InvalidInstanceID.NotFound", http.StatusNotFound},
	sekisho.CodeConflict:        {"AlreadyExistsException", "EntityAlreadyExists", "ResourceAlreadyExists", http.StatusConflict},
	sekisho.CodeInUse:           {"ResourceInUseException", "DeleteConflict", "DependencyViolation", http.StatusConflict},
	sekisho.CodeLimit:           {"LimitExceededException", "LimitExceeded", "ResourceLimitExceeded", http.StatusConflict},
	sekisho.CodeExpired:         {"ExpiredTokenException", "ExpiredToken", "RequestExpired", http.StatusForbidden},
	sekisho.CodeThrottled:       {"ThrottlingException", "Throttling", "RequestLimitExceeded", http.StatusTooManyRequests},
	sekisho.CodeUnreachable:     {"TargetNotConnected", "TargetNotConnected", "TargetNotConnected", http.StatusBadRequest},
	sekisho.CodeMalformedPolicy: {"MalformedPolicyDocumentException", "MalformedPolicyDocument", "MalformedPolicyDocument", http.StatusBadRequest},
	sekisho.CodeNotImplemented:  {"NotImplemented", "NotImplemented", "NotImplemented", http.StatusNotImplemented},
}

// signatureError names a signature fault as the protocol's services do.
func signatureError(p awsproto.Protocol, e *sigv4.Error) *awsproto.Error {
	out := &awsproto.Error{Code: e.Code, Message: e.Message, Status: e.Status(), Sender: true}
	switch p {
	case awsproto.JSON, awsproto.RESTXML:
		out.Code, out.Status = e.JSONCode(), http.StatusBadRequest
	case awsproto.EC2:
		if e.Code == sigv4.CodeMismatch {
			out.Code, out.Status = "AuthFailure", http.StatusUnauthorized
		}
	case awsproto.Query:
	}
	return out
}

// Enter begins a call of an operation that is chosen by its path: the caller
// is verified, nothing more. When ok is false the answer has been given.
func (s *Server) Enter(w http.ResponseWriter, r *http.Request, d *Door, operation string) (c *Call, ok bool) {
	c, err := s.begin(w, r)
	c.door, c.Service, c.Operation = d, d.Service, operation
	if err == nil && d.Operations[operation].Auth == Signed {
		err = s.authenticate(r, c, Signed)
	}
	if err != nil {
		s.fail(w, r, c, err)
		return nil, false
	}
	return c, true
}

// Identify verifies the signature of a call that may come unsigned. Without
// one the call stays anonymous.
func (c *Call) Identify(r *http.Request) error {
	if r.Header.Get("Authorization") == "" {
		return nil
	}
	return c.server.authenticate(r, c, Signed)
}

// Body is the request's body.
func (c *Call) Body() []byte { return c.body }

// Refuse answers a call begun with Enter with an error, and records it.
func (c *Call) Refuse(w http.ResponseWriter, r *http.Request, err error) { c.server.fail(w, r, c, err) }

// Unrecorded answers a call begun with Enter that Accept could not record.
func (c *Call) Unrecorded(w http.ResponseWriter, r *http.Request, err error) {
	c.server.unrecorded(w, r, c, err)
}

// Accept records a call begun with Enter as answered. An error means that it
// could not be recorded and must not be answered.
func (c *Call) Accept(r *http.Request) error {
	if !c.authorized {
		return fmt.Errorf("%s:%s answered without asking policy", c.Service, c.Operation)
	}
	return c.server.record(r, c, c.door.Operations[c.Operation].ReadOnly, nil)
}

// Refused records a call begun with Enter whose channel is closed since an
// answer in HTTP is no longer possible, and returns what its peer may know.
func (c *Call) Refused(r *http.Request, err error) (message string, recordErr error) {
	e := c.server.refusal(r, c, err)
	return e.Message, c.server.record(r, c, false, e)
}

// SetParams says what the audit event shows as the request's parameters, for
// calls whose parameters are in the path or in a frame.
func (c *Call) SetParams(params map[string]any) { c.params = params }
