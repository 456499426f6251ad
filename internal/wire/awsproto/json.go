package awsproto

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"unicode/utf8"
)

// MaxBody is the largest request body a decoder of this package takes.
const MaxBody = 4 << 20

const maxDepth = 64

const contentTypeJSON = "application/x-amz-json-1.1"

// DecodeJSON reads a JSON 1.1 request body into the struct v points to. An
// empty body is an empty object. Anything but a JSON object of the right
// types, without duplicate names, is an *Error with the code
// SerializationException.
func DecodeJSON(body []byte, v any) error {
	if len(body) > MaxBody {
		return serialization("the request body is larger than %d bytes", MaxBody)
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	if !utf8.Valid(body) {
		return serialization("the request body is not valid UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	first, err := dec.Token()
	if err != nil {
		return serialization("the request body is not valid JSON: %v", err)
	}
	if first != json.Delim('{') {
		return serialization("the request body is not a JSON object")
	}
	if err := checkObject(dec, 1); err != nil {
		return err
	}
	if dec.More() || len(bytes.TrimSpace(body[dec.InputOffset():])) > 0 {
		return serialization("the request body continues after the JSON object")
	}
	return assign(body, reflect.ValueOf(v).Elem(), "")
}

// checkObject reads the rest of an object and rejects what encoding/json accepts: duplicate
// names and excessive depth.
func checkObject(dec *json.Decoder, depth int) error {
	seen := map[string]bool{}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return serialization("the request body is not valid JSON: %v", err)
		}
		name, _ := key.(string)
		if seen[name] {
			return serialization("the name %q appears twice in one object", name)
		}
		seen[name] = true
		if err := checkValue(dec, depth); err != nil {
			return err
		}
	}
	return checkEnd(dec)
}

func checkValue(dec *json.Decoder, depth int) error {
	tok, err := dec.Token()
	if err != nil {
		return serialization("the request body is not valid JSON: %v", err)
	}
	if depth >= maxDepth {
		return serialization("the request body is nested deeper than %d levels", maxDepth)
	}
	switch tok {
	case json.Delim('{'):
		return checkObject(dec, depth+1)
	case json.Delim('['):
		for dec.More() {
			if err := checkValue(dec, depth+1); err != nil {
				return err
			}
		}
		return checkEnd(dec)
	}
	return nil
}

func checkEnd(dec *json.Decoder) error {
	if _, err := dec.Token(); err != nil {
		return serialization("the request body is not valid JSON: %v", err)
	}
	return nil
}

// assign exists because encoding/json matches names in any case, which AWS does not, and
// because its messages mention Go types.
func assign(raw json.RawMessage, v reflect.Value, path string) error {
	null := bytes.Equal(bytes.TrimSpace(raw), []byte("null"))
	if v.Kind() == reflect.Pointer {
		if null {
			return nil
		}
		v.Set(reflect.New(v.Type().Elem()))
		return assign(raw, v.Elem(), path)
	}
	if u, ok := v.Addr().Interface().(json.Unmarshaler); ok {
		if err := u.UnmarshalJSON(bytes.TrimSpace(raw)); err != nil {
			return serialization("%s: %v", path, err)
		}
		return nil
	}
	if null {
		return nil
	}
	switch v.Kind() {
	case reflect.Struct:
		var members map[string]json.RawMessage
		if json.Unmarshal(raw, &members) != nil {
			return wrongType(path, "an object")
		}
		for _, f := range fields(v, "json") {
			if m, ok := members[f.name]; ok {
				if err := assign(m, f.value, join(path, f.name)); err != nil {
					return err
				}
			}
		}
		return nil
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			break
		}
		var elements []json.RawMessage
		if json.Unmarshal(raw, &elements) != nil {
			return wrongType(path, "a list")
		}
		list := reflect.MakeSlice(v.Type(), len(elements), len(elements))
		for i, e := range elements {
			if err := assign(e, list.Index(i), fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
		v.Set(list)
		return nil
	case reflect.Map:
		var entries map[string]json.RawMessage
		if json.Unmarshal(raw, &entries) != nil {
			return wrongType(path, "an object")
		}
		m := reflect.MakeMapWithSize(v.Type(), len(entries))
		for k, e := range entries {
			value := reflect.New(v.Type().Elem()).Elem()
			if err := assign(e, value, join(path, k)); err != nil {
				return err
			}
			m.SetMapIndex(reflect.ValueOf(k).Convert(v.Type().Key()), value)
		}
		v.Set(m)
		return nil
	}
	if json.Unmarshal(raw, v.Addr().Interface()) != nil {
		return wrongType(path, typeName(v))
	}
	return nil
}

type field struct {
	name  string
	value reflect.Value
}

// fields lists the fields of a struct by tag; those of embedded structs count
// as its own.
func fields(v reflect.Value, tag string) []field {
	var all []field
	t := v.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get(tag), ",")
		switch {
		case f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct:
			all = append(all, fields(v.Field(i), tag)...)
		case name == "-" || !f.IsExported():
		case name == "":
			all = append(all, field{f.Name, v.Field(i)})
		default:
			all = append(all, field{name, v.Field(i)})
		}
	}
	return all
}

func typeName(v reflect.Value) string {
	switch v.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint32, reflect.Uint64:
		return "a whole number in range"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Slice:
		return "base64 text"
	}
	return "of another type"
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func wrongType(path, want string) error {
	if path == "" {
		return serialization("the request body is not valid JSON")
	}
	return serialization("member %s must be %s", path, want)
}

func serialization(format string, args ...any) *Error {
	e := SenderError("SerializationException", format, args...)
	e.Message = strings.ToUpper(e.Message[:1]) + e.Message[1:] + "."
	return e
}

// WriteJSON writes a JSON 1.1 response with status 200.
func WriteJSON(w http.ResponseWriter, requestID string, v any) error {
	return writeJSON(w, http.StatusOK, requestID, v)
}

// WriteJSONError writes e as JSON 1.1.
func WriteJSONError(w http.ResponseWriter, requestID string, e *Error) error {
	body := map[string]string{}
	for k, v := range e.Extra {
		body[k] = v
	}
	body["__type"], body["message"] = e.Code, e.Message
	w.Header().Set("X-Amzn-Errortype", e.Code)
	return writeJSON(w, e.status(), requestID, body)
}

func writeJSON(w http.ResponseWriter, status int, requestID string, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("awsproto: encode response: %w", err)
	}
	return write(w, status, contentTypeJSON, "X-Amzn-Requestid", requestID, bytes.TrimSuffix(b.Bytes(), []byte("\n")))
}

func write(w http.ResponseWriter, status int, contentType, idHeader, requestID string, body []byte) error {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set(idHeader, requestID)
	w.WriteHeader(status)
	if _, err := w.Write(body); err != nil {
		return fmt.Errorf("awsproto: write response: %w", err)
	}
	return nil
}
