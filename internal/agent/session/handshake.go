package session

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/agent/plugin"
	"sekisho/internal/agent/uplink"
	"sekisho/internal/safetext"
	"sekisho/internal/ssmdoc"
	"sekisho/internal/wire/datachannel"
	"sekisho/internal/wire/mgs"
)

// client is the client as described by the handshake.
type client struct {
	version string
	size    mgs.Size // zero if not received yet
	able    []string // its features beyond AWS's client, such as "half-close"
	stream  plugin.Stream
	echo    func(on bool) // reports to the server whether the terminal echoes
}

// can reports whether the client supports a feature.
func (c *client) can(what string) bool {
	for _, a := range c.able {
		if a == what {
			return true
		}
	}
	return false
}

// encryptedNote is the text that the client shows for an encrypted session.
const encryptedNote = "This session is encrypted end to end with a KMS key."

// handshake agrees with the client on the session's type and, if the document has a KMS key, on
// encryption. It waits until the session is cancelled, because the client can connect much later.
func (s *Runner) handshake(
	ctx context.Context,
	ch *datachannel.Channel,
	doc *content,
	properties json.RawMessage,
) (*client, error) {
	began := time.Now()
	request, err := s.request(doc, properties)
	if err != nil {
		return nil, err
	}
	if err := ch.Send(ctx, mgs.PayloadHandshakeRequest, request); err != nil {
		return nil, fmt.Errorf("handshake: %w", err)
	}
	c := &client{stream: ch}
	response, err := c.await(ctx, ch, doc.mayGoUngreeted())
	if errors.Is(err, errUngreeted) {
		ch.SetMaxPayload(payloadOther)
		if banner := doc.Inputs.Sekisho.Banner; banner != "" {
			err = ch.Send(ctx, mgs.PayloadOutput, []byte(strings.ReplaceAll(banner, "\n", "\r\n")+"\r\n"))
			return c, err
		}
		return c, nil
	}
	if err != nil {
		return nil, err
	}
	c.version = response.ClientVersion
	most := maxPayload(c.version)
	answer, err := accepted(response, mgs.ActionSessionType, "run this type of session")
	if err != nil {
		return nil, err
	}
	c.able = abilities(answer.ActionResult)
	switch {
	case c.can(mgs.AbilityJumboFrames):
		most = mgs.JumboPayload
	case c.can(mgs.AbilityLargeFrames):
		most = payloadOurs
	}
	if c.can(mgs.AbilityChecksums) {
		ch.SetChecksums()
	}
	notes := []string{}
	if doc.Inputs.Sekisho.Banner != "" {
		notes = append(notes, doc.Inputs.Sekisho.Banner)
	}
	if doc.Inputs.KMSKeyID != "" {
		sealed, err := s.encrypt(ctx, ch, doc.Inputs.KMSKeyID, response)
		if err != nil {
			return nil, err
		}
		sealed.most = most
		most += sealOverhead
		c.stream = sealed
		notes = append(notes, encryptedNote)
	}
	note := strings.Join(notes, "\n")
	if most < payloadPlugin {
		note = safetext.Clip(note, payloadOther/2)
	}
	complete, err := mgs.MarshalBody(
		mgs.HandshakeComplete{HandshakeTimeToComplete: time.Since(began), CustomerMessage: note},
	)
	if err != nil {
		return nil, err
	}
	ch.SetMaxPayload(max(most, len(complete))) // clients do not reassemble this type of message
	err = ch.Send(ctx, mgs.PayloadHandshakeComplete, complete)
	ch.SetMaxPayload(most)
	return c, err
}

func (s *Runner) request(doc *content, properties json.RawMessage) ([]byte, error) {
	params, err := mgs.MarshalBody(mgs.SessionTypeRequest{SessionType: doc.SessionType, Properties: properties})
	if err != nil {
		return nil, err
	}
	request := mgs.HandshakeRequest{
		AgentVersion:           uplink.Version,
		Abilities:              []string{mgs.AbilityJumboFrames, mgs.AbilityChecksums},
		RequestedClientActions: []mgs.RequestedAction{{ActionType: mgs.ActionSessionType, ActionParameters: params}},
	}
	if doc.Inputs.KMSKeyID != "" {
		challenge := make([]byte, 16)
		_, _ = rand.Read(challenge) // never fails
		params, err := mgs.MarshalBody(mgs.KMSEncryptionRequest{
			KMSKeyID: doc.Inputs.KMSKeyID, Challenge: base64.StdEncoding.EncodeToString(challenge),
		})
		if err != nil {
			return nil, err
		}
		request.RequestedClientActions = append(request.RequestedClientActions,
			mgs.RequestedAction{ActionType: mgs.ActionKMSEncryption, ActionParameters: params})
	}
	return mgs.MarshalBody(request)
}

// await waits for the client's answer. Like AWS's agent, it drops any payload before it, except the
// terminal's size.
//
// A client without handshake support, such as the npm package ssm-session, sends its size and input
// instead. If ungreeted allows that, await returns errUngreeted for such a client, and the stream
// of c begins with those payloads.
func (c *client) await(ctx context.Context, ch *datachannel.Channel, ungreeted bool) (mgs.HandshakeResponse, error) {
	var early []payload
	wait, cancel := context.WithCancel(ctx)
	defer cancel()
	for {
		pt, b, err := ch.Receive(wait)
		if wait.Err() != nil && ctx.Err() == nil {
			c.stream = &begun{Stream: ch, early: early}
			return mgs.HandshakeResponse{}, errUngreeted
		}
		if ungreeted && err == nil && (pt == mgs.PayloadSize || pt == mgs.PayloadOutput) && len(early) < maxEarly {
			if len(early) == 0 {
				patience := time.AfterFunc(ungreetedAfter, cancel)
				defer patience.Stop()
			}
			early = append(early, payload{pt, bytes.Clone(b)})
		}
		if err != nil {
			return mgs.HandshakeResponse{}, fmt.Errorf("handshake: %w", err)
		}
		switch {
		case pt == mgs.PayloadSize:
			if got, err := mgs.ParseBody[mgs.Size](b); err == nil && got.Cols > 0 && got.Rows > 0 {
				c.size = got
			}
		case plugin.Terminates(pt, b):
			return mgs.HandshakeResponse{}, plugin.ErrTerminate
		case pt == mgs.PayloadHandshakeResponse:
			response, err := mgs.ParseBody[mgs.HandshakeResponse](b)
			if err != nil {
				err = sekisho.Errorf(sekisho.CodeInvalid, "The client's handshake is malformed.")
			}
			return response, err
		}
	}
}

// errUngreeted means that the client does not support the handshake.
var errUngreeted = errors.New("the client does not support the handshake")

// ungreetedAfter bounds the time for the handshake's answer after another payload. AWS's plugin
// answers before it sends anything else.
const ungreetedAfter = 2 * time.Second

// maxEarly bounds the payloads stored before the client's answer.
const maxEarly = 64

// mayGoUngreeted reports whether a session can start without the handshake: AWS's agent skips it
// for an unencrypted shell or a command on a terminal.
func (d *content) mayGoUngreeted() bool {
	return (d.SessionType == ssmdoc.StandardStream || d.SessionType == ssmdoc.InteractiveCommands) &&
		d.Inputs.KMSKeyID == ""
}

type payload struct {
	pt mgs.PayloadType
	b  []byte
}

// begun is a stream whose first payloads have already been received.
type begun struct {
	plugin.Stream
	early []payload
}

// Receive implements [plugin.Stream].
func (s *begun) Receive(ctx context.Context) (mgs.PayloadType, []byte, error) {
	if len(s.early) > 0 {
		first := s.early[0]
		s.early = s.early[1:]
		return first.pt, first.b, nil
	}
	return s.Stream.Receive(ctx)
}

// encrypt enables encryption on both ends, and verifies that the client encrypts.
func (s *Runner) encrypt(
	ctx context.Context,
	ch *datachannel.Channel,
	keyID string,
	response mgs.HandshakeResponse,
) (*sealed, error) {
	answer, err := accepted(response, mgs.ActionKMSEncryption, "encrypt this session")
	if err != nil {
		return nil, err
	}
	key, err := s.unwrap(ctx, keyID, answer)
	if err != nil {
		return nil, err
	}
	sealed, err := newSealed(ch, key)
	if err != nil {
		return nil, sekisho.Errorf(sekisho.CodeInvalid, "The session cannot be encrypted: %w.", err)
	}
	return sealed, sealed.challenge(ctx)
}

// accepted returns the client's successful answer to a requested action.
func accepted(r mgs.HandshakeResponse, action, what string) (mgs.ProcessedAction, error) {
	for _, a := range r.ProcessedClientActions {
		if a.ActionType != action {
			continue
		}
		if a.ActionStatus == mgs.ActionSuccess {
			return a, nil
		}
		return a, sekisho.Errorf(sekisho.CodeInvalid, "The client cannot %s: %.200s", what, a.Error)
	}
	return mgs.ProcessedAction{}, sekisho.Errorf(
		sekisho.CodeInvalid,
		"The client did not confirm that it can %s: %.200s",
		what,
		strings.Join(r.Errors, "; "),
	)
}

// abilities parses the features of Sekisho's client. Other clients send no result.
func abilities(result json.RawMessage) []string {
	var answer struct {
		Sekisho []string `json:"sekisho"`
	}
	if json.Unmarshal(result, &answer) != nil {
		return nil
	}
	return answer.Sekisho
}

// Largest payloads that clients accept. AWS's plugin reads messages of any size. Other programs
// with AWS's protocol use fixed buffers of 2048 bytes.
const (
	payloadOurs   = mgs.LargePayload
	payloadPlugin = 8 << 10
	payloadOther  = 1 << 10
)

// maxPayload returns the maximum payload for a client, based on its version: AWS's plugin has "1."
// and three more numbers.
func maxPayload(version string) int {
	switch {
	case strings.HasPrefix(version, "sekisho"):
		return payloadOurs
	case strings.HasPrefix(version, "1.") && strings.Count(version, ".") == 3:
		return payloadPlugin
	}
	return payloadOther
}

// atLeast compares a client's version with one of three or more numbers.
func atLeast(version string, least ...int) bool {
	parts := strings.Split(version, ".")
	for i, want := range least {
		if i == len(parts) {
			return false
		}
		n, err := strconv.Atoi(parts[i])
		if err != nil {
			return false
		}
		if c := cmp.Compare(n, want); c != 0 {
			return c > 0
		}
	}
	return true
}

// multiplexes reports whether a client supports several connections at once.
func (c *client) multiplexes() bool {
	return strings.HasPrefix(c.version, "sekisho") || atLeast(c.version, 1, 1, 70)
}
