package sigv4

import (
	"bytes"
	"fmt"
	"testing"
)

// A cached key equals the derived one, and the cache is bounded.
func TestSigningKeysAreKept(t *testing.T) {
	t.Parallel()
	var k keys
	for round := range 2 {
		for i := range 3 * maxKeys {
			secret := fmt.Sprint("secret", i)
			c := Credential{Date: "20260415", Region: "eu-test-1", Service: "ssm"}
			if got := k.of(secret, c); !bytes.Equal(got, signingKey(secret, c)) {
				t.Fatalf("round %d, key %d: %x", round, i, got)
			}
			if n := len(k.recent) + len(k.old); n > 2*maxKeys {
				t.Fatalf("%d keys are kept", n)
			}
		}
	}
	base := Credential{Date: "20260415", Region: "eu-test-1", Service: "ssm"}
	for name, other := range map[string]Credential{
		"date":    {Date: "20260416", Region: "eu-test-1", Service: "ssm"},
		"region":  {Date: "20260415", Region: "eu-test-2", Service: "ssm"},
		"service": {Date: "20260415", Region: "eu-test-1", Service: "s3"},
		"shifted": {Date: "20260415", Region: "eu-test-1ssm", Service: ""},
	} {
		if bytes.Equal(k.of("secret", base), k.of("secret", other)) {
			t.Errorf("another %s has the same key", name)
		}
	}
}
