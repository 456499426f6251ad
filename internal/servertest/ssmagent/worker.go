package ssmagent

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"sekisho/internal/wire/mgs"
)

// worker is the process of a session.
type worker struct {
	a    *Agent
	task mgs.AgentTaskPayload
	doc  content
	ch   *channel

	// cancelled is done when the session must end, killed when the process
	// must.
	cancelled context.Context
	cancel    context.CancelFunc
	dead      context.Context
	kill      context.CancelFunc
}

// content is what the agent reads of a document.
type content struct {
	SchemaVersion string `json:"schemaVersion"`
	SessionType   string `json:"sessionType"`
	Inputs        struct {
		KMSKeyID     string `json:"kmsKeyId"`
		ShellProfile struct {
			Linux string `json:"linux"`
		} `json:"shellProfile"`
	} `json:"inputs"`
	Parameters map[string]struct {
		Default any `json:"default"`
	} `json:"parameters"`
	Properties any `json:"properties"`
}

// result is how a session ended.
type result struct {
	status, output string
	untold         bool // the process died
}

// start starts a session. A running session is not started again, and a
// document that cannot be read is not reported.
func (a *Agent) start(ctx context.Context, task mgs.AgentTaskPayload) {
	var doc content
	if err := json.Unmarshal(task.DocumentContent, &doc); err != nil || doc.SchemaVersion != "1.0" {
		return
	}
	values := map[string]any{}
	for name, p := range doc.Parameters {
		values[name] = p.Default
	}
	for name, v := range task.Parameters {
		values[name] = v
	}
	doc.Properties = fill(doc.Properties, values)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.sessions[task.SessionID] != nil {
		return
	}
	w := &worker{a: a, task: task, doc: doc}
	w.dead, w.kill = context.WithCancel(ctx)
	w.cancelled, w.cancel = context.WithCancel(w.dead)
	w.ch = a.newChannel(task.SessionID, w.cancel)
	a.sessions[task.SessionID] = w
	a.workers.Go(func() {
		defer w.kill()
		r := w.work()
		if !r.untold {
			a.tell(ctx, task.SessionID, r.status, r.output)
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.sessions, task.SessionID)
	})
}

// fill replaces parameters in the properties with their values.
func fill(v any, values map[string]any) any {
	switch v := v.(type) {
	case string:
		for name, value := range values {
			mark := "{{ " + name + " }}"
			if v == mark {
				return value
			}
			v = strings.ReplaceAll(v, mark, fmt.Sprint(value))
		}
		return v
	case map[string]any:
		for k := range v {
			v[k] = fill(v[k], values)
		}
	case []any:
		for i := range v {
			v[i] = fill(v[i], values)
		}
	}
	return v
}

// property returns a string of the properties.
func property(v any, path ...string) string {
	for _, p := range path {
		m, _ := v.(map[string]any)
		v = m[p]
	}
	s, _ := v.(string)
	return s
}

func failed(err error) result { return result{status: mgs.TaskFailed, output: err.Error()} }

func (w *worker) work() result {
	kind, ok := w.plugin()
	if !ok {
		return failed(fmt.Errorf("plugin %s not found", w.doc.SessionType))
	}
	w.ch.handler = kind.input
	if err := w.a.retry(w.dead, DataSchedule(), func() error { return w.ch.open(w.dead) }); err != nil {
		return failed(fmt.Errorf("Setting up data channel with id %s failed: %w", w.task.SessionID, err))
	}
	resending, stopResending := context.WithCancel(w.dead)
	read := make(chan struct{})
	go func() {
		defer close(read)
		w.ch.run(w.dead)
	}()
	resent := make(chan struct{})
	go func() {
		defer close(resent)
		w.ch.resend(resending)
	}()
	defer func() {
		w.ch.close()
		w.kill()
		stopResending()
		<-read
		<-resent
	}()
	w.ch.state(w.dead, mgs.SessionStateConnected)
	if kind.greets || w.doc.Inputs.KMSKeyID != "" && w.doc.SessionType != "Port" {
		if err := w.handshake(kind.shows); err != nil {
			w.ch.drain(w.dead)
			return failed(fmt.Errorf("Encountered error while initiating handshake. %w", err))
		}
	} else {
		w.ch.mu.Lock()
		w.ch.skipped = true
		w.ch.mu.Unlock()
	}
	r := kind.run(w)
	if !r.untold {
		w.ch.drain(w.dead)
	}
	return r
}

// handshake agrees with the client on the session type, and on encryption if
// the document requires it. Its timeout runs with or without a client.
func (w *worker) handshake(properties any) error {
	began := time.Now()
	action := func(kind string, parameters any) map[string]any {
		return map[string]any{"ActionType": kind, "ActionParameters": parameters}
	}
	actions := []any{
		action(mgs.ActionSessionType, map[string]any{"SessionType": w.doc.SessionType, "Properties": properties}),
	}
	encrypts := w.doc.Inputs.KMSKeyID != "" && w.doc.SessionType != "Port"
	if encrypts {
		challenge := make([]byte, 16)
		_, _ = rand.Read(challenge) // never fails
		actions = append(actions, action(mgs.ActionKMSEncryption, map[string]any{
			"KMSKeyId": w.doc.Inputs.KMSKeyID, "Challenge": base64.StdEncoding.EncodeToString(challenge),
		}))
	}
	if err := w.say(mgs.PayloadHandshakeRequest,
		map[string]any{"AgentVersion": Version, "RequestedClientActions": actions}); err != nil {
		return err
	}
	late := time.NewTimer(handshakeTime)
	defer late.Stop()
	var response mgs.HandshakeResponse
	select {
	case response = <-w.ch.response:
	case <-late.C:
		return errors.New(
			"Handshake timed out. Please ensure that you have the latest version of the session manager plugin.",
		)
	case <-w.dead.Done():
		return w.dead.Err()
	}
	message := ""
	for _, a := range response.ProcessedClientActions {
		if a.ActionStatus != mgs.ActionSuccess {
			return fmt.Errorf("%s failed on client with status %v error: %s", a.ActionType, a.ActionStatus, a.Error)
		}
		if a.ActionType != mgs.ActionKMSEncryption {
			continue
		}
		if err := w.encrypt(a.ActionResult); err != nil {
			return err
		}
		message = "This session is encrypted using AWS KMS."
	}
	if encrypts {
		if err := w.challenge(); err != nil {
			return err
		}
	}
	if err := w.say(mgs.PayloadHandshakeComplete, map[string]any{
		"HandshakeTimeToComplete": time.Since(began), "CustomerMessage": message,
	}); err != nil {
		return err
	}
	if w.a.cfg.AcksLate {
		// In the original a separate reader acknowledges, and is slower.
		w.ch.mu.Lock()
		answer := w.ch.answer
		w.ch.mu.Unlock()
		w.ch.ack(w.dead, &answer)
	}
	if w.a.cfg.NotesLate > 0 {
		wait(w.dead, w.a.cfg.NotesLate)
	}
	w.ch.mu.Lock()
	defer w.ch.mu.Unlock()
	w.ch.complete = true
	return nil
}

func (w *worker) say(pt mgs.PayloadType, v any) error {
	b, err := json.Marshal(v)
	if err == nil {
		w.ch.send(w.dead, pt, b)
	}
	return err
}

func (w *worker) encrypt(raw json.RawMessage) error {
	r, err := mgs.ParseBody[mgs.KMSEncryptionResponse](raw)
	if err != nil {
		return err
	}
	key, err := w.a.cfg.Gateway.Decrypt(w.dead, w.doc.Inputs.KMSKeyID, r.KMSCipherTextKey, map[string]string{
		"aws:ssm:SessionId": w.task.SessionID, "aws:ssm:TargetId": w.a.cfg.ID,
	})
	if err != nil {
		return fmt.Errorf("Fetching data key failed: %w", err)
	}
	out, in, err := ciphers(key)
	if err != nil {
		return err
	}
	w.ch.mu.Lock()
	defer w.ch.mu.Unlock()
	w.ch.seal, w.ch.unseal = out, in
	return nil
}

func (w *worker) challenge() error {
	secret := make([]byte, 64)
	_, _ = rand.Read(secret) // never fails
	if err := w.say(mgs.PayloadEncChallengeRequest, mgs.EncChallenge{Challenge: sealed(w.ch.seal, secret)}); err != nil {
		return err
	}
	late := time.NewTimer(handshakeTime)
	defer late.Stop()
	select {
	case answer := <-w.ch.challenge:
		p, err := unsealed(w.ch.unseal, answer)
		if err != nil || !bytes.Equal(p, secret) {
			return errors.New("Encryption challenge does not match!")
		}
		return nil
	case <-late.C:
		return errors.New("Timed out waiting for encryption challenge.")
	case <-w.dead.Done():
		return w.dead.Err()
	}
}
