package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"
	"net/netip"
	"os"
	"time"
	"unsafe"

	"github.com/mdlayher/netlink"
	"github.com/shirou/gopsutil/v3/common"
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

// inetDiagInfo is the attribute with a struct tcp_info (INET_DIAG_INFO in
// include/uapi/linux/inet_diag.h).
const inetDiagInfo = 2

// attempts is how often a dump that breaks off is begun anew.
const attempts = 3

// host is the network namespaces that are read.
type host []namespace

// findHost returns the network namespaces that --netns asks for. They are looked
// for only once, so that all that is read in a run is of the same ones.
func findHost(config Config) (host, error) {
	spaces, err := namespaces(config.Netns, config.By.has(byNetns) || config.Netns == netnsAll)
	for _, space := range spaces {
		config.Log.printf("network namespace %q, inode %d (0 is our own)", space.name, space.inode)
	}
	return spaces, err
}

// parts returns the selected sockets, a part for each network namespace and
// type.
func (h host) parts(ctx context.Context, config Config) []part {
	fallback := gopsutilSource(ctx, config)
	names := newProcNames()
	if config.needs().user {
		names.mapped = readUserMap()
	}
	owners := &holders{ctx: ctx, log: config.Log}
	var parts []part
	for _, space := range h {
		for _, socketType := range socketTypes {
			dump, wanted := newDump(socketType, config.Selection)
			if !wanted {
				continue
			}
			dump.idle = config.MinIdle
			diag := &sockDiag{
				dial:    func() (*netlink.Conn, error) { return dialSockDiag(ctx, space) },
				needs:   config.needs(),
				holders: owners,
				log:     config.Log,
			}
			part := part{name: socketType, space: space.inode, netns: space.name, names: names, ports: space.ports}
			if config.Source != sourceGopsutil {
				for range attempts {
					part.sources = append(part.sources, source{sourceNetlink, diag.records(dump)})
				}
			}
			// gopsutil knows this namespace only, and not how long a connection is idle.
			if config.Source != sourceNetlink && len(space.paths) == 0 && config.MinIdle == 0 {
				part.sources = append(part.sources, source{sourceGopsutil, fallback(socketType)})
			}
			parts = append(parts, part)
		}
	}
	return parts
}

// dump is a question to the kernel for the sockets of one type.
type dump struct {
	family   uint8 // unix.AF_INET or unix.AF_INET6
	protocol uint8 // unix.IPPROTO_TCP or unix.IPPROTO_UDP
	kind     uint32
	states   uint32        // bit mask, 1 << state
	idle     time.Duration // leave out connections with traffic since then; 0 leaves out none
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
	if d.idle > 0 {
		data[2] = 1 << (inetDiagInfo - 1)
	}
	binary.NativeEndian.PutUint32(data[4:], d.states)
	return netlink.Message{
		Header: netlink.Header{
			Type:  unix.SOCK_DIAG_BY_FAMILY,
			Flags: netlink.Request | netlink.Dump,
		},
		Data: data,
	}
}

// socket is what the kernel tells in a struct inet_diag_msg and the attributes
// behind it.
type socket struct {
	record  net.ConnectionStat // without addresses and owners
	inode   uint32             // 0 where no process holds it
	message []byte             // all of it
}

// parse returns the socket that the kernel describes. It allocates nothing.
func (d dump) parse(message []byte) (socket, error) {
	if len(message) < sizeofInetDiagMsg {
		return socket{}, fmt.Errorf("the kernel sent %d bytes for a socket, %d are the least", len(message), sizeofInetDiagMsg)
	}
	family, state := message[0], message[1]
	if family != d.family || int(state) >= len(tcpStates) || state == 0 {
		return socket{}, fmt.Errorf("the kernel sent a socket of family %d in state %d, which was not asked for", family, state)
	}
	status := tcpStates[state]
	if d.protocol == unix.IPPROTO_UDP {
		status = statusNone
	}
	return socket{
		record: net.ConnectionStat{
			Family: uint32(family), Type: d.kind, Status: status,
			Laddr: net.Addr{Port: uint32(binary.BigEndian.Uint16(message[4:]))},
			Raddr: net.Addr{Port: uint32(binary.BigEndian.Uint16(message[6:]))},
		},
		inode:   binary.NativeEndian.Uint32(message[68:]),
		message: message,
	}, nil
}

// hasBeenIdle tells whether the connection has seen no traffic for that long:
// neither data nor an acknowledgement. A socket without a struct tcp_info is no
// connection any more.
func (s socket) hasBeenIdle(limit time.Duration) (bool, error) {
	// Each attribute begins with a struct nlattr: its length and its type.
	for rest := s.message[sizeofInetDiagMsg:]; len(rest) > 0; {
		if len(rest) < unix.SizeofNlAttr {
			return false, errCutOff
		}
		length := int(binary.NativeEndian.Uint16(rest))
		if length < unix.SizeofNlAttr || length > len(rest) {
			return false, errCutOff
		}
		kind := binary.NativeEndian.Uint16(rest[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
		if kind == inetDiagInfo {
			idle, err := idleTime(rest[unix.SizeofNlAttr:length])
			return err == nil && idle >= limit, err
		}
		rest = rest[min(aligned(length), len(rest)):]
	}
	return false, nil
}

// idleTime returns the time since the last traffic that a struct tcp_info
// (include/uapi/linux/tcp.h) tells of.
func idleTime(info []byte) (time.Duration, error) {
	const (
		sent     = unsafe.Offsetof(unix.TCPInfo{}.Last_data_sent)
		received = unsafe.Offsetof(unix.TCPInfo{}.Last_data_recv)
		answered = unsafe.Offsetof(unix.TCPInfo{}.Last_ack_recv)
	)
	if len(info) < int(max(sent, received, answered))+4 {
		return 0, errors.New("the kernel sent too little about a connection")
	}
	milliseconds := func(offset uintptr) uint32 { return binary.NativeEndian.Uint32(info[offset:]) }
	return time.Duration(min(milliseconds(sent), milliseconds(received), milliseconds(answered))) * time.Millisecond, nil
}

// sockDiag reads the sockets of a network namespace over NETLINK_SOCK_DIAG. It
// needs no rights, but for other namespaces and for the processes of others.
type sockDiag struct {
	dial    func() (*netlink.Conn, error)
	needs   needs
	holders *holders
	log     debugLog

	addresses map[[16]byte]string // the texts of addresses, so that each is made once
	users     map[uint32][]int32
}

// dialSockDiag returns a connection to the kernel, in the namespace, that gives
// up when the context does.
func dialSockDiag(ctx context.Context, space namespace) (*netlink.Conn, error) {
	config := &netlink.Config{}
	if len(space.paths) > 0 {
		file, err := space.open()
		if err != nil {
			return nil, netnsRights(err)
		}
		defer file.Close()
		config.NetNS = int(file.Fd())
	}
	conn, err := netlink.Dial(unix.NETLINK_SOCK_DIAG, config)
	if err != nil {
		if len(space.paths) > 0 {
			err = netnsRights(err)
		}
		return nil, err
	}
	if deadline, set := ctx.Deadline(); set {
		if err := conn.SetDeadline(deadline); err != nil {
			_ = conn.Close()
			return nil, err
		}
	}
	return conn, nil
}

// records yields the sockets that the dump asks for, straight from the kernel's
// datagrams. It can be read again after an error.
func (s *sockDiag) records(d dump) iter.Seq2[net.ConnectionStat, error] {
	return func(yield func(net.ConnectionStat, error) bool) {
		started, sockets := time.Now(), 0
		err := s.each(d, func(record net.ConnectionStat) bool {
			sockets++
			return yield(record, nil)
		})
		s.log.printf("netlink: asked for family %d, protocol %d, states %#x, idle for %s: %d sockets, error %s, in %s",
			d.family, d.protocol, d.states, d.idle, sockets, faultText(err), took(started))
		if err == nil || errors.Is(err, errVanished) {
			return // one that has vanished has no sockets
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

// sockets yields the sockets that the kernel answers with. Each is good until
// the next one.
func (s *sockDiag) sockets(d dump) iter.Seq2[socket, error] {
	return func(yield func(socket, error) bool) {
		// What is left of an answer that broke off must not be taken for the next one.
		conn, err := s.dial()
		if err != nil {
			yield(socket{}, err)
			return
		}
		defer conn.Close()
		for body, err := range ask(conn, d.request()) {
			var next socket
			if err == nil {
				next, err = d.parse(body)
			}
			if !yield(next, err) || err != nil {
				return
			}
		}
	}
}

// late is a socket whose process is not known yet.
type late struct {
	record net.ConnectionStat
	inode  uint32
}

// each calls yield with each socket until it returns false.
func (s *sockDiag) each(d dump, yield func(net.ConnectionStat) bool) error {
	if s.needs.process {
		if err := s.holders.find(); err != nil {
			return err
		}
	}
	var lates []late
	for socket, err := range s.sockets(d) {
		if err != nil {
			return err
		}
		if d.idle > 0 {
			idle, err := socket.hasBeenIdle(d.idle)
			if err != nil {
				return err
			}
			if !idle {
				continue
			}
		}
		record := s.complete(socket)
		// A process that the walk missed may have opened the socket after it.
		if s.needs.process && record.Pid == pidUnseen && (s.holders.isWhole || os.Geteuid() == 0) && len(lates) < maxLate {
			lates = append(lates, late{record, socket.inode})
			continue
		}
		if !yield(record) {
			return nil
		}
	}
	return s.eachLate(d, lates, yield)
}

// eachLate calls yield with each socket, after another look for its process.
func (s *sockDiag) eachLate(d dump, lates []late, yield func(net.ConnectionStat) bool) error {
	if len(lates) == 0 {
		return nil
	}
	now := &holders{ctx: s.holders.ctx, log: s.log}
	if err := now.find(); err != nil {
		return err
	}
	// Those that nobody is seen to hold: closed meanwhile, or the kernel's own.
	// Where processes are hidden one of those may have them, unless they are gone.
	stillOpen := map[uint32]bool{}
	if !now.isWhole {
		for _, late := range lates {
			stillOpen[late.inode] = false
		}
		if err := s.lookFor(stillOpen, d); err != nil {
			return err
		}
	}
	for _, late := range lates {
		late.record.Pid = now.pids[late.inode]
		if late.record.Pid == pidUnseen && !stillOpen[late.inode] {
			late.record.Pid = pidNothing
		}
		if !yield(late.record) {
			return nil
		}
	}
	return nil
}

// lookFor marks the inodes of sockets that are still there, in whatever state.
func (s *sockDiag) lookFor(inodes map[uint32]bool, d dump) error {
	d.states, d.idle = allStates, 0
	for socket, err := range s.sockets(d) {
		if err != nil {
			return err
		}
		if _, wanted := inodes[socket.inode]; wanted {
			inodes[socket.inode] = true
		}
	}
	return nil
}

// complete returns the record with the addresses and owners that are needed.
func (s *sockDiag) complete(socket socket) net.ConnectionStat {
	record, message := socket.record, socket.message
	if s.needs.localAddress {
		record.Laddr.IP = s.address(record.Family, message[8:24])
	}
	if s.needs.remoteAddress {
		record.Raddr.IP = s.address(record.Family, message[24:40])
	}
	if s.needs.process {
		record.Pid = pidNothing
		if socket.inode != 0 {
			record.Pid = s.holders.pids[socket.inode]
		}
	}
	if s.needs.user {
		uid := binary.NativeEndian.Uint32(message[64:])
		if socket.inode == 0 {
			// The kernel has the user of such sockets as 0, which is not root.
			uid = math.MaxUint32
		}
		record.Uids = s.user(uid)
	}
	return record
}

// address returns the text of an address, an IPv4-mapped one as IPv4.
func (s *sockDiag) address(family uint32, bytes []byte) string {
	var raw [16]byte
	copy(raw[:], bytes)
	text, known := s.addresses[raw]
	if !known {
		address := netip.AddrFrom16(raw).Unmap()
		if family == unix.AF_INET {
			address = netip.AddrFrom4([4]byte(bytes))
		}
		if s.addresses == nil || len(s.addresses) == maxAddresses {
			s.addresses = map[[16]byte]string{}
		}
		text = address.String()
		s.addresses[raw] = text
	}
	return text
}

// maxAddresses is how many texts are kept.
const maxAddresses = 1 << 14

// user returns a list of that user, as gopsutil has it, and one for all of his
// sockets.
func (s *sockDiag) user(uid uint32) []int32 {
	list, known := s.users[uid]
	if !known {
		if s.users == nil {
			s.users = map[uint32][]int32{}
		}
		list = []int32{int32(uid)}
		s.users[uid] = list
	}
	return list
}

// readConnections returns gopsutil's records, with the owner of each socket
// only where that is needed.
func readConnections(ctx context.Context, kind string, needs needs) ([]net.ConnectionStat, error) {
	// Without /proc gopsutil finds no IPv6 sockets, and no fault.
	if _, err := os.Stat("/proc/net/tcp"); err != nil {
		return nil, err
	}
	// Whatever the environment has as HOST_PROC, the namespace is that of /proc.
	ctx = context.WithValue(ctx, common.EnvKey, common.EnvMap{common.HostProcEnvKey: "/proc"})
	if needs.user {
		return net.ConnectionsWithContext(ctx, kind)
	}
	return net.ConnectionsWithoutUidsWithContext(ctx, kind)
}
