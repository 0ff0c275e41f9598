package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
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
// Sockets that only have a port (TCP_BOUND_INACTIVE, 13) are asked for by
// themselves: they count for limits only.
const (
	allStates        = 1<<12 - 1<<1
	establishedState = 1 << 1
	finWait2State    = 1 << 5
	timeWaitState    = 1 << 6
	listenState      = 1 << 10
	boundState       = 1 << 13 // answered with state 7, from Linux 6.8 on
)

// From include/uapi/linux/inet_diag.h.
const (
	tcpDiagGetSock      = 18 // TCPDIAG_GETSOCK
	sizeofInetDiagReq   = 60 // struct inet_diag_req, which goes with it
	sizeofInetDiagReqV2 = 56 // struct inet_diag_req_v2, which goes with SOCK_DIAG_BY_FAMILY
	sizeofInetDiagMsg   = 72 // struct inet_diag_msg, without the attributes behind it
	timerTimeWait       = 3  // idiag_timer of what is less than a full socket
	inetDiagReqBytecode = 1  // INET_DIAG_REQ_BYTECODE, the attribute with a program
	inetDiagInfo        = 2  // INET_DIAG_INFO, the attribute with a struct tcp_info
)

// sockDiag reads the sockets of some types in a network namespace over
// NETLINK_SOCK_DIAG. It needs rights only for other namespaces and for the
// processes of other users.
type sockDiag struct {
	*pass
	space   namespace
	tallies []*tally
	types   []string               // of one protocol
	isBound bool                   // read those that only have a port, and nothing else
	told    func() (totals, error) // from before anything was listed
	dial    func() (fd int, err error)

	resolver
	full        [2]int // of each type, those that the kernel counts as in use
	hasHalfOpen bool   // one of them is in SYN_RECV
}

// manner is a way to ask the kernel. Not every kernel or sandbox knows all of them.
type manner struct {
	hasTotals  bool // take ESTABLISHED from the kernel's totals where its number will do
	isOneWalk  bool // list both types in one walk
	hasProgram bool // let the kernel leave out what no tally counts
}

// manners are all ways, the best one first. A dump that breaks off is begun anew
// with the next one.
var manners = []manner{{true, true, true}, {false, true, true}, {false, true, false}, {false, false, false}}

// dumpRequest is what one dump asks for.
type dumpRequest struct {
	states  uint32 // bit mask, 1 << state
	program []byte
	isFor   func(*tally) bool // for which tallies, nil for all
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
	if states != 0 && fieldsOf(tallies)&fieldsOriented != 0 {
		states |= listenState
	}
	if states&finWait2State != 0 { // Linux 3.3 to 3.12 lists those of no process with both only
		states |= timeWaitState
	}
	return states
}

// sources returns all ways to read the sockets that --source allows, the best
// one first.
func (d *sockDiag) sources() (all []source) {
	for _, how := range manners {
		hasTotals := !isUDP(d.types[0]) && !d.isBound && d.host.source != sourceList
		if d.host.source != sourceProc && (hasTotals || !how.hasTotals) {
			all = append(all, d.source(how))
		}
	}
	if d.host.source == sourceAuto || d.host.source == sourceProc {
		files := &procReader{pass: d.pass, space: d.space, tallies: d.tallies, types: d.types, order: binary.NativeEndian}
		all = append(all, source{sourceProc, files.read})
	}
	return all
}

// source returns the source that reads in a manner.
func (d *sockDiag) source(how manner) source {
	name := sourceNetlink
	if how.hasTotals {
		name = sourceTotals
	}
	return source{name, func(to counter) error { return d.read(to, how) }}
}

// read counts the sockets straight from the kernel's datagrams.
func (d *sockDiag) read(to counter, how manner) error {
	d.resolver, d.full, d.hasHalfOpen = newResolver(d.pass), [2]int{}, false
	what := ""
	if d.isBound {
		what = "bound "
	}
	return d.whole(func() error { return d.readAll(to, how) }, "netlink: %s%v, %+v", what, d.types, how)
}

func (d *sockDiag) readAll(to counter, how manner) error {
	switch {
	case d.isBound:
		return d.list(to, dumpRequest{states: boundState, isFor: func(t *tally) bool { return t.fields&fieldBound != 0 }}, how)
	case how.hasTotals:
		return d.readWithTotals(to, how)
	}
	q := dumpRequest{program: d.program(d.tallies, how)}
	for _, socketType := range d.types {
		q.states |= statesFor(socketType, d.tallies)
	}
	return d.list(to, q, how)
}

// program returns the bytecode of the tallies, nil where they do not have the
// same bounds.
func (d *sockDiag) program(tallies []*tally, how manner) []byte {
	if !how.hasProgram {
		return nil
	}
	var program []byte
	for i, t := range tallies {
		var of []byte
		if t.bounds != nil {
			of = bytecode(d.usable(t.bounds(d.space.inode)))
		}
		if i > 0 && !bytes.Equal(of, program) {
			return nil
		}
		program = of
	}
	return program
}

// usable leaves out bounds that would hide listeners, where those must be known.
func (d *sockDiag) usable(bounds []bound) []bound {
	return slices.DeleteFunc(bounds, func(b bound) bool {
		return d.fields&fieldsOriented != 0 && (b.isRemote || len(b.networks) > 0)
	})
}

// list counts the sockets that the kernel lists.
func (d *sockDiag) list(to counter, q dumpRequest, how manner) error {
	if how.isOneWalk && !isUDP(d.types[0]) {
		return d.ask(to, q, d.types)
	}
	for types := range slices.Chunk(d.types, 1) {
		if isUDP(types[0]) && d.host.source != sourceList { // most namespaces have none of a type
			if t, err := d.told(); err == nil && t[types[0]] == 0 {
				continue
			}
		}
		if err := d.ask(to, q, types); err != nil {
			return err
		}
	}
	return nil
}

// ask counts the sockets of the types that the kernel lists in one walk.
func (d *sockDiag) ask(to counter, q dumpRequest, types []string) error {
	// What is left of an answer that broke off must not be taken for the next one.
	fd, err := d.dial()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var s socket
	kind, request := d.request(q, types)
	return ask(d.ctx, fd, kind, request, func(message []byte) error {
		if err := d.parse(message, &s, types); err != nil {
			return err
		}
		d.sockets++
		if q.states == boundState {
			s.Status = statusBound
		}
		from, err := d.kernelSocket(message)
		if err != nil {
			return err
		}
		isLate := d.resolve(&s, from)
		d.hasHalfOpen = d.hasHalfOpen || s.Status == "SYN_RECV"
		if isFull := message[2] != timerTimeWait && (from.inode != 0 || s.Status != "SYN_RECV"); isFull {
			d.full[slices.Index(d.types, s.proto)]++
		}
		if q.isFor != nil {
			to.addTo(q.isFor, &s, 1)
		} else {
			d.count(to, &s, from.inode, isLate)
		}
		return nil
	})
}

// request returns the kind of message and the question.
func (d *sockDiag) request(q dumpRequest, types []string) (kind uint16, request []byte) {
	kind, request = unix.SOCK_DIAG_BY_FAMILY, make([]byte, sizeofInetDiagReqV2) // a socket id of zeros asks for all
	extensions, states := &request[2], request[4:]
	if len(types) > 1 { // of both families, and of TCP only
		kind, request = tcpDiagGetSock, make([]byte, sizeofInetDiagReq)
		extensions, states = &request[3], request[52:]
		request[0] = unix.AF_UNSPEC
	} else {
		request[0], request[1] = familyOf(types[0]), unix.IPPROTO_TCP
		if isUDP(types[0]) {
			request[1] = unix.IPPROTO_UDP
		}
	}
	if d.fields&(fieldIdle|fieldIdleIfKnown) != 0 {
		*extensions = 1 << (inetDiagInfo - 1)
	}
	binary.NativeEndian.PutUint32(states, q.states)
	if len(q.program) > 0 { // behind a struct nlattr
		request = binary.NativeEndian.AppendUint16(request, uint16(unix.SizeofNlAttr+len(q.program)))
		request = binary.NativeEndian.AppendUint16(request, inetDiagReqBytecode)
		request = append(request, q.program...)
	}
	return kind, request
}

func familyOf(socketType string) uint8 {
	if socketType == "tcp6" || socketType == "udp6" {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// parse reads the socket that the kernel describes, but for addresses and
// owners. It allocates nothing.
func (d *sockDiag) parse(message []byte, s *socket, types []string) (err error) {
	if len(message) < sizeofInetDiagMsg {
		return fmt.Errorf("the kernel sent %d bytes for a socket, %d are the least", len(message), sizeofInetDiagMsg)
	}
	family, state := message[0], message[1]
	index := slices.IndexFunc(types, func(socketType string) bool { return familyOf(socketType) == family })
	if index < 0 || int(state) >= len(tcpStates) || state == 0 {
		return fmt.Errorf("the kernel sent a socket of family %d in state %d, which was not asked for", family, state)
	}
	s.proto, s.Family, s.Type, s.Status = types[index], uint32(family), sockStream, tcpStates[state]
	if isUDP(s.proto) {
		s.Type, s.Status = sockDgram, statusNone
	}
	s.Laddr.Port = uint32(binary.BigEndian.Uint16(message[4:]))
	s.Raddr.Port = uint32(binary.BigEndian.Uint16(message[6:]))
	s.netns, s.netnsID = d.space.name, d.space.inode
	s.device = binary.NativeEndian.Uint32(message[40:])
	s.left = time.Duration(binary.NativeEndian.Uint32(message[52:])) * time.Millisecond
	s.queue, s.backlog = binary.NativeEndian.Uint32(message[56:]), binary.NativeEndian.Uint32(message[60:])
	if d.fields&(fieldIdle|fieldIdleIfKnown) != 0 {
		s.idle, err = idleTime(message[sizeofInetDiagMsg:])
	}
	return err
}

// kernelSocket returns what is left to resolve of the socket that the kernel
// describes.
func (d *sockDiag) kernelSocket(message []byte) (from kernelSocket, err error) {
	from = kernelSocket{message[8:24], message[24:40], binary.NativeEndian.Uint32(message[64:]), binary.NativeEndian.Uint32(message[68:]), nothing}
	if d.fields&(fieldUnit|fieldUnitIfKnown) != 0 {
		from.unit, err = d.unit(message)
	}
	return from, err
}

// unit returns the name of the unit that made a socket.
func (d *sockDiag) unit(message []byte) (string, error) {
	content, err := findAttribute(message[sizeofInetDiagMsg:], inetDiagCgroupID)
	id := uint64(noID)
	if len(content) >= 8 {
		id = binary.NativeEndian.Uint64(content)
	}
	isFull := message[2] != timerTimeWait && tcpStates[message[1]] != "SYN_RECV"
	name, hasUnits := d.host.unit(id)
	if isMissing := id == noID && isFull || !hasUnits; isMissing && err == nil && d.fields&fieldUnit != 0 {
		err = errNoUnits
	}
	return name, err
}

// idleTime returns the time since the last data, sent or received, that the
// attributes of a socket tell of. It is negative where there is no struct tcp_info
// (include/uapi/linux/tcp.h): that is no connection any more. Acknowledgements do
// not count: keepalive probes are answered by them.
func idleTime(attributes []byte) (time.Duration, error) {
	const (
		sent     = unsafe.Offsetof(unix.TCPInfo{}.Last_data_sent)
		received = unsafe.Offsetof(unix.TCPInfo{}.Last_data_recv)
	)
	info, err := findAttribute(attributes, inetDiagInfo)
	if err != nil || info == nil {
		return -1, err
	}
	if len(info) < int(max(sent, received))+4 {
		return 0, errors.New("the kernel sent too little about a connection")
	}
	since := min(binary.NativeEndian.Uint32(info[sent:]), binary.NativeEndian.Uint32(info[received:]))
	return time.Duration(since) * time.Millisecond, nil
}
