package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// Hidden replaces secrets in the trail.
const Hidden = "Value hidden due to security reasons."

// maxElements bounds the request and the response of one record.
const maxElements = 64 << 10

// secretNames are the members whose values are secret, in lower case without
// separators.
var secretNames = map[string]bool{
	"tokenvalue": true, "secretaccesskey": true, "sessiontoken": true, "securitytoken": true, "xamzsecuritytoken": true,
	"password": true, "newpassword": true, "oldpassword": true, "userpassword": true, "masteruserpassword": true,
	"activationcode": true, "secretstring": true, "secretbinary": true, "plaintext": true, "privatekey": true,
	"privatekeyplaintext": true, "keymaterial": true, "webidentitytoken": true, "samlassertion": true,
	"tokencode": true, "authenticationcode1": true, "authenticationcode2": true, "base32stringseed": true,
	"qrcodepng":    true,
	"clientsecret": true, "authorization": true, "cookie": true, "setcookie": true, "xamzsignature": true,
	"accesstoken": true, "refreshtoken": true, "idtoken": true, "signintoken": true, "totp": true, "totpcode": true,
	"recoverycode": true, "recoverycodes": true,
}

// Redact returns a copy of v, a value decoded by encoding/json, with the values of secret members
// replaced at any depth. Names match in any case. A dotted name of a query protocol is secret if
// any of its parts is.
func Redact(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			if isSecret(k) && e != nil {
				out[k] = Hidden
			} else {
				out[k] = Redact(e)
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = Redact(e)
		}
		return out
	}
	return v
}

func isSecret(name string) bool {
	for part := range strings.SplitSeq(name, ".") {
		if secretNames[strings.ToLower(strings.NewReplacer("-", "", "_", "").Replace(part))] {
			return true
		}
	}
	return false
}

// redacted converts any value to the form that Redact accepts, and redacts it. A value too large
// for a record is replaced with its size.
func redacted(v any) (any, error) {
	if v == nil {
		return nil, nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	if bytes.Equal(b, []byte("null")) {
		return nil, nil
	}
	if len(b) > maxElements {
		return map[string]any{"omitted": fmt.Sprintf("%d bytes exceed the limit of a record", len(b))}, nil
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var plain any
	if err := dec.Decode(&plain); err != nil {
		return nil, err
	}
	return Redact(plain), nil
}
