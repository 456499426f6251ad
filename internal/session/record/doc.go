// Package record keeps the recordings of sessions, so that nobody can change
// them afterwards unnoticed. The relay taps the agent's leg: it calls
// [Recording.Output] before it forwards to the client, and what the call
// returned for is in the hands of the kernel.
//
// A recording is a directory:
//
//	session.rec     the recording: see package recfile
//	session.tail.0  what is not in session.rec yet, while the session runs
//	session.tail.1
//	seal.json       made at the end: signed, names the last block, and the
//	                seal made before it
//
// Above them lies ledger.ndjson, which lists every recording that was started
// and every seal, hash-chained and signed too, so that a recording which
// disappears as a whole is missed. docs/formats/recording.md has the bytes.
// [Verify] and [VerifyLedger] check all this from a directory or a bundle with
// nothing but the public keys.
//
// Recordings of format 1, which earlier versions wrote, can be read, verified
// and sealed, but not continued.
//
// # What is and is not proved
//
// Whoever holds the signing key can write a different past. Keep it away from
// the disk that holds the recordings, or publish [Recorder.Head] elsewhere
// from time to time. The end of the ledger and of a recording not yet sealed
// can be cut off back to an earlier signed line; only such a published head
// shows it.
//
// # Lock order
//
// Recording.mu, then ledger.mu, then Recorder.mu.
package record

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"

	"sekisho"
	"sekisho/internal/session/cast"
)

// Header says what a recording is of.
type Header struct {
	SessionID  sekisho.SessionID
	Node       sekisho.NodeID
	NodeName   string
	Owner      string // ARN
	Document   string
	Reason     string // as the owner gave it
	SourceIP   string
	Start      time.Time
	Cols, Rows int // 0 = 80x24
	// OmitInput says that what was typed is not in the recording. The
	// recorder sets it from its options.
	OmitInput bool
	// RecordForwards keeps the bytes of forwarded connections.
	RecordForwards bool
	// RecordingDays is how many days the recording is kept; 0 = as long as the
	// policy of the server says.
	RecordingDays int
}

// Exit is how a session ended.
type Exit struct {
	Status int    // of the shell; -1 when it is not known
	Reason string // for people
}

// Summary describes a recording.
type Summary struct {
	Header
	Duration time.Duration // until the last event
	BytesOut int64         // that the terminal showed
	BytesIn  int64         // that were typed, recorded or not
	Events   int64
	Size     int64 // of the file
	Format   int   // 1 or 2
	Live     bool  // this server is writing it
	Sealed   bool
	SealedAt time.Time
	Exit     Exit   // when sealed
	Damage   string // when sealed: what was already wrong with it then
	// Encrypted says, when sealed, that the session was encrypted from end to end:
	// the server saw no content.
	Encrypted bool
	// ChainHead is the SHA-256 of the last block, or checkpoint in format 1: it
	// determines every byte of the file up to there.
	ChainHead string
	// SealDigest is the SHA-256 of seal.json.
	SealDigest string
}

// A Flaw is a place where a recording is not what was recorded.
type Flaw struct {
	Kind     Kind   // Altered if it is empty
	File     string // relative to what was verified
	Line     int64  // counted from 1; 0 = not about a line
	LastLine int64  // 0 = the same as Line
	From, To int64  // bytes; To = 0: not about bytes
	Problem  string
}

// Kind classifies what is wrong.
type Kind string

// Values of Kind.
const (
	Missing    Kind = "missing"
	Altered    Kind = "altered"
	Swapped    Kind = "swapped"     // it belongs to another session
	Truncated  Kind = "truncated"   // its end is missing
	RolledBack Kind = "rolled back" // it is as it once was
	Inserted   Kind = "inserted"    // the server did not write it
	Unsealed   Kind = "unsealed"    // it has no seal yet
)

// Error says file, place and problem.
func (f *Flaw) Error() string {
	var b strings.Builder
	b.WriteString(f.File)
	if f.To > 0 {
		fmt.Fprintf(&b, ": bytes %d to %d", f.From, f.To)
	}
	if f.LastLine > f.Line {
		fmt.Fprintf(&b, ": lines %d to %d", f.Line, f.LastLine)
	} else if f.Line > 0 {
		fmt.Fprintf(&b, ": line %d", f.Line)
	}
	return b.String() + ": " + f.Problem
}

// The names of the files of a recording, and above it.
const (
	MainFile   = "session.rec"
	CastFile   = "session.cast"  // in format 1
	ChainFile  = "session.chain" // in format 1
	SealFile   = "seal.json"
	LedgerFile = "ledger.ndjson"
	KeyDir     = "keys"
)

// tailFiles hold what is not in the main file yet.
var tailFiles = [2]string{"session.tail.0", "session.tail.1"}

const (
	maxText     = 1024 // bytes of one free text in a header
	defaultTerm = "xterm-256color"

	// maxSide bounds a terminal in a recording: a player that believed a
	// resize to 65535x65535 would need gigabytes.
	maxSide = 2048
)

const fileFormat = "sekisho-recording-2"

// fileHeader is the content of block 0.
type fileHeader struct {
	Format   string            `json:"format"`
	Session  sekisho.SessionID `json:"session_id"`
	Node     sekisho.NodeID    `json:"node_id"`
	NodeName string            `json:"node_name,omitempty"`
	Owner    string            `json:"owner,omitempty"`
	Document string            `json:"document,omitempty"`
	Reason   string            `json:"reason,omitempty"`
	SourceIP string            `json:"source_ip,omitempty"`
	Start    time.Time         `json:"start"`
	Cols     int               `json:"cols"`
	Rows     int               `json:"rows"`
	Input    string            `json:"input"`

	RecordForwards bool `json:"record_forwards,omitempty"`
	RecordingDays  int  `json:"recording_days,omitempty"`
	// Key is the key of the content, sealed by the keyring.
	Key []byte `json:"key"`
}

const (
	inputRecorded = "recorded"
	inputOmitted  = "omitted"
)

func (h *Header) input() string {
	if h.OmitInput {
		return inputOmitted
	}
	return inputRecorded
}

func (h *Header) encode(key []byte) ([]byte, error) {
	b, err := json.Marshal(fileHeader{
		Format: fileFormat, Session: h.SessionID, Node: h.Node, NodeName: text(h.NodeName), Owner: text(h.Owner),
		Document: text(h.Document), Reason: text(h.Reason), SourceIP: text(h.SourceIP), Start: h.Start.UTC(),
		Cols: h.Cols, Rows: h.Rows, Input: h.input(), Key: key,
		RecordForwards: h.RecordForwards, RecordingDays: h.RecordingDays,
	})
	if err != nil {
		return nil, fmt.Errorf("record: header: %w", err)
	}
	return b, nil
}

func decodeHeader(b []byte) (Header, []byte, error) {
	var f fileHeader
	if err := json.Unmarshal(b, &f); err != nil {
		return Header{}, nil, fmt.Errorf("header: %w", err)
	}
	if f.Format != fileFormat {
		return Header{}, nil, fmt.Errorf("header: format %.40q is not supported", f.Format)
	}
	return Header{
		SessionID: f.Session, Node: f.Node, NodeName: f.NodeName, Owner: f.Owner, Document: f.Document, Reason: f.Reason,
		SourceIP: f.SourceIP, Start: f.Start, Cols: f.Cols, Rows: f.Rows, OmitInput: f.Input == inputOmitted,
		RecordForwards: f.RecordForwards, RecordingDays: f.RecordingDays,
	}, f.Key, nil
}

// cast returns the header of the asciicast that the recording is exported as.
func (h *Header) cast() *cast.Header {
	title := string(h.SessionID) + " on " + string(h.Node)
	if h.NodeName != "" {
		title += " (" + h.NodeName + ")"
	}
	tags := map[string]string{"start": h.Start.UTC().Format(time.RFC3339Nano), "input": "recorded"}
	if h.OmitInput {
		tags["input"] = "omitted"
	}
	for k, v := range map[string]string{
		"session_id": string(h.SessionID), "node_id": string(h.Node), "node_name": h.NodeName, "owner": h.Owner,
		"document": h.Document, "reason": h.Reason, "source_ip": h.SourceIP,
	} {
		if v != "" {
			tags[k] = text(v)
		}
	}
	return &cast.Header{
		Cols: h.Cols, Rows: h.Rows, TermType: defaultTerm, Timestamp: h.Start.Unix(),
		// Players print the title as it is, and the node chose its name.
		Title: strings.Map(printable, text(title)), Tags: tags,
	}
}

// text bounds a free text and makes it valid.
func text(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), maxText)], "\uFFFD")
}

func printable(c rune) rune {
	if !unicode.IsPrint(c) {
		return -1
	}
	return c
}

func headerOf(c cast.Header) (Header, error) {
	start, err := time.Parse(time.RFC3339Nano, c.Tags["start"])
	if err != nil {
		return Header{}, fmt.Errorf("header has no start: %w", err)
	}
	return Header{
		SessionID: sekisho.SessionID(c.Tags["session_id"]), Node: sekisho.NodeID(c.Tags["node_id"]),
		NodeName: c.Tags["node_name"], Owner: c.Tags["owner"], Document: c.Tags["document"], Reason: c.Tags["reason"],
		SourceIP: c.Tags["source_ip"], Start: start, Cols: c.Cols, Rows: c.Rows, OmitInput: c.Tags["input"] == "omitted",
	}, nil
}
