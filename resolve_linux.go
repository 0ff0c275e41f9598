package main

import (
	"errors"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// kernelSocket has the parts of a socket that must be resolved, as the kernel sends them.
type kernelSocket struct {
	local, remote []byte // 16 bytes each; an IPv4 address is in the first four
	user          uint32
	inode         uint32 // 0 for a socket that no process holds
	unit          string
}

// resolver completes the sockets of one dump while they are listed, whichever
// way that is: their addresses, their owners, and what listens. The kernel lists
// those that listen first, over netlink (inet_diag_dump_icsk in
// net/ipv4/inet_diag.c) as in /proc (tcp_seq_start in net/ipv4/tcp_ipv4.c).
type resolver struct {
	*pass
	addresses map[netip.Addr]string // the texts of addresses, so that each is made once
	users     map[uint32]socket     // as they show a user
	listening listeners
	late      []lateSocket
	sockets   int // that were listed
}

func newResolver(p *pass) resolver {
	return resolver{pass: p, addresses: map[netip.Addr]string{}, users: map[uint32]socket{}, listening: listeners{}}
}

// whole has the function list the sockets of a dump. Those that came late wait
// only when it has listed them all. The format and its values are for the log.
func (r *resolver) whole(read func() error, format string, values ...any) (err error) {
	started := time.Now()
	if r.fields&fieldProcess != 0 {
		err = r.holders.find(r.ctx)
	}
	if err == nil {
		err = read()
	}
	r.log.done(r.sockets, err, started, format, values...)
	if errors.Is(err, errVanished) {
		return nil // it has no sockets
	}
	if err == nil {
		r.wait(r.late)
	}
	return err
}

// count counts a socket, or has it wait.
func (r *resolver) count(to counter, s *socket, inode uint32, isLate bool) {
	if isLate && len(r.late) < maxLate {
		r.late = append(r.late, lateSocket{*s, inode})
		return
	}
	to.add(s)
}

// resolve fills in the addresses and owners that are asked for. It tells whether
// the socket has a process that was not found but may be.
func (r *resolver) resolve(s *socket, from kernelSocket) (isLate bool) {
	isOriented := r.fields&fieldsOriented != 0
	if r.fields&fieldLocalAddress != 0 || isOriented {
		s.Laddr.IP = r.address(s.Family, from.local)
	}
	if r.fields&fieldRemoteAddress != 0 {
		s.Raddr.IP = nothing
		if s.Raddr.Port != 0 {
			s.Raddr.IP = r.address(s.Family, from.remote)
		}
	}
	// The kernel has 0 for the inode and the user of sockets that no process
	// holds, which is not root.
	s.owner, s.Uids, s.Pid = owner{process: nothing, user: nothing, unit: from.unit}, nil, 0
	if r.fields&fieldProcess != 0 && from.inode != 0 {
		held, isFound := r.holders.of(from.inode)
		s.process, s.holders = held.process, held.holders
		isLate = !isFound && r.mayComeLate()
	}
	if r.fields&fieldUser != 0 && from.inode != 0 {
		maker := r.user(from.user)
		s.user, s.Uids = maker.user, maker.Uids
	}
	if isOriented {
		r.listening.orient(s, from.inode != 0)
	}
	return isLate
}

// maxAddresses is how many texts of addresses are kept.
const maxAddresses = 1 << 14

// address returns the text of an address, an IPv4-mapped one as IPv4.
func (r *resolver) address(family uint32, content []byte) string {
	address := netip.AddrFrom16([16]byte(content))
	if family == unix.AF_INET {
		address = netip.AddrFrom4([4]byte(content))
	}
	text, known := r.addresses[address]
	if !known {
		if len(r.addresses) == maxAddresses {
			clear(r.addresses)
		}
		text = usualAddress(address)
		r.addresses[address] = text
	}
	return text
}

func (r *resolver) user(id uint32) socket {
	maker, known := r.users[id]
	if !known {
		maker.Uids = []int32{int32(id)}
		maker.user = r.userText(id)
		r.users[id] = maker
	}
	return maker
}
