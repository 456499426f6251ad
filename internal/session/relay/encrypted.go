package relay

import (
	"errors"
	"slices"

	"sekisho"
	"sekisho/internal/session/cast"
	"sekisho/internal/wire/mgs"
)

// errEncrypts ends a session whose agent requests end-to-end encryption although the session's
// document does not enable it. Only the document can turn off recording of the content.
var errEncrypts = errors.New("the agent requested end-to-end encryption, which the session's document does not enable")

// encryption watches the handshake for the agreement to encrypt.
type encryption struct {
	asked  bool // the agent has requested it
	agreed bool // the client has agreed: from now on the session carries only ciphertext
}

// watchHandshake inspects a handshake frame. The mutex is held.
func (p *pair) watchHandshake(m *mgs.Message, from side) error {
	switch {
	case m.PayloadType == mgs.PayloadHandshakeRequest && from == agentSide:
		r, err := mgs.ParseBody[mgs.HandshakeRequest](m.Payload)
		if err != nil {
			return nil //nolint:nilerr // the client will refuse it
		}
		for _, a := range r.RequestedClientActions {
			if a.ActionType != mgs.ActionSessionType {
				continue
			}
			t, err := mgs.ParseBody[mgs.SessionTypeRequest](a.ActionParameters)
			if err != nil {
				return nil //nolint:nilerr // the client will refuse it
			}
			if err := p.rec.SetKind(t.SessionType, t.Properties); err != nil {
				return err
			}
		}
		if slices.ContainsFunc(
			r.RequestedClientActions,
			func(a mgs.RequestedAction) bool { return a.ActionType == mgs.ActionKMSEncryption },
		) {
			if p.info.Recording != sekisho.RecordingEncrypted {
				return errEncrypts
			}
			p.encryption.asked = true
		}
	case m.PayloadType == mgs.PayloadHandshakeResponse && from == clientSide && p.encryption.asked && !p.encryption.agreed:
		r, err := mgs.ParseBody[mgs.HandshakeResponse](m.Payload)
		if err != nil {
			return nil //nolint:nilerr // the agent will refuse it
		}
		if slices.ContainsFunc(r.ProcessedClientActions, func(a mgs.ProcessedAction) bool {
			return a.ActionType == mgs.ActionKMSEncryption && a.ActionStatus == mgs.ActionSuccess
		}) {
			p.encryption.agreed = true
			return p.rec.Marker(cast.EncryptedMarker)
		}
	}
	return nil
}
