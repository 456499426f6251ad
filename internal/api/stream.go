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

// EnterStream begins a call whose body, such as an object, is read while the call is handled and
// can have any size. It verifies the caller as [Server.Enter] does. If ok is false, it has already
// answered the request.
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

// EnterStreamAs is EnterStream for an unsigned call whose caller the console has verified.
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

// Content returns the body of a call begun with EnterStream. Its data must not take effect before
// it returns io.EOF, which confirms the signature.
func (c *Call) Content() *sigv4.Body { return c.content.body }

// Raw returns the unverified body of a call begun with EnterStream.
func (c *Call) Raw() io.Reader { return c.content.raw }

// Signature returns the signature of a call begun with EnterStream.
func (c *Call) Signature() *sigv4.Parsed { return c.content.signed }

// wrongRegion returns S3's refusal of a signature for another region. Clients retry with the region
// that it names.
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
