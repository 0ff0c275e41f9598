package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// inetDiagMsg is struct inet_diag_msg of include/uapi/linux/inet_diag.h, a field
// at a time: the program reads it by offsets.
type inetDiagMsg struct {
	Family, State, Timer, Retransmits uint8
	LocalPort, RemotePort             [2]byte
	Local, Remote                     [16]byte
	Interface                         uint32
	Cookie                            [2]uint32
	Expires, ReadQueue, WriteQueue    uint32
	UID, Inode                        uint32
}

// address returns an address as the program is to write it.
func (m inetDiagMsg) address(raw [16]byte) string {
	if m.Family == unix.AF_INET {
		return netip.AddrFrom4([4]byte(raw[:4])).String()
	}
	return netip.AddrFrom16(raw).Unmap().String()
}

func FuzzKernelMessage(f *testing.F) {
	for _, socketType := range socketTypes {
		for _, message := range kernelMessages(f, socketType) {
			f.Add(message, socketType == "udp" || socketType == "udp6", message[0] == unix.AF_INET6)
		}
	}
	for _, message := range kernelMessages(f, "tcp")[:3] {
		message = message[:sizeofInetDiagMsg]
		for _, length := range []int{0, 44, 60, 248} { // of a struct tcp_info
			info := binary.NativeEndian.AppendUint16(nil, uint16(4+length))
			info = append(binary.NativeEndian.AppendUint16(info, inetDiagInfo), bytes.Repeat([]byte{1, 2, 3, 4}, length/4)...)
			f.Add(slices.Concat(message, info), false, false)
			f.Add(slices.Concat(message, []byte{5, 0, 8, 0, 1, 0, 0, 0}, info), false, false)
		}
		f.Add(slices.Concat(message, []byte{3, 0, inetDiagInfo, 0}), false, false)
	}
	f.Add([]byte{}, false, false)
	f.Add([]byte{2}, true, false)
	f.Fuzz(func(t *testing.T, message []byte, udp, ipv6 bool) {
		name := map[[2]bool]string{{false, false}: "tcp", {false, true}: "tcp6", {true, false}: "udp", {true, true}: "udp6"}[[2]bool{udp, ipv6}]
		socket, err := mustDump(t, name).parse(message)
		if err != nil {
			if _, err := harmless(errorText(err)); err != nil {
				t.Error(err)
			}
			return
		}
		k := tally{}.key(socket.record).canonical()
		socketType, status := k.socketType(), k.status
		if socketType != name || isUDP(name) != (status == statusNone) || !slices.Contains(statuses, status) {
			t.Errorf("taken for %s %s", socketType, status)
		}

		var want inetDiagMsg
		if err := binary.Read(bytes.NewReader(message), binary.NativeEndian, &want); err != nil {
			t.Fatal(err)
		}
		const holder = 4711
		diag := &sockDiag{
			needs:   needs{process: true, user: true, localAddress: true, remoteAddress: true},
			holders: &holders{pids: map[uint32]int32{want.Inode: holder}},
		}
		pid, uid := int32(holder), int32(want.UID)
		if want.Inode == 0 {
			pid, uid = pidNothing, uidNothing
		}
		for range 2 { // addresses and users are remembered
			record := diag.complete(socket)
			if record.Laddr.IP != want.address(want.Local) || record.Raddr.IP != want.address(want.Remote) ||
				record.Laddr.Port != uint32(binary.BigEndian.Uint16(want.LocalPort[:])) || record.Raddr.Port != uint32(binary.BigEndian.Uint16(want.RemotePort[:])) ||
				record.Pid != pid || !slices.Equal(record.Uids, []int32{uid}) {
				t.Errorf("got %v of %+v", record, want)
			}
		}

		idle, found, whole := expectedIdleTime(message[sizeofInetDiagMsg:])
		for _, limit := range []time.Duration{time.Nanosecond, time.Second, idle, idle + time.Nanosecond} {
			got, err := socket.hasBeenIdle(limit)
			switch {
			case got && !found:
				t.Errorf("idle for %s without a struct tcp_info", limit)
			case whole && (err != nil || got != (found && idle >= limit)):
				t.Errorf("idle for %s is not %s: got %t, %v", idle, limit, got, err)
			}
		}
	})
}

// expectedIdleTime walks the attributes to the struct tcp_info and returns how long the
// connection was idle, whether the struct is there, and whether all of the
// attributes are whole.
func expectedIdleTime(attributes []byte) (idle time.Duration, found, whole bool) {
	for len(attributes) > 0 {
		if len(attributes) < 4 {
			return idle, found, false
		}
		length := int(binary.NativeEndian.Uint16(attributes))
		if length < 4 || length > len(attributes) {
			return idle, found, false
		}
		if kind := binary.NativeEndian.Uint16(attributes[2:]) & 0x3fff; kind == 2 && !found {
			info := attributes[4:length]
			if len(info) < 60 {
				return 0, false, false
			}
			least := uint32(math.MaxUint32)
			for _, offset := range []int{44, 52, 56} { // last_data_sent, last_data_recv, last_ack_recv
				least = min(least, binary.NativeEndian.Uint32(info[offset:]))
			}
			idle, found = time.Duration(least)*time.Millisecond, true
		}
		attributes = attributes[min(len(attributes), (length+3)&^3):]
	}
	return idle, found, true
}

// FuzzKernelDatagram splits datagrams and compares with the standard library.
func FuzzKernelDatagram(f *testing.F) {
	request := netlink.Message{Header: netlink.Header{Sequence: 1}}
	for _, kernel := range []kernel{sockets(kernelMessages(f, "udp6")), refuses(unix.EPERM), sockets(nil)} {
		datagrams, err := kernel(request)
		if err != nil {
			f.Fatal(err)
		}
		for _, datagram := range [][]byte{datagrams[0], datagrams[len(datagrams)-1]} {
			f.Add(datagram)
			f.Add(datagram[:len(datagram)-1])
			f.Add(slices.Concat(datagram, datagram[:15]))
		}
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, datagram []byte) {
		want, wantErr := syscall.ParseNetlinkMessage(datagram)
		rest := datagram
		for i := 0; len(rest) > 0; i++ {
			first, next, err := splitMessage(rest)
			if err != nil {
				// The library overlooks less than a header at the end.
				if wantErr == nil && len(rest) >= unix.SizeofNlMsghdr {
					t.Fatalf("message %d: got %v", i, err)
				}
				return
			}
			rest = next
			if wantErr != nil {
				continue
			}
			header := want[i].Header
			if first.kind != netlink.HeaderType(header.Type) || first.flags != netlink.HeaderFlags(header.Flags) || first.sequence != header.Seq || !bytes.Equal(first.body, want[i].Data) {
				t.Fatalf("message %d: got %+v, want %+v", i, first, want[i])
			}
			isGood := (first.kind == netlink.Done && len(first.body) >= 4 && bytes.Equal(first.body[:4], make([]byte, 4)) || first.kind == unix.SOCK_DIAG_BY_FAMILY) &&
				first.flags&netlink.Multi != 0 && first.flags&netlink.DumpInterrupted == 0
			if fault := first.fault(header.Seq); (fault == nil) != isGood {
				t.Errorf("%+v: got %v", first, fault)
			}
			if first.fault(header.Seq+1) == nil {
				t.Errorf("%+v is taken for the answer to another request", first)
			}
		}
	})
}

var socketLink = regexp.MustCompile(`^socket:\[([0-9]+)\]$`)

// FuzzProcRows tries a text as each of what the program reads under /proc.
func FuzzProcRows(f *testing.F) {
	for _, text := range []string{
		"socket:[12345]", "socket:[4294967296]", "socket:[]", "socket:[1", "socket:[-1]", "socket:[99999999999999999999999]", "socket:[1]]", "anon_inode:[eventpoll]", "pipe:[5]", "/tmp/socket:[1]",
		"a) b", ") S 1 2 3", "(((", "1 (x) S", "", "\n", "x\n1 (y) S 1",
		"32768\t60999", "1024 65535", "1\t1", "0\t0", "60999\t32768", "-1\t5", "1\t70000", "32768",
		"8080,9148-9150", "0-100", "1,2,3,", "5-1", "65535", "65536",
	} {
		f.Add(text, uint64(123456789))
	}
	f.Fuzz(func(t *testing.T, text string, number uint64) {
		inode, isSocket := parseSocketLink([]byte(text))
		link := socketLink.FindStringSubmatch(text)
		if isSocket != (link != nil) {
			t.Errorf("a socket: got %t", isSocket)
		}
		if link != nil {
			whole, _ := new(big.Int).SetString(link[1], 10)
			if want := whole.And(whole, big.NewInt(math.MaxUint32)); want.Cmp(big.NewInt(int64(inode))) != 0 {
				t.Errorf("got the inode %d, want %s", inode, want)
			}
		}

		// Whatever the name of the process is, the other fields are found.
		_ = parseStart(text)
		stat := fmt.Sprintf("4711 (%s) S 1 4711 4711 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 %d 12345 678 18446744073709551615 0\n", text, number)
		if got := parseStart(stat); got != number {
			t.Errorf("got the start %d of %q", got, stat)
		}

		if space, err := parsePortSpace(text, ""); err == nil && (space.first > space.last || space.last > 65535 || space.size() != int(space.last-space.first)+1) {
			t.Errorf("got the ports %v", space)
		}
		space, err := parsePortSpace("1\t65535", text)
		if err != nil {
			if _, err := harmless(errorText(err)); err != nil {
				t.Error(err)
			}
			return
		}
		free := 0
		for port, reserved := range reservedPorts(t, text) {
			if space.has(uint32(port)) == (reserved || port == 0) {
				t.Errorf("%d: got %t", port, space.has(uint32(port)))
			}
			if port > 0 && !reserved {
				free++
			}
		}
		if space.size() != free {
			t.Errorf("got %d ports, want %d", space.size(), free)
		}
	})
}

// reservedPorts reads net.ipv4.ip_local_reserved_ports, which must be right.
func reservedPorts(t *testing.T, text string) (reserved [1 << 16]bool) {
	t.Helper()
	for item := range strings.SplitSeq(text, ",") {
		if text == "" {
			break
		}
		first, last, isRange := strings.Cut(item, "-")
		if !isRange {
			last = first
		}
		low, err1 := strconv.Atoi(first)
		high, err2 := strconv.Atoi(last)
		if err1 != nil || err2 != nil || low < 0 || high > 65535 || low > high {
			t.Fatalf("%q is taken for a list of ports", text)
		}
		for port := low; port <= high; port++ {
			reserved[port] = true
		}
	}
	return reserved
}
