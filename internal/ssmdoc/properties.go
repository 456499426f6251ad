package ssmdoc

import (
	"regexp"
	"strconv"
	"strings"

	"sekisho/internal/safetext"
)

// separatorPrefix matches the prefixes for separate output lines that agents accept.
var separatorPrefix = regexp.MustCompile(`^[0-9a-zA-Z\r\n_:-]{0,30}$`)

// hostPattern matches a host name or an IP address. The agent checks the address that a name
// resolves to.
var hostPattern = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,252})$|^\[?[0-9A-Fa-f:.]{2,45}\]?$`)

// maxSocketPath is the maximum length of a Unix socket's path.
const maxSocketPath = 107

// LocalPortForwarding is the type of Port sessions whose client listens.
const LocalPortForwarding = "LocalPortForwarding"

// properties checks the properties of a session document. later reports whether a text can only be
// checked when a session starts.
func (c *checker) properties(d *Document, v any, later func(string) bool) {
	if d.SessionType == StandardStream {
		if o, ok := v.(*object); v != nil && (!ok || len(o.keys) > 0) {
			c.failf("properties", "must be absent in a document of type %s: a shell has no properties", StandardStream)
		}
		return
	}
	o, ok := v.(*object)
	if !ok {
		c.failf("properties", "must be an object in a document of type %s", d.SessionType)
		return
	}
	if d.SessionType == Port {
		c.port(o, later)
		return
	}
	c.known("properties", o, "linux", "windows", "macos")
	if len(o.keys) == 0 {
		c.failf("properties", "must have commands for linux, windows or macos")
	}
	for _, platform := range o.keys {
		where := "properties." + platform
		p, ok := o.values[platform].(*object)
		if !ok {
			c.failf(where, "must be an object")
			continue
		}
		c.commands(where, d.SessionType, p, later)
	}
}

func (c *checker) commands(where, sessionType string, o *object, later func(string) bool) {
	names := []string{"commands", "runAsElevated"}
	if sessionType == NonInteractiveCommands {
		names = append(names, "separateOutputStream", "stdOutSeparatorPrefix", "stdErrSeparatorPrefix")
	}
	c.known(where, o, names...)
	commands, _ := c.text(where+".commands", o, "commands")
	if strings.TrimSpace(commands) == "" && !later(commands) {
		c.failf(where+".commands", "must not be empty")
	}
	if v, ok := o.get("runAsElevated"); ok {
		if _, ok := v.(bool); !ok {
			c.failf(where+".runAsElevated", "must be true or false, without quotes: agents accept no other form")
		}
	}
	if v, ok := o.get("separateOutputStream"); ok {
		if s, ok := v.(string); !ok || !later(s) {
			if _, ok := boolean(v); !ok {
				c.failf(where+".separateOutputStream", "must be true or false")
			}
		}
	}
	for _, name := range []string{"stdOutSeparatorPrefix", "stdErrSeparatorPrefix"} {
		if s, ok := c.text(where+"."+name, o, name); ok && !later(s) && !separatorPrefix.MatchString(s) {
			c.failf(where+"."+name, "must match %s", separatorPrefix)
		}
	}
}

func (c *checker) port(o *object, later func(string) bool) {
	const where = "properties"
	c.known(
		where,
		o,
		"portNumber",
		"host",
		"type",
		"socket",
		"localPortNumber",
		"localUnixSocket",
		"localConnectionType",
	)
	text := func(name string, valid func(string) bool, rule string) string {
		s, ok := c.text(where+"."+name, o, name)
		if ok && !later(s) && !valid(s) {
			c.failf(where+"."+name, "is %q: it must be %s", safetext.Clip(s, maxQuoted), rule)
		}
		return s
	}
	port := text("portNumber", func(s string) bool { return portNumber(s, 1) }, "a port number from 1 to 65535")
	socket := text("socket", socketPath, "the absolute path of a Unix socket on the node")
	if (port == "") == (socket == "") {
		c.failf(where, "must have either a portNumber or a socket")
	}
	host := text("host", hostPattern.MatchString, "a host name or an IP address")
	if host != "" && socket != "" {
		c.failf(where+".host", "cannot be combined with a socket")
	}
	text("type", func(s string) bool { return s == "" || s == LocalPortForwarding }, LocalPortForwarding+", or absent")
	text(
		"localPortNumber",
		func(s string) bool { return s == "" || portNumber(s, 0) },
		"a port number, or 0 for any free one",
	)
	text("localUnixSocket", func(s string) bool { return s == "" || clientPath(s) }, "the path of a Unix socket")
	text("localConnectionType", func(s string) bool { return s == "" || s == "tcp" || s == "unix" }, "tcp or unix")
}

func portNumber(s string, least int) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && int(n) >= least && (s[0] != '0' || s == "0")
}

func socketPath(s string) bool { return strings.HasPrefix(s, "/") && clientPath(s) }

func clientPath(s string) bool {
	return s != "" && len(s) <= maxSocketPath && !strings.ContainsFunc(s, breaksLine)
}

// boolean parses a boolean, which can also be a string.
func boolean(v any) (value, ok bool) {
	switch v := v.(type) {
	case nil:
		return false, true
	case bool:
		return v, true
	case string:
		switch strings.ToLower(v) {
		case "true":
			return true, true
		case "false", "":
			return false, true
		}
	}
	return false, false
}
