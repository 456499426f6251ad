package mgs

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"time"
)

// Values of Message.Type.
const (
	TypeInputStreamData   = "input_stream_data"  // client → agent
	TypeOutputStreamData  = "output_stream_data" // agent → client
	TypeAcknowledge       = "acknowledge"
	TypeChannelClosed     = "channel_closed"
	TypeStartPublication  = "start_publication"
	TypePausePublication  = "pause_publication"
	TypeAgentSessionState = "agent_session_state"

	// Control channel.
	TypeInteractiveShell     = "interactive_shell"
	TypeAgentTaskReply       = "agent_task_reply"
	TypeAgentTaskComplete    = "agent_task_complete"
	TypeAgentTaskAcknowledge = "agent_task_acknowledge"
	TypeAgentJob             = "agent_job"
	TypeAgentJobAck          = "agent_job_ack"
	TypeAgentJobReply        = "agent_job_reply"
	TypeAgentJobReplyAck     = "agent_job_reply_ack"
	TypeAgentTelemetry       = "agent_telemetry"
	TypeSessionInput         = "sekisho_session_input"  // for Sekisho's agent: input of a person who joined
	TypeSessionNotice        = "sekisho_session_notice" // for Sekisho's agent; AWS's ignores it
	TypeAgentUpdateResult    = "agent_update_result"
)

// PayloadType is the format of the payload of stream data.
type PayloadType uint32

// Values of PayloadType.
const (
	PayloadNone                 PayloadType = 0 // every message that is not stream data
	PayloadOutput               PayloadType = 1 // raw bytes, in either direction
	PayloadError                PayloadType = 2
	PayloadSize                 PayloadType = 3 // [Size]
	PayloadParameter            PayloadType = 4
	PayloadHandshakeRequest     PayloadType = 5  // [HandshakeRequest]
	PayloadHandshakeResponse    PayloadType = 6  // [HandshakeResponse]
	PayloadHandshakeComplete    PayloadType = 7  // [HandshakeComplete]
	PayloadEncChallengeRequest  PayloadType = 8  // [EncChallenge]
	PayloadEncChallengeResponse PayloadType = 9  // [EncChallenge]
	PayloadFlag                 PayloadType = 10 // [Flag]
	PayloadStdErr               PayloadType = 11 // raw bytes
	PayloadExitCode             PayloadType = 12 // [AppendExitCode]

	// PayloadCopy is Sekisho's own: files in transit, in either direction. It is relayed
	// like output, but not recorded as terminal output.
	PayloadCopy PayloadType = 1000
)

// Bits of Message.Flags.
const (
	FlagSYN uint64 = 1 << 0
	FlagFIN uint64 = 1 << 1
)

// Sizes of a frame.
const (
	HeaderLength      = 116              // written by this package
	shortHeaderLength = 112              // without PayloadType
	Overhead          = HeaderLength + 4 // bytes a frame has beyond its payload
	typeLength        = 32
)

// Payload sizes between Sekisho's agent and client, once each has identified the other.
const (
	// LargePayload leaves room for encryption within 64 KiB, which every version of both
	// accepts.
	LargePayload = 60 << 10
	// JumboPayload is for peers with [AbilityJumboFrames]. It leaves room for encryption
	// and the header within 256 KiB, which every server accepts.
	JumboPayload = 240 << 10
)

// Abilities that Sekisho's agent and client announce in the handshake and AWS's programs do
// not have.
const (
	AbilityHalfClose   = "half-close"   // end one direction of a connection before the other
	AbilityLargeFrames = "large-frames" // accept payloads of LargePayload
	AbilityJumboFrames = "jumbo-frames" // accept payloads of JumboPayload
	AbilityExitCode    = "exit-code"    // accept or send the exit code of a shell
	AbilityJoin        = "join"         // accept input from people who join the session
	AbilityReset       = "reset"        // distinguish a forwarded connection that broke from one that ended
	AbilityChecksums   = "checksums"    // accept frames of [Message.AppendChecksummed]
	AbilityStdin       = "stdin"        // take the program's standard input
	AbilityCopy        = "copy"         // copy files
)

// UUID is a message ID in the order of its text form.
type UUID [16]byte

// NewUUID returns a random (version 4) UUID.
func NewUUID() UUID {
	var u UUID
	_, _ = rand.Read(u[:]) // never fails: crypto/rand aborts the program instead
	return u.V4()
}

// V4 returns u with the version and variant bits of a random UUID.
func (u UUID) V4() UUID {
	u[6] = u[6]&0x0f | 0x40
	u[8] = u[8]&0x3f | 0x80
	return u
}

// String returns the hyphenated lower-case text form.
func (u UUID) String() string {
	return string(u.appendText(make([]byte, 0, 36)))
}

// MarshalText implements [encoding.TextMarshaler].
func (u UUID) MarshalText() ([]byte, error) {
	return u.appendText(make([]byte, 0, 36)), nil
}

func (u UUID) appendText(dst []byte) []byte {
	for i, end := range [...]int{4, 6, 8, 10, 16} {
		start := [...]int{0, 4, 6, 8, 10}[i]
		if i > 0 {
			dst = append(dst, '-')
		}
		dst = hex.AppendEncode(dst, u[start:end])
	}
	return dst
}

// UnmarshalText implements [encoding.TextUnmarshaler]. It reads the
// hyphenated form only, in either case.
func (u *UUID) UnmarshalText(text []byte) error {
	if len(text) != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return fmt.Errorf("mgs: malformed UUID of %d bytes", len(text))
	}
	var digits [32]byte
	n := copy(digits[:], text[:8])
	n += copy(digits[n:], text[9:13])
	n += copy(digits[n:], text[14:18])
	n += copy(digits[n:], text[19:23])
	copy(digits[n:], text[24:])
	if _, err := hex.Decode(u[:], digits[:]); err != nil {
		return errors.New("mgs: malformed UUID: not hexadecimal")
	}
	return nil
}

// Message is one frame.
type Message struct {
	Type          string // at most 32 bytes of printable ASCII without spaces
	SchemaVersion uint32 // 1
	CreatedMillis uint64 // milliseconds since 1970; never 0
	Seq           int64  // never negative
	Flags         uint64
	ID            UUID
	PayloadType   PayloadType
	Payload       []byte
}

// New returns a message of the given type, with the current time and a new ID.
func New(typ string, payload []byte) Message {
	return Message{
		Type:          typ,
		SchemaVersion: 1,
		CreatedMillis: uint64(time.Now().UnixMilli()),
		ID:            NewUUID(),
		Payload:       payload,
	}
}

// Created is the time in CreatedMillis.
func (m *Message) Created() time.Time { return time.UnixMilli(int64(m.CreatedMillis)) }

// IsStreamData reports whether m is numbered, acknowledged data of a session.
func (m *Message) IsStreamData() bool {
	return m.Type == TypeInputStreamData || m.Type == TypeOutputStreamData
}

// Size is the length of the frame AppendTo writes.
func (m *Message) Size() int { return Overhead + len(m.Payload) }

// AppendTo appends the frame to dst. A type longer than 32 bytes is truncated.
func (m *Message) AppendTo(dst []byte) []byte {
	return m.appendFrame(dst, sha256.Sum256(m.Payload))
}

// AppendChecksummed is AppendTo for peers that accept a checksum in place of the digest.
// TLS protects frames against changes in transit. The checksum costs a tenth of the digest
// and still detects a program that confuses its buffers.
func (m *Message) AppendChecksummed(dst []byte) []byte {
	return m.appendFrame(dst, checksum(m.Payload))
}

// checksum returns the CRC-32C of a payload in the form of the digest field: after zeros,
// with which no SHA-256 digest begins.
func checksum(payload []byte) (field [sha256.Size]byte) {
	binary.BigEndian.PutUint32(field[checksumAt:], crc32.Checksum(payload, castagnoli))
	return field
}

// checksumAt is the offset of the checksum in the digest field.
const checksumAt = sha256.Size - 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Offsets of the digest in a frame.
const (
	digestAt  = 80
	digestEnd = digestAt + sha256.Size
)

// Redigest replaces the checksum of a frame with the digest, for a connection that does not
// accept checksums.
func Redigest(frame []byte) {
	if len(frame) < Overhead || !isChecksum(frame[digestAt:digestEnd]) {
		return
	}
	sum := sha256.Sum256(frame[Overhead:])
	copy(frame[digestAt:digestEnd], sum[:])
}

func isChecksum(field []byte) bool {
	var zeros [checksumAt]byte
	return bytes.Equal(field[:checksumAt], zeros[:])
}

// verify compares a payload with the digest or checksum of its frame.
func verify(field *[sha256.Size]byte, payload []byte) bool {
	if isChecksum(field[:]) {
		return checksum(payload) == *field
	}
	return sha256.Sum256(payload) == *field
}

func (m *Message) appendFrame(dst []byte, digest [sha256.Size]byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, HeaderLength)
	typ := m.Type
	if len(typ) > typeLength {
		typ = typ[:typeLength]
	}
	dst = append(dst, typ...)
	const spaces = "                                "
	dst = append(dst, spaces[len(typ):]...)
	dst = binary.BigEndian.AppendUint32(dst, m.SchemaVersion)
	dst = binary.BigEndian.AppendUint64(dst, m.CreatedMillis)
	dst = binary.BigEndian.AppendUint64(dst, uint64(m.Seq))
	dst = binary.BigEndian.AppendUint64(dst, m.Flags)
	dst = append(dst, m.ID[8:]...)
	dst = append(dst, m.ID[:8]...)
	dst = append(dst, digest[:]...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(m.PayloadType))
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(m.Payload)))
	return append(dst, m.Payload...)
}

// ParseClient is Parse for frames of clients. It also accepts the digest of the npm package
// ssm-session, which sends the first half of the hexadecimal SHA-256 as text. AWS's agent
// checks no digest. Frames of agents are parsed more strictly because AWS's plugin checks
// them.
func ParseClient(frame []byte) (Message, error) {
	m, digest, err := parse(frame)
	if err != nil || len(m.Payload) == 0 {
		return m, err
	}
	if verify(&digest, m.Payload) {
		return m, nil
	}
	sum := sha256.Sum256(m.Payload)
	var half [len(digest)]byte
	hex.Encode(half[:], sum[:len(sum)/2])
	if digest != half {
		return Message{}, errDigest
	}
	return m, nil
}

var errDigest = errors.New("mgs: payload digest does not match")

// Parse reads one frame and checks all of it. The message's payload aliases frame. The
// digest of an empty payload is not checked; no peer checks it.
func Parse(frame []byte) (Message, error) {
	m, digest, err := parse(frame)
	if err != nil {
		return Message{}, err
	}
	if len(m.Payload) > 0 && !verify(&digest, m.Payload) {
		return Message{}, errDigest
	}
	return m, nil
}

// Peek is Parse without the digest check, for routing a frame by its header before it is
// parsed elsewhere. A frame that only Peek has accepted must not be forwarded.
func Peek(frame []byte) (Message, error) {
	m, _, err := parse(frame)
	return m, err
}

func parse(frame []byte) (m Message, digest [32]byte, err error) {
	if len(frame) < shortHeaderLength+4 {
		return m, digest, fmt.Errorf("mgs: frame of %d bytes is shorter than a header", len(frame))
	}
	hl := binary.BigEndian.Uint32(frame)
	switch {
	case hl != HeaderLength && hl != shortHeaderLength:
		return m, digest, fmt.Errorf("mgs: header length %d is neither %d nor %d", hl, HeaderLength, shortHeaderLength)
	case len(frame) < int(hl)+4:
		return m, digest, fmt.Errorf("mgs: frame of %d bytes is shorter than its header", len(frame))
	}
	payload := frame[hl+4 : len(frame) : len(frame)]
	if n := binary.BigEndian.Uint32(frame[hl:]); uint64(n) != uint64(len(payload)) {
		return m, digest, fmt.Errorf("mgs: payload length says %d, frame holds %d", n, len(payload))
	}
	typ, err := parseType(frame[4 : 4+typeLength])
	if err != nil {
		return m, digest, err
	}
	m = Message{
		Type:          typ,
		SchemaVersion: binary.BigEndian.Uint32(frame[36:]),
		CreatedMillis: binary.BigEndian.Uint64(frame[40:]),
		Seq:           int64(binary.BigEndian.Uint64(frame[48:])),
		Flags:         binary.BigEndian.Uint64(frame[56:]),
		Payload:       payload,
	}
	if m.CreatedMillis == 0 {
		return Message{}, digest, errors.New("mgs: created date is zero")
	}
	if m.Seq < 0 {
		return Message{}, digest, fmt.Errorf("mgs: sequence number %d is negative", m.Seq)
	}
	copy(m.ID[8:], frame[64:72])
	copy(m.ID[:8], frame[72:80])
	copy(digest[:], frame[digestAt:digestEnd])
	if hl == HeaderLength {
		m.PayloadType = PayloadType(binary.BigEndian.Uint32(frame[112:]))
	}
	return m, digest, nil
}

func parseType(field []byte) (string, error) {
	b := bytes.TrimLeft(bytes.TrimRight(field, " \x00"), "\x00") // some pad with NUL on the left
	if len(b) == 0 {
		return "", errors.New("mgs: message type is empty")
	}
	for _, c := range b {
		if c <= ' ' || c > '~' {
			return "", fmt.Errorf("mgs: message type holds byte %#02x", c)
		}
	}
	// Naming the constants spares an allocation per frame.
	switch string(b) {
	case TypeInputStreamData:
		return TypeInputStreamData, nil
	case TypeOutputStreamData:
		return TypeOutputStreamData, nil
	case TypeAcknowledge:
		return TypeAcknowledge, nil
	case TypeChannelClosed:
		return TypeChannelClosed, nil
	case TypeAgentSessionState:
		return TypeAgentSessionState, nil
	}
	return string(b), nil
}
