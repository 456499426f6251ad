// Package hostinfo collects the facts that a node reports: its name, platform and address.
package hostinfo

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"time"

	"sekisho/internal/safetext"
)

// Info are the facts of UpdateInstanceInformation.
type Info struct {
	ComputerName    string
	IPAddress       string
	PlatformType    string // Linux, as in SSM
	PlatformName    string
	PlatformVersion string
	Architecture    string // x86_64 or arm64, as in EC2
}

// lookupTimeout bounds resolving the server's name.
const lookupTimeout = 3 * time.Second

// maxFact bounds each fact: the service refuses longer ones.
const maxFact = 255

// Read collects the facts. server is the server's "host:port", which determines which of several
// addresses is reported. A fact that cannot be determined is empty.
func Read(ctx context.Context, server string) Info {
	info := Info{PlatformType: platformType(), Architecture: architecture(), IPAddress: address(ctx, server)}
	if name, err := os.Hostname(); err == nil {
		info.ComputerName = clean(name)
	}
	info.PlatformName, info.PlatformVersion = Platform()
	return info
}

// Platform returns the name and version of the operating system.
func Platform() (name, version string) {
	for _, path := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		if b, err := readBounded(path, 64<<10); err == nil {
			name, version = ParseOSRelease(b)
			break
		}
	}
	if name == "" {
		name = runtime.GOOS
	}
	return name, version
}

// architecture returns EC2's name of the machine's architecture.
func architecture() string {
	if runtime.GOARCH == "amd64" {
		return "x86_64"
	}
	return runtime.GOARCH
}

func platformType() string {
	switch runtime.GOOS {
	case "darwin":
		return "MacOS"
	case "windows":
		return "Windows"
	}
	return "Linux"
}

// address returns the local address from which this machine would reach server, or the first usable
// address of an interface, or "". It sends nothing.
func address(ctx context.Context, server string) string {
	if conn, err := (&net.Dialer{Timeout: lookupTimeout}).DialContext(ctx, "udp", server); err == nil {
		defer conn.Close()
		if a, ok := conn.LocalAddr().(*net.UDPAddr); ok && usable(a.IP) {
			return a.IP.String()
		}
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return ""
	}
	second := ""
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok || !usable(n.IP) {
			continue
		}
		if n.IP.To4() != nil {
			return n.IP.String()
		}
		if second == "" {
			second = n.IP.String()
		}
	}
	return second
}

func usable(ip net.IP) bool {
	a, ok := netip.AddrFromSlice(ip)
	return ok && !a.Unmap().IsLoopback() && !a.IsUnspecified() && !a.IsLinkLocalUnicast()
}

func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}

// ParseOSRelease returns NAME and VERSION_ID of an os-release file. For a (rolling) distribution
// without VERSION_ID, the version is BUILD_ID or the codename.
func ParseOSRelease(b []byte) (name, version string) {
	values := make(map[string]string)
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		key, value, ok := strings.Cut(strings.TrimSpace(s.Text()), "=")
		if ok && !strings.HasPrefix(key, "#") {
			values[key] = clean(unquote(value))
		}
	}
	name = first(values["NAME"], values["ID"])
	version = first(values["VERSION_ID"], values["BUILD_ID"], values["VERSION_CODENAME"])
	return name, version
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

func unquote(s string) string {
	if len(s) < 2 || s[0] != s[len(s)-1] || (s[0] != '"' && s[0] != '\'') {
		return s
	}
	quote, s := s[0], s[1:len(s)-1]
	if quote == '\'' {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// clean turns a fact into one printable line of at most maxFact bytes.
func clean(s string) string { return safetext.Line(s, maxFact) }
