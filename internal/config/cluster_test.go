package config_test

import (
	"strings"
	"testing"

	"sekisho/internal/config"
)

func TestClusterSettings(t *testing.T) {
	t.Parallel()
	const (
		base     = "account: \"100000000000\"\ntls: {certificate: c, key: k}\n"
		database = "database: {url: \"postgres://sekisho@localhost/sekisho\"}\n"
		good     = "name: m1, listen: \"0.0.0.0:8444\", address: \"10.0.0.1:8444\", shared: /mnt/sekisho"
	)
	with := func(old, changed string) string {
		return database + "cluster: {" + strings.Replace(good, old, changed, 1) + "}\n"
	}
	for name, c := range map[string]struct{ text, key string }{
		"a member":              {database + "cluster: {" + good + "}\n", ""},
		"without PostgreSQL":    {"cluster: {" + good + "}\n", "database.url"},
		"exports of the trail":  {database + "audit: {max_age_days: 9}\ncluster: {" + good + "}\n", "audit"},
		"a malformed name":      {with("m1", "M_1"), "name"},
		"an address of no host": {with("10.0.0.1", "0.0.0.0"), "address"},
		"no port":               {with("0.0.0.0:8444", "0.0.0.0"), "listen"},
		"a relative directory":  {with("/mnt", "mnt"), "shared"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := config.Parse([]byte(base + c.text))
			switch {
			case c.key == "" && err != nil:
				t.Error(err)
			case c.key != "" && (err == nil || !strings.Contains(err.Error(), c.key)):
				t.Errorf("%v, want an error about %s", err, c.key)
			}
		})
	}
}
