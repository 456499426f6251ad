package inventory

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"
)

// interfaces lists the network interfaces except loopback. Several addresses of
// one family share one value.
func interfaces() []Entry {
	entries := []Entry{}
	all, err := net.Interfaces()
	if err != nil {
		return entries
	}
	for _, i := range all {
		if i.Flags&net.FlagLoopback != 0 {
			continue
		}
		e := Entry{"Name": i.Name, "MacAddress": i.HardwareAddr.String(), "IPV4": "", "IPV6": ""}
		addresses, err := i.Addrs()
		if err != nil {
			addresses = nil // report the interface without them
		}
		for _, a := range addresses {
			n, ok := a.(*net.IPNet)
			if !ok {
				continue
			}
			key := "IPV6"
			if n.IP.To4() != nil {
				key = "IPV4"
				e["SubnetMask"] = net.IP(n.Mask).String()
			}
			if e[key] != "" {
				e[key] += ", "
			}
			e[key] += n.IP.String()
		}
		entries = append(entries, e)
	}
	return entries
}

const (
	dpkgStatus = "/var/lib/dpkg/status"
	maxDpkg    = 128 << 20
	maxRPM     = 16 << 20
	rpmTimeout = time.Minute
)

// programs lists the packages of the machine's package manager, or nil without a
// supported one (dpkg, rpm).
func programs(ctx context.Context) []Entry {
	var all []Entry
	if f, err := os.Open(dpkgStatus); err == nil {
		all = append(all, ParseDpkg(io.LimitReader(f, maxDpkg))...)
		_ = f.Close() // it was read
	}
	if path := rpmPath(); path != "" {
		ctx, cancel := context.WithTimeout(ctx, rpmTimeout)
		defer cancel()
		out := &bounded{limit: maxRPM}
		c := exec.CommandContext(ctx, path, "-qa", "--queryformat", rpmFormat)
		c.Stdout, c.Env = out, []string{"LC_ALL=C.UTF-8", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
		c.WaitDelay = time.Second
		if c.Run() == nil {
			all = append(all, ParseRPM(out.Bytes())...)
		}
	}
	return all
}

// rpmPath finds rpm only in the system's own directories, because the agent may run as root.
func rpmPath() string {
	for _, path := range []string{"/usr/bin/rpm", "/bin/rpm"} {
		if s, err := os.Stat(path); err == nil && s.Mode().IsRegular() {
			return path
		}
	}
	return ""
}

// bounded keeps the first bytes written to it and drops the rest.
type bounded struct {
	bytes.Buffer
	limit int
}

func (b *bounded) Write(p []byte) (int, error) {
	if room := b.limit - b.Len(); room > 0 {
		b.Buffer.Write(p[:min(len(p), room)])
	}
	return len(p), nil
}

// ParseDpkg parses the installed packages in dpkg's status file.
func ParseDpkg(r io.Reader) []Entry {
	all := []Entry{}
	fields := map[string]string{}
	flush := func() {
		if fields["Package"] != "" && strings.HasSuffix(fields["Status"], " installed") {
			all = append(all, entry(
				"Name",
				fields["Package"],
				"Version",
				fields["Version"],
				"Architecture",
				architecture(fields["Architecture"]),
				"Publisher",
				fields["Maintainer"],
				"ApplicationType",
				fields["Section"],
				"URL",
				fields["Homepage"],
				"Summary",
				fields["Description"],
				"PackageId",
				fields["Package"]+"_"+fields["Version"]+"_"+fields["Architecture"]+".deb",
			))
		}
		fields = map[string]string{}
	}
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() && len(all) < maxEntries {
		line := s.Text()
		if line == "" {
			flush()
			continue
		}
		// Continuation lines begin with a blank; only first lines are used.
		if key, value, ok := strings.Cut(line, ":"); ok && line[0] != ' ' && line[0] != '\t' {
			fields[key] = strings.TrimSpace(value)
		}
	}
	flush()
	return all
}

// rpmFormat has one field per line, because no field contains line breaks.
const rpmFormat = `%{NAME}\n%{VERSION}\n%{RELEASE}\n%{EPOCH}\n%{ARCH}\n%{VENDOR}\n%{GROUP}\n%{URL}\n%{SUMMARY}` +
	`\n%{SOURCERPM}\n%{INSTALLTIME:date}\n`

// ParseRPM parses rpm's output in rpmFormat.
func ParseRPM(b []byte) []Entry {
	all := []Entry{}
	lines := strings.Split(strings.ToValidUTF8(string(b), "\uFFFD"), "\n")
	const fields = 11
	for ; len(lines) >= fields && len(all) < maxEntries; lines = lines[fields:] {
		f := make([]string, fields)
		for i, v := range lines[:fields] {
			if v != "(none)" {
				f[i] = v
			}
		}
		all = append(all, entry(
			"Name",
			f[0],
			"Version",
			f[1],
			"Release",
			f[2],
			"Epoch",
			f[3],
			"Architecture",
			architecture(f[4]),
			"Publisher",
			f[5],
			"ApplicationType",
			f[6],
			"URL",
			f[7],
			"Summary",
			f[8],
			"PackageId",
			f[9],
			"InstalledTime",
			f[10],
		))
	}
	return all
}

// entry builds an Entry from alternating names and values, without empty values.
func entry(pairs ...string) Entry {
	e := Entry{}
	for i := 0; i < len(pairs); i += 2 {
		if v := strings.ToValidUTF8(pairs[i+1], "\uFFFD"); v != "" {
			e[pairs[i]] = v
		}
	}
	return e
}

// architecture returns AWS's name of an architecture.
func architecture(name string) string {
	switch name {
	case "amd64":
		return "x86_64"
	case "386", "i686":
		return "i386"
	case "arm64":
		return "aarch64"
	}
	return name
}
