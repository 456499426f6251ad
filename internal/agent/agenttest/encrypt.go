package agenttest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"strings"

	"sekisho/internal/wire/mgs"
)

// KeyID is the double's KMS key.
const KeyID = "arn:aws:kms:eu-test-1:123456789012:key/7d1c7d0e-0000-4000-8000-000000000001"

// wrappedKey is the double's encrypted form of a data key.
const wrappedKey = "wrapped-data-key"

// DataKey returns the data key of sessions that the double encrypts.
func DataKey() []byte {
	key := make([]byte, 64)
	for i := range key {
		key[i] = byte(i * 7)
	}
	return key
}

// sealing is the client's side of an encrypted session.
type sealing struct{ out, in cipher.AEAD }

func newSealing(key []byte) (*sealing, error) {
	var both [2]cipher.AEAD
	for i := range both {
		block, err := aes.NewCipher(key[32*i : 32*i+32])
		if err != nil {
			return nil, err
		}
		if both[i], err = cipher.NewGCM(block); err != nil {
			return nil, err
		}
	}
	return &sealing{in: both[0], out: both[1]}, nil
}

func (s *sealing) seal(with cipher.AEAD, b []byte) []byte {
	nonce := make([]byte, 12)
	_, _ = rand.Read(nonce) // never fails
	return with.Seal(nonce, nonce, b, nil)
}

func (s *sealing) open(with cipher.AEAD, b []byte) ([]byte, error) {
	if len(b) < 12 {
		return nil, errors.New("not encrypted")
	}
	return with.Open(nil, b[:12], b[12:], nil)
}

// encrypt returns the client's answer to the encryption request.
func (c *Client) encrypt() json.RawMessage {
	if c.start.Naked {
		return json.RawMessage("null")
	}
	key := c.start.Key
	if key == nil {
		key = DataKey()
	}
	seal, err := newSealing(key)
	if err != nil {
		c.s.t.Error(err)
		return nil
	}
	c.s.update(func() { c.seal = seal })
	b, err := mgs.MarshalBody(mgs.KMSEncryptionResponse{KMSCipherTextKey: []byte(wrappedKey)})
	if err != nil {
		c.s.t.Error(err)
	}
	return b
}

// prove answers the challenge, if the client can.
func (c *Client) prove(b []byte) {
	challenge, err := mgs.ParseBody[mgs.EncChallenge](b)
	if err != nil {
		c.s.t.Errorf("challenge: %v", err)
		return
	}
	plain, err := c.seal.open(c.seal.in, challenge.Challenge)
	if err != nil || c.start.Forge {
		plain = make([]byte, 64)
	}
	body, err := mgs.MarshalBody(mgs.EncChallenge{Challenge: c.seal.seal(c.seal.out, plain)})
	if err != nil {
		c.s.t.Error(err)
	}
	c.send(mgs.PayloadEncChallengeResponse, body)
}

// Inject sends data that the client did not encrypt.
func (c *Client) Inject(b []byte) {
	c.s.t.Helper()
	c.s.await("the end of the handshake of "+c.ID, func() bool { return c.complete })
	c.send(mgs.PayloadOutput, b)
}

// Wire returns everything that has passed through the relay.
func (c *Client) Wire() string {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	return c.wire.String()
}

// StdErr returns the standard error so far.
func (c *Client) StdErr() string {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	return c.stderr.String()
}

// Exit returns the text of the exit code.
func (c *Client) Exit() string {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	return c.exit
}

// AwaitExit waits for the exit code, which follows a program's output, and returns it.
func (c *Client) AwaitExit() string {
	c.s.t.Helper()
	c.s.await("the exit code of "+c.ID, func() bool { return c.exit != "" })
	return c.Exit()
}

// Message returns the text of HandshakeComplete, which the client shows.
func (c *Client) Message() string {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	return c.message
}

// decrypt is KMS.
func (s *Server) decrypt(r *http.Request, body []byte) (any, error) {
	if err := s.signed(r, "kms", body); err != nil {
		return nil, err
	}
	var in struct {
		KeyID             string `json:"KeyId"`
		CiphertextBlob    []byte
		EncryptionContext map[string]string
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, errors.New("SerializationException: " + err.Error())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.clients[in.EncryptionContext["aws:ssm:SessionId"]]
	if c == nil || in.KeyID != KeyID || string(in.CiphertextBlob) != wrappedKey {
		return nil, errors.New("AccessDeniedException: the key may not be used")
	}
	want := map[string]string{"aws:ssm:SessionId": c.ID, "aws:ssm:TargetId": c.open.ClientInstanceID}
	if !maps.Equal(want, in.EncryptionContext) || !strings.HasPrefix(want["aws:ssm:TargetId"], "mi-") {
		return nil, errors.New("InvalidCiphertextException: other context")
	}
	return map[string]any{"KeyId": KeyID, "Plaintext": DataKey()}, nil
}
