package awsproto

import (
	"fmt"
	"net/http"
)

// Error is an error as a caller of an AWS API sees it.
type Error struct {
	Code    string // the service's name for it
	Message string // for people
	Status  int    // HTTP status; 0 means 400 for the sender's fault, 500 otherwise
	Sender  bool   // whether the sender of the request is at fault
	// Extra holds additional members of the error, by name.
	Extra map[string]string
}

// SenderError builds an *Error for a fault in the request, status 400.
func SenderError(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Status: http.StatusBadRequest, Sender: true}
}

// Error returns the code and the message.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

func (e *Error) status() int {
	switch {
	case e.Status != 0:
		return e.Status
	case e.Sender:
		return http.StatusBadRequest
	}
	return http.StatusInternalServerError
}

// Protocol is one of AWS's protocols.
type Protocol int

// Values of Protocol.
const (
	JSON    Protocol = iota // JSON 1.1, operation in X-Amz-Target
	Query                   // form in, XML out, operation in Action
	EC2                     // EC2's flavour of Query
	RESTXML                 // operation in method and path
)

// WriteError writes e in the protocol's form. Only Query uses xmlns, the
// namespace of the service.
func (p Protocol) WriteError(w http.ResponseWriter, requestID, xmlns string, e *Error) error {
	switch p {
	case JSON:
		return WriteJSONError(w, requestID, e)
	case Query:
		return WriteQueryError(w, requestID, xmlns, e)
	case EC2:
		return WriteEC2Error(w, requestID, e)
	case RESTXML:
		return WriteRESTXMLError(w, requestID, e)
	}
	return fmt.Errorf("awsproto: no protocol %d", p)
}
