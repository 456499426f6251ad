package awsproto

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"maps"
	"net/http"
	"slices"
)

const (
	contentTypeXML     = "text/xml"
	contentTypeRESTXML = "application/xml"
	xmlHeader          = `<?xml version="1.0" encoding="UTF-8"?>` + "\n"
)

// WriteQuery writes the response of a query operation: result, a struct with
// xml tags, inside <opResult>. A nil result leaves that element out.
func WriteQuery(w http.ResponseWriter, requestID, op, xmlns string, result any) error {
	var d document
	d.open(op+"Response", xmlns)
	if result != nil {
		d.encode(op+"Result", result)
	}
	d.open("ResponseMetadata", "")
	d.text("RequestId", requestID)
	d.close("ResponseMetadata")
	d.close(op + "Response")
	return d.send(w, http.StatusOK, contentTypeXML, "X-Amzn-Requestid", requestID)
}

// WriteQueryError writes e as a query service does. xmlns is the namespace of
// the service; it is empty if the request could not be routed to one.
func WriteQueryError(w http.ResponseWriter, requestID, xmlns string, e *Error) error {
	var d document
	d.open("ErrorResponse", xmlns)
	d.open("Error", "")
	if e.status() < http.StatusInternalServerError {
		d.text("Type", "Sender")
	} else {
		d.text("Type", "Receiver")
	}
	d.error(e)
	d.close("Error")
	d.text("RequestId", requestID)
	d.close("ErrorResponse")
	return d.send(w, e.status(), contentTypeXML, "X-Amzn-Requestid", requestID)
}

// WriteEC2 writes the response of an EC2 operation: the members of result, a struct with
// xml tags, are siblings of the request ID. A nil result becomes <return>true</return>.
func WriteEC2(w http.ResponseWriter, requestID, op, xmlns string, result any) error {
	var d document
	d.open(op+"Response", xmlns)
	d.text("requestId", requestID)
	if result == nil {
		d.text("return", "true")
	} else {
		var inner document
		inner.encode("r", result)
		body, ok := bytes.CutPrefix(inner.b.Bytes(), []byte("<r>"))
		body, ok2 := bytes.CutSuffix(body, []byte("</r>"))
		if d.err = inner.err; d.err == nil && (!ok || !ok2) {
			d.err = fmt.Errorf("awsproto: %T has attributes or a name of its own", result)
		}
		d.b.Write(body)
	}
	d.close(op + "Response")
	return d.send(w, http.StatusOK, contentTypeXML+";charset=UTF-8", "X-Amzn-Requestid", requestID)
}

// WriteEC2Error writes e as EC2 does.
func WriteEC2Error(w http.ResponseWriter, requestID string, e *Error) error {
	var d document
	d.open("Response", "")
	d.open("Errors", "")
	d.open("Error", "")
	d.error(e)
	d.close("Error")
	d.close("Errors")
	d.text("RequestID", requestID)
	d.close("Response")
	return d.send(w, e.status(), contentTypeXML+";charset=UTF-8", "X-Amzn-Requestid", requestID)
}

// WriteXML writes v, whose XMLName or type names the root element.
func WriteXML(w http.ResponseWriter, status int, requestID string, v any) error {
	var d document
	d.encode("", v)
	return d.send(w, status, contentTypeRESTXML, "X-Amz-Request-Id", requestID)
}

// WriteRESTXMLError writes e as S3 and ssmmessages do.
func WriteRESTXMLError(w http.ResponseWriter, requestID string, e *Error) error {
	var d document
	d.open("Error", "")
	d.error(e)
	d.text("RequestId", requestID)
	d.close("Error")
	return d.send(w, e.status(), contentTypeRESTXML, "X-Amz-Request-Id", requestID)
}

// document writes XML whose element names are known only at run time. It keeps the first
// error.
type document struct {
	b   bytes.Buffer
	err error
}

func (d *document) open(name, xmlns string) {
	d.b.WriteString("<" + name)
	if xmlns != "" {
		d.b.WriteString(` xmlns="`)
		d.escape(xmlns)
		d.b.WriteByte('"')
	}
	d.b.WriteByte('>')
}

func (d *document) close(name string) { d.b.WriteString("</" + name + ">") }

func (d *document) text(name, value string) {
	d.open(name, "")
	d.escape(value)
	d.close(name)
}

func (d *document) escape(s string) {
	if err := xml.EscapeText(&d.b, []byte(s)); err != nil && d.err == nil {
		d.err = err
	}
}

func (d *document) error(e *Error) {
	d.text("Code", e.Code)
	d.text("Message", e.Message)
	for _, k := range slices.Sorted(maps.Keys(e.Extra)) {
		d.text(k, e.Extra[k])
	}
}

func (d *document) encode(name string, v any) {
	enc := xml.NewEncoder(&d.b)
	var err error
	if name == "" {
		err = enc.Encode(v)
	} else {
		err = enc.EncodeElement(v, xml.StartElement{Name: xml.Name{Local: name}})
	}
	if err != nil && d.err == nil {
		d.err = fmt.Errorf("awsproto: encode response: %w", err)
	}
}

func (d *document) send(w http.ResponseWriter, status int, contentType, idHeader, requestID string) error {
	if d.err != nil {
		return d.err
	}
	return write(w, status, contentType, idHeader, requestID, append([]byte(xmlHeader), d.b.Bytes()...))
}
