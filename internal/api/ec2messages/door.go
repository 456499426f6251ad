// Package ec2messages is the door of the older message channel, which AWS's agent polls until its
// control channel is open and whenever that is refused. It never delivers anything, because
// commands and sessions use the control channel. Its answers only keep the agent from treating the
// server as faulty.
package ec2messages

import (
	"context"
	"time"

	"sekisho"
	"sekisho/internal/api"
	"sekisho/internal/node/fleet"
	"sekisho/internal/wire/awsproto"
	"sekisho/internal/wire/id"
)

// poll is how long GetMessages waits. The agent gives up after 20 s, and pauses after an answer
// that takes less than a second.
const poll = 15 * time.Second

// Config is the configuration of the door.
type Config struct {
	Fleet *fleet.Fleet
	// Done ends every poll when the server stops.
	Done context.Context
}

type door struct{ Config }

// New returns the door.
func New(cfg Config) *api.Door {
	d := &door{cfg}
	return &api.Door{
		Service: "ec2messages", Protocol: awsproto.JSON,
		Operations: map[string]api.Operation{
			"GetMessages":        api.Read(d.getMessages),
			"AcknowledgeMessage": api.Write(d.aboutMessage),
			"DeleteMessage":      api.Write(d.aboutMessage),
			"FailMessage":        api.Write(d.aboutMessage),
			"SendReply":          api.Write(d.sendReply),
		},
	}
}

type getMessagesRequest struct {
	Destination       string
	MessagesRequestID string `json:"MessagesRequestId"`
}

type getMessagesAnswer struct {
	Destination       string
	MessagesRequestID string `json:"MessagesRequestId"`
	Messages          []struct{}
}

func (d *door) getMessages(ctx context.Context, c *api.Call, in *getMessagesRequest) (*getMessagesAnswer, error) {
	if err := d.authorize(ctx, c); err != nil {
		return nil, err
	}
	var v awsproto.Constraints
	v.Length("destination", in.Destination, 10, 124)
	v.Length("messagesRequestId", in.MessagesRequestID, 16, 128)
	if err := v.Err(); err != nil {
		return nil, err
	}
	if node := c.Principal.Node; string(node) != in.Destination {
		if id.ValidNode(in.Destination) {
			d.Fleet.FalseClaim(ctx, node, sekisho.NodeID(in.Destination), c.SourceIP.String())
		}
		return nil, sekisho.Errorf(sekisho.CodeDenied,
			"The credentials are not those of the destination %.64q.", in.Destination)
	}
	d.quiet(ctx)
	return &getMessagesAnswer{in.Destination, in.MessagesRequestID, []struct{}{}}, nil
}

// quiet waits for the duration of a poll without messages.
func (d *door) quiet(ctx context.Context) {
	timer := time.NewTimer(poll)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-d.Done.Done():
	}
}

type messageRequest struct {
	MessageID string `json:"MessageId"`
}

// aboutMessage accepts an agent's report about a message, so that the agent drops the message. It
// can only be from another server, and kept by the agent.
func (d *door) aboutMessage(ctx context.Context, c *api.Call, in *messageRequest) (*struct{}, error) {
	if err := d.authorize(ctx, c); err != nil {
		return nil, err
	}
	var v awsproto.Constraints
	v.Length("messageId", in.MessageID, 16, 256)
	return &struct{}{}, v.Err()
}

type replyRequest struct {
	MessageID string `json:"MessageId"`
	ReplyID   string `json:"ReplyId"`
}

// sendReply is [door.aboutMessage] for a reply.
func (d *door) sendReply(ctx context.Context, c *api.Call, in *replyRequest) (*struct{}, error) {
	if err := d.authorize(ctx, c); err != nil {
		return nil, err
	}
	var v awsproto.Constraints
	v.Length("messageId", in.MessageID, 16, 256)
	v.Length("replyId", in.ReplyID, 16, 256)
	return &struct{}{}, v.Err()
}

// authorize requires a node whose role allows the operation.
func (d *door) authorize(ctx context.Context, c *api.Call) error {
	if err := c.Authorize(ctx, "ec2messages:"+c.Operation, "*"); err != nil {
		return err
	}
	if c.Principal.NodeProgram {
		return api.ErrNodeProgram
	}
	if c.Principal.Node == "" {
		return sekisho.Errorf(sekisho.CodeDenied, "Only managed nodes can call this operation.")
	}
	return nil
}
