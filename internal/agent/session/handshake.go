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
	"sekisho/internal/ssmdoc"
	"sekisho/internal/wire/datachannel"
	"sekisho/internal/wire/mgs"
)

// client is what the handshake tells of the client.
type client struct {
	version string
	size    mgs.Size // zero when it was not told yet
	able    []string // what it can beyond AWS's: "half-close"
	stream  plugin.Stream
	echo    func(on bool) // tells the server whether the terminal echoes
}

// can reports whether the client says that it can do something.
func (c *client) can(what string) bool {
	for _, a := range c.able {
		if a == what {
			return true
		}
	}
	return false
}

// encryptedNote is what the client shows of an encrypted session.
const encryptedNote = "This session is encrypted from end to end with a key of KMS."

// handshake agrees with the client on the session's type and, where the
// document has a key, on encryption. It waits for the client for as long as
// the session is not cancelled, as the client may come much later.
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
	if most < payloadPlugin && len(note) > payloadOther/2 {
		note = strings.ToValidUTF8(note[:payloadOther/2], "") + "…"
	}
	complete, err := mgs.MarshalBody(
		mgs.HandshakeComplete{HandshakeTimeToComplete: time.Since(began), CustomerMessage: note},
	)
	if err != nil {
		return nil, err
	}
	ch.SetMaxPayload(max(most, len(complete))) // no client puts a message of this kind together
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

// await waits for the client's answer. Like AWS's agent it drops whatever
// else comes first, but for the size of the terminal.
//
// A client that knows no handshakes, as the npm package ssm-session, sends its
// size and what is typed instead. Where ungreeted allows that, await returns
// errUngreeted for such a client, and the stream of c begins with what it sent.
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
				err = sekisho.Errorf(sekisho.CodeInvalid, "The client's handshake cannot be read.")
			}
			return response, err
		}
	}
}

// errUngreeted says that the client makes no handshake.
var errUngreeted = errors.New("the client makes no handshake")

// ungreetedAfter is how long a client that has sent something else first may
// take to answer the handshake. AWS's plugin answers before it sends anything.
const ungreetedAfter = 2 * time.Second

// maxEarly bounds what is kept of a client that has not answered.
const maxEarly = 64

// mayGoUngreeted reports whether a session does without the handshake: AWS's
// agent makes none for a shell or a command at a terminal without encryption.
func (d *content) mayGoUngreeted() bool {
	return (d.SessionType == ssmdoc.StandardStream || d.SessionType == ssmdoc.InteractiveCommands) &&
		d.Inputs.KMSKeyID == ""
}

type payload struct {
	pt mgs.PayloadType
	b  []byte
}

// begun is a stream the beginning of which has been received.
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

// encrypt has both ends encrypt, and makes sure that the client does.
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

// accepted is the client's answer to an action it was asked for, and does.
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
		"The client did not answer whether it can %s: %.200s",
		what,
		strings.Join(r.Errors, "; "),
	)
}

// abilities are what our client says of itself. Others give no result.
func abilities(result json.RawMessage) []string {
	var told struct {
		Sekisho []string `json:"sekisho"`
	}
	if json.Unmarshal(result, &told) != nil {
		return nil
	}
	return told.Sekisho
}

// Largest payloads that clients take. AWS's plugin reads whatever follows the
// header. Other programs of AWS's protocol use fixed buffers of 2048 bytes.
const (
	payloadOurs   = mgs.LargePayload
	payloadPlugin = 8 << 10
	payloadOther  = 1 << 10
)

// maxPayload tells by a client's version how large messages to it may be:
// AWS's plugin is "1." and three more numbers.
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

// multiplexes reports whether a client carries many connections at once.
func (c *client) multiplexes() bool {
	return strings.HasPrefix(c.version, "sekisho") || atLeast(c.version, 1, 1, 70)
}
