package ssmagent

import (
	"bytes"
	"context"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"sekisho/internal/wire/id"
	"sekisho/internal/wire/link"
)

const userAgent = "aws-sdk-go/1.51.20 (go1.26.8; linux; amd64) amazon-ssm-agent/" + Version

// Machine is a machine with its key and identity: what an agent keeps in its
// vault. It signs its requests here rather than with the package by which the
// server verifies them.
type Machine struct {
	ID          string
	Fingerprint string
	Key         *rsa.PrivateKey

	URL    string // https://host:port
	Region string
	client *http.Client
	tls    *tls.Config

	mu    sync.Mutex
	creds credentials
}

type credentials struct {
	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string
	SessionToken    string
	// The original crashes without any of the following members.
	TokenExpirationDate *float64
	UpdateKeyPair       *bool
}

// NewMachine returns a machine that is not registered yet.
func NewMachine(url, region string, trust *tls.Config, key *rsa.PrivateKey) *Machine {
	return &Machine{
		Fingerprint: id.UUID(), Key: key, URL: url, Region: region, tls: trust,
		client: &http.Client{
			Transport: &http.Transport{TLSClientConfig: trust.Clone(), ForceAttemptHTTP2: true},
			Timeout:   15 * time.Second,
		},
	}
}

// Close closes idle connections.
func (m *Machine) Close() { m.client.CloseIdleConnections() }

// StatusError is the error of a response other than success.
type StatusError struct {
	Status int
	Body   string
	After  time.Duration // of Retry-After
}

// Error implements error.
func (e *StatusError) Error() string {
	return fmt.Sprintf("unexpected response from the service %d %s", e.Status, e.Body)
}

func (m *Machine) call(r *http.Request, want int) ([]byte, error) {
	resp, err := m.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != want {
		after, _ := strconv.Atoi(resp.Header.Get("Retry-After")) // 0 if missing
		err = &StatusError{resp.StatusCode, string(b), time.Duration(after) * time.Second}
	}
	return b, err
}

// Register is "amazon-ssm-agent -register". The request is not signed.
func (m *Machine) Register(ctx context.Context, activation, code string) error {
	der, err := x509.MarshalPKIXPublicKey(&m.Key.PublicKey)
	if err != nil {
		return err
	}
	r, err := m.json(ctx, "AmazonSSM.RegisterManagedInstance", map[string]string{
		"ActivationCode": code, "ActivationId": activation, "Fingerprint": m.Fingerprint,
		"PublicKey": base64.StdEncoding.EncodeToString(der), "PublicKeyType": "Rsa",
	})
	if err != nil {
		return err
	}
	b, err := m.call(r, http.StatusOK)
	if err != nil {
		return err
	}
	var out struct {
		InstanceID string `json:"InstanceId"`
	}
	if err := json.Unmarshal(b, &out); err != nil {
		return err
	}
	if len(out.InstanceID) < 10 {
		return fmt.Errorf("%q is no instance ID", out.InstanceID)
	}
	m.ID = out.InstanceID
	return nil
}

func (m *Machine) json(ctx context.Context, target string, in any) (*http.Request, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, m.URL+"/", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("User-Agent", userAgent)
	r.Header.Set("X-Amz-Target", target)
	return r, nil
}

// RoleToken renews the credentials. The request has no Content-Length, and
// what it calls an HMAC is an RSA signature.
func (m *Machine) RoleToken(ctx context.Context) error {
	r, err := m.json(ctx, "AmazonSSM.RequestManagedInstanceRoleToken", map[string]string{"Fingerprint": m.Fingerprint})
	if err != nil {
		return err
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	r.Body, r.ContentLength, r.GetBody = io.NopCloser(bytes.NewReader(body)), -1, nil
	now := time.Now().UTC()
	r.Header.Set("X-Amz-Date", now.Format("20060102T150405Z"))
	names := []string{"content-type", "host", "x-amz-date", "x-amz-target"}
	scope := now.Format("20060102") + "/" + m.Region + "/ssm/aws4_request"
	digest := sha256.Sum256([]byte(stringToSign(r, names, scope, body)))
	signature, err := rsa.SignPSS(rand.Reader, m.Key, crypto.SHA256, digest[:], &rsa.PSSOptions{SaltLength: 32})
	if err != nil {
		return err
	}
	r.Header.Set("X-Amz-Content-Sha256", hash(body)) // sent but not signed
	authorize(r, m.ID, scope, names, base64.StdEncoding.EncodeToString(signature))
	b, err := m.call(r, http.StatusOK)
	if err != nil {
		return err
	}
	var c credentials
	if err := json.Unmarshal(b, &c); err != nil {
		return err
	}
	if c.AccessKeyID == "" || c.SecretAccessKey == "" || c.SessionToken == "" || c.TokenExpirationDate == nil ||
		c.UpdateKeyPair == nil {
		return errors.New("the answer lacks what the original does not look for before using it")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.creds = c
	return nil
}

// Report sends the facts of a machine as at a start: first a short report,
// then the complete one, twice at a time.
func (m *Machine) Report(ctx context.Context) error {
	brief := map[string]string{
		"AgentName":    "amazon-ssm-agent",
		"AgentVersion": Version,
		"InstanceId":   m.ID,
		"PlatformType": "Linux",
	}
	if _, err := m.SSM(ctx, "UpdateInstanceInformation", brief); err != nil {
		return err
	}
	whole := map[string]string{
		"AgentName": "amazon-ssm-agent", "AgentStatus": "Active", "AgentVersion": Version, "AvailabilityZone": "",
		"AvailabilityZoneId": "",
		"ComputerName":       "double", "IPAddress": "192.0.2.7", "InstanceId": m.ID, "PlatformName": "Debian GNU/Linux",
		"PlatformType":    "Linux",
		"PlatformVersion": "12", "SSMConnectionChannel": "",
	}
	var both sync.WaitGroup
	var errs [2]error
	for i := range errs {
		both.Go(func() { _, errs[i] = m.SSM(ctx, "UpdateInstanceInformation", whole) })
	}
	both.Wait()
	return errors.Join(errs[:]...)
}

// SSM calls an operation of ssm with the role's credentials.
func (m *Machine) SSM(ctx context.Context, operation string, in any) ([]byte, error) {
	return m.signedJSON(ctx, "ssm", "AmazonSSM."+operation, in)
}

// Messages polls the older message service once.
func (m *Machine) Messages(ctx context.Context) ([]byte, error) {
	return m.signedJSON(ctx, "ec2messages", "EC2WindowsMessageDeliveryService.GetMessages", map[string]any{
		"Destination": m.ID, "MessagesRequestId": id.UUID(), "VisibilityTimeoutInSeconds": 10,
	})
}

func (m *Machine) signedJSON(ctx context.Context, service, target string, in any) ([]byte, error) {
	r, err := m.json(ctx, target, in)
	if err != nil {
		return nil, err
	}
	if err := m.sign(r, service, "content-length", "content-type", "host", "x-amz-date", "x-amz-security-token",
		"x-amz-target"); err != nil {
		return nil, err
	}
	return m.call(r, http.StatusOK)
}

// sign signs a request with the role's credentials, over these headers.
func (m *Machine) sign(r *http.Request, service string, names ...string) error {
	m.mu.Lock()
	c := m.creds
	m.mu.Unlock()
	var body []byte
	if r.GetBody != nil {
		rc, err := r.GetBody()
		if err != nil {
			return err
		}
		if body, err = io.ReadAll(rc); err != nil {
			return err
		}
	}
	now := time.Now().UTC()
	r.Header.Set("X-Amz-Date", now.Format("20060102T150405Z"))
	r.Header.Set("X-Amz-Security-Token", c.SessionToken)
	day := now.Format("20060102")
	key := []byte("AWS4" + c.SecretAccessKey)
	for _, part := range []string{day, m.Region, service, "aws4_request"} {
		key = mac(key, part)
	}
	scope := day + "/" + m.Region + "/" + service + "/aws4_request"
	authorize(r, c.AccessKeyID, scope, names, hex.EncodeToString(mac(key, stringToSign(r, names, scope, body))))
	return nil
}

func authorize(r *http.Request, key, scope string, names []string, signature string) {
	r.Header.Set(
		"Authorization",
		"AWS4-HMAC-SHA256 Credential="+key+"/"+scope+", SignedHeaders="+strings.Join(
			names,
			";",
		)+", Signature="+signature,
	)
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	_, _ = io.WriteString(h, text) // never fails
	return h.Sum(nil)
}

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func stringToSign(r *http.Request, names []string, scope string, body []byte) string {
	var headers strings.Builder
	for _, name := range names {
		value := r.Header.Get(name)
		switch name {
		case "host":
			value = r.URL.Host
		case "content-length":
			value = fmt.Sprint(r.ContentLength)
		}
		headers.WriteString(name + ":" + value + "\n")
	}
	query := strings.Split(r.URL.RawQuery, "&")
	slices.Sort(query)
	canonical := strings.Join([]string{
		r.Method, r.URL.EscapedPath(), strings.Join(query, "&"), headers.String(), strings.Join(names, ";"), hash(body),
	}, "\n")
	return strings.Join([]string{"AWS4-HMAC-SHA256", r.Header.Get("X-Amz-Date"), scope, hash([]byte(canonical))}, "\n")
}

// Token implements [Gateway].
func (m *Machine) Token(ctx context.Context, kind, name string) (string, error) {
	body := `{"MessageSchemaVersion":"1.0","RequestId":"` + id.UUID() + `"`
	if kind == "data-channel" {
		body += `,"ClientId":""`
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, m.URL+"/v1/"+kind+"/"+name, strings.NewReader(body+"}"))
	if err != nil {
		return "", err
	}
	r.Header.Set("Content-Type", "application/json")
	if err := m.sign(r, "ssmmessages", "content-type", "host", "x-amz-date", "x-amz-security-token"); err != nil {
		return "", err
	}
	b, err := m.call(r, http.StatusCreated)
	if err != nil {
		return "", err
	}
	var out struct{ TokenValue string }
	if err := xml.Unmarshal(b, &out); err != nil {
		return "", err
	}
	return out.TokenValue, nil
}

// Dial implements [Gateway].
func (m *Machine) Dial(ctx context.Context, kind, name string) (Conn, error) {
	conn, err := m.Link(ctx, kind, name)
	if err != nil {
		return nil, err
	}
	return socket{conn}, nil
}

// Link opens a channel and sends its first frame.
func (m *Machine) Link(ctx context.Context, kind, name string) (*link.Conn, error) {
	query := "?role=publish_subscribe"
	if kind == "control-channel" {
		query = "?role=subscribe&stream=input"
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, m.URL+"/v1/"+kind+"/"+name+query, nil)
	if err != nil {
		return nil, err
	}
	if err := m.sign(r, "ssmmessages", "host", "x-amz-date", "x-amz-security-token"); err != nil {
		return nil, err
	}
	return link.Dial(
		ctx,
		"wss"+strings.TrimPrefix(r.URL.String(), "https"),
		link.DialOptions{Header: r.Header, TLS: m.tls},
	)
}

// Decrypt implements [Gateway].
func (m *Machine) Decrypt(
	ctx context.Context,
	keyID string,
	blob []byte,
	encryptionContext map[string]string,
) ([]byte, error) {
	b, err := m.signedJSON(ctx, "kms", "TrentService.Decrypt", map[string]any{
		"CiphertextBlob": blob, "EncryptionContext": encryptionContext, "KeyId": keyID,
	})
	if err != nil {
		return nil, err
	}
	var out struct{ Plaintext []byte }
	err = json.Unmarshal(b, &out)
	return out.Plaintext, err
}

// socket is a [Conn] to a real server.
type socket struct{ *link.Conn }

// Read implements [Conn].
func (s socket) Read(ctx context.Context) (bool, []byte, error) {
	kind, b, err := s.Conn.Read(ctx)
	return kind == link.Text, b, err
}

// Write implements [Conn].
func (s socket) Write(ctx context.Context, text bool, frame []byte) error {
	kind := link.Binary
	if text {
		kind = link.Text
	}
	return s.Conn.Write(ctx, kind, frame)
}

// Drop implements [Conn].
func (s socket) Drop() { _ = s.CloseNow() } // nothing to report it to
