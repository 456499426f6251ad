package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sekisho/internal/config"
)

const databaseConfig = `account: "100000000000"
tls: {certificate: /c.pem, key: /k.pem}
database:
  url: postgres://sekisho@db.example.com:5433/state
  password_file: /etc/sekisho/database-password
  max_connections: 50
`

func TestDatabase(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("se:cr/et\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse([]byte(strings.Replace(databaseConfig, "/etc/sekisho/database-password", file, 1)))
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.Database.Postgres()
	if err != nil {
		t.Fatal(err)
	}
	if p.Password != "se:cr/et" || p.MaxConnections != 50 || p.String() != "postgres://db.example.com:5433/state" {
		t.Errorf("%s, %d connections", p, p.MaxConnections)
	}
	c, err = config.Parse([]byte("account: \"100000000000\"\ntls: {certificate: /c.pem, key: /k.pem}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if p, err := c.Database.Postgres(); p != nil || err != nil {
		t.Errorf("without the section: %v, %v", p, err)
	}
}

// TestDatabaseMistakes: every mistake is named with its line, and no error contains a password.
func TestDatabaseMistakes(t *testing.T) {
	t.Parallel()
	const secret = "hunter2-secret"
	for _, c := range []struct{ old, new, want string }{
		{"postgres://", "mysql://", "line 4: database: url: "},
		{"sekisho@", "sekisho:" + secret + "@", "line 4: database: url: "},
		{":5433", ":" + secret, "line 4: database: url: "},
		{"/state", "", "line 4: database: url: "},
		{"/state", "/state?sslmode=disable", "line 4: database: url: "},
		{"/state", "/state?password=" + secret, "line 4: database: url: "},
		{"max_connections: 50", "max_connections: 2", "line 6: database: max_connections: "},
		{"  url: postgres://sekisho@db.example.com:5433/state\n", "", "database: url: missing"},
		{"password_file: ", "password: ", `unknown key "password"`},
	} {
		_, err := config.Parse([]byte(strings.Replace(databaseConfig, c.old, c.new, 1)))
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v, want %s", c.new, err, c.want)
		}
	}
	// A connection to this machine needs no encryption.
	for _, host := range []string{"localhost", "127.0.0.1:5433", "[::1]:5433"} {
		text := strings.Replace(databaseConfig, "db.example.com:5433", host, 1)
		if _, err := config.Parse([]byte(strings.Replace(text, "/state", "/state?sslmode=disable", 1))); err != nil {
			t.Error(err)
		}
	}
}

// TestDatabasePasswordFiles: a file that others can read, or that has no password, is refused.
func TestDatabasePasswordFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, c := range map[string]struct {
		text string
		mode os.FileMode
		ok   bool
	}{
		"private": {"secret", 0o600, true}, "group": {"secret\r\n", 0o640, true}, "public": {"secret", 0o644, false},
		"empty": {"\n", 0o600, false}, "large": {strings.Repeat("x", 5000), 0o600, false},
	} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(c.text), c.mode); err != nil {
			t.Fatal(err)
		}
		got, err := config.ReadPassword(file)
		if (err == nil) != c.ok || c.ok && got != "secret" || err != nil && strings.Contains(err.Error(), "xxx") {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := config.ReadPassword(filepath.Join(dir, "missing")); err == nil {
		t.Error("a missing file is not an error")
	}
}
