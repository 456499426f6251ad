package sigv4

import (
	"crypto"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"time"
)

const minRSABits, maxRSABits = 2048, 8192

// HashBody returns the hash under which a body is signed.
func HashBody(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// Verify reports whether r was signed with secret, within the allowed time. bodyHash is
// [HashBody] of the body that was read. It may be empty only if the request declares its
// payload hash (S3): the caller must then verify the body against p.PayloadHash while
// reading it. The error is an *Error.
func (p *Parsed) Verify(secret string, r *http.Request, bodyHash string, now time.Time) error {
	want, err := hex.DecodeString(p.Signature)
	if err != nil || len(want) != sha256.Size || p.Signature != strings.ToLower(p.Signature) {
		return errorf(CodeIncomplete, "The signature must be 64 lower-case hexadecimal digits.")
	}
	key := signingKeys.of(secret, p.Credential)
	return p.verify(r, bodyHash, now, "Check your AWS Secret Access Key and signing method", func(text string) bool {
		return hmac.Equal(hmacSHA256(key, text), want)
	})
}

// VerifyRSA reports whether r was signed with the private half of pub: the form in which a
// managed node requests its role credentials, RSA-PSS with SHA-256 and a salt of 32 bytes,
// base64 encoded. The other arguments and the error are those of [Parsed.Verify].
func VerifyRSA(p *Parsed, pub *rsa.PublicKey, r *http.Request, bodyHash string, now time.Time) error {
	if n := pub.N.BitLen(); n < minRSABits || n > maxRSABits {
		return errorf(
			CodeUnknownKey,
			"The registered key has %d bits; it must have %d to %d.",
			n,
			minRSABits,
			maxRSABits,
		)
	}
	sig, err := base64.StdEncoding.Strict().DecodeString(p.Signature)
	if err != nil || len(sig) != pub.Size() {
		return errorf(CodeIncomplete, "The signature must be a base64 RSA-PSS signature of %d bytes.", pub.Size())
	}
	return p.verify(r, bodyHash, now, "The node must sign with the key it registered", func(text string) bool {
		sum := sha256.Sum256([]byte(text))
		return rsa.VerifyPSS(
			pub,
			crypto.SHA256,
			sum[:],
			sig,
			&rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash},
		) == nil
	})
}

func (p *Parsed) verify(r *http.Request, bodyHash string, now time.Time, remedy string,
	matches func(text string) bool) error {
	if err := p.checkTime(now); err != nil {
		return err
	}
	if err := p.checkHeaders(r); err != nil {
		return err
	}
	hash, herr := p.checkBody(bodyHash)
	if herr != nil {
		return herr
	}
	query, qerr := canonicalQuery(r.URL.RawQuery)
	if qerr != nil {
		return qerr
	}
	all := p.readings(r)
	if slices.ContainsFunc(all, func(as reading) bool { return matches(p.stringToSign(r, as, query, hash)) }) {
		return nil
	}
	return errorf(
		CodeMismatch,
		"The request signature we calculated does not match the signature you provided. %s; a proxy on the way must "+
			"leave path, query and Host (here %q) as they are.",
		remedy,
		all[0].host,
	)
}

func (p *Parsed) checkTime(now time.Time) error {
	fail := func(format string, args ...any) error {
		e := errorf(CodeExpired, format, args...)
		e.presigned = p.Presigned
		return e
	}
	const clock = "20060102T150405Z"
	here, there := now.UTC().Format(clock), p.Time.UTC().Format(clock)
	if p.Presigned {
		if now.After(p.Time.Add(p.Expires)) {
			return fail("Request has expired: it was presigned at %s for %v, and the server's clock says %s.", there,
				p.Expires, here)
		}
	} else if now.After(p.Time.Add(p.MaxSkew)) {
		return fail("Signature expired: the request's time is %s and the server's clock says %s, more than the allowed "+
			"%v apart; set the caller's clock.", there, here, p.MaxSkew)
	}
	if p.Time.After(now.Add(p.MaxSkew)) {
		return fail(
			"Signature not yet current: the request's time is %s and the server's clock says %s, more than the allowed %v "+
				"apart; set the caller's clock.",
			there,
			here,
			p.MaxSkew,
		)
	}
	return nil
}

// checkHeaders checks that every signed header is present and that every header that
// handlers trust is signed.
func (p *Parsed) checkHeaders(r *http.Request) error {
	for _, name := range p.SignedHeaders {
		if len(headerValues(r, name, "-")) == 0 {
			return errorf(CodeMismatch,
				"The signed header %q did not arrive with the request; a proxy on the way may have removed it.", name)
		}
	}
	for name := range r.Header {
		lower := strings.ToLower(name)
		// The signature covers the payload hash even if the header that declares it is not
		// listed: AWS's agent adds the header late.
		if !strings.HasPrefix(lower, "x-amz-") || lower == "x-amz-content-sha256" {
			continue
		}
		if _, ok := slices.BinarySearch(p.SignedHeaders, lower); !ok {
			return errorf(
				CodeMismatch,
				"The header %q is present in the request and not signed; sign every X-Amz header.",
				name,
			)
		}
	}
	return nil
}

func (p *Parsed) checkBody(bodyHash string) (string, error) {
	switch {
	case p.PayloadHash == "" && bodyHash == "":
		return "", errorf(CodeIncomplete, "The request does not declare the hash of its body in X-Amz-Content-Sha256.")
	case p.PayloadHash == "":
		return bodyHash, nil
	case bodyHash == "" || !isHexHash(p.PayloadHash) || bodyHash == p.PayloadHash:
		return p.PayloadHash, nil
	}
	return "", errorf(CodePayloadHash,
		"The provided 'x-amz-content-sha256' header does not match what was computed from the body.")
}

func signingKey(secret string, c Credential) []byte {
	key := hmacSHA256([]byte("AWS4"+secret), c.Date)
	key = hmacSHA256(key, c.Region)
	key = hmacSHA256(key, c.Service)
	return hmacSHA256(key, terminator)
}

func hmacSHA256(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}
