package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"check_network_connections/contrib/e2e"
)

// counted returns one of the kernel's numbers of what it has refused in this
// network namespace.
func counted(t *testing.T, name string) int {
	t.Helper()
	content, err := os.ReadFile("/proc/thread-self/net/netstat")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(content), "\n")
	names, values := strings.Fields(lines[0]), strings.Fields(lines[1])
	for i := range names {
		if names[i] == name {
			number, _ := strconv.Atoi(values[i])
			return number
		}
	}
	t.Fatalf("the kernel does not count %s", name)
	return 0
}

// listens returns a socket that listens and accepts nothing.
func listens(t *testing.T, address string, backlog int, isShared bool) {
	t.Helper()
	fd, at := newSocket(t, unix.SOCK_STREAM, address)
	if isShared {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Bind(fd, at); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, backlog); err != nil {
		t.Fatal(err)
	}
}

// calls begins connections, of which none waits for an answer.
func calls(t *testing.T, number int, address string) {
	t.Helper()
	for range number {
		fd, to := newSocket(t, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, address)
		if err := unix.Connect(fd, to); err != nil && err != unix.EINPROGRESS {
			t.Fatal(err)
		}
	}
}

// expectQueue compares what the program says of the fullest queue, to everybody.
func expectQueue(t *testing.T, plugin, want string) {
	t.Helper()
	output, _ := runBy(t, nobody, plugin, "--conn-type", "udp", "--no-details", "--no-perfdata", "-c", "backlog=100")
	if text := textOf(output); text != want {
		t.Errorf("got %s\nwant %s", output, want)
	}
}

func TestQueueIsFullWhenTheKernelRefuses(t *testing.T) {
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	const backlog = 49 // the kernel takes one more
	for address, to := range map[string]string{"127.0.0.1:8443": "127.0.0.1:8443", "[::1]:8443": "[::1]:8443", "[::]:8444": "127.0.0.1:8444"} {
		t.Run(address, func(t *testing.T) {
			listens(t, address, backlog, false)
			expectQueue(t, plugin, "accept queue: 0% of 50 at "+address)
			earlier, called := counted(t, "ListenOverflows"), 0
			for _, number := range []int{20, 45, 50} {
				calls(t, number-called, to)
				called = number
				e2e.WaitFor(t, time.Minute, "the calls to arrive", func() bool { return queued(t)[0] == called })
				expectQueue(t, plugin, fmt.Sprintf("accept queue: %d%% of 50 at %s", 2*number, address))
			}
			if now := counted(t, "ListenOverflows"); now > earlier {
				t.Errorf("the kernel has refused %d before", now-earlier)
			}
			calls(t, 1, to)
			e2e.WaitFor(t, time.Minute, "the kernel to refuse one", func() bool { return counted(t, "ListenOverflows") > earlier })
			expectQueue(t, plugin, "accept queue: 100% of 50 at "+address)
			output, code := runBy(t, 0, plugin, "--conn-type", "udp", "--no-perfdata", "-c", "backlog=99")
			want := fmt.Sprintf("[CRITICAL] - accept queue: 100%% of 50 at %s [CRITICAL] (%s)\naccept queue held by: %[2]s (root) 51 (50 not accepted)\n", address, filepath.Base(os.Args[0]))
			if !strings.HasPrefix(output, want) || code != 2 {
				t.Errorf("got %d %s\nwant %s", code, output, want)
			}
		})
	}
}

// queued returns how many connections wait at each listener, most first, by the
// kernel's files.
func queued(t *testing.T) (all []int) {
	t.Helper()
	for _, kind := range []string{"tcp", "tcp6"} {
		content, err := os.ReadFile("/proc/thread-self/net/" + kind)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(content)) {
			if words := strings.Fields(line); words[3] == "0A" {
				_, waiting, _ := strings.Cut(words[4], ":")
				number, _ := strconv.ParseInt(waiting, 16, 32)
				all = append(all, int(number))
			}
		}
	}
	for i := range all {
		if all[i] > all[0] {
			all[0], all[i] = all[i], all[0]
		}
	}
	return all
}

// Each of several listeners on one port has a queue of its own.
func TestSharedPortHasTheQueueOfEachListener(t *testing.T) {
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	for range 3 {
		listens(t, "127.0.0.1:8443", 19, true)
	}
	calls(t, 12, "127.0.0.1:8443")
	e2e.WaitFor(t, time.Minute, "the calls to arrive", func() bool {
		sum := 0
		for _, number := range queued(t) {
			sum += number
		}
		return sum == 12
	})
	expectQueue(t, plugin, fmt.Sprintf("accept queue: %d%% of 20 at 127.0.0.1:8443", 5*queued(t)[0]))
}

// flood sends the first packet of connections that will never be whole.
type flood struct {
	wire, next int
	to         net.HardwareAddr
	target     netip.AddrPort
}

// newFlood makes a link that leads to a listener there. The peer is in nobody's
// network, so that nothing answers.
func newFlood(t *testing.T, target string) *flood {
	t.Helper()
	e2e.Need(t, "iproute2", "ip")
	f := &flood{target: netip.MustParseAddrPort(target)}
	for _, arguments := range []string{
		"link add f0 type veth peer name f1", "addr add 10.9.0.1/24 dev f0", "link set f0 up", "link set f1 up", "neigh add 10.9.0.2 lladdr 02:00:00:00:00:01 dev f0",
	} {
		e2e.Run(t, "ip", strings.Fields(arguments)...)
	}
	inside, err := net.InterfaceByName("f0")
	if err != nil {
		t.Fatal(err)
	}
	outside, err := net.InterfaceByName("f1")
	if err != nil {
		t.Fatal(err)
	}
	f.to = inside.HardwareAddr
	if f.wire, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(f.wire) })
	if err := unix.Bind(f.wire, &unix.SockaddrLinklayer{Ifindex: outside.Index}); err != nil {
		t.Fatal(err)
	}
	return f
}

// send sends so many, each from another port.
func (f *flood) send(t *testing.T, number int) {
	t.Helper()
	order := binary.BigEndian
	checksum := func(content []byte) uint16 {
		sum := uint32(0)
		for at := 0; at < len(content); at += 2 {
			sum += uint32(order.Uint16(content[at:]))
		}
		for sum > 0xffff {
			sum = sum>>16 + sum&0xffff
		}
		return ^uint16(sum)
	}
	for range number {
		f.next++
		ip := []byte{0x45, 0, 0, 40, 0, 1, 0, 0, 64, unix.IPPROTO_TCP, 0, 0, 10, 9, 0, 2}
		ip = append(ip, f.target.Addr().AsSlice()...)
		order.PutUint16(ip[10:], checksum(ip))
		tcp := order.AppendUint16(order.AppendUint16(nil, uint16(1000+f.next)), f.target.Port())
		tcp = append(tcp, 0, 0, 1, 0, 0, 0, 0, 0, 5<<4, 2, 4, 0, 0, 0, 0, 0) // SYN
		pseudo := append(append([]byte{}, ip[12:20]...), 0, unix.IPPROTO_TCP, 0, byte(len(tcp)))
		order.PutUint16(tcp[16:], checksum(append(pseudo, tcp...)))
		frame := append(append(append([]byte{}, f.to...), 2, 0, 0, 0, 0, 1, 8, 0), append(ip, tcp...)...)
		if _, err := unix.Write(f.wire, frame); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFloodOfHalfOpenConnections(t *testing.T) {
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	attack := newFlood(t, "10.9.0.1:8443")
	for _, test := range []struct {
		name, cookies, most string
		size                int
		refused             string // what the kernel counts beyond
	}{
		{"with cookies", "1", "4096", 51, "TCPReqQFullDoCookies"},
		{"without", "0", "4096", 51, "TCPReqQFullDrop"},
		{"without, and few at all", "0", "32", 25, "ListenDrops"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for name, value := range map[string]string{"conf/all/rp_filter": "0", "conf/f0/rp_filter": "0", "tcp_syncookies": test.cookies, "tcp_max_syn_backlog": test.most, "tcp_synack_retries": "5"} {
				if err := os.WriteFile("/proc/sys/net/ipv4/"+name, []byte(value), 0); err != nil {
					e2e.Skip(t, err.Error())
				}
			}
			listens(t, "10.9.0.1:8443", 50, false)
			half := e2e.Group{Type: "tcp", Status: "SYN_RECV"}
			sent, earlier := 0, counted(t, test.refused)
			for _, number := range []int{20, test.size} {
				attack.send(t, number-sent)
				sent = number
				e2e.WaitFor(t, time.Minute, "the packets to arrive", func() bool { return e2e.NetworkRows(t)[half] == number })
				expectQueue(t, plugin, fmt.Sprintf("half-open connections: %s of %d at 10.9.0.1:8443", percentText(float64(number)*100/float64(test.size)), test.size))
			}
			if now := counted(t, test.refused); now > earlier {
				t.Errorf("the kernel has refused %d before", now-earlier)
			}
			attack.send(t, 5)
			e2e.WaitFor(t, time.Minute, "the kernel to refuse them", func() bool { return counted(t, test.refused) > earlier })
			expectQueue(t, plugin, fmt.Sprintf("half-open connections: 100%% of %d at 10.9.0.1:8443", test.size))
		})
	}
}
