package sigv4

import (
	"fmt"
	"net/http"
)

// The codes of an [Error], in the spelling of AWS's query services.
const (
	CodeMissingToken     = "MissingAuthenticationToken"
	CodeIncomplete       = "IncompleteSignature"
	CodeUnknownKey       = "InvalidClientTokenId"
	CodeMismatch         = "SignatureDoesNotMatch"
	CodeExpired          = "RequestExpired"
	CodeQueryParameters  = "AuthorizationQueryParametersError"
	CodePayloadHash      = "XAmzContentSHA256Mismatch"
	CodeIncompleteBody   = "IncompleteBody" // S3 only
	codeJSONIncomplete   = "IncompleteSignatureException"
	codeJSONInvalid      = "InvalidSignatureException"
	codeJSONMissingToken = "MissingAuthenticationTokenException"
	codeJSONUnknownKey   = "UnrecognizedClientException"
)

// Error is the reason why a signature is not accepted.
type Error struct {
	Code      string // one of the Code constants
	Message   string // one sentence for the caller
	presigned bool
}

// Error returns the code and the sentence.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Status is the HTTP status of the query services and S3 for this error.
func (e *Error) Status() int {
	switch e.Code {
	case CodeIncomplete, CodeQueryParameters, CodePayloadHash, CodeIncompleteBody:
		return http.StatusBadRequest
	}
	return http.StatusForbidden
}

// JSONCode is the name the services with JSON protocols use for this error.
func (e *Error) JSONCode() string {
	switch e.Code {
	case CodeMissingToken:
		return codeJSONMissingToken
	case CodeIncomplete, CodeQueryParameters:
		return codeJSONIncomplete
	case CodeUnknownKey:
		return codeJSONUnknownKey
	}
	return codeJSONInvalid
}

// S3Code is the name S3 uses for this error.
func (e *Error) S3Code() string {
	switch e.Code {
	case CodeMissingToken:
		return "AccessDenied"
	case CodeIncomplete:
		return "AuthorizationHeaderMalformed"
	case CodeUnknownKey:
		return "InvalidAccessKeyId"
	case CodeExpired:
		if e.presigned {
			return "AccessDenied"
		}
		return "RequestTimeTooSkewed"
	}
	return e.Code
}

func errorf(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}
