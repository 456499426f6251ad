package sigv4

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
)

// reading is one form in which signers write a request.
type reading struct{ path, host string }

// readings returns every reading of r, the most common first.
func (p *Parsed) readings(r *http.Request) []reading {
	sent := r.URL.EscapedPath()
	if sent == "" {
		sent = "/"
	}
	var paths []string
	if p.Service == serviceS3 {
		paths = append(paths, reencode(sent), sent)
	} else {
		paths = append(paths, encode(sent, true), encode(clean(sent), true))
	}
	host := r.Host
	if host == "" {
		host = r.URL.Host
	}
	hosts := append([]string{host}, otherHosts(host)...)
	var all []reading
	for _, h := range hosts {
		for _, p := range slices.Compact(paths) {
			all = append(all, reading{p, h})
		}
	}
	return all
}

// otherHosts adds or removes a default port.
func otherHosts(host string) []string {
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		return []string{host + ":443", host + ":80"}
	}
	if port != "443" && port != "80" {
		return nil
	}
	return []string{strings.TrimSuffix(host, ":"+port), name}
}

// StringToSign returns the string that r's signature covers, in its most common reading.
// payloadHash is the hash of the body where the request declares none.
func (p *Parsed) StringToSign(r *http.Request, payloadHash string) string {
	if p.PayloadHash != "" {
		payloadHash = p.PayloadHash
	}
	query, _ := canonicalQuery(r.URL.RawQuery)
	return p.stringToSign(r, p.readings(r)[0], query, payloadHash)
}

func (p *Parsed) stringToSign(r *http.Request, as reading, query, payloadHash string) string {
	var b strings.Builder
	b.WriteString(r.Method)
	b.WriteByte('\n')
	b.WriteString(as.path)
	b.WriteByte('\n')
	b.WriteString(query)
	b.WriteByte('\n')
	for _, name := range p.SignedHeaders {
		b.WriteString(name)
		b.WriteByte(':')
		for i, v := range headerValues(r, name, as.host) {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(fold(v))
		}
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	b.WriteString(strings.Join(p.SignedHeaders, ";"))
	b.WriteByte('\n')
	b.WriteString(payloadHash)
	sum := sha256.Sum256([]byte(b.String()))
	return algorithm + "\n" + p.Time.UTC().Format(timeFormat) + "\n" + p.scope() + "\n" + hex.EncodeToString(sum[:])
}

// headerValues returns the values of a signed header, including headers that
// net/http moves out of the header map; nil if there is none.
func headerValues(r *http.Request, name, host string) []string {
	if name == "host" {
		return []string{host}
	}
	if v := r.Header[http.CanonicalHeaderKey(name)]; v != nil {
		return v
	}
	switch name {
	case "content-length":
		if r.ContentLength >= 0 {
			return []string{strconv.FormatInt(r.ContentLength, 10)}
		}
	case "transfer-encoding":
		return r.TransferEncoding
	}
	return nil
}

// fold trims a header value and replaces runs of spaces with one space.
func fold(v string) string {
	v = strings.Trim(v, " \t")
	if !strings.Contains(v, "  ") {
		return v
	}
	var b strings.Builder
	for i := range len(v) {
		if v[i] != ' ' || v[i-1] != ' ' {
			b.WriteByte(v[i])
		}
	}
	return b.String()
}

// canonicalQuery decodes, re-encodes and sorts the query; the sort is by the encoded form.
// It leaves out the presigned signature itself.
func canonicalQuery(raw string) (string, *Error) {
	if raw == "" {
		return "", nil
	}
	pairs, err := queryPairs(raw)
	if err != nil {
		return "", err
	}
	encoded := pairs[:0]
	for _, p := range pairs {
		if p.key != "X-Amz-Signature" {
			encoded = append(encoded, pair{encode(p.key, false), encode(p.value, false)})
		}
	}
	slices.SortFunc(encoded, func(a, b pair) int {
		return cmp.Or(strings.Compare(a.key, b.key), strings.Compare(a.value, b.value))
	})
	var b strings.Builder
	for i, p := range encoded {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(p.key)
		b.WriteByte('=')
		b.WriteString(p.value)
	}
	return b.String(), nil
}

// encode percent-encodes everything but RFC 3986's unreserved characters.
func encode(s string, keepSlash bool) string {
	var b strings.Builder
	for i := range len(s) {
		writeEncoded(&b, s[i], keepSlash)
	}
	return b.String()
}

func writeEncoded(b *strings.Builder, c byte, keepSlash bool) {
	const digits = "0123456789ABCDEF"
	if isAlphanumeric(c) || c == '-' || c == '.' || c == '_' || c == '~' || c == '/' && keepSlash {
		b.WriteByte(c)
		return
	}
	b.WriteByte('%')
	b.WriteByte(digits[c>>4])
	b.WriteByte(digits[c&15])
}

// reencode converts an escaped path to S3's canonical encoding. An escaped slash stays
// escaped because it is part of a name.
func reencode(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' || i+2 >= len(s) {
			writeEncoded(&b, s[i], true)
			continue
		}
		c, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			writeEncoded(&b, s[i], true)
			continue
		}
		writeEncoded(&b, byte(c), false)
		i += 2
	}
	return b.String()
}

// clean removes empty and dot segments and keeps a final slash.
func clean(p string) string {
	c := path.Clean("/" + p)
	if c != "/" && (strings.HasSuffix(p, "/") || strings.HasSuffix(p, "/.") || strings.HasSuffix(p, "/..")) {
		c += "/"
	}
	return c
}
