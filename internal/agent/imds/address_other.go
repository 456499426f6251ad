//go:build !linux

package imds

import (
	"errors"
	"net/netip"
)

// AddAddress is supported only on Linux.
func AddAddress(netip.Addr) (remove func() error, err error) {
	return nil, errors.New("on this system, add the address to the loopback interface manually")
}
