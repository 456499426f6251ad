package api

import (
	"fmt"
	"io"
	"net/http"

	"sekisho"
	"sekisho/internal/wire/awsproto"
	"sekisho/internal/wire/sigv4"
)

// content is the body of a streaming call.
type content struct {
	raw    io.Reader
	body   *sigv4.Body
	signed *sigv4.Parsed
}

// EnterStream begins a call whose body is read while it is handled, however
// large: that of an object. The caller is verified as by [Server.Enter]. When
// ok is false the answer has been given.
func (s *Server) EnterStream(w http.ResponseWriter, r *http.Request, d *Door, operation string) (c *Call, ok bool) {
	c = s.call(r)
	c.door, c.Service, c.Operation = d, d.Service, operation
	c.content = &content{raw: r.Body}
	if err := s.authenticate(r, c, Signed); err != nil {
		s.writeError(w, r, c, err)
		return nil, false
	}
	return c, true
}

// EnterStreamAs is EnterStream for a caller that the console has verified, who
// has signed nothing.
func (s *Server) EnterStreamAs(
	w http.ResponseWriter,
	r *http.Request,
	p *sekisho.Principal,
	d *Door,
	operation string,
) *Call {
	c := s.call(r)
	c.door, c.Service, c.Operation = d, d.Service, operation
	unsigned := &sigv4.Parsed{PayloadHash: sigv4.UnsignedPayload, Time: c.Time}
	raw := r.Body
	c.content = &content{raw: raw, body: unsigned.Body("", raw), signed: unsigned}
	s.as(c, p)
	return c
}

// Content is the body of a call begun with EnterStream. Nothing may be done
// with what it gave before it gave io.EOF.
func (c *Call) Content() *sigv4.Body { return c.content.body }

// Raw is the unchecked body of a call begun with EnterStream.
func (c *Call) Raw() io.Reader { return c.content.raw }

// Signature is how a call begun with EnterStream was signed.
func (c *Call) Signature() *sigv4.Parsed { return c.content.signed }

// wrongRegion is S3's refusal of a signature for another region. Clients retry with the
// region that it names.
func wrongRegion(here, there string) error {
	return &awsproto.Error{
		Code: "AuthorizationHeaderMalformed",
		Message: fmt.Sprintf(
			"The authorization header is malformed; the region '%s' is wrong; expecting '%s'",
			clip(there),
			here,
		),
		Status: http.StatusBadRequest, Sender: true, Extra: map[string]string{"Region": here},
	}
}
