package record

import (
	"bytes"
	"regexp"
)

// Agents of Sekisho report whether their terminal echoes. AWS's agent cannot, so in its sessions a prompt for a secret
// hides the input after it, up to the end of the line. Such a prompt is the end of the output, contains one of these
// words and ends with a colon, as those of sudo, su, ssh, passwd, login, gpg, openssl, psql and mysql do. A prompt in
// another language or without a colon is not recognized: omit input where that matters.
var secretPrompt = regexp.MustCompile(
	`(?i)\b(password|passphrase|passcode|passwd|pin|secret|token|verification code|one-time)\b[^\r\n]{0,128}[:：]\s*$`,
)

// maxPrompt limits the part of the last line that is examined, in bytes.
const maxPrompt = 256

// inputFilter decides which input is kept.
type inputFilter struct {
	reported bool // the agent reports echo
	echoOff  bool
	line     []byte // the end of the last line of output
	secret   bool   // since the last prompt
}

// shown processes output.
func (f *inputFilter) shown(p []byte) {
	if f.reported {
		return
	}
	if i := bytes.LastIndexAny(p, "\r\n"); i >= 0 {
		f.line, p = f.line[:0], p[i+1:]
	}
	f.line = append(f.line, p[max(0, len(p)-maxPrompt):]...)
	f.line = append(f.line[:0], f.line[max(0, len(f.line)-maxPrompt):]...)
}

// hides reports whether p, which was typed, must not be recorded.
func (f *inputFilter) hides(p []byte) bool {
	if f.reported {
		return f.echoOff
	}
	if !f.secret && len(f.line) > 0 && secretPrompt.Match(f.line) {
		f.secret = true
	}
	hide := f.secret
	if bytes.ContainsAny(p, "\r\n\x03\x04") {
		f.secret, f.line = false, f.line[:0]
	}
	return hide
}
