package session

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"

	"sekisho"
	"sekisho/internal/agent/plugin"
	"sekisho/internal/wire/datachannel"
	"sekisho/internal/wire/mgs"
)

// Sizes of AES-256-GCM as sessions use it. The data key is two keys: the
// first encrypts what the agent sends, the second what the client sends.
const (
	dataKeySize   = 64
	nonceSize     = 12
	sealOverhead  = nonceSize + 16
	challengeSize = 64
)

// sealed is an end-to-end encrypted channel.
type sealed struct {
	ch      *datachannel.Channel
	out, in cipher.AEAD
	most    int // bytes of one payload before encryption
}

var _ plugin.Stream = (*sealed)(nil)

func newSealed(ch *datachannel.Channel, key []byte) (*sealed, error) {
	if len(key) != dataKeySize {
		return nil, fmt.Errorf("the data key has %d bytes; want %d", len(key), dataKeySize)
	}
	out, err := gcm(key[:dataKeySize/2])
	if err != nil {
		return nil, err
	}
	in, err := gcm(key[dataKeySize/2:])
	if err != nil {
		return nil, err
	}
	return &sealed{ch: ch, out: out, in: in, most: payloadOther}, nil
}

func gcm(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func (s *sealed) seal(p []byte) []byte {
	b := make([]byte, nonceSize, len(p)+sealOverhead)
	_, _ = rand.Read(b) // never fails
	return s.out.Seal(b, b, p, nil)
}

// errNotSealed ends a session after data that the client cannot have sent.
var errNotSealed = errors.New(
	"cannot decrypt data from the client: it was changed in transit, or encrypted with another key",
)

func (s *sealed) unseal(b []byte) ([]byte, error) {
	if len(b) < sealOverhead {
		return nil, errNotSealed
	}
	p, err := s.in.Open(nil, b[:nonceSize], b[nonceSize:], nil)
	if err != nil {
		return nil, errNotSealed
	}
	return p, nil
}

// Send implements [plugin.Stream].
func (s *sealed) Send(ctx context.Context, pt mgs.PayloadType, p []byte) error {
	switch pt {
	case mgs.PayloadOutput, mgs.PayloadStdErr, mgs.PayloadExitCode, mgs.PayloadCopy:
	default:
		return s.ch.Send(ctx, pt, p)
	}
	for len(p) > 0 {
		piece := p[:min(len(p), s.most)]
		p = p[len(piece):]
		if err := s.ch.Send(ctx, pt, s.seal(piece)); err != nil {
			return err
		}
	}
	return nil
}

// Receive implements [plugin.Stream].
func (s *sealed) Receive(ctx context.Context) (mgs.PayloadType, []byte, error) {
	pt, b, err := s.ch.Receive(ctx)
	if err == nil && (pt == mgs.PayloadOutput || pt == mgs.PayloadCopy) {
		b, err = s.unseal(b)
	}
	return pt, b, err
}

// unwrap has KMS decrypt the data key that KMS created for the client.
func (s *Runner) unwrap(ctx context.Context, keyID string, answer mgs.ProcessedAction) ([]byte, error) {
	var wrapped mgs.KMSEncryptionResponse
	if len(answer.ActionResult) > 0 {
		var err error
		if wrapped, err = mgs.ParseBody[mgs.KMSEncryptionResponse](answer.ActionResult); err != nil {
			return nil, sekisho.Errorf(sekisho.CodeInvalid, "The client's key is malformed.")
		}
	}
	if len(wrapped.KMSCipherTextKey) == 0 {
		return nil, sekisho.Errorf(sekisho.CodeInvalid, "The client sent no key to encrypt the session.")
	}
	key, err := s.Decrypt(ctx, keyID, wrapped.KMSCipherTextKey, map[string]string{
		"aws:ssm:SessionId": string(s.id),
		"aws:ssm:TargetId":  string(s.Node),
	})
	if err != nil {
		return nil, sekisho.Errorf(
			sekisho.CodeDenied,
			"The session cannot be encrypted, because the node cannot use its key: %w.",
			err,
		)
	}
	return key, nil
}

// challenge makes the client prove that it has the data key.
func (s *sealed) challenge(ctx context.Context) error {
	secret := make([]byte, challengeSize)
	_, _ = rand.Read(secret) // never fails
	body, err := mgs.MarshalBody(mgs.EncChallenge{Challenge: s.seal(secret)})
	if err != nil {
		return err
	}
	if err := s.ch.Send(ctx, mgs.PayloadEncChallengeRequest, body); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	for {
		pt, b, err := s.ch.Receive(ctx)
		if err != nil {
			return fmt.Errorf("handshake: %w", err)
		}
		if plugin.Terminates(pt, b) {
			return plugin.ErrTerminate
		}
		if pt != mgs.PayloadEncChallengeResponse {
			continue
		}
		answer, err := mgs.ParseBody[mgs.EncChallenge](b)
		if err != nil {
			return sekisho.Errorf(sekisho.CodeInvalid, "The client's answer to the challenge is malformed.")
		}
		got, err := s.unseal(answer.Challenge)
		if err != nil || subtle.ConstantTimeCompare(got, secret) != 1 {
			return sekisho.Errorf(sekisho.CodeDenied, "The client did not prove that it has the session's key.")
		}
		return nil
	}
}
