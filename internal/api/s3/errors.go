package s3

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"

	"sekisho"
	"sekisho/internal/storage/objects"
	"sekisho/internal/wire/awsproto"
)

// faults are S3's codes for errors of the object store.
var faults = []struct {
	err    error
	code   string
	status int
}{
	{objects.ErrNoBucket, "NoSuchBucket", http.StatusNotFound},
	{objects.ErrBucketExists, "BucketAlreadyOwnedByYou", http.StatusConflict},
	{objects.ErrBucketNotEmpty, "BucketNotEmpty", http.StatusConflict},
	{objects.ErrBucketName, "InvalidBucketName", http.StatusBadRequest},
	{objects.ErrTooManyBuckets, "TooManyBuckets", http.StatusBadRequest},
	{objects.ErrNoKey, "NoSuchKey", http.StatusNotFound},
	{objects.ErrNoVersion, "NoSuchVersion", http.StatusNotFound},
	{objects.ErrDeleteMarker, "MethodNotAllowed", http.StatusMethodNotAllowed},
	{objects.ErrKeyTooLong, "KeyTooLongError", http.StatusBadRequest},
	{objects.ErrKey, "InvalidURI", http.StatusBadRequest},
	{objects.ErrTooLarge, "EntityTooLarge", http.StatusBadRequest},
	{objects.ErrIncomplete, "IncompleteBody", http.StatusBadRequest},
	{objects.ErrDigest, "BadDigest", http.StatusBadRequest},
	{objects.ErrChecksum, "BadDigest", http.StatusBadRequest},
	{objects.ErrPrecondition, "PreconditionFailed", http.StatusPreconditionFailed},
	{objects.ErrNoUpload, "NoSuchUpload", http.StatusNotFound},
	{objects.ErrPart, "InvalidPart", http.StatusBadRequest},
	{objects.ErrPartOrder, "InvalidPartOrder", http.StatusBadRequest},
	{objects.ErrPartSize, "EntityTooSmall", http.StatusBadRequest},
	{objects.ErrAlgorithm, "InvalidRequest", http.StatusBadRequest},
	{objects.ErrChecksumType, "InvalidRequest", http.StatusBadRequest},
	{objects.ErrSize, "InvalidRequest", http.StatusBadRequest},
}

// onWire translates an error into S3's.
func (q *request) onWire(err error) error {
	for _, f := range faults {
		if !errors.Is(err, f.err) {
			continue
		}
		e, _ := errors.AsType[*sekisho.Error](err)
		out := &awsproto.Error{
			Code:    f.code,
			Message: e.Error(),
			Status:  f.status,
			Sender:  true,
			Extra:   map[string]string{},
		}
		if q.bucket != "" {
			out.Extra["BucketName"] = clip(q.bucket)
		}
		if q.key != "" {
			out.Extra["Key"] = clip(q.key)
		}
		return out
	}
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return fault("RequestTimeout",
			"Your socket connection to the server was not read from or written to within the timeout period.")
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, context.Canceled):
		return fault(
			"IncompleteBody",
			"You did not provide the number of bytes specified by the Content-Length HTTP header",
		)
	}
	return err
}

// fault returns a client error with status 400.
func fault(code, format string, args ...any) *awsproto.Error {
	return awsproto.SenderError(code, format, args...)
}

var errMalformedXML = fault("MalformedXML",
	"The XML you provided was not well-formed or did not validate against our published schema")

func missing(code, message string) *awsproto.Error {
	return &awsproto.Error{Code: code, Message: message, Status: http.StatusNotFound, Sender: true}
}

func notImplemented(what string) error {
	return sekisho.Errorf(sekisho.CodeNotImplemented,
		"A header you provided implies functionality that is not implemented: %s.", what)
}

func itoa[T int | int64](n T) string { return strconv.FormatInt(int64(n), 10) }
