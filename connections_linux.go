package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"os"

	"github.com/mdlayher/netlink"
	"github.com/shirou/gopsutil/v3/net"
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
const allStates = 1<<12 - 1<<1

// Sizes of the structures in include/uapi/linux/inet_diag.h.
const (
	sizeofInetDiagReqV2 = 56 // struct inet_diag_req_v2
	sizeofInetDiagMsg   = 72 // struct inet_diag_msg, without the attributes behind it
)

// messageBufferSize is the most that the kernel puts into one datagram of a
// dump (netlink_recvmsg in net/netlink/af_netlink.c).
const messageBufferSize = 32 << 10

// attempts is how often a dump that breaks off is begun anew.
const attempts = 3

// liveParts returns the selected sockets of this host, a part for each type.
func liveParts(ctx context.Context, config Config) []part {
	diag := &sockDiag{dial: func() (*netlink.Conn, error) { return dialSockDiag(ctx) }}
	fallback := gopsutilSource(ctx, config.Selection)
	var parts []part
	for _, socketType := range socketTypes {
		dump, wanted := newDump(socketType, config.Selection)
		if !wanted {
			continue
		}
		part := part{name: socketType}
		if config.Source != sourceGopsutil {
			for range attempts {
				part.sources = append(part.sources, source{sourceNetlink, diag.records(dump)})
			}
		}
		if config.Source != sourceNetlink {
			part.sources = append(part.sources, source{sourceGopsutil, fallback(socketType)})
		}
		parts = append(parts, part)
	}
	return parts
}

// dump is a question to the kernel for the sockets of one type.
type dump struct {
	family   uint8 // unix.AF_INET or unix.AF_INET6
	protocol uint8 // unix.IPPROTO_TCP or unix.IPPROTO_UDP
	kind     uint32
	states   uint32 // bit mask, 1 << state
}

// newDump returns the question for the selected sockets of the type, and
// whether there is anything to ask for.
func newDump(socketType string, selection Selection) (dump, bool) {
	d := dump{family: unix.AF_INET, protocol: unix.IPPROTO_TCP, kind: sockStream}
	if socketType == "tcp6" || socketType == "udp6" {
		d.family = unix.AF_INET6
	}
	if isUDP(socketType) {
		d.protocol, d.kind, d.states = unix.IPPROTO_UDP, sockDgram, allStates
		return d, selection.includes(socketType, statusNone)
	}
	for state, status := range tcpStates {
		if status != "" && selection.includes(socketType, status) {
			d.states |= 1 << state & allStates
		}
	}
	return d, d.states != 0
}

// request returns the question as struct inet_diag_req_v2.
func (d dump) request() netlink.Message {
	data := make([]byte, sizeofInetDiagReqV2) // a socket id of zeros asks for all
	data[0] = d.family
	data[1] = d.protocol
	binary.NativeEndian.PutUint32(data[4:], d.states)
	return netlink.Message{
		Header: netlink.Header{
			Type:  unix.SOCK_DIAG_BY_FAMILY,
			Flags: netlink.Request | netlink.Dump,
		},
		Data: data,
	}
}

// parse returns the socket that the kernel describes in a struct inet_diag_msg.
func (d dump) parse(message []byte) (net.ConnectionStat, error) {
	if len(message) < sizeofInetDiagMsg {
		return net.ConnectionStat{}, fmt.Errorf("the kernel sent %d bytes for a socket, %d are the least", len(message), sizeofInetDiagMsg)
	}
	family, state := message[0], message[1]
	if family != d.family || int(state) >= len(tcpStates) || state == 0 {
		return net.ConnectionStat{}, fmt.Errorf("the kernel sent a socket of family %d in state %d, which was not asked for", family, state)
	}
	status := tcpStates[state]
	if d.protocol == unix.IPPROTO_UDP {
		status = statusNone
	}
	return net.ConnectionStat{Family: uint32(family), Type: d.kind, Status: status}, nil
}

// sockDiag reads sockets over NETLINK_SOCK_DIAG. It needs no rights.
type sockDiag struct {
	dial func() (*netlink.Conn, error)
	conn *netlink.Conn // nil before the first dump and after one that broke off
}

// dialSockDiag returns a connection to the kernel that gives up when the
// context does.
func dialSockDiag(ctx context.Context) (*netlink.Conn, error) {
	conn, err := netlink.Dial(unix.NETLINK_SOCK_DIAG, &netlink.Config{MessageBufferSize: messageBufferSize})
	if err != nil {
		return nil, err
	}
	if deadline, set := ctx.Deadline(); set {
		err = conn.SetDeadline(deadline)
	}
	return conn, err
}

// records yields the sockets that the dump asks for, straight from the kernel's
// datagrams. It can be read again after an error.
func (s *sockDiag) records(d dump) iter.Seq2[net.ConnectionStat, error] {
	return func(yield func(net.ConnectionStat, error) bool) {
		err := s.each(d, func(record net.ConnectionStat) bool { return yield(record, nil) })
		if err == nil {
			return
		}
		if s.conn != nil {
			// What is left of the answer must not be taken for the next one.
			_ = s.conn.Close()
			s.conn = nil
		}
		var operation *netlink.OpError
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			err = context.DeadlineExceeded
		case errors.As(err, &operation):
			err = operation.Err // the names of the library's functions tell an admin nothing
		}
		yield(net.ConnectionStat{}, err)
	}
}

// each calls yield with each socket until it returns false.
func (s *sockDiag) each(d dump, yield func(net.ConnectionStat) bool) error {
	if s.conn == nil {
		var err error
		if s.conn, err = s.dial(); err != nil {
			return err
		}
	}
	request, err := s.conn.Send(d.request())
	if err != nil {
		return err
	}
	for message, err := range s.conn.ReceiveIter() {
		if err != nil {
			return err
		}
		header := message.Header
		switch {
		case header.Type != unix.SOCK_DIAG_BY_FAMILY || header.Sequence != request.Header.Sequence || header.Flags&netlink.Multi == 0:
			return errors.New("the kernel answered something that was not asked")
		case header.Flags&netlink.DumpInterrupted != 0:
			return errors.New("the sockets changed while the kernel listed them")
		}
		record, err := d.parse(message.Data)
		if err != nil {
			return err
		}
		if !yield(record) {
			return nil
		}
	}
	return nil
}

// readConnections returns gopsutil's records, without a look at the owner of
// each socket.
func readConnections(ctx context.Context, kind string) ([]net.ConnectionStat, error) {
	// Without /proc gopsutil finds no IPv6 sockets, and no fault.
	if _, err := os.Stat("/proc/net/tcp"); err != nil {
		return nil, err
	}
	return net.ConnectionsWithoutUidsWithContext(ctx, kind)
}
