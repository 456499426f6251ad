// Package record keeps the recordings of sessions and makes later changes evident. The relay calls
// [Recording.Output] before it forwards output to the client, and once the call has returned, the
// kernel has the data.
//
// A recording is a directory:
//
//	session.rec     the recording: see package recfile
//	session.tail.0  records that are not in session.rec yet, while the session runs
//	session.tail.1
//	seal.json       written at the end: signed, names the last block, and the
//	                seal made before it
//
// The directory above contains ledger.ndjson, which lists every recording that was started and every seal.
// It is hash-chained and signed too, and reveals when a whole recording disappears.
// docs/formats/recording.md specifies the bytes. [Verify] and [VerifyLedger] check all this in a directory
// or a bundle with only the public keys. Recordings of format 1, written by earlier versions, can be read,
// verified and sealed, but not continued.
//
// # What is proved and what is not
//
// Whoever holds the signing key can write a different past. Keep it away from the disk that holds the recordings, or
// publish [Recorder.Head] elsewhere from time to time. The ledger, or a recording that is not sealed yet, can be
// truncated to an earlier signed line. Only such a published head reveals it.
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

	"sekisho"
	"sekisho/internal/safetext"
	"sekisho/internal/session/cast"
)

// Header describes the session of a recording.
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
	// OmitInput means that the recording does not contain typed input. The recorder sets it from
	// its options.
	OmitInput bool
	// RecordForwards means that the bytes of forwarded connections are recorded.
	RecordForwards bool
	// RecordingDays is how many days the recording is kept; 0 = as configured on the server.
	RecordingDays int
	// TakenOver means that another server has recorded the session last: the store has the beginning, and what the
	// folder has of it is out of date.
	TakenOver bool
}

// Exit is how a session ended.
type Exit struct {
	Status int    // of the shell; -1 if unknown
	Reason string // for people
}

// Summary describes a recording.
type Summary struct {
	Header
	Duration time.Duration // until the last event
	BytesOut int64         // shown by the terminal
	BytesIn  int64         // typed, recorded or not
	Events   int64
	Size     int64 // of the file
	Format   int   // 1 or 2
	Live     bool  // this server is writing it
	Sealed   bool
	SealedAt time.Time
	Exit     Exit   // when sealed
	Damage   string // when sealed: what was already wrong at that time
	// Encrypted reports, when sealed, that the session was encrypted end to end, so the server saw
	// no content.
	Encrypted bool
	// ChainHead is the SHA-256 of the last block, or checkpoint in format 1: it
	// determines every byte of the file up to there.
	ChainHead string
	// SealDigest is the SHA-256 of seal.json.
	SealDigest string
}

// A Flaw is a place where a recording differs from what was recorded.
type Flaw struct {
	Kind     Kind   // Altered if it is empty
	File     string // relative to the verified directory or bundle
	Line     int64  // counted from 1; 0 = the flaw is not in a line
	LastLine int64  // 0 = the same as Line
	From, To int64  // bytes; To = 0: the flaw is not in a range of bytes
	Problem  string
}

// Kind classifies flaws.
type Kind string

// Values of Kind.
const (
	Missing    Kind = "missing"
	Altered    Kind = "altered"
	Swapped    Kind = "swapped"     // it belongs to another session
	Truncated  Kind = "truncated"   // its end is missing
	RolledBack Kind = "rolled back" // it was replaced by an earlier version
	Inserted   Kind = "inserted"    // the server did not write it
	Unsealed   Kind = "unsealed"    // it has no seal yet
)

// Error names the file, the place and the problem.
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

// Names of the files of a recording, and in the directory above it.
const (
	MainFile   = "session.rec"
	CastFile   = "session.cast"  // in format 1
	ChainFile  = "session.chain" // in format 1
	SealFile   = "seal.json"
	LedgerFile = "ledger.ndjson"
	KeyDir     = "keys"
)

// tailFiles hold records that are not in the main file yet.
var tailFiles = [2]string{"session.tail.0", "session.tail.1"}

const (
	maxText     = 1024 // bytes of one free text in a header
	defaultTerm = "xterm-256color"

	// maxSide limits the size of a terminal in a recording: a player that accepted a resize to
	// 65535x65535 would need gigabytes.
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

// cast returns the header of the asciicast to which the recording is exported.
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
		// Players print the title unchanged, and the node chose its name.
		Title: safetext.Line(title, maxText), Tags: tags,
	}
}

// text clips a free text to maxText bytes and makes it valid UTF-8. It keeps control characters: players escape them.
func text(s string) string { return safetext.Clip(strings.ToValidUTF8(s, "\uFFFD"), maxText) }

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
