package enroll

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"sekisho"
)

func TestRoleTokenCheck(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	tests := []struct {
		name, answer string
		want         time.Time
		code         sekisho.Code
	}{
		{
			"good",
			`{"AccessKeyId":"a","SecretAccessKey":"b","TokenExpirationDate":1795437000}`,
			time.Unix(1795437000, 0),
			"",
		},
		{
			"fraction",
			`{"AccessKeyId":"a","SecretAccessKey":"b","TokenExpirationDate":1.795437E9}`,
			time.Unix(1795437000, 0),
			"",
		},
		{
			"valid forever",
			`{"AccessKeyId":"a","SecretAccessKey":"b","TokenExpirationDate":1e300}`,
			now.Add(24 * time.Hour),
			"",
		},
		{
			"expired",
			`{"AccessKeyId":"a","SecretAccessKey":"b","TokenExpirationDate":1700000000}`,
			time.Time{},
			sekisho.CodeExpired,
		},
		{
			"not valid yet",
			`{"AccessKeyId":"a","SecretAccessKey":"b","TokenExpirationDate":-1e300}`,
			time.Time{},
			sekisho.CodeExpired,
		},
		{"no expiry", `{"AccessKeyId":"a","SecretAccessKey":"b"}`, time.Time{}, sekisho.CodeInternal},
		{"no key", `{"SecretAccessKey":"b","TokenExpirationDate":1795437000}`, time.Time{}, sekisho.CodeInternal},
		{"no secret", `{"AccessKeyId":"a","TokenExpirationDate":1795437000}`, time.Time{}, sekisho.CodeInternal},
		{"empty", `{}`, time.Time{}, sekisho.CodeInternal},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var a roleTokenResponse
			if err := json.Unmarshal([]byte(tt.answer), &a); err != nil {
				t.Fatal(err)
			}
			got, err := a.check(now)
			if !got.Equal(tt.want) || sekisho.CodeOf(err) != tt.code {
				t.Errorf("got %v, %v; want %v, %q", got, err, tt.want, tt.code)
			}
		})
	}
}

func FuzzParseIdentity(f *testing.F) {
	f.Add(
		[]byte(
			`{"Node":"mi-0123456789abcdef0","Fingerprint":"x","PrivateKey":"-----BEGIN PRIVATE KEY-----\nMAA=\n-----END ` +
				`PRIVATE KEY-----\n","RegisteredAt":"2026-11-23T12:00:00Z"}`,
		),
	)
	f.Add([]byte(`{}`))
	f.Add([]byte(`{"PrivateKey":5}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		ident, _, err := parseIdentity(b)
		if err == nil && (ident.Key == nil || strings.ContainsAny(string(ident.Node), "/.\x00")) {
			t.Errorf("accepted %+v", ident)
		}
	})
}
