// Package ssmmessages is the message gateway door: agents open their control channels here, and
// both legs of a session's data channel connect here.
//
// A channel is opened with a single-use token, sent as the first frame. Agents also sign the
// upgrade. Newer clients do, browsers cannot; so a client's signature is checked if present, and
// the token is the permission.
package ssmmessages

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"

	"sekisho"
	"sekisho/internal/api"
	"sekisho/internal/iam/authz"
	"sekisho/internal/node/admission"
	"sekisho/internal/node/control"
	"sekisho/internal/node/fleet"
	"sekisho/internal/safetext"
	"sekisho/internal/session/broker"
	"sekisho/internal/session/relay"
	"sekisho/internal/wire/awsproto"
	"sekisho/internal/wire/id"
	"sekisho/internal/wire/link"
	"sekisho/internal/wire/mgs"
)

// Config is the configuration of the door.
type Config struct {
	API      *api.Server
	Broker   *broker.Broker
	Channels *control.Channels
	Relay    *relay.Relay
	Fleet    *fleet.Fleet
	// Presence is notified when nodes connect and disconnect; nil = Fleet.
	Presence control.Presence
	// Commands receives agents' reports about commands.
	Commands control.Jobs
	Region   string
	Account  string
	Log      *slog.Logger
	// Admission limits the rate at which agents open control channels; nil means no limit.
	Admission *admission.Gate
	// Done ends all channels when the server stops.
	Done context.Context
}

// Keep-alive of channels. An agent that does not answer pings is disconnected within
// 15 s, so that its node is shown as lost and its users get a message.
const (
	agentPing     = 4 * time.Second
	agentPong     = 10 * time.Second
	clientPing    = 15 * time.Second
	clientPong    = 30 * time.Second
	firstFrame    = 15 * time.Second // for the frame with the token
	maxFrame      = 256 << 10
	maxFirstFrame = 8 << 10
)

type door struct {
	Config
	api *api.Door
}

// New returns the door. Its operations are selected by path: Register adds the handlers.
func New() *api.Door {
	return &api.Door{
		Service: "ssmmessages", Protocol: awsproto.RESTXML,
		Operations: map[string]api.Operation{
			// Channels are opened and tokens returned only after the event is stored.
			"CreateControlChannel": api.Routed(api.Issues),
			"OpenControlChannel":   api.Routed(api.Issues),
			"CreateDataChannel":    api.Routed(api.Issues),
			"OpenDataChannel":      api.Routed(api.Issues, api.By(api.Anonymous)),
		},
	}
}

// Register adds the door's paths to mux. wait waits until all channels have ended after the server
// has stopped, because HTTP servers do not wait for channels.
func Register(mux *http.ServeMux, cfg Config) (wait func()) {
	if cfg.Presence == nil {
		cfg.Presence = cfg.Fleet
	}
	d := &door{Config: cfg, api: New()}
	var channels sync.WaitGroup
	counted := func(open http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			channels.Add(1)
			defer channels.Done()
			open(w, r)
		}
	}
	mux.HandleFunc("POST /v1/control-channel/{node}", d.createControlChannel)
	mux.HandleFunc("GET /v1/control-channel/{node}", counted(d.openControlChannel))
	mux.HandleFunc("POST /v1/data-channel/{session}", d.createDataChannel)
	mux.HandleFunc("GET /v1/data-channel/{session}", counted(d.openDataChannel))
	return channels.Wait
}

// authorizeNode requires that the caller is the node itself, and that its role allows action.
func (d *door) authorizeNode(ctx context.Context, c *api.Call, action, node string) error {
	c.SetParams(map[string]any{"instanceId": node})
	if !id.ValidNode(node) {
		return awsproto.SenderError("ValidationException", "%q is not a node ID.", clip(node))
	}
	if err := c.Authorize(ctx, action, "*"); err != nil {
		return err
	}
	return d.isNode(ctx, c, node)
}

func (d *door) isNode(ctx context.Context, c *api.Call, node string) error {
	if c.Principal != nil && c.Principal.NodeProgram {
		return api.ErrNodeProgram
	}
	if !c.Principal.Agent(sekisho.NodeID(node)) {
		if c.Principal != nil && c.Principal.Node != "" {
			d.Fleet.FalseClaim(ctx, c.Principal.Node, sekisho.NodeID(node), c.SourceIP.String())
		}
		return sekisho.Errorf(sekisho.CodeDenied, "These are not the credentials of %s.", node)
	}
	return nil
}

// clip bounds what an answer or the trail repeats of a request.
func clip(s string) string { return safetext.Line(s, 100) }

func (d *door) createControlChannel(w http.ResponseWriter, r *http.Request) {
	c, ok := d.API.Enter(w, r, d.api, "CreateControlChannel")
	if !ok {
		return
	}
	node := r.PathValue("node")
	err := d.authorizeNode(r.Context(), c, "ssmmessages:CreateControlChannel", node)
	if err == nil {
		_, err = mgs.ParseBody[mgs.CreateControlChannelRequest](c.Body())
		err = badRequest(err)
	}
	if err == nil {
		_, err = d.Fleet.Node(r.Context(), sekisho.NodeID(node)) // it may have been deregistered meanwhile
	}
	if err == nil {
		// Costly work begins after this point.
		err = d.Admission.Enter(r.Context())
	}
	var token string
	if err == nil {
		token, err = d.Broker.NodeToken(r.Context(), sekisho.NodeID(node))
	}
	d.created(w, r, c, mgs.CreateControlChannelResponse, token, err)
}

func badRequest(err error) error {
	if err == nil {
		return nil
	}
	return awsproto.SenderError("ValidationException", "%s", err)
}

// created answers with status 201, which agents require, or with the error.
func (d *door) created(w http.ResponseWriter, r *http.Request, c *api.Call, root, token string, err error) {
	if err != nil {
		c.WriteError(w, r, err)
		return
	}
	if err := c.AuditSuccess(r); err != nil {
		c.WriteUnaudited(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/xml")
	w.Header().Set("X-Amzn-RequestId", c.RequestID)
	w.WriteHeader(http.StatusCreated)
	if _, err := w.Write(mgs.MarshalChannelResponse(root,
		mgs.ChannelResponse{MessageSchemaVersion: mgs.SchemaVersion10, TokenValue: token})); err != nil {
		d.Log.Warn("could not deliver the response", "request_id", c.RequestID, "error", err)
	}
}

func (d *door) openControlChannel(w http.ResponseWriter, r *http.Request) {
	c, ok := d.API.Enter(w, r, d.api, "OpenControlChannel")
	if !ok {
		return
	}
	node := r.PathValue("node")
	if err := d.authorizeNode(r.Context(), c, "ssmmessages:OpenControlChannel", node); err != nil {
		c.WriteError(w, r, err)
		return
	}
	conn, err := link.Accept(w, r, link.AcceptOptions{ReadLimit: maxFrame})
	if err != nil {
		d.refused(c, r, nil, notUpgraded(r, nil))
		return
	}
	open, err := readOpen[mgs.OpenControlChannel](d.Done, conn)
	if err == nil {
		err = d.Broker.RedeemToken(d.Done, open.TokenValue, node, broker.ControlLeg)
	}
	if err == nil {
		err = c.AuditSuccess(r)
	}
	if err != nil {
		d.refused(c, r, conn, err)
		return
	}
	agent := control.Agent{Source: c.SourceIP.String(), Process: clip(open.Process)}
	d.serve(conn, agentPing, agentPong, func(ctx context.Context, f *frames) error {
		return d.Channels.Serve(ctx, sekisho.NodeID(node), agent, f, d.Presence, d.Broker, d.Commands)
	})
}

// notUpgraded returns why [link.Accept] refused the request.
func notUpgraded(r *http.Request, allow func(string, *http.Request) bool) error {
	if origins := r.Header.Values("Origin"); len(origins) > 0 {
		if len(origins) > 1 || allow == nil || !allow(origins[0], r) {
			return sekisho.Errorf(sekisho.CodeDenied, "The origin %q is not allowed to open this channel.", clip(origins[0]))
		}
	}
	return sekisho.Errorf(sekisho.CodeInvalid, "The request is not a WebSocket upgrade.")
}

// refused closes a refused channel with the reason, and records the refusal.
func (d *door) refused(c *api.Call, r *http.Request, conn *link.Conn, err error) {
	reason, rerr := c.AuditRefusal(r, err)
	if rerr != nil {
		d.Log.Error("audit event lost", "request_id", c.RequestID, "error", rerr)
	}
	if conn != nil {
		closeQuietly(conn, link.ClosePolicy, reason)
	}
}

// readOpen reads the text frame that opens a channel.
func readOpen[B interface {
	mgs.OpenControlChannel | mgs.OpenDataChannel
}](ctx context.Context, conn *link.Conn) (B, error) {
	ctx, cancel := context.WithTimeout(ctx, firstFrame)
	defer cancel()
	var zero B
	kind, b, err := conn.Read(ctx)
	if err != nil {
		return zero, awsproto.SenderError("ValidationException", "No opening frame was received: %s", err)
	}
	if kind != link.Text || len(b) > maxFirstFrame {
		return zero, awsproto.SenderError(
			"ValidationException",
			"The first frame must be a text frame of at most %d bytes.",
			maxFirstFrame,
		)
	}
	open, err := mgs.ParseBody[B](b)
	return open, badRequest(err)
}

func (d *door) createDataChannel(w http.ResponseWriter, r *http.Request) {
	c, ok := d.API.Enter(w, r, d.api, "CreateDataChannel")
	if !ok {
		return
	}
	session := r.PathValue("session")
	c.SetParams(map[string]any{"sessionId": clip(session)})
	err := c.Authorize(r.Context(), "ssmmessages:CreateDataChannel", "*")
	if err == nil && !id.ValidSession(session) {
		err = awsproto.SenderError("ValidationException", "The path contains no valid session ID.")
	}
	if err == nil && (c.Principal == nil || c.Principal.Node == "") {
		err = sekisho.Errorf(sekisho.CodeDenied, "Only a managed node can open the agent's leg of a session.")
	}
	if err == nil {
		_, err = mgs.ParseBody[mgs.CreateDataChannelRequest](c.Body())
		err = badRequest(err)
	}
	if err == nil && c.Principal.NodeProgram {
		err = api.ErrNodeProgram
	}
	var token string
	if err == nil {
		token, err = d.Broker.AgentToken(r.Context(), c.Principal.Node, sekisho.SessionID(session))
	}
	d.created(w, r, c, mgs.CreateDataChannelResponse, token, err)
}

func (d *door) openDataChannel(w http.ResponseWriter, r *http.Request) {
	c, ok := d.API.Enter(w, r, d.api, "OpenDataChannel")
	if !ok {
		return
	}
	name := r.PathValue("session")
	c.SetParams(map[string]any{"sessionId": clip(name)})
	// A signature is checked if present, and an explicit Deny on opening channels applies.
	err := c.Identify(r)
	if err == nil && !id.ValidSession(name) {
		err = awsproto.SenderError("ValidationException", "The path contains no valid session ID.")
	}
	if err == nil && c.Principal != nil {
		var v authz.Verdict
		v, err = c.Decide(
			r.Context(),
			"ssmmessages:OpenDataChannel",
			"arn:aws:ssm:"+d.Region+":"+d.Account+":session/"+name,
		)
		if err == nil && v.Explicit {
			err = api.Denied(r.Context(), v)
		}
	}
	if err != nil {
		c.WriteError(w, r, err)
		return
	}
	conn, err := link.Accept(w, r, link.AcceptOptions{
		ReadLimit: maxFrame, AllowOrigin: sameOrigin, Offers: []string{link.OfferChecksums},
	})
	if err != nil {
		d.refused(c, r, nil, notUpgraded(r, sameOrigin))
		return
	}
	session := sekisho.SessionID(name)
	in, err := d.admit(c, conn, session)
	if err == nil {
		c.Allow() // the token was the permission
		err = c.AuditSuccess(r)
	}
	if err != nil {
		d.refused(c, r, conn, err)
		return
	}
	switch in.leg {
	case broker.AgentLeg:
		d.serve(conn, agentPing, agentPong, func(ctx context.Context, f *frames) error {
			err := d.Relay.ServeAgent(ctx, session, leg{f}, in.peer)
			switch {
			case errors.Is(err, relay.ErrNotOpen):
				f.Close("the session has ended")
			case errors.Is(err, relay.ErrAgentLive):
				d.Fleet.Doubled(ctx, c.Principal.Node, d.Channels.Source(c.Principal.Node), c.SourceIP.String())
			}
			return err
		})
	default:
		d.serve(conn, clientPing, clientPong, func(ctx context.Context, f *frames) error {
			return d.serveClient(ctx, session, in, leg{f})
		})
	}
}

// serveClient runs a client's leg, or sends the client the reason why the session ended.
func (d *door) serveClient(ctx context.Context, session sekisho.SessionID, in admitted, l leg) error {
	ended := in.ended
	if ended == nil {
		err := d.Relay.ServeClient(ctx, session, l, in.peer)
		if !errors.Is(err, relay.ErrNotOpen) {
			return err
		}
		// The session ended after the leg was admitted.
		if ended, err = d.Broker.Session(ctx, session); err != nil {
			l.Close("the session has ended")
			return err
		}
	}
	return relay.Farewell(ctx, ended, l)
}

// admitted is a leg of a session that can attach.
type admitted struct {
	leg   broker.Leg
	peer  relay.Peer
	ended *sekisho.Session // set if the session has ended; sent to the client
}

// admit reads the opening frame and determines which leg this is. A client whose session has ended
// meanwhile is admitted, to get the reason.
func (d *door) admit(c *api.Call, conn *link.Conn, session sekisho.SessionID) (admitted, error) {
	open, err := readOpen[mgs.OpenDataChannel](d.Done, conn)
	if err != nil {
		return admitted{}, err
	}
	in := admitted{leg: broker.ClientLeg}
	if open.ClientInstanceID != "" {
		in.leg = broker.AgentLeg
	}
	if err := d.Broker.RedeemToken(d.Done, open.TokenValue, string(session), in.leg); err != nil {
		return admitted{}, err
	}
	s, err := d.Broker.Attachable(d.Done, session)
	switch {
	case in.leg == broker.ClientLeg && s != nil && !s.Status.Active():
		in.ended = s
		return in, nil
	case err != nil:
		return admitted{}, err
	case in.leg == broker.AgentLeg:
		in.peer.Own = s.AgentProcess != ""
		return in, d.isNode(d.Done, c, string(s.Target))
	}
	in.peer.Own = open.ClientVersion == mgs.ClientVersion
	return in, d.Broker.ClientAt(d.Done, s, c.SourceIP.String())
}

// sameOrigin allows the console, which this server serves.
func sameOrigin(origin string, r *http.Request) bool {
	u, err := url.Parse(origin)
	return err == nil && u.Scheme == "https" && u.Host == r.Host
}

// serve runs a channel with its pings until it ends.
func (d *door) serve(conn *link.Conn, ping, pong time.Duration, run func(ctx context.Context, f *frames) error) {
	ctx, cancel := context.WithCancelCause(d.Done)
	f := &frames{conn: conn, life: ctx, pinged: make(chan struct{})}
	var pings sync.WaitGroup
	pings.Go(func() {
		defer close(f.pinged)
		if err := conn.KeepAlive(ctx, ping, pong); errors.Is(err, link.ErrNoPong) {
			f.silent = fmt.Errorf("no answer to a ping for %s", pong)
			cancel(f.silent)
		} else if err != nil && ctx.Err() == nil {
			cancel(worded(err))
		}
	})
	err := run(ctx, f)
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	cancel(nil)
	pings.Wait()
	d.Log.Debug("channel ended", "remote", conn.RemoteAddr(), "reason", err)
}

// frames is a channel after its opening: binary frames only.
type frames struct {
	conn *link.Conn
	life context.Context // ends with the channel, at the latest when its peer answers no ping

	pinged chan struct{} // closed when pinging has stopped
	silent error         // read after pinged: the peer left a ping unanswered
}

// Read returns the next binary frame. A text frame after the opening is a protocol error.
func (f *frames) Read(ctx context.Context) ([]byte, error) {
	kind, b, err := f.conn.Read(ctx)
	if errors.Is(err, net.ErrClosed) {
		// This side closed it, probably because a ping was not answered.
		select {
		case <-f.pinged:
			if f.silent != nil {
				return nil, f.silent
			}
		case <-ctx.Done():
		}
	}
	if err != nil {
		return nil, worded(err)
	}
	if kind != link.Binary {
		return nil, errors.New("protocol error: a text frame came after the opening")
	}
	return b, nil
}

// Recycle gives back a frame that nobody uses any more.
func (f *frames) Recycle(frame []byte) { link.Recycle(frame) }

// worded describes for people how a connection ended.
func worded(err error) error {
	if code, reason, ok := link.CloseStatus(err); ok {
		if reason == "" {
			return fmt.Errorf("the peer closed the channel (%d)", code)
		}
		return fmt.Errorf("the peer closed the channel (%d: %s)", code, reason)
	}
	switch {
	case errors.Is(err, link.ErrTooBig):
		return fmt.Errorf("protocol error: a frame has more than %d bytes", maxFrame)
	case errors.Is(err, io.EOF),
		errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.ECONNRESET):
		return errors.New("the connection was lost")
	}
	return err
}

// Write sends binary frames.
func (f *frames) Write(ctx context.Context, frames ...[]byte) error {
	return f.conn.Write(ctx, link.Binary, frames...)
}

// Buffered reports whether the next frame is here already.
func (f *frames) Buffered() bool { return f.conn.Buffered() }

// leg is a channel for the relay. It does not interrupt a frame that is being written:
// that would break the connection before the peer receives the reason for its end.
type leg struct{ *frames }

// Write sends binary frames.
func (l leg) Write(ctx context.Context, frames ...[]byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return l.conn.Write(l.life, link.Binary, frames...)
}

// Ping sends a ping and waits for the answer.
func (f *frames) Ping(ctx context.Context) error { return f.conn.Ping(ctx) }

// Close ends the connection.
func (f *frames) Close(reason string) {
	code := link.CloseNormal
	if strings.HasPrefix(reason, "protocol error") {
		code = link.CloseProtocol
	}
	closeQuietly(f.conn, code, reason)
}

// closeQuietly closes a connection whose peer may be gone.
func closeQuietly(conn *link.Conn, code link.Code, reason string) {
	if err := conn.Close(code, reason); err != nil {
		_ = conn.CloseNow() // best effort: the peer did not answer
	}
}
