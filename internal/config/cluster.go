package config

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"sekisho/internal/cluster"
)

// Cluster makes the server a member of a cluster: several servers on one PostgreSQL database are one service.
type Cluster struct {
	// Name is the name of this member, and of no other.
	Name string `yaml:"name"`
	// Listen is host:port of the member port, which accepts only other members.
	Listen string `yaml:"listen"`
	// Address is host:port at which the other members reach the member port.
	Address string `yaml:"address"`
	// Shared is a directory that all members have mounted. It has the content of objects in buckets.
	Shared string `yaml:"shared"`
}

func (c *Cluster) form(bad func(format string, args ...any)) {
	if err := cluster.CheckName(c.Name); err != nil {
		bad("cluster: name: %w", err)
	}
	if _, port, err := net.SplitHostPort(c.Listen); err != nil || port == "" {
		bad("cluster: listen: %q is not host:port, such as 0.0.0.0:8444", c.Listen)
	}
	host, port, err := net.SplitHostPort(c.Address)
	if a, aerr := netip.ParseAddr(host); err != nil || host == "" || port == "" || port == "0" ||
		aerr == nil && a.IsUnspecified() {
		bad("cluster: address: %q is not host:port at which other members reach this one, such as 10.0.0.1:8444", c.Address)
	}
	if !filepath.IsAbs(c.Shared) {
		bad("cluster: shared: %q is not the absolute path of a directory that all members have mounted", c.Shared)
	}
}

// check looks at the machine.
func (c *Cluster) check() error {
	if st, err := os.Stat(c.Shared); err != nil {
		return fmt.Errorf("cluster: shared: %w; mount the directory that all members share", err)
	} else if !st.IsDir() {
		return fmt.Errorf("cluster: shared: %s is not a directory", c.Shared)
	}
	return nil
}
