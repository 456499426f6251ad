package sigv4

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"net/http"
	"strings"
)

// Bounds of the aws-chunked framing.
const (
	maxChunk         = 5 << 30 // S3's largest request body
	maxChunkLine     = 256
	maxTrailerLine   = 8 << 10
	maxTrailerFields = 16
)

const (
	chunkAlgorithm   = "AWS4-HMAC-SHA256-PAYLOAD"
	trailerAlgorithm = "AWS4-HMAC-SHA256-TRAILER"
	trailerSignature = "x-amz-trailer-signature"
)

// emptyHash is the hash of the empty string, a fixed line of every chunk's string
// to sign.
const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// Body reads the body of a verified S3 request. It removes the framing and checks
// the body against the hash or signatures that the request declared. If they do not
// match, the read that would return io.EOF returns an *Error, so a caller must not
// act on the content before it has seen io.EOF.
type Body struct {
	src     *bufio.Reader
	read    func(b *Body, p []byte) (int, error)
	trailer http.Header
	err     error

	// A body with one hash.
	sum  hash.Hash
	want string

	// An aws-chunked body.
	key      []byte // nil if chunks are not signed
	prefix   string // of a chunk's text: time and scope
	previous string // signature
	trailers bool
	left     int64 // of the current chunk
	chunk    hash.Hash
	claimed  string // the current chunk's signature
}

// Body returns the body of a request whose signature [Parsed.Verify] accepted
// without a hash. secret is the one it was verified with.
func (p *Parsed) Body(secret string, r io.Reader) *Body {
	b := &Body{src: bufio.NewReader(r), trailer: http.Header{}}
	switch p.PayloadHash {
	case UnsignedPayload:
		b.read = (*Body).readPlain
	case StreamingUnsigned:
		b.read, b.trailers = (*Body).readChunked, true
	case StreamingSigned, StreamingSignedTrailers:
		b.read, b.trailers = (*Body).readChunked, p.PayloadHash == StreamingSignedTrailers
		b.key, b.previous = signingKeys.of(secret, p.Credential), p.Signature
		b.prefix = p.Time.UTC().Format(timeFormat) + "\n" + p.scope() + "\n"
		b.chunk = sha256.New()
	default:
		b.read, b.sum, b.want = (*Body).readPlain, sha256.New(), p.PayloadHash
	}
	return b
}

// Chunked reports whether the body came in aws-chunked framing, so that its
// length is not the request's Content-Length.
func (p *Parsed) Chunked() bool {
	return p.PayloadHash == StreamingUnsigned || p.PayloadHash == StreamingSigned ||
		p.PayloadHash == StreamingSignedTrailers
}

// Trailer returns the header fields that followed the body. It is complete
// when Read has returned io.EOF.
func (b *Body) Trailer() http.Header { return b.trailer }

// Read implements [io.Reader].
func (b *Body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := b.read(b, p)
	b.err = err
	return n, err
}

func (b *Body) readPlain(p []byte) (int, error) {
	n, err := b.src.Read(p)
	if b.sum != nil {
		b.sum.Write(p[:n])
		if errors.Is(err, io.EOF) && !hmac.Equal([]byte(hex.EncodeToString(b.sum.Sum(nil))), []byte(b.want)) {
			err = errorf(CodePayloadHash,
				"The provided 'x-amz-content-sha256' header does not match what was computed from the body.")
		}
	}
	return n, err
}

func (b *Body) readChunked(p []byte) (int, error) {
	for b.left == 0 {
		if err := b.nextChunk(); err != nil {
			return 0, err
		}
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.src.Read(p)
	if b.chunk != nil {
		b.chunk.Write(p[:n])
	}
	b.left -= int64(n)
	if err != nil {
		return n, cut(err)
	}
	if b.left == 0 {
		return n, b.endChunk()
	}
	return n, nil
}

// nextChunk reads the line before a chunk. It returns io.EOF at the end of a valid
// body.
func (b *Body) nextChunk() error {
	line, err := b.line(maxChunkLine)
	if err != nil {
		return err
	}
	size, ext, extended := strings.Cut(line, ";")
	n, ok := chunkSize(size)
	if !ok {
		return malformed("a chunk does not begin with its size")
	}
	b.claimed = ""
	switch {
	case b.key != nil:
		sig, found := strings.CutPrefix(ext, "chunk-signature=")
		if !found || !isHexHash(sig) {
			return malformed("a chunk is not signed")
		}
		b.claimed = sig
	case extended:
		return malformed("a chunk of an unsigned body has an extension")
	}
	b.left = n
	if n > 0 {
		return nil
	}
	if b.key != nil {
		if err := b.checkChunk(); err != nil {
			return err
		}
	}
	return b.end()
}

// endChunk reads the line end after a chunk's data and verifies the chunk.
func (b *Body) endChunk() error {
	crlf := make([]byte, 2)
	if _, err := io.ReadFull(b.src, crlf); err != nil {
		return cut(err)
	}
	if string(crlf) != "\r\n" {
		return malformed("a chunk is longer than it says")
	}
	if b.key == nil {
		return nil
	}
	return b.checkChunk()
}

func (b *Body) checkChunk() error {
	text := chunkAlgorithm + "\n" + b.prefix + b.previous + "\n" + emptyHash + "\n" + hex.EncodeToString(
		b.chunk.Sum(nil),
	)
	b.chunk.Reset()
	return b.check(text, b.claimed)
}

func (b *Body) check(text, claimed string) error {
	if !hmac.Equal([]byte(hex.EncodeToString(hmacSHA256(b.key, text))), []byte(claimed)) {
		return errorf(CodeMismatch, "The signature of a chunk or of the trailer does not match the body.")
	}
	b.previous = claimed
	return nil
}

// end reads the trailer.
func (b *Body) end() error {
	var canonical strings.Builder
	signature := ""
	for n := 0; ; n++ {
		line, err := b.line(maxTrailerLine)
		if errors.Is(err, errCut) && n == 0 && !b.trailers {
			break // some signers omit the last empty line
		}
		if err != nil {
			return err
		}
		if line == "" {
			if signature == "" && b.key != nil && b.trailers {
				// The signature can follow an empty line.
				if next, err := b.src.Peek(1); err == nil && next[0] != '\r' {
					continue
				}
			}
			break
		}
		name, value, ok := strings.Cut(line, ":")
		name, value = strings.ToLower(name), strings.Trim(value, " \t")
		switch {
		case !b.trailers:
			return malformed("a trailer was not announced")
		case !ok || !isHeaderName(name):
			return malformed("a trailer is not a header field")
		case n >= maxTrailerFields:
			return malformed("the trailer has too many fields")
		case signature != "":
			return malformed("the trailer continues after its signature")
		case name == trailerSignature:
			if !isHexHash(value) {
				return malformed("the trailer's signature is not 64 hexadecimal digits")
			}
			signature = value
			continue
		case b.trailer.Get(name) != "":
			return malformed("the trailer has a field twice")
		}
		b.trailer.Set(name, value)
		canonical.WriteString(name + ":" + value + "\n")
	}
	if b.key != nil && b.trailers {
		if signature == "" {
			return malformed("the trailer is not signed")
		}
		if err := b.check(trailerAlgorithm+"\n"+b.prefix+b.previous+"\n"+HashBody([]byte(canonical.String())),
			signature); err != nil {
			return err
		}
	}
	// minio-go ends a body with one more empty line.
	if next, err := b.src.Peek(2); err == nil && string(next) == "\r\n" {
		_, _ = b.src.Discard(2) // they are in the buffer
	}
	// Nothing may follow the body.
	switch n, err := b.src.Read(make([]byte, 1)); {
	case n > 0:
		return malformed("the body continues after its last chunk")
	case err != nil && err != io.EOF:
		return cut(err)
	}
	return io.EOF
}

// line reads up to CRLF or, in trailers of some signers, LF.
func (b *Body) line(limit int) (string, error) {
	var line []byte
	for {
		c, err := b.src.ReadByte()
		if err != nil {
			return "", cut(err)
		}
		if c == '\n' {
			return strings.TrimSuffix(string(line), "\r"), nil
		}
		if len(line) >= limit {
			return "", malformed("a line is too long")
		}
		line = append(line, c)
	}
}

func chunkSize(s string) (int64, bool) {
	if s == "" || len(s) > 16 {
		return 0, false
	}
	var n int64
	for i := range len(s) {
		c := s[i] | 0x20 // digits have the bit set already
		switch {
		case '0' <= s[i] && s[i] <= '9':
			n = n<<4 | int64(c-'0')
		case 'a' <= c && c <= 'f':
			n = n<<4 | int64(c-'a'+10)
		default:
			return 0, false
		}
		if n > maxChunk {
			return 0, false
		}
	}
	return n, true
}

var errCut = errorf(CodeIncompleteBody,
	"You did not provide the number of bytes specified by the Content-Length HTTP header.")

// cut is the error for a connection that ends inside a body.
func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errCut
	}
	return err
}

func malformed(what string) error {
	return errorf(CodeIncompleteBody, "The request body is not in aws-chunked form: %s.", what)
}
