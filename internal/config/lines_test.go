package config_test

import (
	"strings"
	"testing"

	"sekisho/internal/config"
)

// TestMistakesHaveLines: one run reports every mistake with its line, and for
// unknown keys the key that was probably meant.
func TestMistakesHaveLines(t *testing.T) {
	t.Parallel()
	_, err := config.Parse([]byte(`# comment
data: /var/lib/sekisho
lissten: 0.0.0.0:443
account: "12"
region: us-east-1
tls:
  certificat: /etc/c.pem
  key: /etc/k.pem
agents_per_second: many
xyzzy: 1
webhooks:
  - name: a
    adress: https://hooks.example
`))
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		`line 3: unknown key "lissten"; did you mean "listen"?`,
		`line 4: account: `,
		`line 7: tls: unknown key "certificat"; did you mean "certificate"?`,
		`line 9: `,
		`line 10: unknown key "xyzzy"; valid keys are `,
		`line 13: webhooks: unknown key "adress"`,
		`line 6: tls: `,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in:\n%v", want, err)
		}
	}
}

func TestInvalidDocuments(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"list": "- a\n- b\n", "text": "hello", "twice": "region: us-east-1\nregion: us-east-2\n", "tabs": "tls:\n\tkey: x\n",
	} {
		if c, err := config.Parse([]byte(text)); err == nil || c != nil {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("data: /var/lib/sekisho\ntls: {key: a, certificate: b}\n"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("? {x: 1}\n: y\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := config.Parse(b); (c == nil) == (err == nil) {
			t.Errorf("%+v, %v", c, err)
		}
	})
}
