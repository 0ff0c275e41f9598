package main

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestKernelMessagesAreCounted(t *testing.T) {
	for proto, want := range map[string]map[string]int{
		"tcp": {
			"CLOSE_WAIT": 2, "CLOSING": 1, "ESTABLISHED": 4, "FIN_WAIT1": 3, "FIN_WAIT2": 4,
			"LAST_ACK": 2, "LISTEN": 10, "SYN_RECV": 1, "SYN_SENT": 2, "TIME_WAIT": 1,
		},
		"tcp6": {
			"CLOSE_WAIT": 4, "CLOSING": 2, "ESTABLISHED": 8, "FIN_WAIT1": 6, "FIN_WAIT2": 8,
			"LAST_ACK": 4, "LISTEN": 20, "SYN_RECV": 2, "SYN_SENT": 4, "TIME_WAIT": 2,
		},
		"udp":  {"NONE": 4},
		"udp6": {"NONE": 8},
	} {
		t.Run(proto, func(t *testing.T) {
			byBoth := (&question{}).tally(grouping{byType, byStatus})
			typed := map[string]int{}
			for status, sockets := range want {
				typed[proto+" "+status] = sockets
			}
			diag := askingKernels(t, proto, byBoth, sends(kernelMessages(t, proto)))
			for range 2 { // it can be read again
				if got := countedBy(t, diag, byBoth); !maps.Equal(got, typed) {
					t.Errorf("got  %v\nwant %v", got, typed)
				}
			}
		})
	}
}

func TestOnlyWhatIsSelectedIsAskedFor(t *testing.T) {
	const all, closeWait, listening = 0b1111_1111_1110, 1 << unix.BPF_TCP_CLOSE_WAIT, 1 << unix.BPF_TCP_LISTEN
	for _, test := range []struct {
		proto    string
		statuses []string
		more     fields
		family   uint8
		protocol uint8
		states   uint32 // 0 where nothing is asked for
	}{
		{"tcp", nil, 0, unix.AF_INET, unix.IPPROTO_TCP, all},
		{"tcp6", nil, 0, unix.AF_INET6, unix.IPPROTO_TCP, all},
		{"udp", nil, 0, unix.AF_INET, unix.IPPROTO_UDP, all},
		{"udp6", []string{"NONE", "LISTEN"}, 0, unix.AF_INET6, unix.IPPROTO_UDP, all},
		{"tcp", []string{"CLOSE_WAIT"}, 0, unix.AF_INET, unix.IPPROTO_TCP, closeWait},
		{"tcp", []string{"SYN_RECV", "ESTABLISHED"}, 0, unix.AF_INET, unix.IPPROTO_TCP, 1<<unix.BPF_TCP_SYN_RECV | 1<<unix.BPF_TCP_ESTABLISHED},
		{"tcp", []string{"CLOSE_WAIT"}, fieldDirection, unix.AF_INET, unix.IPPROTO_TCP, closeWait | listening},
		{"udp", []string{"CLOSE_WAIT"}, fieldDirection, 0, 0, 0},
		{"tcp", []string{"NONE"}, 0, 0, 0, 0},
		{"tcp6", []string{"BOUND", "DELETE_TCB"}, 0, 0, 0, 0},
	} {
		t.Run(test.proto+" "+strings.Join(test.statuses, ","), func(t *testing.T) {
			asked := (&question{statuses: test.statuses}).tally(nil)
			asked.fields |= test.more
			states := statesFor(test.proto, []*tally{asked})
			if states != test.states || states == 0 {
				if states != test.states {
					t.Errorf("got states %b, want %b", states, test.states)
				}
				return
			}
			var seen netlinkMessage
			nothingFound := sends(nil)
			countedBy(t, askingKernels(t, test.proto, asked, func(request netlinkMessage) [][]byte {
				seen = request
				return nothingFound(request)
			}), asked)
			if len(seen.body) != 56 || seen.kind != 20 || seen.flags != 0x301 || seen.length != 72 {
				t.Errorf("got %+v", seen)
			}
			if got := binary.NativeEndian.Uint32(seen.body[4:]); seen.body[0] != test.family || seen.body[1] != test.protocol || got != test.states {
				t.Errorf("got family %d, protocol %d, states %b", seen.body[0], seen.body[1], got)
			}
		})
	}
}

func TestCorruptMessagesAreRefused(t *testing.T) {
	everything := (&question{}).tally(nil)
	good := kernelMessages(t, "tcp")[0]
	refused := func(message []byte) bool {
		return askingKernels(t, "tcp", everything, sends([][]byte{message})).read(newCounter([]*tally{everything}), anyKernel) != nil
	}
	for length := range sizeofInetDiagMsg {
		if !refused(good[:length]) {
			t.Errorf("%d bytes are taken for a socket", length)
		}
	}
	if refused(good[:sizeofInetDiagMsg]) {
		t.Error("a message without attributes is refused")
	}
	for _, test := range []struct {
		position int
		value    byte
	}{{0, 0}, {0, unix.AF_INET6}, {0, unix.AF_UNIX}, {1, 0}, {1, 13}, {1, 255}} {
		bad := slices.Clone(good)
		bad[test.position] = test.value
		if !refused(bad) {
			t.Errorf("byte %d = %d is taken for a socket", test.position, test.value)
		}
	}
}

// The recording is of five sockets of user 65534: one that listens, and two
// connections. One of these has had traffic half a second ago, the other one
// three and a half seconds ago.
func TestOwnersAndIdleTimesInKernelMessages(t *testing.T) {
	inodes := []uint32{20846021, 20846025, 20846023, 20846022, 20846024}
	for _, test := range []struct {
		name  string
		idle  time.Duration
		found []uint32
	}{
		{"not asked for", 0, inodes},
		{"half a second", 504 * time.Millisecond, inodes[1:]},
		{"a little longer", 505 * time.Millisecond, []uint32{20846025, 20846024}},
		{"three and a half seconds", 3504 * time.Millisecond, []uint32{20846025, 20846024}},
		{"longer than any", 3505 * time.Millisecond, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			asked := (&question{minIdle: test.idle}).tally(grouping{byProcess})
			bodies := kernelMessages(t, "idle")
			if test.idle > 0 {
				bodies = bodies[1:] // a socket that listens is not asked for then
			}
			diag := askingKernels(t, "tcp", asked, sends(bodies))
			want := map[string]int{}
			for i, inode := range inodes {
				diag.holders.hold(inode, int32(i+1), fmt.Sprint(inode))
			}
			for _, inode := range test.found {
				want[fmt.Sprint(inode)] = 1
			}
			if got := countedBy(t, diag, asked); !maps.Equal(got, want) {
				t.Errorf("got  %v\nwant %v", got, want)
			}
		})
	}
}

func TestNamespaceThatVanishesHasNoSockets(t *testing.T) {
	everything := (&question{}).tally(nil)
	for _, space := range []namespace{
		{inode: 1, paths: []string{"/proc/2147483646/ns/net", "/run/netns/gone"}, mayVanish: true},
		{inode: 1, paths: []string{"/proc/self/ns/net"}, mayVanish: true}, // another inode
	} {
		diag := askingKernels(t, "tcp", everything)
		diag.dial = func() (int, error) { return space.dial(t.Context()) }
		if got := countedBy(t, diag, everything); len(got) != 0 {
			t.Errorf("got %v", got)
		}
		space.mayVanish = false
		if err := diag.read(newCounter([]*tally{everything}), anyKernel); err == nil {
			t.Error("the one that was asked for must not be skipped")
		}
	}
}

// inetDiagMsg is struct inet_diag_msg of include/uapi/linux/inet_diag.h, a field
// at a time: the program reads it by offsets.
type inetDiagMsg struct {
	Family, State, Timer, Retransmits uint8
	LocalPort, RemotePort             uint16 // big-endian
	Local, Remote                     [16]byte
	Interface                         uint32
	Cookie                            [2]uint32
	Expires, ReadQueue, WriteQueue    uint32
	UID, Inode                        uint32
}

// message returns what the kernel would send.
func (m inetDiagMsg) message() []byte {
	order := binary.NativeEndian
	var body []byte
	for _, part := range []any{m.Family, m.State, m.Timer, m.Retransmits} {
		body, _ = binary.Append(body, order, part)
	}
	body = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(body, m.LocalPort), m.RemotePort)
	for _, part := range []any{m.Local, m.Remote, m.Interface, m.Cookie, m.Expires, m.ReadQueue, m.WriteQueue, m.UID, m.Inode} {
		body, _ = binary.Append(body, order, part)
	}
	return body
}

// address returns an address as the program is to write it.
func (m inetDiagMsg) address(raw [16]byte) string {
	if m.Family == unix.AF_INET {
		return netip.AddrFrom4([4]byte(raw[:4])).String()
	}
	return netip.AddrFrom16(raw).Unmap().String()
}

// The kernel lists the sockets that listen first.
func TestConnectionsToAListenerCameIn(t *testing.T) {
	one := func(state uint8, local string, from, to uint16) []byte {
		m := inetDiagMsg{Family: unix.AF_INET, State: state, LocalPort: from, RemotePort: to}
		copy(m.Local[:], netip.MustParseAddr(local).AsSlice())
		return m.message()
	}
	outgoing := &tally{
		includes: (&question{}).includes,
		fields:   fieldDirection | fieldLocalPort,
		asks: func(s *socket) answer {
			if s.direction == directionOut {
				return yes
			}
			return no
		},
		key: grouping{byLocalPort}.key,
	}
	got := countedBy(t, askingKernels(t, "tcp", outgoing, sends([][]byte{
		one(10, "0.0.0.0", 80, 0),
		one(10, "10.0.0.1", 443, 0),
		one(1, "10.0.0.1", 80, 5000),
		one(1, "10.0.0.1", 443, 5000),
		one(1, "10.0.0.2", 443, 5000),
		one(1, "10.0.0.1", 40000, 5000),
	})), outgoing)
	if want := map[string]int{"443": 1, "40000": 1}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestNothingIsAllocatedForAKernelMessage(t *testing.T) {
	const datagrams = 100
	for _, test := range []struct {
		name, recorded string
		asked          *tally
	}{
		{"type and status", "tcp", (&question{}).tally(grouping{byType, byStatus})},
		{"owners and addresses", "tcp", (&question{}).tally(dimensions)},
		{"ephemeral ports", "tcp", ephemeralPorts{}.tally()},
		{"idle connections", "idle", (&question{minIdle: time.Second}).tally(grouping{byType, byStatus})},
	} {
		t.Run(test.name, func(t *testing.T) {
			bodies := kernelMessages(t, test.recorded)
			var began, ended runtime.MemStats
			read := 0
			flood := floods(bodies, datagrams, func(sockets int) {
				read = sockets
				runtime.ReadMemStats(&began)
			})
			diag := askingKernels(t, "tcp", test.asked, flood)
			diag.host.units = &units{root: "/", names: map[uint64]string{}}
			for i, body := range bodies {
				diag.holders.hold(binary.NativeEndian.Uint32(body[68:]), int32(i+1), "holder")
			}
			countedBy(t, diag, test.asked)
			runtime.ReadMemStats(&ended)
			// Some are for each reading and each row.
			if allocations := int(ended.Mallocs - began.Mallocs); allocations > read/20 {
				t.Errorf("%d allocations for %d sockets", allocations, read)
			}
		})
	}
}

// BenchmarkSocket measures one socket, from the kernel's datagram to the count.
func BenchmarkSocket(b *testing.B) {
	byBoth := (&question{}).tally(grouping{byType, byStatus})
	bodies := kernelMessages(b, "tcp6")
	sockets := 0
	for sockets < b.N {
		countedBy(b, askingKernels(b, "tcp6", byBoth, floods(bodies, 100, func(read int) { sockets += read })), byBoth)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(sockets), "ns/socket")
}
