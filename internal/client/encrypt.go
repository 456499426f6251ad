package client

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"

	"sekisho/internal/wire/mgs"
)

// dataKeySize is the size of the data key that both ends split.
const dataKeySize = 64

// sealOverhead is the number of bytes that encryption adds to a message: nonce and tag.
const sealOverhead = 12 + 16

// cipherPair encrypts what the client sends and decrypts what the node sends.
type cipherPair struct {
	out, in cipher.AEAD
}

// newCipherPair splits a data key. The first half encrypts the node's data.
func newCipherPair(key []byte) (*cipherPair, error) {
	if len(key) != dataKeySize {
		return nil, fmt.Errorf("the data key has %d bytes, not %d", len(key), dataKeySize)
	}
	in, err := gcm(key[:dataKeySize/2])
	if err != nil {
		return nil, err
	}
	out, err := gcm(key[dataKeySize/2:])
	if err != nil {
		return nil, err
	}
	return &cipherPair{out: out, in: in}, nil
}

func gcm(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func (c *cipherPair) seal(p []byte) []byte {
	b := make([]byte, c.out.NonceSize(), c.out.NonceSize()+len(p)+c.out.Overhead())
	_, _ = rand.Read(b) // never fails
	return c.out.Seal(b, b, p, nil)
}

func (c *cipherPair) open(b []byte) ([]byte, error) {
	n := c.in.NonceSize()
	if len(b) < n {
		return nil, errors.New("the node sent data that is not encrypted")
	}
	p, err := c.in.Open(nil, b[:n], b[n:], nil)
	if err != nil {
		return nil, errors.New(
			"data from the node does not decrypt: it was changed in transit, or encrypted with another key",
		)
	}
	return p, nil
}

// encrypt agrees with the node on a data key that the server does not know. The
// result contains the data key, encrypted with the KMS key.
func (l *leg) encrypt(ctx context.Context, action mgs.RequestedAction) (json.RawMessage, error) {
	req, err := mgs.ParseBody[mgs.KMSEncryptionRequest](action.ActionParameters)
	if err != nil {
		return nil, errors.New("The node's encryption request is malformed.") // shown to the user
	}
	wrapped, key, err := l.client.generateDataKey(ctx, req.KMSKeyID, map[string]string{
		"aws:ssm:SessionId": l.stream.SessionID,
		"aws:ssm:TargetId":  l.target,
	})
	if err != nil {
		return nil, fmt.Errorf("cannot get a key to encrypt the session: %w", err)
	}
	if l.cipher, err = newCipherPair(key); err != nil {
		return nil, err
	}
	return mgs.MarshalBody(mgs.KMSEncryptionResponse{KMSCipherTextKey: wrapped})
}

// prove answers the node's challenge, which proves that the client has the key.
func (l *leg) prove(ctx context.Context, b []byte) error {
	if l.cipher == nil {
		return errors.New("the node sent a challenge but did not request encryption")
	}
	challenge, err := mgs.ParseBody[mgs.EncChallenge](b)
	if err != nil {
		return err
	}
	plain, err := l.cipher.open(challenge.Challenge)
	if err != nil {
		return err
	}
	answer, err := mgs.MarshalBody(mgs.EncChallenge{Challenge: l.cipher.seal(plain)})
	if err != nil {
		return err
	}
	return l.ch.Send(ctx, mgs.PayloadEncChallengeResponse, answer)
}

// generateDataKey has KMS create a data key, and returns it encrypted and as plaintext.
func (c *Client) generateDataKey(
	ctx context.Context,
	keyID string,
	encryptionContext map[string]string,
) (wrapped, key []byte, err error) {
	in := struct {
		KeyID             string `json:"KeyId"`
		NumberOfBytes     int
		EncryptionContext map[string]string
	}{keyID, dataKeySize, encryptionContext}
	var out struct{ CiphertextBlob, Plaintext []byte }
	endpoint := first(c.cfg.KMSEndpoint, c.cfg.Endpoint)
	if err := c.callAt(ctx, endpoint, "kms", "TrentService.GenerateDataKey", in, &out); err != nil {
		return nil, nil, err
	}
	if len(out.CiphertextBlob) == 0 {
		return nil, nil, errors.New("GenerateDataKey: the response contains no encrypted key")
	}
	return out.CiphertextBlob, out.Plaintext, nil
}
