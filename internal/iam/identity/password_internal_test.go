package identity

import (
	"strings"
	"testing"
)

func TestPasswordHashes(t *testing.T) {
	t.Parallel()
	phc := hashPassword("Correct-Horse-1")
	if !strings.HasPrefix(phc, "$argon2id$v=19$m=65536,t=2,p=1$") || phc == hashPassword("Correct-Horse-1") {
		t.Errorf("hash %s", phc)
	}
	if !passwordMatches(phc, "Correct-Horse-1") || passwordMatches(phc, "correct-Horse-1") || passwordMatches(phc, "") {
		t.Error("the hash matches what it should not, or not what it should")
	}
	// A hash of the reference implementation's command line:
	// echo -n password | argon2 somesalt -id -t 2 -m 16 -p 1 -l 32
	if !passwordMatches(
		"$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"password",
	) {
		t.Error("a hash of the reference implementation does not match")
	}
	if passwordMatches(dummyHash, "") || strings.Count(dummyHash, "$") != strings.Count(phc, "$") ||
		!strings.HasPrefix(dummyHash, phc[:len("$argon2id$v=19$m=65536,t=2,p=1$")]) {
		t.Error("the stand-in for missing users does not cost what a password costs")
	}
}

func FuzzPasswordHash(f *testing.F) {
	for _, seed := range []string{
		"", "$argon2id$", "$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA",
		"$argon2id$v=19$m=4294967295,t=4294967295,p=255$AAAAAAAAAAAAAAAAAAAAAA$AAAA", "$argon2i$v=19$m=8,t=1,p=0$$",
		"$argon2id$v=19$m=8,t=0,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, phc string) {
		// The parser bounds the memory that a hostile hash could require.
		if strings.Contains(phc, "m=") && !strings.Contains(phc, "m=8,") {
			return
		}
		if passwordMatches(phc, "Correct-Horse-1") {
			t.Errorf("%q matches", phc)
		}
	})
}
