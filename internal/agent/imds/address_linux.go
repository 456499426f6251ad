package imds

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// AddAddress adds an address to the loopback interface, like "ip address add ADDRESS/32 dev lo",
// and returns a function that removes it. If the interface already has the address, neither does
// anything.
func AddAddress(a netip.Addr) (remove func() error, err error) {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		return nil, err
	}
	err = changeAddress(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, lo.Index, a)
	if errors.Is(err, unix.EEXIST) {
		return func() error { return nil }, nil
	}
	if err != nil {
		return nil, fmt.Errorf("add %s to lo: %w", a, err)
	}
	return func() error { return changeAddress(unix.RTM_DELADDR, 0, lo.Index, a) }, nil
}

// changeAddress sends one message about an IPv4 address to the kernel and
// waits for its answer.
func changeAddress(message, flags uint16, index int, a netip.Addr) error {
	s, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(s)
	ip := a.As4()
	b := make([]byte, 0, 64)
	b = binary.NativeEndian.AppendUint32(b, 0) // length, below
	b = binary.NativeEndian.AppendUint16(b, message)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|unix.NLM_F_ACK|flags)
	b = binary.NativeEndian.AppendUint32(b, 1) // sequence
	b = binary.NativeEndian.AppendUint32(b, 0) // the kernel fills in the port ID
	b = append(b, unix.AF_INET, 32, 0, unix.RT_SCOPE_HOST)
	b = binary.NativeEndian.AppendUint32(b, uint32(index))
	for _, attribute := range []uint16{unix.IFA_LOCAL, unix.IFA_ADDRESS} {
		b = binary.NativeEndian.AppendUint16(b, 4+4)
		b = binary.NativeEndian.AppendUint16(b, attribute)
		b = append(b, ip[:]...)
	}
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	if err := unix.Sendto(s, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("sendto", err)
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(s, answer, 0)
	if err != nil {
		return os.NewSyscallError("recvfrom", err)
	}
	// struct nlmsghdr, then the error as a negative number.
	if n < 20 || binary.NativeEndian.Uint16(answer[4:]) != unix.NLMSG_ERROR {
		return errors.New("the kernel's answer is malformed")
	}
	if code := int32(binary.NativeEndian.Uint32(answer[16:])); code != 0 {
		return unix.Errno(-code)
	}
	return nil
}
