// Package api is the single entry point for API calls. It reduces every call of every door, from a
// signed request or from the console, to (principal, action, resource, context), authorizes it by
// policy, and records it in the audit trail.
//
// A [Door] is one AWS service: its names, its wire protocol, its operations. Each package below this one implements a
// door. A handler must call [Call.Authorize] before it answers; otherwise the server withholds its answer.
package api

import (
	"cmp"
	"context"
	"crypto/rsa"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/activity/audit"
	"sekisho/internal/activity/refusals"
	"sekisho/internal/iam/authz"
	"sekisho/internal/safetext"
	"sekisho/internal/wire/awsproto"
	"sekisho/internal/wire/httplimit"
	"sekisho/internal/wire/id"
	"sekisho/internal/wire/sigv4"
)

// Door is one AWS service.
type Door struct {
	Service    string // SigV4 service name: "ssm"
	Protocol   awsproto.Protocol
	XMLNS      string // XML namespace of answers; query protocols only
	Version    string // API version: "2010-05-08"; query protocols only
	Global     bool   // requests can be signed for any region, as for IAM and STS
	Operations map[string]Operation
	// Errors overrides the error name of a code for this service.
	Errors map[sekisho.Code]string
	// Guard refuses a call before its operation runs; nil refuses none.
	Guard func(c *Call) error
	// Fault translates an operation's error into this service's; nil leaves errors unchanged.
	Fault func(err error) error
	// SignatureError translates a signature error into this service's; nil means the protocol's
	// default.
	SignatureError func(e *sigv4.Error) *awsproto.Error
}

// Source returns the event source in the audit trail, such as "ssm.amazonaws.com".
func (d *Door) Source() string { return d.Service + ".amazonaws.com" }

// Credentials resolves an access key for signature checks.
type Credentials interface {
	// Credential returns the secret and the principal of an access key.
	// sessionToken is empty for long-term keys.
	Credential(ctx context.Context, accessKeyID, sessionToken string) (secret string, p *sekisho.Principal, err error)
	// TouchKey records the use of a long-term key.
	TouchKey(accessKeyID, service, region string, t time.Time)
}

// NodeKeys finds the public key of a managed node.
type NodeKeys interface {
	NodePublicKey(ctx context.Context, node sekisho.NodeID) (*rsa.PublicKey, error)
}

// Trail keeps audit events.
type Trail interface {
	// Begin stores the event of a call that may change something before the call is
	// executed, and assigns the event's ID. Complete stores the final event of such a
	// call, Abandon drops it.
	Begin(ctx context.Context, e *audit.Event) error
	Complete(ctx context.Context, e audit.Event) error
	Abandon(ctx context.Context, eventID string) error
	// Record stores the event of any other call.
	Record(ctx context.Context, e audit.Event) error
}

// Config is the configuration of a Server.
type Config struct {
	Doors       []*Door
	Credentials Credentials
	NodeKeys    NodeKeys
	Nodes       NodeWatch // may be nil
	Authorizer  *authz.Authorizer
	Trail       Trail
	// Refusals bounds the events of unauthenticated callers; nil means a default budget.
	Refusals *refusals.Budget
	Account  string
	Region   string
	Now      func() time.Time // for aws:CurrentTime; nil = time.Now
	// Observe is called once for each call, with its error code; may be nil.
	Observe func(service, operation, code string, took time.Duration)
	// SourceIP returns the caller's address; nil = the TCP peer.
	SourceIP func(r *http.Request) netip.Addr
	Log      *slog.Logger
}

// Server serves the calls of all doors with JSON 1.1 or a query protocol.
type Server struct {
	cfg       Config
	byService map[string]*Door
	refusals  *refusals.Budget
	// Memory for request bodies, separate for callers with a valid access key and for others.
	identified, anonymous *memory
}

// New returns a Server.
func New(cfg Config) *Server {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.SourceIP == nil {
		cfg.SourceIP = httplimit.Peer
	}
	s := &Server{
		cfg:        cfg,
		byService:  map[string]*Door{},
		refusals:   cfg.Refusals,
		identified: newMemory(identifiedMemory, identifiedEach),
		anonymous:  newMemory(anonymousMemory, anonymousEach),
	}
	if s.refusals == nil {
		s.refusals = refusals.New(refusals.Config{Trail: cfg.Trail, Region: cfg.Region, Now: cfg.Now, Log: cfg.Log})
	}
	for _, d := range cfg.Doors {
		s.byService[d.Service] = d
	}
	return s
}

// Doors returns the doors that requests select by target, action and signature.
func (s *Server) Doors() []*Door { return s.cfg.Doors }

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
	content    *content // of a streaming call, instead of body
	form       url.Values
	authorized bool
	claim      *claim
	memory     *memory // budget from which body was allocated
	source     netip.Prefix
	held       int // bytes taken from memory
	began      time.Time
	begun      string // ID of the event whose intent is stored; "" for none
	calledFor  *Call  // the call within which this one was made

	// Content of the audit event.
	params    any
	response  any
	reasons   []string
	resources []audit.Resource
}

// Decode decodes the request into v by the door's protocol.
func (c *Call) Decode(v any) error {
	if c.door.Protocol == awsproto.JSON {
		return awsproto.DecodeJSON(c.body, v)
	}
	return awsproto.DecodeQuery(c.form, v)
}

// Authorize asks the caller's policies for action ("ssm:StartSession") on resource (an ARN, or "*" for
// actions without resources). The error is the refusal to return to the caller.
func (c *Call) Authorize(ctx context.Context, action, resource string, keys ...authz.Key) error {
	v, err := c.Decide(ctx, action, resource, keys...)
	if err != nil {
		return err
	}
	if !v.Allowed {
		return Denied(ctx, v)
	}
	c.authorized = true
	return nil
}

// Decide is like Authorize, for handlers that combine several decisions: they call [Call.Allow]
// themselves, or return [Denied].
func (c *Call) Decide(ctx context.Context, action, resource string, keys ...authz.Key) (authz.Verdict, error) {
	return c.DecideBy(ctx, c.server.cfg.Authorizer, action, resource, keys...)
}

// DecideBy is like Decide, with policies other than just the caller's, such as a role's trust
// policy.
func (c *Call) DecideBy(
	ctx context.Context,
	a *authz.Authorizer,
	action, resource string,
	keys ...authz.Key,
) (authz.Verdict, error) {
	v, err := a.Decide(ctx, &c.facts, action, resource, keys...)
	if err != nil {
		return v, err
	}
	c.reasons = append(c.reasons, v.Reason)
	c.resources = append(c.resources, audit.Resource{ARN: resource})
	return v, nil
}

// DeniedAll returns the refusal of a call that requires several decisions, of which v is the one to
// report. These decisions are not recorded in the audit trail again.
func (c *Call) DeniedAll(ctx context.Context, v authz.Verdict, all authz.Question) error {
	d, err := c.server.cfg.Authorizer.Denial(ctx, &c.facts, all)
	if err != nil {
		return err
	}
	return refusal(v, d)
}

// Allow records that the handler decided to allow the call.
func (c *Call) Allow() { c.authorized = true }

// Facts returns the facts about this call that policy conditions can use.
func (c *Call) Facts() authz.Facts { return c.facts }

// Annotate adds the answer to the audit event. Members with names of secrets are redacted.
func (c *Call) Annotate(response any) { c.response = response }

// ReasonSecondFactor is the reason of a denial that a fresh second factor would
// turn into an allowed request.
const ReasonSecondFactor = "SecondFactorRequired"

// Denied returns the refusal of v: AWS's sentence, followed by the reason and the remedy.
func Denied(ctx context.Context, v authz.Verdict) error { return refusal(v, v.Denial(ctx)) }

func refusal(v authz.Verdict, d authz.Denial) error {
	e := &sekisho.Error{Code: sekisho.CodeDenied, Message: v.Message}
	if d.Remedy != "" {
		e.Message += ". " + d.Remedy
	}
	for _, a := range d.Failed {
		e.Failed = append(e.Failed, string(a))
	}
	if d.SecondFactor {
		e.Reason = ReasonSecondFactor
	}
	return e
}

// ServeHTTP serves a signed call or, for operations that permit it, an anonymous one. It checks the
// headers before it reads the body, and refuses a caller without a valid access key based on them
// alone.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := s.call(r)
	defer c.release()
	if err := s.receive(c, r); err != nil {
		s.writeError(w, r, c, err)
		return
	}
	op, known := c.door.Operations[c.Operation]
	if !known || op.Auth != Anonymous {
		if err := s.authenticate(r, c, op.Auth); err != nil {
			s.writeError(w, r, c, err)
			return
		}
	}
	s.serve(w, r, c)
}

// receive determines the operation of r, and reads the body unless the headers suffice to refuse
// the call.
func (s *Server) receive(c *Call, r *http.Request) error {
	if r.Header.Get("X-Amz-Target") == "" {
		return s.receiveForm(c, r)
	}
	if err := s.route(c, r); err != nil {
		return err
	}
	op, known := c.door.Operations[c.Operation]
	if known && op.Auth == Anonymous {
		return s.readBody(c, r, cmp.Or(op.MaxBody, maxBody), s.anonymous)
	}
	if err := s.identify(r, c, op.Auth); err != nil {
		return err
	}
	return s.readBody(c, r, cmp.Or(op.MaxBody, maxBody), s.identified)
}

// receiveForm is receive for the query protocols, whose operation may be named
// in the body.
func (s *Server) receiveForm(c *Call, r *http.Request) error {
	p, err := sigv4.Parse(r)
	if err != nil { // unsigned, which the operation may permit
		if err := s.readBody(c, r, maxBody, s.anonymous); err != nil {
			return err
		}
		return s.route(c, r)
	}
	if c.door = s.byService[p.Service]; c.door != nil {
		c.Service, c.Operation = p.Service, cmp.Or(clip(r.URL.Query().Get("Action")), "Unknown")
		err = s.identify(r, c, Signed)
	}
	if err != nil || c.door == nil {
		// Read only a short body to name the refused operation.
		if rerr := s.readBody(c, r, maxRefusedBody, s.anonymous); rerr != nil {
			return cmp.Or(err, rerr)
		}
		c.door = nil
		return cmp.Or(s.route(c, r), err)
	}
	if err := s.readBody(c, r, maxBody, s.identified); err != nil {
		return err
	}
	c.door = nil
	return s.route(c, r)
}

// ServeAs serves a call of a principal that the console has verified. service is required for query
// protocols, whose requests do not name it.
func (s *Server) ServeAs(w http.ResponseWriter, r *http.Request, p *sekisho.Principal, service string) {
	c := s.call(r)
	defer c.release()
	c.Service = service
	err := s.readBody(c, r, s.maxBody(r), s.identified)
	if rerr := s.route(c, r); err == nil {
		err = rerr
	}
	s.as(c, p)
	httplimit.Trust(r.Context())
	if err == nil && c.door.Operations[c.Operation].Auth == NodeKey {
		err = sekisho.Errorf(
			sekisho.CodeUnauthenticated,
			"%s:%s is only for managed nodes: the request must be signed with a node's key.",
			c.Service,
			c.Operation,
		)
	}
	if err != nil {
		s.writeError(w, r, c, err)
		return
	}
	s.serve(w, r, c)
}

// maxBody returns the limit for the body of r, in bytes.
func (s *Server) maxBody(r *http.Request) int {
	service, op, ok := awsproto.Target(r)
	if d := s.byService[service]; ok && d != nil {
		return cmp.Or(d.Operations[op].MaxBody, maxBody)
	}
	return maxBody
}

// call returns a Call for a request whose body has not been read.
func (s *Server) call(r *http.Request) *Call {
	c := &Call{
		RequestID: id.UUID(), Account: s.cfg.Account, Region: s.cfg.Region, Time: s.cfg.Now(),
		SourceIP: s.cfg.SourceIP(r), UserAgent: r.UserAgent(), Host: r.Host, server: s, began: time.Now(),
	}
	c.facts = authz.Facts{
		Time: c.Time, SourceIP: c.SourceIP, Secure: r.TLS != nil,
		UserAgent: c.UserAgent, Referer: r.Referer(), Region: s.cfg.Region,
	}
	return c
}

// route selects the door and the operation: by X-Amz-Target, or by the Action of a form and the
// service for which it was signed.
func (s *Server) route(c *Call, r *http.Request) error {
	if r.Header.Get("X-Amz-Target") != "" {
		service, op, ok := awsproto.Target(r)
		d := s.byService[service]
		if !ok || d == nil || d.Protocol != awsproto.JSON {
			return &awsproto.Error{
				Code:    "UnknownOperationException",
				Message: fmt.Sprintf("Sekisho has no operation %q.", clip(r.Header.Get("X-Amz-Target"))),
				Status:  http.StatusNotFound,
			}
		}
		c.door, c.Service, c.Operation = d, d.Service, op
		return nil
	}
	form, err := formOf(r, c.body)
	if err != nil {
		return &awsproto.Error{
			Code:    "MalformedQueryString",
			Message: "The request's form is malformed.",
			Status:  http.StatusBadRequest,
		}
	}
	action := form.Get("Action")
	if action == "" {
		return &awsproto.Error{
			Code:    "MissingAction",
			Message: "The request names no operation: it has neither an X-Amz-Target header nor an Action.",
			Status:  http.StatusBadRequest,
		}
	}
	service := c.Service
	if p, err := sigv4.Parse(r); service == "" && err == nil {
		service = p.Service
	}
	d := s.byService[service]
	if service == "" { // unsigned: the API version identifies the service
		for _, cand := range s.cfg.Doors {
			if cand.Version != "" && cand.Version == form.Get("Version") {
				d = cand
			}
		}
	}
	if d == nil || d.Protocol != awsproto.Query && d.Protocol != awsproto.EC2 {
		return &awsproto.Error{
			Code:    "InvalidAction",
			Message: fmt.Sprintf("Sekisho has no query service for the action %q.", clip(action)),
			Status:  http.StatusBadRequest,
		}
	}
	c.door, c.Service, c.Operation, c.form = d, d.Service, action, form
	return nil
}

// maxUserAgent bounds the user agent in an audit event. That of the AWS CLI has about 200 bytes.
const maxUserAgent = 512

// clip bounds what an answer or the trail repeats of a request.
func clip(s string) string { return safetext.Line(s, 100) }

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
	httplimit.Trust(r.Context())
	s.as(c, principal)
	return nil
}

func (s *Server) as(c *Call, p *sekisho.Principal) {
	c.Principal = p
	c.facts.Principal = p
	c.facts.Region = c.Region
}

// claim is the identity that a request's headers claim.
type claim struct {
	parsed    *sigv4.Parsed
	secret    string
	principal *sekisho.Principal
	nodeKey   *rsa.PublicKey // instead of secret and principal
}

// identify resolves the identity in the headers. verify checks that the caller has the secret.
func (s *Server) identify(r *http.Request, c *Call, how Auth) error {
	if c.claim != nil {
		return nil
	}
	p, err := sigv4.Parse(r)
	if err != nil {
		return err
	}
	if p.Service != c.Service {
		return &sigv4.Error{
			Code:    "SignatureDoesNotMatch",
			Message: fmt.Sprintf("Credential should be scoped to correct service: '%s'.", c.Service),
		}
	}
	if p.Region != s.cfg.Region && c.content != nil {
		return wrongRegion(s.cfg.Region, p.Region)
	}
	if p.Region != s.cfg.Region && (c.door == nil || !c.door.Global) {
		return &sigv4.Error{
			Code: "SignatureDoesNotMatch",
			Message: fmt.Sprintf(
				"Credential should be scoped to a valid region: this server's is '%s', the request was signed for '%s'.",
				s.cfg.Region,
				clip(p.Region),
			),
		}
	}
	cl := &claim{parsed: p}
	if how == NodeKey {
		node := sekisho.NodeID(p.AccessKeyID)
		if cl.nodeKey, err = s.cfg.NodeKeys.NodePublicKey(r.Context(), node); err != nil {
			return s.nodeRefused(r.Context(), c, node, err)
		}
	} else if cl.secret, cl.principal,
		err = s.cfg.Credentials.Credential(r.Context(), p.AccessKeyID, p.SecurityToken); err != nil {
		return err
	}
	c.claim = cl
	return nil
}

// verify checks the signature of r, after identify.
func (s *Server) verify(r *http.Request, c *Call, how Auth) (*sigv4.Parsed, *sekisho.Principal, error) {
	if err := s.identify(r, c, how); err != nil {
		return nil, nil, err
	}
	p, secret, principal := c.claim.parsed, c.claim.secret, c.claim.principal
	if how == NodeKey {
		node := sekisho.NodeID(p.AccessKeyID)
		if err := sigv4.VerifyRSA(p, c.claim.nodeKey, r, sigv4.HashBody(c.body), time.Now()); err != nil {
			return nil, nil, s.nodeRefused(r.Context(), c, node, err)
		}
		return p, &sekisho.Principal{
			Type:    sekisho.PrincipalAnonymous,
			Account: s.cfg.Account,
			ARN:     nodeARN(s.cfg.Region, s.cfg.Account, node),
			UserID:  "anonymous",
			Node:    node,
		}, nil
	}
	hash := sigv4.HashBody(c.body)
	if c.content != nil {
		hash = "" // the body is compared with the signed hash while it is read
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
	// A node's credentials become invalid when the node is deregistered, before they expire.
	if principal.Node != "" {
		if _, err := s.cfg.NodeKeys.NodePublicKey(r.Context(), principal.Node); err != nil {
			return nil, nil, s.nodeRefused(r.Context(), c, principal.Node, err)
		}
		if principal.Agent(principal.Node) {
			s.nodeCalled(r.Context(), c, principal.Node)
		}
	}
	if p.SecurityToken == "" {
		s.cfg.Credentials.TouchKey(p.AccessKeyID, p.Service, p.Region, c.Time)
	}
	return p, principal, nil
}

func nodeARN(region, account string, node sekisho.NodeID) string {
	return "arn:aws:ssm:" + region + ":" + account + ":managed-instance/" + string(node)
}

// serve runs the operation, records its audit event and writes its answer.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, c *Call) {
	c.params = c.auditedParams()
	op, ok := c.door.Operations[c.Operation]
	if !ok {
		s.writeError(
			w,
			r,
			c,
			sekisho.Errorf(
				sekisho.CodeNotImplemented,
				"%s:%s is not implemented by Sekisho.",
				c.Service,
				clip(c.Operation),
			),
		)
		return
	}
	if err := c.Begin(r.Context()); err != nil {
		s.writeUnaudited(w, r, c, err)
		return
	}
	out, err := handle(r.Context(), op, c)
	if err == nil && !c.authorized && op.NoPolicy == "" {
		err = fmt.Errorf("%s:%s answered without a policy decision", c.Service, c.Operation)
	}
	if err != nil {
		s.writeError(w, r, c, err)
		return
	}
	if !op.ReadOnly || op.Polled == "" {
		if err := s.audit(r, c, op.ReadOnly, nil); err != nil {
			s.writeUnaudited(w, r, c, err)
			return
		}
	}
	if err := write(w, c, out); err != nil {
		s.cfg.Log.WarnContext(r.Context(), "could not deliver the response", "request_id", c.RequestID, "error", err)
	}
}

// handle runs op. It turns a panic into an internal error, which is answered and recorded.
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
