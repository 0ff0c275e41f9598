package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// tcpStates are the statuses by the kernel's numbers, include/net/tcp_states.h.
var tcpStates = [...]string{
	1:  "ESTABLISHED",
	2:  "SYN_SENT",
	3:  "SYN_RECV",
	4:  "FIN_WAIT1",
	5:  "FIN_WAIT2",
	6:  "TIME_WAIT",
	7:  "CLOSE",
	8:  "CLOSE_WAIT",
	9:  "LAST_ACK",
	10: "LISTEN",
	11: "CLOSING",
	12: "SYN_RECV", // TCP_NEW_SYN_RECV, a request that is not yet a connection
}

// allStates asks for the states 1 to 11. TCP_NEW_SYN_RECV comes with SYN_RECV.
// TCP_BOUND_INACTIVE (13) must not be asked for: no other tool counts sockets
// that neither listen nor connect.
const (
	allStates   = 1<<12 - 1<<1
	listenState = 1 << 10
)

// From include/uapi/linux/inet_diag.h.
const (
	sizeofInetDiagReqV2 = 56 // struct inet_diag_req_v2
	sizeofInetDiagMsg   = 72 // struct inet_diag_msg, without the attributes behind it
	inetDiagInfo        = 2  // INET_DIAG_INFO, the attribute with a struct tcp_info
)

// sockDiag reads the sockets of one type in a network namespace over
// NETLINK_SOCK_DIAG. It needs no rights, but for other namespaces and for the
// processes of others.
type sockDiag struct {
	*pass
	space      namespace
	socketType string
	states     uint32 // bit mask, 1 << state
	dial       func() (socket int, err error)

	addresses map[[16]byte]string // the texts of addresses, so that each is made once
	users     map[uint32]Socket   // as they show a user
	listening listeners
	late      []lateSocket
}

// statesFor returns the states that the tallies ask for.
func statesFor(socketType string, tallies []*tally) (states uint32) {
	for _, t := range tallies {
		if isUDP(socketType) && t.includes(socketType, statusNone) {
			return allStates
		}
		for state, status := range tcpStates {
			if status != "" && t.includes(socketType, status) && !isUDP(socketType) {
				states |= 1 << state & allStates
			}
		}
	}
	if states != 0 && fieldsOf(tallies)&fieldDirection != 0 {
		states |= listenState
	}
	return states
}

func (d *sockDiag) family() uint8 {
	if d.socketType == "tcp6" || d.socketType == "udp6" {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// request returns the question as struct inet_diag_req_v2.
func (d *sockDiag) request() []byte {
	request := make([]byte, sizeofInetDiagReqV2) // a socket id of zeros asks for all
	request[0], request[1] = d.family(), unix.IPPROTO_TCP
	if isUDP(d.socketType) {
		request[1] = unix.IPPROTO_UDP
	}
	if d.fields&fieldIdle != 0 {
		request[2] = 1 << (inetDiagInfo - 1)
	}
	binary.NativeEndian.PutUint32(request[4:], d.states)
	return request
}

// read counts the sockets straight from the kernel's datagrams. It can be called
// again after an error.
func (d *sockDiag) read(to counter) error {
	started := time.Now()
	d.listening, d.late, d.addresses, d.users = listeners{}, nil, map[[16]byte]string{}, map[uint32]Socket{}
	sockets, err := d.readAll(to)
	d.log.done(fmt.Sprintf("netlink: %s, states %#x", d.socketType, d.states), sockets, err, started)
	if errors.Is(err, errVanished) {
		return nil // it has no sockets
	}
	if err == nil {
		d.wait(d.late)
	}
	return err
}

func (d *sockDiag) readAll(to counter) (sockets int, err error) {
	if d.fields&fieldProcess != 0 {
		if err := d.holders.find(d.ctx); err != nil {
			return 0, err
		}
	}
	// What is left of an answer that broke off must not be taken for the next one.
	socket, err := d.dial()
	if err != nil {
		return 0, err
	}
	defer unix.Close(socket)
	var s Socket
	err = ask(d.ctx, socket, unix.SOCK_DIAG_BY_FAMILY, d.request(), func(message []byte) error {
		if err := d.parse(message, &s); err != nil {
			return err
		}
		sockets++
		if inode, isLate := d.resolve(message, &s); isLate && len(d.late) < maxLate {
			d.late = append(d.late, lateSocket{s, inode})
		} else {
			to.add(&s)
		}
		return nil
	})
	return sockets, err
}

// parse reads the socket that the kernel describes, but for addresses and
// owners. It allocates nothing.
func (d *sockDiag) parse(message []byte, s *Socket) (err error) {
	if len(message) < sizeofInetDiagMsg {
		return fmt.Errorf("the kernel sent %d bytes for a socket, %d are the least", len(message), sizeofInetDiagMsg)
	}
	family, state := message[0], message[1]
	if family != d.family() || int(state) >= len(tcpStates) || state == 0 {
		return fmt.Errorf("the kernel sent a socket of family %d in state %d, which was not asked for", family, state)
	}
	s.Proto, s.Family, s.Type, s.Status = d.socketType, uint32(family), sockStream, tcpStates[state]
	if isUDP(d.socketType) {
		s.Type, s.Status = sockDgram, statusNone
	}
	s.Laddr.Port = uint32(binary.BigEndian.Uint16(message[4:]))
	s.Raddr.Port = uint32(binary.BigEndian.Uint16(message[6:]))
	s.Netns, s.NetnsID = d.space.name, d.space.inode
	if d.fields&fieldIdle != 0 {
		s.Idle, err = idleTime(message[sizeofInetDiagMsg:])
	}
	return err
}

// resolve fills in the addresses and owners that are asked for. It returns the
// inode of a socket whose process was not found but may be.
func (d *sockDiag) resolve(message []byte, s *Socket) (inode uint32, isLate bool) {
	if d.fields&(fieldLocalAddress|fieldDirection) != 0 {
		s.Laddr.IP = d.address(s.Family, message[8:24])
	}
	if d.fields&fieldRemoteAddress != 0 {
		s.Raddr.IP = nothing
		if s.Raddr.Port != 0 {
			s.Raddr.IP = d.address(s.Family, message[24:40])
		}
	}
	if d.fields&fieldDirection != 0 {
		d.listening.add(s) // the kernel lists those that listen first
		s.CameIn = d.listening.accepted(s)
	}
	// The kernel has 0 for the inode and the user of sockets that no process
	// holds, which is not root.
	inode = binary.NativeEndian.Uint32(message[68:])
	s.User, s.Uids, s.Pid, s.Process = nothing, nil, 0, nothing
	if d.fields&fieldUser != 0 && inode != 0 {
		owner := d.user(binary.NativeEndian.Uint32(message[64:]))
		s.User, s.Uids = owner.User, owner.Uids
	}
	if d.fields&fieldProcess != 0 && inode != 0 {
		s.Pid, s.Process = d.holders.of(inode)
		isLate = s.Pid == 0 && d.mayComeLate()
	}
	return inode, isLate
}

// maxAddresses is how many texts of addresses are kept.
const maxAddresses = 1 << 14

// address returns the text of an address, an IPv4-mapped one as IPv4.
func (d *sockDiag) address(family uint32, bytes []byte) string {
	raw := [16]byte(bytes)
	text, known := d.addresses[raw]
	if !known {
		address := netip.AddrFrom16(raw)
		if family == unix.AF_INET {
			address = netip.AddrFrom4([4]byte(bytes))
		}
		if len(d.addresses) == maxAddresses {
			clear(d.addresses)
		}
		text = usualAddress(address)
		d.addresses[raw] = text
	}
	return text
}

func (d *sockDiag) user(id uint32) Socket {
	owner, known := d.users[id]
	if !known {
		owner.Uids = []int32{int32(id)}
		d.addUser(&owner)
		d.users[id] = owner
	}
	return owner
}

// idleTime returns the time since the last traffic that the attributes of a
// socket tell of: data or an acknowledgement. It is negative where there is no
// struct tcp_info (include/uapi/linux/tcp.h): that is no connection any more.
func idleTime(attributes []byte) (time.Duration, error) {
	const (
		sent     = unsafe.Offsetof(unix.TCPInfo{}.Last_data_sent)
		received = unsafe.Offsetof(unix.TCPInfo{}.Last_data_recv)
		answered = unsafe.Offsetof(unix.TCPInfo{}.Last_ack_recv)
	)
	info, err := findAttribute(attributes, inetDiagInfo)
	if err != nil || info == nil {
		return -1, err
	}
	if len(info) < int(max(sent, received, answered))+4 {
		return 0, errors.New("the kernel sent too little about a connection")
	}
	since := uint32(math.MaxUint32)
	for _, offset := range []uintptr{sent, received, answered} {
		since = min(since, binary.NativeEndian.Uint32(info[offset:]))
	}
	return time.Duration(since) * time.Millisecond, nil
}
