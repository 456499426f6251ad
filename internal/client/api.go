package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"sekisho"
	"sekisho/internal/wire/sigv4"
)

// maxResponse bounds a response of the API. The largest is a page of a recording.
const maxResponse = 8 << 20

// userAgent identifies the client in the audit trail.
const userAgent = "sekisho/" + ProtocolVersion

// Client calls the API.
type Client struct {
	cfg    Config
	http   *http.Client
	factor *SecondFactor

	mu     sync.Mutex // guards cfg.Credentials
	asking sync.Mutex // held while the user is prompted for a code
}

// New returns a client for the server that cfg names.
func New(cfg Config) *Client {
	const tlsSessions = 16 // one per server is enough
	cfg.tlsSessions = tls.NewLRUClientSessionCache(tlsSessions)
	return &Client{cfg: cfg, http: &http.Client{
		Timeout: time.Minute,
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: cfg.tls(), IdleConnTimeout: 30 * time.Second,
			ForceAttemptHTTP2: true,
		},
		// A signature is valid for one host only, so redirects are not followed.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// APIError is an error response of the API.
type APIError struct {
	Operation  string
	StatusCode int
	Code       string // such as AccessDeniedException; may be empty
	Message    string
	Reason     string // for programs; may be empty
}

// Error implements error. The text is safe to print on a terminal.
func (e *APIError) Error() string {
	code := first(e.Code, http.StatusText(e.StatusCode))
	text := fmt.Sprintf("%s: %s (%s)", e.Operation, Printable(e.Message), Printable(code))
	if e.Message == "" {
		text = fmt.Sprintf("%s: %s", e.Operation, Printable(code))
	}
	if remedy := e.remedy(); remedy != "" {
		text += ". " + remedy
	}
	return text
}

// call calls one operation of a JSON 1.1 service.
func (c *Client) call(ctx context.Context, service, target string, in, out any) error {
	return c.callAt(ctx, c.cfg.Endpoint, service, target, in, out)
}

// callAt is call with an explicit endpoint. If a policy requires a second factor, it prompts
// for one and repeats the request once.
func (c *Client) callAt(ctx context.Context, endpoint, service, target string, in, out any) error {
	used := c.credentials()
	err := c.callOnce(ctx, used, endpoint, service, target, in, out)
	if !c.wantsSecondFactor(err) {
		return err
	}
	if err := c.stepUp(ctx, used); err != nil {
		return err
	}
	return c.callOnce(ctx, c.credentials(), endpoint, service, target, in, out)
}

func (c *Client) callOnce(
	ctx context.Context,
	creds sigv4.Credentials,
	endpoint, service, target string,
	in, out any,
) error {
	_, operation, _ := strings.Cut(target, ".")
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("%s: %w", operation, err)
	}
	req, err := http.NewRequestWithContext(
		ctx,
		http.MethodPost,
		strings.TrimSuffix(endpoint, "/")+"/",
		bytes.NewReader(body),
	)
	if err != nil {
		return fmt.Errorf("%s: %w", operation, err)
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", target)
	req.Header.Set("User-Agent", userAgent)
	if creds.AccessKeyID == "" {
		return sekisho.Errorf(sekisho.CodeUnauthenticated, "%s: no credentials are configured.", operation)
	}
	sigv4.Sign(req, creds, c.cfg.Region, service, time.Now(), sigv4.HashBody(body))
	return c.do(req, operation, out)
}

// do sends a request and reads the response.
func (c *Client) do(req *http.Request, operation string, out any) error {
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("%s: %w", operation, connectError(c.cfg.Endpoint, err))
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxResponse+1))
	if err != nil {
		return fmt.Errorf("%s: %w", operation, err)
	}
	if len(body) > maxResponse {
		return fmt.Errorf("%s: the response is larger than %d bytes", operation, maxResponse)
	}
	if resp.StatusCode != http.StatusOK {
		return apiError(operation, resp.StatusCode, body)
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("%s: malformed response: %w", operation, err)
	}
	return nil
}

func apiError(operation string, status int, response []byte) error {
	var body struct {
		Type    string `json:"__type"`
		Message string `json:"message"` // also matches "Message"
		Reason  string
	}
	_ = json.Unmarshal(response, &body) // a proxy may respond with anything
	code := body.Type
	if _, name, ok := strings.Cut(code, "#"); ok {
		code = name
	}
	return &APIError{Operation: operation, StatusCode: status, Code: code, Message: body.Message, Reason: body.Reason}
}

func (c *Client) ssm(ctx context.Context, operation string, in, out any) error {
	return c.call(ctx, "ssm", "AmazonSSM."+operation, in, out)
}

// StartInput says which session to start.
type StartInput struct {
	Target       string
	DocumentName string              `json:",omitempty"`
	Reason       string              `json:",omitempty"`
	Parameters   map[string][]string `json:",omitempty"`
}

// Stream is the session and token with which a client opens its data channel.
type Stream struct {
	SessionID  string `json:"SessionId"`
	TokenValue string
	StreamURL  string `json:"StreamUrl"`
}

// StartSession starts a session.
func (c *Client) StartSession(ctx context.Context, in StartInput) (Stream, error) {
	var out Stream
	err := c.ssm(ctx, "StartSession", in, &out)
	return out, err
}

type sessionInput struct {
	SessionID string `json:"SessionId"`
}

// ResumeSession returns a new token for a session. An empty token means that
// the session has ended.
func (c *Client) ResumeSession(ctx context.Context, sessionID string) (Stream, error) {
	var out Stream
	err := c.ssm(ctx, "ResumeSession", sessionInput{sessionID}, &out)
	return out, err
}

// TerminateSession ends a session.
func (c *Client) TerminateSession(ctx context.Context, sessionID string) error {
	return c.ssm(ctx, "TerminateSession", sessionInput{sessionID}, &struct{}{})
}

// Time is a time as JSON 1.1 encodes it: seconds since 1970, with a fraction.
type Time struct{ time.Time }

// MarshalJSON implements json.Marshaler. Output for users has RFC 3339 times.
func (t Time) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return []byte("null"), nil
	}
	return t.Time.UTC().MarshalJSON()
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *Time) UnmarshalJSON(b []byte) error {
	var seconds float64
	if err := json.Unmarshal(b, &seconds); err != nil {
		return fmt.Errorf("time: %w", err)
	}
	if seconds > 0 && seconds < 1e11 {
		t.Time = time.UnixMilli(int64(seconds * 1000))
	}
	return nil
}

// ListedSession is a session as DescribeSessions lists it.
type ListedSession struct {
	SessionID    string `json:"SessionId"`
	Target       string
	Status       string
	StartDate    Time
	EndDate      Time
	DocumentName string
	Owner        string
	Reason       string
	EndReason    string // empty for a session whose program ended
	// LogNotDelivered is why the session's log is missing; empty if it is not.
	LogNotDelivered string
	// NodeName is the display name of the node; empty if it is no longer managed.
	NodeName string
}

// endReason returns why a session ended while this client was disconnected.
func (c *Client) endReason(ctx context.Context, sessionID string) string {
	in := struct {
		State   string
		Filters []sessionFilter
	}{"History", []sessionFilter{{"SessionId", sessionID}}}
	var out struct{ Sessions []ListedSession }
	// Users who cannot list sessions get the general reason.
	if err := c.ssm(ctx, "DescribeSessions", in, &out); err == nil && len(out.Sessions) == 1 &&
		out.Sessions[0].EndReason != "" {
		return out.Sessions[0].EndReason
	}
	return "The session has ended."
}

// maxPages bounds a listing: a faulty server could always return another page.
const maxPages = 1000

// nodesPerPage is the largest page of nodes that the server returns.
const nodesPerPage = 1000

// maxSessionsPage is the server's limit for one page of sessions.
const maxSessionsPage = 200

// SessionDocuments lists the names of the session documents.
func (c *Client) SessionDocuments(ctx context.Context) ([]string, error) {
	in := struct {
		Filters   []NodeFilter
		NextToken string `json:",omitempty"`
	}{Filters: []NodeFilter{{Key: "DocumentType", Values: []string{"Session"}}}}
	var names []string
	for range maxPages {
		var out struct {
			DocumentIdentifiers []struct{ Name string }
			NextToken           string
		}
		if err := c.ssm(ctx, "ListDocuments", in, &out); err != nil {
			return nil, err
		}
		for _, d := range out.DocumentIdentifiers {
			names = append(names, d.Name)
		}
		if out.NextToken == "" {
			break
		}
		in.NextToken = out.NextToken
	}
	return names, nil
}

// SessionQuery selects sessions. Zero values do not restrict.
type SessionQuery struct {
	History bool // ended sessions instead of running ones
	Target  string
	Owner   string
	Status  string
	After   time.Time // started after
	Limit   int       // at most this many
}

type sessionFilter struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// Sessions lists sessions, newest first.
func (c *Client) Sessions(ctx context.Context, q SessionQuery) ([]ListedSession, error) {
	in := struct {
		State      string
		Filters    []sessionFilter `json:",omitempty"`
		MaxResults int             `json:",omitempty"`
		NextToken  string          `json:",omitempty"`
	}{State: "Active"}
	if q.History {
		in.State = "History"
	}
	for _, f := range []sessionFilter{{"Target", q.Target}, {"Owner", q.Owner}, {"Status", q.Status}} {
		if f.Value != "" {
			in.Filters = append(in.Filters, f)
		}
	}
	if !q.After.IsZero() {
		in.Filters = append(in.Filters, sessionFilter{"InvokedAfter", q.After.UTC().Format(time.RFC3339)})
	}
	if q.Limit > 0 {
		in.MaxResults = min(q.Limit, maxSessionsPage)
	}
	var all []ListedSession
	for range maxPages {
		var out struct {
			Sessions  []ListedSession
			NextToken string
		}
		if err := c.ssm(ctx, "DescribeSessions", in, &out); err != nil {
			return nil, err
		}
		all = append(all, out.Sessions...)
		if q.Limit > 0 && len(all) >= q.Limit {
			return all[:q.Limit], nil
		}
		if out.NextToken == "" {
			break
		}
		in.NextToken = out.NextToken
	}
	return all, nil
}

// Node is a managed node as DescribeInstanceInformation lists it.
type Node struct {
	InstanceID       string `json:"InstanceId"`
	Name             string
	ComputerName     string
	IPAddress        string
	PlatformName     string
	PlatformVersion  string
	AgentVersion     string
	PingStatus       string
	IamRole          string
	LastPingDateTime Time

	// Sekisho's additions to AWS's shape.
	State              string // empty if the server is not Sekisho
	NotConnectedReason string
	SourceIP           string `json:"SourceIp"`
	Notes              []Note `json:",omitempty"`
	Tags               []Tag  `json:",omitempty"`
	// NodeName is the display name, Given are all names that administrators gave the node.
	NodeName string   `json:",omitempty"`
	Given    []string `json:"GivenNames,omitempty"`
}

// Note is an observation of the server about a node.
type Note struct {
	Kind, Text, Fingerprint string
	LastAt                  Time
	Count                   int
}

// NodeFilter selects the nodes whose Key, such as tag:Role, has one of Values.
type NodeFilter struct {
	Key    string
	Values []string
}

// Nodes lists the managed nodes that match all filters. Permission for either operation that lists
// nodes suffices.
func (c *Client) Nodes(ctx context.Context, filters ...NodeFilter) ([]Node, error) {
	all, err := c.nodes(ctx, "DescribeInstanceInformation", filters)
	if refused, is := errors.AsType[*APIError](err); is && refused.AccessDenied() {
		if other, otherErr := c.nodes(ctx, "DescribeInstanceProperties", filters); otherErr == nil {
			return other, nil
		}
	}
	return all, err
}

func (c *Client) nodes(ctx context.Context, operation string, filters []NodeFilter) ([]Node, error) {
	in := struct {
		Filters             []NodeFilter `json:",omitempty"`
		FiltersWithOperator []NodeFilter `json:",omitempty"`
		NextToken           string       `json:",omitempty"`
		MaxResults          int
	}{MaxResults: nodesPerPage}
	if operation == "DescribeInstanceProperties" {
		in.FiltersWithOperator = filters
	} else {
		in.Filters = filters
	}
	var all []Node
	for range maxPages {
		var out struct {
			InstanceInformationList []Node
			InstanceProperties      []Node
			NextToken               string
		}
		if err := c.ssm(ctx, operation, in, &out); err != nil {
			return nil, err
		}
		all = append(append(all, out.InstanceInformationList...), out.InstanceProperties...)
		if out.NextToken == "" {
			break
		}
		in.NextToken = out.NextToken
	}
	return all, nil
}

// nodesInReach lists the nodes that a target selects among those on which the caller can start
// sessions. It needs no permission.
func (c *Client) nodesInReach(ctx context.Context, target string) ([]Node, error) {
	var out struct {
		Access []struct {
			NodeID           string `json:"NodeId"`
			NodeName         string
			ConnectionStatus string
		}
	}
	in := struct {
		Target     string
		MaxResults int
	}{target, nodesPerPage}
	if err := c.call(ctx, "sekisho", "Sekisho.ListMyAccess", in, &out); err != nil {
		return nil, err
	}
	var all []Node
	for _, e := range out.Access {
		all = append(all, Node{InstanceID: e.NodeID, NodeName: e.NodeName, State: e.ConnectionStatus})
	}
	return all, nil
}

// ConnectionStatus says whether sessions can be started on a node:
// "connected" or "notconnected".
func (c *Client) ConnectionStatus(ctx context.Context, target string) (string, error) {
	var out struct{ Status string }
	err := c.ssm(ctx, "GetConnectionStatus", struct{ Target string }{target}, &out)
	return out.Status, err
}

// SearchOptions narrows a search. Empty fields select all.
type SearchOptions struct {
	Text   string
	Owner  string `json:",omitempty"` // ARN
	Target string `json:",omitempty"`
	After  string `json:",omitempty"` // RFC 3339
	Before string `json:",omitempty"`
}

// SearchResult is a line of text that was seen in a session.
type SearchResult struct {
	SessionID string `json:"SessionId"`
	Owner     string
	Target    string
	StartedAt string
	OffsetMs  int64 // since the start
	Text      string
}

// SearchPage searches the recordings that the caller may read. next is the token of the next page;
// the returned one is empty after the last page.
func (c *Client) SearchPage(
	ctx context.Context,
	o SearchOptions,
	token string,
) (results []SearchResult, next string, err error) {
	in := struct {
		SearchOptions
		NextToken string `json:",omitempty"`
	}{o, token}
	var out struct {
		Results   []SearchResult
		NextToken string
	}
	err = c.call(ctx, "sekisho", "Sekisho.SearchSessionRecordings", in, &out)
	return out.Results, out.NextToken, err
}

// RecordingPage is a part of a session's recording.
type RecordingPage struct {
	Data       []byte
	NextOffset int64
	// NextPosition continues what [Client.RecordingFrom] began.
	NextPosition string
	TotalBytes   int64
	Complete     bool
	Sealed       bool
	Live         bool
}

// HoldRecording keeps a recording from being removed until it is released.
func (c *Client) HoldRecording(ctx context.Context, sessionID, reason string) error {
	in := struct {
		SessionID string `json:"SessionId"`
		Reason    string
	}{sessionID, reason}
	var out struct{}
	return c.call(ctx, "sekisho", "Sekisho.HoldSessionRecording", in, &out)
}

// ReleaseRecording ends a hold.
func (c *Client) ReleaseRecording(ctx context.Context, sessionID string) error {
	var out struct{}
	return c.call(ctx, "sekisho", "Sekisho.ReleaseSessionRecording", sessionInput{sessionID}, &out)
}

// StorageWorking is the state in which everything can be recorded and stored.
const StorageWorking = "working"

// RecordingStorage describes what recordings take, and where they are. The server's API documents
// the members.
type RecordingStorage struct {
	State          string
	Problems       []string
	Recordings     int64
	HeldRecordings int64
	TotalBytes     int64
	DiskBytes      int64
	LimitBytes     int64
	LimitDays      int64
	Store          *RecordingStoreState `json:",omitempty"`
}

// RecordingStoreState describes a store of recordings.
type RecordingStoreState struct {
	Location            string
	Problem             string `json:",omitempty"`
	FailingSince        string `json:",omitempty"`
	StoredBytes         int64
	WaitingBytes        int64
	WaitingRecordings   int64
	WaitingLimitBytes   int64
	CacheLimitBytes     int64
	FetchingRecordings  int64
	CheckBytesPerSecond int64
	CheckedRecordings   int64
	CheckedBytes        int64
	CheckedAt           string `json:",omitempty"`
}

// RecordingStorage returns what recordings take, and where they are.
func (c *Client) RecordingStorage(ctx context.Context) (RecordingStorage, error) {
	var out RecordingStorage
	err := c.call(ctx, "sekisho", "Sekisho.GetRecordingStorage", struct{}{}, &out)
	return out, err
}

// RecordingFrom returns the part of a session's recording that starts at a
// position: [PositionNow], or the NextPosition of an earlier page. If there is
// nothing new in a running session, the server waits for it.
func (c *Client) RecordingFrom(ctx context.Context, sessionID, position string) (RecordingPage, error) {
	in := struct {
		SessionID        string `json:"SessionId"`
		Position         string
		WaitMilliseconds int64
	}{sessionID, position, liveWait.Milliseconds()}
	var out RecordingPage
	err := c.call(ctx, "sekisho", "Sekisho.GetSessionRecording", in, &out)
	return out, err
}

// RecordingPage returns the part of a session's recording that starts at offset.
func (c *Client) RecordingPage(ctx context.Context, sessionID string, offset int64) (RecordingPage, error) {
	in := struct {
		SessionID   string `json:"SessionId"`
		StartOffset int64
	}{sessionID, offset}
	var out RecordingPage
	err := c.call(ctx, "sekisho", "Sekisho.GetSessionRecording", in, &out)
	return out, err
}
