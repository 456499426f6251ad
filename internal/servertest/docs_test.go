package servertest_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sekisho/internal/iam/identity"
	"sekisho/internal/iam/policy"
	"sekisho/internal/servertest"
)

// word is a word of a command, including its quotation marks.
var word = regexp.MustCompile(`'[^']*'|"[^"]*"|[^ ]+`)

var fenced = regexp.MustCompile("(?ms)^```(\\w+)[^\n]*\n(.*?)^```$")

// blocks returns the fenced blocks of a language in a page of docs.
func blocks(t *testing.T, page, kind string) (out []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", page))
	must(t, err)
	for _, m := range fenced.FindAllStringSubmatch(string(text), -1) {
		if m[1] == kind {
			out = append(out, m[2])
		}
	}
	return out
}

// commands returns the sekisho commands of a page as words: those of sh blocks
// and, after a prompt, those of console blocks.
func commands(t *testing.T, page string) (out [][]string) {
	t.Helper()
	for _, kind := range []string{"sh", "console"} {
		for _, block := range blocks(t, page, kind) {
			block = strings.ReplaceAll(block, "\\\n", " ")
			for line := range strings.Lines(block) {
				line, _, _ = strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "$ "), " #")
				if rest, ok := strings.CutPrefix(line, "sekisho "); ok {
					words := word.FindAllString(rest, -1)
					for i, w := range words {
						words[i] = strings.Trim(w, `'"`)
					}
					out = append(out, words)
				}
			}
		}
	}
	return out
}

// TestAccessDocs runs the commands of the pages on access, in English and
// Japanese, and saves their policies.
func TestAccessDocs(t *testing.T) {
	t.Parallel()
	for _, language := range []string{".md", ".ja.md"} {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			f := newAccessFixture(t)
			dir := t.TempDir()
			rota := filepath.Join(dir, "rota.ics")
			must(t, os.WriteFile(rota, []byte("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:test\r\nBEGIN:VEVENT\r\nUID:1\r\n"+
				"DTSTAMP:20260101T000000Z\r\nDTSTART:20260101T090000Z\r\nDTEND:20260101T170000Z\r\n"+
				"END:VEVENT\r\nEND:VCALENDAR\r\n"),
				0o600))
			f.User("alice", servertest.Allow("*", "ssm:DescribeSessions"))
			admin, ann := as(t, f.Server, f.Admin), as(t, f.Server, f.ann)
			oncall := as(t, f.Server, f.User("oncall-1", servertest.Allow("*", "sekisho:ApproveAccessRequest")))
			request := ""
			ran := 0
			for _, page := range []string{"access-control", "access-requests"} {
				for _, words := range commands(t, page+language) {
					for i, w := range words {
						switch w {
						case "mi-0123456789abcdef0", "web-1":
							words[i] = f.node.ID
						case "rota.ics":
							words[i] = rota
						case "oi-0123456789ab":
							words[i] = request
						}
					}
					who := admin
					switch {
					case words[0] == "start-session": // it needs a terminal; the end-to-end tests cover it
						continue
					case strings.HasPrefix(strings.Join(words, " "), "access request"):
						who = ann
						if len(words) == 3 { // an option on its own, within text
							continue
						}
					case strings.HasPrefix(strings.Join(words, " "), "access approve"):
						who = oncall
					}
					code, out, errOut := who.run("", words...)
					// "why" exits with 3 for a denied request.
					if code != 0 && !(words[0] == "why" && code == 3) {
						t.Errorf("%s: sekisho %s: exit code %d: %s", page, strings.Join(words, " "), code, errOut)
					}
					if words[0] == "access" && words[1] == "request" {
						request = strings.TrimSpace(out)
					}
					ran++
				}
			}
			if ran < 10 {
				t.Errorf("found only %d commands in the docs", ran)
			}
			for _, block := range blocks(t, "access-control"+language, "json") {
				text := block
				switch trimmed := strings.TrimSpace(block); {
				case strings.HasPrefix(trimmed, `"Condition"`):
					text = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"ssm:StartSession",` +
						`"Resource":"*",` + trimmed + `}}`
				case strings.HasPrefix(trimmed, `{"Effect"`):
					text = `{"Version":"2012-10-17","Statement":` + trimmed + `}`
				}
				if err := policy.Validate([]byte(text), policy.KindIdentity); err != nil {
					t.Errorf("%v: %s", err, text)
				}
				must(t, f.Directory.Holders.PutInline(t.Context(), identity.KindUser, "alice", "recipe", text))
			}
		})
	}
}
