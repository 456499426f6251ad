package sigv4

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Credentials are an access key with its secret.
type Credentials struct {
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string // of temporary credentials; otherwise empty
}

// Sign signs req in its Authorization header. payloadHash is [HashBody] of the body. It
// covers host, Content-Type, Content-MD5 and every X-Amz header, which must therefore be
// set before the call.
func Sign(req *http.Request, creds Credentials, region, service string, t time.Time, payloadHash string) {
	if creds.SessionToken != "" {
		req.Header.Set("X-Amz-Security-Token", creds.SessionToken)
	}
	if service == serviceS3 {
		req.Header.Set("X-Amz-Content-Sha256", payloadHash)
	}
	p := prepare(req, creds.AccessKeyID, region, service, t)
	mac := hmacSHA256(signingKey(creds.SecretAccessKey, p.Credential), p.StringToSign(req, payloadHash))
	p.Signature = hex.EncodeToString(mac)
	p.authorize(req)
}

// SignRSA signs req as a managed node does to request its role credentials; see
// [VerifyRSA].
func SignRSA(req *http.Request, key *rsa.PrivateKey, nodeID, region, service string, t time.Time,
	payloadHash string) error {
	p := prepare(req, nodeID, region, service, t)
	sum := sha256.Sum256([]byte(p.StringToSign(req, payloadHash)))
	sig, err := rsa.SignPSS(rand.Reader, key, crypto.SHA256, sum[:],
		&rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	if err != nil {
		return fmt.Errorf("sigv4: sign as %s: %w", nodeID, err)
	}
	p.Signature = base64.StdEncoding.EncodeToString(sig)
	p.authorize(req)
	return nil
}

// prepare sets the date of req and chooses the headers to sign.
func prepare(req *http.Request, accessKeyID, region, service string, t time.Time) *Parsed {
	t = t.UTC()
	req.Header.Del("Authorization")
	req.Header.Set("X-Amz-Date", t.Format(timeFormat))
	names := []string{"host"}
	for k := range req.Header {
		lower := strings.ToLower(k)
		if lower == "content-type" || lower == "content-md5" || strings.HasPrefix(lower, "x-amz-") {
			names = append(names, lower)
		}
	}
	slices.Sort(names)
	return &Parsed{
		Credential: Credential{
			AccessKeyID: accessKeyID,
			Date:        t.Format(dateFormat),
			Region:      region,
			Service:     service,
		},
		SignedHeaders: names,
		Time:          t,
	}
}

func (p *Parsed) authorize(req *http.Request) {
	req.Header.Set("Authorization", algorithm+" Credential="+p.AccessKeyID+"/"+p.scope()+
		", SignedHeaders="+strings.Join(p.SignedHeaders, ";")+", Signature="+p.Signature)
}
